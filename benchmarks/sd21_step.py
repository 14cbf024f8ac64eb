"""Seconds, passes and memory of a guided step in each mode, with a Stable Diffusion 2.1 of random weights.

    python benchmarks/sd21_step.py
    python benchmarks/sd21_step.py --modes sds --precision float32 --resolution 256

The model has its full size. Every mode has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from benchmarks.measured import fill
from benchmarks.passes import PARTS, watch
from scene.cameras import Camera
from sds_guidance.loading import choose_mode, evenly
from sds_guidance.memory import GIB, LiveBytes, count, fuse_attention, occupied, step_bytes
from sds_guidance.mode import Guided, View
from sds_guidance.options import GuidanceOptions
from sds_guidance.prior import LatentDiffusionPrior, cast
from utils.errors import UserError, demand, run_program
from utils.files import write_json
from utils.memory import peak_memory
from utils.options import parse
from utils.tables import markdown_table

BLOCK = "measured full size"
TEXT_WIDTH, TOKENS = 1024, 77


@dataclass
class Options:
    """Does a guided step in each mode and measures it."""

    modes: tuple[Literal["sds", "ism", "targets", "rectified"], ...] = ("sds", "ism", "targets", "rectified")
    """Modes of guidance."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of weights and activations."""
    resolution: int = 512
    """Side of the square picture in pixels, a multiple of 64."""
    channels: tuple[int, int] = (320, 128)
    """Channels of the first block of U-Net and VAE, multiples of 32; by default Stable Diffusion 2.1's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to run."""
    checkpoint_encoder: bool = False
    """Recompute the VAE encoder's activations on the way back."""
    repeats: int = 1
    """Steps; the fastest is reported."""
    output: str = ""
    """JSON file for the figures, by mode; empty: only printed."""
    docs: str = ""
    """A page whose block of full-size figures gets the table; empty: none."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        demand(self.repeats >= 1, "repeats", self.repeats, "1 or more")
        side = self.resolution
        demand(side % 64 == 0 and side > 0, "resolution", side, "a multiple of 64, above 0")
        for channels in self.channels:
            demand(channels % 32 == 0 and channels > 0, "channels", self.channels, "multiples of 32, above 0")


def main(options: Options) -> None:
    """Measures the modes one after the other, and prints the figures and a table of them."""
    options.check()
    figures: dict[str, dict[str, Any]] = {}
    for mode in options.modes:
        figures[mode] = measured_apart(mode, options)
        print(f"{mode}:", *(f"  {name:18} {value}" for name, value in figures[mode].items()), sep="\n")
    text = report(figures, options)
    print(f"\n{text}")
    if options.output:
        write_json(Path(options.output), figures)
    if options.docs:
        fill(Path(options.docs), BLOCK, text)


def measured_apart(mode: str, options: Options) -> dict[str, Any]:
    """What `measure` finds in a process of its own.

    Raises:
        UserError: the process was killed.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(measure, mode, options).result()
    except BrokenProcessPool:
        raise UserError(
            f"the process that measured {mode} was killed, as happens where memory runs out; take a smaller "
            "--resolution"
        ) from None


