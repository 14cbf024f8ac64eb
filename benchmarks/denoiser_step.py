"""Time of a fine-tuning step of a latent diffusion U-Net: layouts, attention and precision side by side.

    python benchmarks/denoiser_step.py
    python benchmarks/denoiser_step.py --side 64 --channels 128 256 512 --batch 1

A step is the velocity loss of a batch of latents, its gradient and AdamW's update, as
`sds_guidance.finetune` has it. Prints milliseconds (the least of several steps) and their ratio to the first
row, which travels between machines better. The defaults are the small prior's U-Net, but for the pool of the
text. Run nothing beside it.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from sds_guidance.finetune.trainer import autocast
from utils.errors import demand, run_program
from utils.options import parse
from utils.tables import markdown_table

TEXT = (24, 128)  # tokens, channels


@dataclass
class Options:
    """Times a training step of a U-Net."""

    side: int = 16
    """Of the square latents."""
    channels: tuple[int, ...] = (64, 96, 160)
    """At each resolution, multiples of 32; the first has no attention."""
    batch: int = 32
    """Latents in a step."""
    repeats: int = 5
    """The least time of so many steps counts."""


def main(options: Options) -> None:
    """Prints the table.

    Raises:
        UserError: a number is not usable.
    """
    widths = options.channels
    demand(
        len(widths) > 1 and all(it > 0 and it % 32 == 0 for it in widths),
        "channels",
        widths,
        "two or more multiples of 32",
    )
    halvings = 2 ** (len(widths) - 1)
    demand(
        options.side >= halvings and options.side % halvings == 0,
        "side",
        options.side,
        f"a multiple of {halvings}",
    )
    demand(options.batch >= 1, "batch", options.batch, "at least 1")
    demand(options.repeats >= 1, "repeats", options.repeats, "at least 1")
    rows, first = [], 0.0
    for precision in (torch.float32, torch.bfloat16):
        for attention in (AttnProcessor2_0, AttnProcessor):
            for layout in (torch.contiguous_format, torch.channels_last):
                unet = fresh_unet(options).to(memory_format=layout)
                unet.set_attn_processor(attention())
                least = milliseconds(unet, options, precision)
                first = first or least
                names = [str(precision), "plain" if attention is AttnProcessor else "fused", str(layout)]
                rows.append(
                    [name.removeprefix("torch.") for name in names] + [f"{least:.0f}", f"{least / first:.2f}"]
                )
    count = sum(it.numel() for it in unet.parameters()) / 1e6
    print(f"{count:.1f} M parameters, {torch.get_num_threads()} threads\n")
    print(markdown_table(["precision", "attention", "layout", "ms", "ratio"], rows))


def fresh_unet(options: Options) -> Any:
    """An untrained U-Net of the small prior's kind, always with the same weights."""
    torch.manual_seed(0)
    deeper = len(options.channels) - 1
    return UNet2DConditionModel(
        sample_size=options.side,
        block_out_channels=options.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * deeper),
        up_block_types=(*["CrossAttnUpBlock2D"] * deeper, "UpBlock2D"),
        cross_attention_dim=TEXT[1],
        attention_head_dim=tuple(count // 32 for count in options.channels),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def milliseconds(unet: Any, options: Options, precision: torch.dtype) -> float:
    """The least time of a step; the first, which prepares, does not count."""
    optimiser = torch.optim.AdamW(unet.parameters())
    latents, target = torch.randn(2, options.batch, 4, options.side, options.side)
    text = torch.randn(options.batch, *TEXT)
    noise_levels = torch.randint(1000, (options.batch,))
    times = []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        with autocast(latents.device, precision):
            velocity = unet(latents, noise_levels, text).sample
        F.mse_loss(velocity.float(), target).backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
