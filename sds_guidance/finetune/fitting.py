"""Fitting a model to a scene's own photographs: the same training, with what suits a handful of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sds_guidance.finetune.captioned import CaptionedImage
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.program import finetune
from sds_guidance.finetune.trainer import TrainingOptions

STEPS = {"lora": 500, "inversion": 1500}
RATES = {"lora": 1e-4, "inversion": 5e-3}


def fit_photographs(
    photographs: Sequence[Path],
    caption: str,
    method: Literal["lora", "inversion"],
    *,
    model: str,
    folder: Path,
    resolution: int = 512,
    steps: int | None = None,
    device: Literal["auto", "cpu"] = "auto",
    seed: int = 0,
    resume: bool = False,
) -> Path:
    """Fits a LoRA or a new word to photographs of one scene; returns what guidance takes.

    Nothing is held out, since every photograph is needed; so no losses tell how far to go, the sheets do.
    Sixteen crops of each photograph, never mirrored, stand against learning them by heart.

    Args:
        photographs: the training photographs, never those for the test.
        caption: what the scene shows; inversion adds its word <scene> where the caption lacks it.
        method: "lora" returns a folder for `--guidance_lora`, "inversion" a file for `--guidance_embedding`,
            whose word <scene> the prompt must contain.
        model: as `--guidance_model`.
        folder: of the run.
        resolution: of the squares that are cut from the photographs, in pixels.
        steps: of the training; None: 500 for a LoRA, 1500 for a word.
        device, seed, resume: see `FinetuneOptions`.

    Raises:
        UserError: as `finetune`.
    """
    options = FinetuneOptions(
        model_path=str(folder),
        guidance_model=model,
        method=method,
        lora_rank=8,
        held_out=0.0,
        device=device,
        resume=resume,
        preprocessing=PreprocessingOptions(
            resolution=resolution, augmented_copies=15, augment_crop=0.3, augment_colour=0.05
        ),
        training=TrainingOptions(
            steps=steps or STEPS[method],
            batch_size=2,
            learning_rate=RATES[method],
            weight_decay=0.01 if method == "lora" else 0.0,
            seed=seed,
        ),
    )
    return finetune(options, [CaptionedImage(Path(path), caption) for path in photographs])