def measure(mode: str, options: Options) -> dict[str, Any]:
    """Builds the model and does the steps: their seconds by part, their passes and bytes, the process's peak.

    In `targets` a step is one that makes its picture anew; "mean_seconds" is over a run's steps, most of
    which have theirs already. "tensors_gib" is what weights and all tensors of the step occupied at most,
    "counted_gib" what is forecast of it without numbers (see `sds_guidance.memory`).
    """
    started = time.perf_counter()
    device, dtype = torch.device(options.device), getattr(torch, options.precision)
    parts = {"decoder": mode == "targets", "inpainting": mode == "rectified"}
    size = (options.resolution, options.resolution)
    counted = forecast(
        assembled(*hollow_networks(dtype, options.channels, **parts)), size, options.checkpoint_encoder
    )
    prior = build_prior(dtype, device, options.channels, **parts)
    if options.checkpoint_encoder:
        prior.vae.enable_gradient_checkpointing()
    built = time.perf_counter() - started

    generator = torch.Generator().manual_seed(0)
    camera = Camera("novel", torch.eye(4), torch.eye(3), *size)
    flat = torch.ones(1, *size, device=device)
    view = View(camera, torch.rand(3, *size, generator=generator).to(device), flat, flat)
    states = torch.randn(2, TOKENS, TEXT_WIDTH, generator=generator).to(device)
    guidance = GuidanceOptions(guidance=mode, guidance_resolution=options.resolution)  # type: ignore[arg-type]
    look = choose_mode(guidance, prior, lambda generator, progress: camera, evenly)
    meter = Meter(prior, device)
    known = [*meter.weights(), prior.abar, view.rgb, flat, states]

    def step() -> dict[str, Any]:
        with LiveBytes(known) as live:
            found = meter.measure(lambda: look(view, states, 0.0, generator))
        occupied_bytes = sum(weight.nbytes for weight in meter.weights()) + live.peak
        return {
            **found,
            "tensors_gib": round(occupied_bytes / GIB, 2),
            "counted_gib": round(counted / GIB, 2),
        }

    steps = []
    for _ in range(options.repeats):
        look.cameras(generator, 0.0)
        fresh = step()
        again = step()["seconds"] if look.fresh_share < 1 else fresh["seconds"]
        mean = look.fresh_share * fresh["seconds"] + (1 - look.fresh_share) * again
        steps.append({**fresh, "mean_seconds": round(mean, 2)})
    peaks = {f"peak_{where}_gib": round(size / 1024, 2) for where, size in peak_memory().items()}
    return {
        "unet_parameters": count(prior.unet),
        "precision": options.precision,
        "resolution": options.resolution,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "build_seconds": round(built, 1),
        **min(steps, key=lambda step: step["seconds"]),
        **peaks,
    }


class Meter:
    """Seconds and passes of a prior's networks while something is done with it."""

    def __init__(self, prior: LatentDiffusionPrior, device: torch.device) -> None:
        """Watches the prior from now on, and the inpainting model beside it."""
        self.device = device
        self.passes: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self.networks = [prior.vae, *(it.unet for it in filter(None, (prior, prior.inpainting)))]
        watch(prior, self.passes)
        for network, name in ((prior.vae.encoder, "encode"), (prior.vae.decoder, "decode")):
            if network is not None:
                self._time(network, name)
        for network in self.networks[1:]:
            self._time(network, "unet")

    def weights(self) -> list[torch.Tensor]:
        """Those of all networks."""
        return [weight for network in self.networks for weight in network.parameters()]

    def measure(self, guide: Callable[[], Guided]) -> dict[str, Any]:
        """What a guided step took: seconds in all and by network, and passes."""
        self.passes.clear()
        self.seconds.clear()
        synchronise(self.device)
        started, busy = time.perf_counter(), time.process_time()
        guided = guide()
        synchronise(self.device)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        assert guided.finite and float(guided.gradient.abs().max()) > 0
        return {
            "seconds": round(seconds, 2),
            **{f"{name}_seconds": round(self.seconds[name], 2) for name in ("encode", "unet", "decode")},
            "other_seconds": round(seconds - sum(self.seconds.values()), 2),  # the way back, mostly
            "busy_core_seconds": round(busy, 2),  # over all threads: what other programs cannot stretch
            "t": guided.t,
            "passes": {part: self.passes[part] for part in PARTS},
        }

    def _time(self, network: torch.nn.Module, name: str) -> None:
        """Lets a network add how long it takes."""

        def start(*_: Any) -> None:
            synchronise(self.device)
            self.seconds[name] -= time.perf_counter()

        def stop(*_: Any) -> None:
            synchronise(self.device)
            self.seconds[name] += time.perf_counter()

        network.register_forward_pre_hook(start)
        network.register_forward_hook(stop)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def forecast(prior: LatentDiffusionPrior, size: tuple[int, int], checkpoint_encoder: bool) -> int:
    """Bytes of a prior without numbers and of a guided step with it, which has a way back or a decoder."""
    weights = occupied([prior.vae, *(it.unet for it in filter(None, (prior, prior.inpainting)))])
    for network in (prior.unet, prior.vae):
        fuse_attention(network)
    if checkpoint_encoder:
        prior.vae.enable_gradient_checkpointing()
    return weights + step_bytes(prior, size, gradient=prior.vae.decoder is None)


