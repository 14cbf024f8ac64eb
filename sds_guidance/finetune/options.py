"""The flags of fine-tuning, with their meaning, unit and range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.trainer import TrainingOptions
from sds_guidance.options import DEFAULT_MODEL
from utils.errors import UserError, demand


@dataclass
class FinetuneOptions:
    """Teaches a Stable-Diffusion-shaped model a domain, from captioned pictures."""

    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])] = ""
    """Output folder."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-d"])] = ()
    """Folders of captioned pictures: metadata.jsonl, a CSV, or a .txt beside each picture."""
    caption: str = ""
    """Caption of pictures that have none; empty: they are passed over."""
    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Instead of --data: a dataset as train.py has it, whose training photographs all get --caption."""
    images: Annotated[str, tyro.conf.arg(aliases=["-i"])] = "images"
    """Folder of the photographs inside a COLMAP dataset of --source_path."""
    eval: bool = False
    """Keep the test photographs of --source_path out, as train.py --eval does."""
    n_views: int = 0
    """So many photographs of --source_path, evenly spaced, as train.py --n_views; 0: all."""
    guidance_model: str = DEFAULT_MODEL
    """The model to start from: a hub id or a local folder, as train.py has it."""
    guidance_revision: str | None = None
    """Branch, tag or commit of the hub model."""

    method: Literal["lora", "full", "inversion"] = "lora"
    """lora: small adapters of the attention; full: all weights; inversion: a new word for prompts."""
    train: Literal["unet", "text_encoder", "vae_decoder"] = "unet"
    """The part that lora and full train; the decoder can only be trained in full."""
    lora_rank: int = 16
    """Rank of the adapters."""
    placeholder_token: str = "<scene>"
    """The new word of inversion; captions without it get it as their first word."""
    placeholder_vectors: int = 4
    """Tokens that the new word stands for."""
    placeholder_start: str = "object"
    """A known word to start the new one from."""
    caption_dropout: float = 0.1
    """Share of captions in [0, 1] left out, which guidance's unconditional half needs; not for inversion."""
    snr_gamma: float = 0.0
    """Gamma of min-SNR weighting, 5 is usual; 0: every noise level weighs the same."""
    gradient_checkpointing: bool = False
    """Recompute activations on the way back: less memory, a third more time."""

    held_out: float = 0.1
    """Share of pictures in [0, 1) kept for validation, where the set's own "split" keeps none."""
    validation_pictures: int = 256
    """So many of each held-out set are validated on, at most."""
    samples: int = 8
    """Held-out captions drawn on a sheet before and after training; 0: no sheets."""
    sample_guidance_scale: float = 5.0
    """Classifier-free guidance of the sheets."""

    cache: str = ""
    """Folder for latents and text states; empty: `cache` in the output folder."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to train; auto: the GPUs that accelerate finds, else the CPU."""
    resume: bool = False
    """Go on from the newest checkpoint in --model_path, or start where there is none."""
    overwrite: bool = False
    """Replace a run that lies in --model_path."""

    preprocessing: PreprocessingOptions = field(default_factory=PreprocessingOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if not self.model_path:
            raise UserError("--model_path FOLDER is needed: where the fine-tuned model shall lie")
        if self.data and self.source_path:
            raise UserError("--data and --source_path exclude each other; give one of them")
        if self.train != "unet" and self.method == "inversion":
            raise UserError(f"--method inversion trains a new word alone; leave --train {self.train} out")
        if self.train == "vae_decoder" and self.method != "full":
            raise UserError("--train vae_decoder has no adapters; it needs --method full")
        if len(self.placeholder_token.split()) != 1:
            raise UserError(f"--placeholder_token {self.placeholder_token!r}: allowed is one word")
        for flag in ("lora_rank", "placeholder_vectors", "validation_pictures"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        demand(
            0 <= self.caption_dropout <= 1, "caption_dropout", self.caption_dropout, "a number from 0 to 1"
        )
        demand(0 <= self.held_out < 1, "held_out", self.held_out, "a number from 0, below 1")
        for flag in ("snr_gamma", "samples", "sample_guidance_scale"):
            demand(getattr(self, flag) >= 0, flag, getattr(self, flag), "0 or more")
        self.training.check()
