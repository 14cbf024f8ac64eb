"""What guidance with Stable Diffusion 2.1 needs of a card's memory, counted on tensors without numbers.

python benchmarks/guidance_memory.py
python benchmarks/guidance_memory.py --resolution 768 --precision float16

The counts are those of `python -m sds_guidance.check`, for a model whose weights need not be there; on a card
`benchmarks/sd21_step.py --device cuda` tells what torch really allocates.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sds_guidance.memory import (
    CONTEXT,
    GIB,
    SPLATS,
    MemoryPlan,
    count,
    fuse_attention,
    occupied,
    step_bytes,
)
from sds_guidance.prior import LatentDiffusionPrior, hollow_prior
from utils.errors import run_program
from utils.files import write_json
from utils.options import parse
from utils.tables import markdown_table

SD21: dict[str, dict[str, Any]] = {
    "unet/config.json": {
        "sample_size": 64,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "vae/config.json": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    },
    "scheduler/scheduler_config.json": {},
}
"""Settings of Stable Diffusion 2.1-base, where they differ from diffusers' defaults."""


@dataclass
class Options:
    """Weights, and the most that a guided step has beside them by the ways of doing it."""

    resolution: int = 512
    """Side of the square picture in pixels, a multiple of 64."""
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of the model."""
    output: str = ""
    """JSON file for the figures; empty: only printed."""


def main(options: Options) -> None:
    """Prints the tables."""
    size = (options.resolution, options.resolution)
    with tempfile.TemporaryDirectory() as name:
        folder = write_settings(Path(name))
        prior = hollow(folder, getattr(torch, options.precision))
        weights = {part: (count(it), occupied([it])) for part, it in parts(prior).items()}
        plans = {way: plan for gradient in (True, False) for way, plan in ways(prior, size, gradient).items()}
    print(f"Stable Diffusion 2.1 at {options.resolution} pixels in {options.precision}\n")
    rows = [[part, f"{number / 1e6:.2f}", mib(size)] for part, (number, size) in weights.items()]
    print(markdown_table(["weights", "million", "MiB"], rows))
    rows = [[way, mib(it.weights), mib(it.step), f"{it.needed / GIB:.2f}"] for way, it in plans.items()]
    print(markdown_table(["a guided step", "weights, MiB", "step, MiB", "needed, GiB"], rows))
    print(f"needed: 1.1 x tensors, {mib(CONTEXT)} MiB for CUDA, {mib(SPLATS)} MiB for a million Gaussians")
    if options.output:
        steps = {way: {"step": plan.step, "needed": plan.needed} for way, plan in plans.items()}
        write_json(Path(options.output), {**vars(options), "weights": dict(weights), "steps": steps})


def write_settings(folder: Path) -> Path:
    """Writes `SD21` below a folder, and returns it."""
    for name, config in SD21.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(config))
    return folder


def hollow(folder: Path, dtype: torch.dtype) -> LatentDiffusionPrior:
    """The prior without numbers, with the attention of fused kernels."""
    prior = hollow_prior(folder, dtype)
    for network in (prior.unet, prior.vae):
        fuse_attention(network)
    return prior


def parts(prior: LatentDiffusionPrior) -> dict[str, torch.nn.Module]:
    """The networks that may stay."""
    return {"U-Net": prior.unet, "VAE encoder": prior.vae.encoder, "VAE decoder": prior.vae.decoder}


def ways(prior: LatentDiffusionPrior, size: tuple[int, int], gradient: bool) -> dict[str, MemoryPlan]:
    """The ways of doing a guided step: with a gradient and without the decoder, or the other way round."""
    decoder = prior.vae.decoder
    prior.vae.decoder = None if gradient else decoder
    dtype, weights = prior.unet.dtype, occupied((prior.unet, prior.vae))
    result = {}
    for checkpoint in (False, True) if gradient else (False,):
        if checkpoint:
            prior.vae.enable_gradient_checkpointing()
        for prior.one_batch in (True, False):
            prompts = "prompts at once" if prior.one_batch else "prompts in turn"
            way = f"{'encode and go back' if gradient else 'encode, decode'}, {prompts}"
            step = step_bytes(prior, size, gradient=gradient)
            plan = MemoryPlan(dtype, gradient, checkpoint, prior.one_batch, False, weights, step, None)
            result[way + checkpoint * ", checkpointed"] = plan
    if not gradient:
        step, kept = step_bytes(prior, size, gradient=False, offload=True), occupied((prior.vae,))
        plan = MemoryPlan(dtype, False, False, False, True, kept, step, None)
        result[f"{way}, U-Net lent"] = plan
    prior.vae.disable_gradient_checkpointing()
    prior.vae.decoder = decoder
    return result


def mib(size: int) -> str:
    return f"{size / 2**20:.0f}"


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