def build_prior(
    dtype: torch.dtype, device: torch.device, channels: tuple[int, int] = (320, 128), **parts: bool
) -> LatentDiffusionPrior:
    """The prior of `hollow_networks`, which has the arguments, on a device with random weights."""
    generator = torch.Generator(device).manual_seed(0)
    networks = hollow_networks(dtype, channels, **parts)
    for network in networks:
        network.to_empty(device=device)
        for name, weight in network.named_parameters():
            fill_in(name, weight, generator)
    return assembled(*networks)


def hollow_networks(
    dtype: torch.dtype, channels: tuple[int, int], *, decoder: bool, inpainting: bool = False
) -> list[Any]:
    """SD 2.1-base's VAE and U-Net (866 M weights) on torch's meta device, without numbers.

    Args:
        dtype: of the networks.
        channels: of the first block of U-Net and VAE; others than 320 and 128 make a smaller model.
        decoder: whether the VAE has its decoder.
        inpainting: whether SD 2's inpainting U-Net comes third.
    """
    first, first_of_vae = channels
    blocks = [first, 2 * first, 4 * first, 4 * first]
    with torch.device("meta"):
        vae: Any = AutoencoderKL(
            block_out_channels=[first_of_vae, 2 * first_of_vae, 4 * first_of_vae, 4 * first_of_vae],
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
        unets = [
            UNet2DConditionModel(
                sample_size=64,
                in_channels=in_channels,
                cross_attention_dim=TEXT_WIDTH,
                block_out_channels=blocks,
                attention_head_dim=[max(1, width // 64) for width in blocks],  # means how many heads
                use_linear_projection=True,
            )
            for in_channels in ((4, 9) if inpainting else (4,))
        ]
    if not decoder:
        vae.decoder = None
    networks = [vae, *unets]
    for network in networks:
        cast(network, dtype)
    return networks


def assembled(vae: Any, unet: Any, inpainting: Any = None) -> LatentDiffusionPrior:
    """The prior of these networks, with an inpainting model of the same VAE beside it if there is one."""
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    prior = LatentDiffusionPrior(unet, vae, schedule)
    if inpainting is not None:
        prior.inpainting = LatentDiffusionPrior(inpainting, vae, schedule)
    return prior


@torch.no_grad()
def fill_in(name: str, weight: torch.Tensor, generator: torch.Generator) -> None:
    """Random values that keep activations near unit size: normalisations 1, biases 0, the rest by fan-in."""
    if weight.ndim > 1:
        weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
    else:
        weight.fill_(float(name.endswith("weight")))


def report(figures: dict[str, dict[str, Any]], options: Options) -> str:
    """The table in Markdown, a row a mode, below a line on how it was measured."""
    header = ["mode", "seconds", "U-Net's", "a run's mean", *PARTS, "tensors, GiB", "counted", "peak"]
    rows = [
        [
            mode,
            *(f"{it[f'{name}seconds']:.1f}" for name in ("", "unet_", "mean_")),
            *(str(it["passes"][part]) for part in PARTS),
            f"{it['tensors_gib']:.2f}",
            f"{it['counted_gib']:.2f}",
            f"{it.get('peak_cuda_gib', it['peak_host_gib']):.2f}",
        ]
        for mode, it in figures.items()
    ]
    any_one = next(iter(figures.values()))
    where = f"CPU, threads: {any_one['threads']}" if any_one["device"] == "cpu" else any_one["device"]
    size = f"{options.resolution} x {options.resolution} pixels"
    return (
        f"U-Net of {any_one['unet_parameters'] / 1e6:.0f} M random weights, {options.precision}, {size}, "
        f"{where}:\n\n{markdown_table(header, rows)}"
    )


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
