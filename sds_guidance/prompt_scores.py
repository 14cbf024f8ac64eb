"""Ranks prompts by how well they fit pictures: CLIP's cosine of text and picture, mean over the pictures.

python -m sds_guidance.prompt_scores --guidance_model small --images FOLDER --prompts "a red vase" "a car"
python -m sds_guidance.prompt_scores --clip_model openai/clip-vit-large-patch14 -s SCENE --prompts_file FILE
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor
from tqdm import tqdm

from scene.dataset import training_files
from sds_guidance.clip import Clip, load_clip, load_towers
from sds_guidance.condition_images import find_pictures
from sds_guidance.finetune.pictures import UnreadablePicture, read_picture
from sds_guidance.models import CLIP, GIVE_CLIP, TOWERS, find_model
from sds_guidance.prompts import read_prompts_file
from utils.errors import UserError, Warnings, demand, run_program
from utils.options import parse


@dataclass
class PromptScoreOptions:
    """Ranks prompts by how well CLIP finds them to fit pictures."""

    prompts: tuple[str, ...] = ()
    """Texts to rank, each in quotation marks."""
    prompts_file: str = ""
    """A file of further ones, one a line; empty lines are passed over."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-i"])] = ()
    """Pictures, or folders of them; with --source_path the folder inside a COLMAP dataset, as in train.py."""
    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Instead: a dataset as train.py has it, of which the training photographs are taken."""
    eval: bool = False
    """Keep the test photographs of --source_path out, as train.py --eval does."""
    n_views: int = 0
    """So many photographs of --source_path, evenly spaced, as train.py --n_views; 0: all."""
    guidance_model: str = ""
    """A guidance model that has both towers of a CLIP: `small`, a local folder or a hub id."""
    guidance_revision: str | None = None
    """Branch, tag or commit of the hub model."""
    clip_model: str = ""
    """A CLIP of its own, taken before the guidance model's: a local folder or a hub id."""
    intensity_window: tuple[float, float] | None = None
    """Intensities of grey scans (16 bits, DICOM) that become black and white, in the file's units."""

    def check(self) -> None:
        """Raises a `UserError` naming the first flag whose value makes no sense."""
        if not (self.guidance_model or self.clip_model):
            raise UserError(
                "--guidance_model or --clip_model is needed; `--guidance_model small` has both towers.\n"
                f"{GIVE_CLIP}"
            )
        if not (self.prompts or self.prompts_file):
            raise UserError('--prompts "..." "..." or --prompts_file FILE is needed: the texts to rank')
        for prompt in self.prompts:
            demand(bool(prompt.strip()), "prompts", prompt.strip(), "a text in every pair of quotation marks")
        if not (self.images or self.source_path):
            raise UserError("--images FOLDER (pictures) or --source_path SCENE (its photographs) is needed")
        if self.source_path and len(self.images) > 1:
            raise UserError("--images names the one folder inside --source_path; leave one of the two out")
        if not self.source_path and (self.eval or self.n_views):
            raise UserError("--eval and --n_views choose among the photographs of --source_path; give that")
        if self.intensity_window is not None:
            low, high = self.intensity_window
            demand(low < high, "intensity_window", self.intensity_window, "LOW below HIGH")


@dataclass(frozen=True)
class PromptScore:
    """How well a prompt fits a set of pictures.

    Attributes:
        mean, spread: of the cosines over the pictures, in [-1, 1], and their standard deviation.
    """

    prompt: str
    mean: float
    spread: float


def main(options: PromptScoreOptions) -> None:
    """Prints the ranking.

    Raises:
        UserError: flags, pictures, prompts or the model cannot be used.
    """
    options.check()
    warnings = Warnings()
    prompts, files = read_prompts(options), picture_files(options, warnings)
    clip = find_clip(options, warnings)
    warnings.show()
    cosines = similarities(clip, files, prompts, warnings, options.intensity_window)
    warnings.show()
    print(f"{len(prompts)} prompts, {len(files)} pictures: cosine by CLIP, mean and standard deviation")
    for place, score in enumerate(ranking(prompts, cosines), start=1):
        print(f"{place:4d}  {score.mean:6.3f} +- {score.spread:.3f}  {score.prompt}")


def similarities(
    clip: Clip,
    files: Sequence[Path],
    prompts: Sequence[str],
    warnings: Warnings,
    window: tuple[float, float] | None = None,
) -> Tensor:
    """(N, P) float32, the cosines of N pictures and P prompts in the CLIP's space.

    Args:
        files: pictures of any sizes; the CLIP's own processor brings them to its size.
        warnings: takes prompts that were cut.
        window: intensities of grey scans that become black and white.

    Raises:
        UserError: a picture cannot be read; a scan without window.
    """
    texts = clip.of_texts(prompts, warnings)
    shown = (_picture(path, window) for path in tqdm(files, desc="pictures", unit="picture", leave=False))
    return clip.of_pictures(shown) @ texts.T


def ranking(prompts: Sequence[str], cosines: Tensor) -> list[PromptScore]:
    """The prompts, best first; equal ones stay in order.

    Args:
        prompts: P texts.
        cosines: (N, P), of N pictures.
    """
    means = cosines.mean(dim=0).tolist()
    spreads = cosines.std(dim=0, correction=0).tolist()
    scores = [PromptScore(*values) for values in zip(prompts, means, spreads, strict=True)]
    return sorted(scores, key=lambda score: -score.mean)


def read_prompts(options: PromptScoreOptions) -> list[str]:
    """The prompts of the command, then those of the file.

    Raises:
        UserError: the file cannot be read, or has no prompt.
    """
    read = read_prompts_file(options.prompts_file) if options.prompts_file else []
    return [*options.prompts, *read]


def picture_files(options: PromptScoreOptions, warnings: Warnings) -> list[Path]:
    """The pictures to score against: a dataset's training photographs, or those of --images in their order.

    Raises:
        UserError: there are none, or the dataset cannot be used.
    """
    if options.source_path:
        (images,) = options.images or ("images",)
        return training_files(options.source_path, images, options.eval, options.n_views, warnings)
    return find_pictures(options.images, "images")


def find_clip(options: PromptScoreOptions, warnings: Warnings) -> Clip:
    """The CLIP that the flags name.

    Raises:
        UserError: it cannot be found, or is not complete.
    """
    if options.clip_model:
        return load_clip(find_model(options.clip_model, None, warnings, kind=CLIP).folder)
    found = find_model(options.guidance_model, None, warnings, options.guidance_revision, TOWERS)
    return load_towers(found.folder)


def _picture(path: Path, window: tuple[float, float] | None) -> Tensor:
    try:
        return read_picture(path, window)
    except UnreadablePicture as problem:
        raise UserError(f"{path} cannot be read as a picture ({problem}); replace or remove it") from problem


if __name__ == "__main__":
    run_program(lambda: main(parse(PromptScoreOptions)))
