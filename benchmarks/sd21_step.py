"""Seconds and memory of one score distillation step with a full-size Stable Diffusion 2.1, random weights.

python benchmarks/sd21_step.py
python benchmarks/sd21_step.py --precision float32 --resolution 256
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sds_guidance.prior import LatentDiffusionPrior
from sds_guidance.sds import pixel_gradient, sds_gradient
from utils.files import write_json


@dataclass
class Options:
    """One step: encode, noise, U-Net with classifier-free guidance, and the way back through the encoder."""

    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of weights and activations."""
    resolution: int = 512
    """Side of the square picture in pixels."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to run."""
    checkpoint_encoder: bool = False
    """Recompute the VAE encoder's activations on the way back."""
    repeats: int = 1
    """Steps; the fastest is reported."""
    output: str = ""
    """JSON file for the figures; empty: only printed."""


def main(options: Options) -> None:
    """Builds the model, does the steps, prints the seconds of each part and the peak memory."""
    started = time.perf_counter()
    dtype, device = getattr(torch, options.precision), torch.device(options.device)
    prior = build_prior(dtype, device)
    if options.checkpoint_encoder:
        prior.vae.enable_gradient_checkpointing()
    parameters = sum(weight.numel() for weight in prior.unet.parameters())
    built = time.perf_counter() - started

    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(3, options.resolution, options.resolution, generator=generator).to(device)
    states = torch.randn(2, 77, 1024, generator=generator).to(device)
    steps = []
    for _ in range(options.repeats):
        seconds: dict[str, float] = {}
        prior.encode = timed(prior.encode, "encode", seconds, device)  # type: ignore[method-assign]
        prior.predict = timed(prior.predict, "unet", seconds, device)  # type: ignore[method-assign]
        started, busy = time.perf_counter(), time.process_time()
        latent_gradient = partial(
            sds_gradient,
            prior,
            states=states,
            noise_range=(0.25, 0.75),
            generator=generator,
            guidance_scale=7.5,
            rescale=0.7,
            weighting="alpha_sigma",
        )
        guided = pixel_gradient(prior, rgb, latent_gradient, clip=0.99, resolution=options.resolution)
        synchronise(device)
        seconds["step"] = time.perf_counter() - started
        seconds["busy_core"] = (
            time.process_time() - busy
        )  # over all threads: what other programs cannot stretch
        seconds["backward"] = seconds["step"] - seconds["encode"] - seconds["unet"]
        del prior.encode, prior.predict
        assert guided.finite
        assert float(guided.gradient.abs().max()) > 0
        steps.append(seconds)

    best = min(steps, key=lambda seconds: seconds["step"])
    figures: dict[str, Any] = {
        "unet_parameters": parameters,
        "precision": options.precision,
        "resolution": options.resolution,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "build_seconds": round(built, 1),
        **{f"{part}_seconds": round(value, 2) for part, value in best.items()},
        "peak_host_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    if device.type == "cuda":
        figures["peak_device_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    for name, value in figures.items():
        print(f"{name:18} {value}")
    if options.output:
        write_json(Path(options.output), figures)


def build_prior(dtype: torch.dtype, device: torch.device) -> LatentDiffusionPrior:
    """SD 2.1-base's U-Net (866 M weights) and VAE encoder with random weights, made in place in `dtype`."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=1024,
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
        )
        vae: Any = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
    vae.decoder = None
    generator = torch.Generator(device).manual_seed(0)
    for network in (unet, vae):
        torch.nn.Module.to(network, dtype).to_empty(device=device)
        for name, weight in network.named_parameters():
            fill(name, weight, generator)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return LatentDiffusionPrior(unet, vae, scheduler)


@torch.no_grad()
def fill(name: str, weight: torch.Tensor, generator: torch.Generator) -> None:
    """Random values that keep activations near unit size: normalisations 1, biases 0, the rest by fan-in."""
    if weight.ndim > 1:
        weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
    else:
        weight.fill_(float(name.endswith("weight")))


def timed(call: Callable, name: str, seconds: dict[str, float], device: torch.device) -> Callable:
    """`call`, which also notes how long it took."""

    def result(*arguments: Any, **options: Any) -> Any:
        synchronise(device)
        started = time.perf_counter()
        value = call(*arguments, **options)
        synchronise(device)
        seconds[name] = time.perf_counter() - started
        return value

    return result


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
