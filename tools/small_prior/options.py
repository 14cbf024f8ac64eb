"""The flags of building and of evaluating the small prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from utils.errors import UserError, demand

RESOLUTION = 128
"""Side of the pictures in pixels; the VAE makes latents of an eighth of it."""


@dataclass
class BuildOptions:
    """Trains the small prior from captioned pictures, measures it, and writes its model card."""

    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-d"])] = ()
    """Folders of captioned pictures with splits, as tools/make_objects.py writes them."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Folder for checkpoints and logs, and the finished model in model/."""
    stage: Literal["all", "vae", "clip"] = "all"
    """all: everything, in order; vae or clip: only that one, so that the two may run side by side before."""
    seed: int = 0
    """Seed of all randomness."""

    vae_steps: int = 11000
    """Steps of the VAE."""
    vae_minutes: float = 0.0
    """End this stage after so many minutes, if that is earlier (results then vary). 0: no limit."""
    vae_batch: int = 8
    """Crops in a step of the VAE."""
    vae_crop: int = 64
    """Side in pixels of the crops that the VAE learns from, a multiple of 8 up to 128."""
    vae_whole_steps: int = 1800
    """Steps of the VAE after those, on whole pictures."""
    vae_whole_batch: int = 4
    """Pictures in such a step."""
    clip_steps: int = 4400
    """Steps of the CLIP."""
    clip_minutes: float = 0.0
    """End this stage after so many minutes, if that is earlier (results then vary). 0: no limit."""
    clip_batch: int = 64
    """Pictures with captions in a step of the CLIP."""
    unet_steps: int = 6300
    """Steps of the U-Net."""
    unet_minutes: float = 0.0
    """End this stage after so many minutes, if that is earlier (results then vary). 0: no limit."""
    unet_again_steps: int = 7000
    """Steps of the U-Net in each of two further goes, from half the learning rate of the first."""
    unet_again_minutes: float = 0.0
    """End each of them after so many minutes, if that is earlier (results then vary). 0: no limit."""
    unet_batch: int = 32
    """Latents in a step of the U-Net."""
    decoder_steps: int = 1100
    """Steps of the VAE's decoder at the end, from latents that stay."""
    decoder_minutes: float = 0.0
    """End this stage after so many minutes, if that is earlier (results then vary). 0: no limit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format inside the networks while they learn; bfloat16 pays on processors that compute in it."""
    samples: int = 200
    """Pictures drawn for the evaluation."""
    sample_steps: int = 25
    """Steps of DDIM for each of them."""
    judge_steps: int = 1500
    """Steps of the network that learns to tell families apart, to judge the pictures drawn."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if not self.data:
            raise UserError("--data FOLDER is needed: captioned pictures to learn from")
        if not self.output:
            raise UserError("--output FOLDER is needed: for checkpoints, logs and the finished model")
        for flag in ("vae_steps", "vae_batch", "vae_whole_steps", "vae_whole_batch"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        for flag in ("clip_steps", "unet_steps", "unet_again_steps", "unet_batch", "decoder_steps"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        demand(self.judge_steps >= 1, "judge_steps", self.judge_steps, "1 or more")
        for flag in ("vae_minutes", "clip_minutes", "unet_minutes", "unet_again_minutes", "decoder_minutes"):
            demand(getattr(self, flag) >= 0, flag, getattr(self, flag), "0 or more")
        for flag in ("clip_batch", "samples", "sample_steps"):
            demand(getattr(self, flag) >= 2, flag, getattr(self, flag), "2 or more")
        demand(
            self.vae_crop % 8 == 0 and 16 <= self.vae_crop <= RESOLUTION,
            "vae_crop",
            self.vae_crop,
            f"a multiple of 8 from 16 to {RESOLUTION}",
        )


@dataclass
class EvaluateOptions:
    """Measures a small prior on the held-out pictures of its data."""

    model: str
    """Folder of the model, with vision tower."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-d"])] = ()
    """Folders of captioned pictures with splits."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "output/small_prior"
    """Folder for measurements.json and the sheet of samples."""
    seed: int = 0
    """Seed of all draws."""
    samples: int = 200
    """Pictures drawn."""
    sample_steps: int = 25
    """Steps of DDIM for each of them."""
    judge_steps: int = 1500
    """Steps of the network that learns to tell families apart, to judge the pictures drawn."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if not self.data:
            raise UserError("--data FOLDER is needed: captioned pictures to measure on")
        for flag in ("samples", "sample_steps"):
            demand(getattr(self, flag) >= 2, flag, getattr(self, flag), "2 or more")
        demand(self.judge_steps >= 1, "judge_steps", self.judge_steps, "1 or more")


@dataclass
class InpaintOptions:
    """Trains the inpainting sibling of a small prior, for --guidance rectified."""

    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-d"])] = ()
    """Folders of captioned pictures with splits."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Folder for checkpoints and the log, and the finished model in model/."""
    model: str = "small"
    """The model to start from, as --guidance_model has it; both are used together."""
    masks: int = 2
    """Masks under which each picture is shown."""
    steps: int = 1500
    """Steps of the U-Net."""
    minutes: float = 0.0
    """End after so many minutes of training, if that is earlier (results then vary). 0: no limit."""
    batch_size: int = 32
    """Latents in a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """As build has it."""
    seed: int = 0
    """Seed of all randomness."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if not self.data:
            raise UserError("--data FOLDER is needed: captioned pictures to learn from")
        if not self.output:
            raise UserError("--output FOLDER is needed: for checkpoints, log and the finished model")
        for flag in ("masks", "steps", "batch_size"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        demand(self.minutes >= 0, "minutes", self.minutes, "0 or more")
