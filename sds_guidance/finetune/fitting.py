"""Fitting a model to a scene's own photographs: the same training, with what suits a handful of pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning import MADE_FOLDER
from sds_guidance.conditioning_sources import photographs as of_cameras
from sds_guidance.finetune.captioned import CaptionedImage
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.program import AFTER, BEFORE, RESULTS, finetune
from sds_guidance.finetune.trainer import TrainingOptions
from sds_guidance.models import digest
from sds_guidance.run import Run
from utils.images import image_pixels, write_png

if TYPE_CHECKING:
    from scene.cameras import Camera

Method = Literal["lora", "inversion"]
STEPS = {"lora": 500, "inversion": 1500}
RATES = {"lora": 1e-4, "inversion": 5e-3}
WORDS = {"lora": "a LoRA", "inversion": "a word"}
TOKEN = FinetuneOptions.placeholder_token
"""How the word is written."""


def fit_photographs(
    photographs: Sequence[Path],
    caption: str,
    method: Method,
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


def fit_to_scene(
    cameras: Sequence[Camera],
    images: Sequence[Path],
    caption: str,
    method: Method,
    *,
    model: Path,
    run: Run,
    resolution: int,
    steps: int,
) -> Path:
    """What was fitted to a run's photographs; for a run that is about to begin it is fitted now.

    The result, with sheets of what the model drew before and after, is put where the run's record takes it
    from (`Conditioning.record`). A fitting that was broken off goes on where it was, if it is still the same.

    Args:
        cameras: the training cameras, with their photographs, which count as they are trained on.
        images: files of the condition images.
        caption, method, resolution, steps: see `fit_photographs`; 0 steps are the usual ones.
        model: the guidance model's folder.
        run: with a folder; if it goes on, what is kept there is taken. Told that something is fitted.

    Returns:
        As `fit_photographs`.

    Raises:
        UserError: as `fit_photographs`; an image cannot be read.
    """
    made = run.made_in / MADE_FOLDER
    result = made / RESULTS[method]
    if run.resumed and result.exists():
        return result

    def pictures() -> Iterator[Tensor]:
        return chain(of_cameras(cameras), map(read_condition_image, images))

    steps = steps or STEPS[method]
    key = _key([digest(model), caption, resolution, steps, run.seed], pictures())
    work = run.staging / f"{method}-{key}"
    files = [work / "photographs" / f"{number:04d}.png" for number in range(len(cameras) + len(images))]
    for file, picture in zip(files, pictures(), strict=True):
        if not file.exists():  # the fitting's cache goes by their times
            write_png(file, picture)
    run.say(f"fitting {WORDS[method]} to {len(files)} pictures of the scene, {steps} steps, before training")
    fit_photographs(
        files,
        caption,
        method,
        model=str(model),
        folder=work,
        resolution=resolution,
        steps=steps,
        device="cpu" if run.device.type == "cpu" else "auto",
        seed=run.seed,
        resume=True,
    )
    _copy((RESULTS[method], BEFORE, AFTER), work, made)
    return result


def _key(settings: Sequence[str | int], pictures: Iterable[Tensor]) -> str:
    """A digest by which a fitting that was broken off is known to be the same."""
    key = hashlib.sha256(json.dumps(settings).encode())
    for picture in pictures:
        key.update(image_pixels(picture).tobytes())
    return key.hexdigest()[:16]


def _copy(names: Sequence[str], source: Path, target: Path) -> None:
    """Copies files and folders of these names from one folder into another, which is made first."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, target / name)
