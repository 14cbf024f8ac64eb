"""The inpainting model beside a guidance model: where it lies, and whether the two belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sds_guidance.architecture import GUIDING, Architecture, read_architecture
from sds_guidance.models import NEEDED, NETWORK, Kind, ModelFolder, find_model
from utils.errors import UserError, Warnings

SETTINGS_ALONE = (("config.json",),)
WANTED = (
    "Wanted is an inpainting model of --guidance_model's family, a hub id or a folder; beside "
    "Stable Diffusion 2.x sd2-community/stable-diffusion-2-inpainting"
)
INPAINTING = Kind(
    flag="--inpainting_model",
    what="complete diffusers folder of an inpainting model",
    needed={
        "unet": NETWORK,
        "scheduler": NEEDED["scheduler"],
        "vae": SETTINGS_ALONE,  # of these two the guidance model's are used, if they are of the same family
        "text_encoder": SETTINGS_ALONE,
    },
    sources=WANTED,
)
ALIKE = {
    "family": "family",
    "latent_channels": "latent channels",
    "scaling_factor": "scaling factor of latents",
    "text_width": "width of text states",
    "size_multiple": "multiple of a picture's sides",
}
"""What two models of one family have in common, with the words for it."""


def find_inpainting(model: str, beside: Path, argv: Sequence[str] | None, warnings: Warnings) -> ModelFolder:
    """The folder of `--inpainting_model`, downloaded where needed: U-Net and schedule; nothing is loaded.

    Args:
        model: a local folder or a hub id.
        beside: the guidance model's folder.
        argv, warnings: as `find_model` has them.

    Raises:
        UserError: it was not found, is incomplete, no inpainting model, or of another family.
    """
    base = read_architecture(beside)
    kind = replace(INPAINTING, check=lambda folder: demand_inpainting(folder, base))
    return find_model(model, argv, warnings, kind=kind)


def demand_inpainting(folder: Path, base: Architecture) -> Architecture:
    """What the model in a folder is, if it is an inpainting model of a guidance model's family.

    How each predicts, noise or velocity, and the size that each was trained at, may differ.

    Args:
        folder: with the settings of all its parts.
        base: what the guidance model is.

    Raises:
        UserError: it is another, or the guidance model is none that an inpainting model can stand beside; the
            message says what to use instead.
    """
    if base.task not in GUIDING:
        raise UserError(
            f"--guidance rectified: --guidance_model is of {base.name}, which is asked with {base.wants}; an "
            "inpainting model is not, so that the two cannot be compared. Choose a text-to-image model, or "
            "another --guidance"
        )
    found = read_architecture(folder)
    if found.task != "inpainting":
        raise UserError(
            f"--inpainting_model: {folder} is a model of another task ({found.name}): its U-Net takes no "
            f"masked picture. {WANTED}"
        )
    for name, words in ALIKE.items():
        ours, theirs = getattr(found, name), getattr(base, name)
        if ours != theirs:
            raise UserError(
                f"--inpainting_model: {folder} ({found.name}) is of another family than --guidance_model "
                f"({base.name}): {words} {ours}, there {theirs}. {WANTED}"
            )
    return found
