"""What goes through a guidance model's networks, counted on the networks themselves.

    python benchmarks/passes.py FILE -s SCENE -m MODEL --guidance ism --guidance_model small

trains as train.py does with these flags, and writes to FILE (JSON) how many latents went through the U-Net,
how many pictures into and out of the VAE, and how many ways back went through its encoder, while the model
was trained. The gate's pilot runs and the timing of a first step come before; contact sheets count.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.errors import run_program
from utils.files import write_json

if TYPE_CHECKING:
    from sds_guidance.prior import LatentDiffusionPrior

PARTS = ("U-Net", "VAE encoder", "its way back", "VAE decoder")


def watch(prior: LatentDiffusionPrior, passes: Counter[str]) -> None:
    """Lets a prior's networks count under the names of `PARTS`; of a batch, each picture or latent counts."""

    def counting(name: str) -> Any:
        def hook(network: Any, arguments: tuple, output: Any) -> None:
            passes[name] += len(arguments[0])

        return hook

    def into_latents(network: Any, arguments: tuple, output: Any) -> None:
        passes["VAE encoder"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: passes.update({"its way back": len(gradient)}))

    for one in filter(None, (prior, prior.inpainting)):
        one.unet.register_forward_hook(counting("U-Net"))
    prior.vae.encoder.register_forward_hook(into_latents)
    if prior.vae.decoder is not None:
        prior.vae.decoder.register_forward_hook(counting("VAE decoder"))


def main(words: Sequence[str]) -> None:
    """Trains with the flags that follow the first word, and writes the counts to the file that this names."""
    # Only now: who counts in a process of its own has no use for the trainer.
    import train  # noqa: PLC0415
    from training.presets import read_options  # noqa: PLC0415

    file, *flags = words
    passes: Counter[str] = Counter()
    train_model = train.train

    def watched(*arguments: Any) -> None:
        guidance = arguments[3]
        if guidance:
            watch(guidance.mode.prior, passes)
        train_model(*arguments)

    with patch.object(train, "train", watched):
        train.main(read_options(flags), ["train.py", *flags])
    write_json(Path(file), {part: passes[part] for part in PARTS})


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
