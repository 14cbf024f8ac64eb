"""Compares trained models on one HTML page: figures, settings, held-out views side by side, orbits.

python compare.py -m output/unguided output/guided --names unguided guided --output output/comparison.html

Each model has to be rendered and scored (render.py, metrics.py) on the same photographs. The page holds
everything in itself and asks no network: photographs and renderings as JPEG in full size, differences as PNG.
It stays below about 15 MB. The orbits (`orbit/ours_N.mp4`, left out where there are none) are written into it
when they have 5 MB together or less; else they are links relative to it. If the pictures of all views take
more than 8 MB, evenly spaced views are shown, with the figures of all.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from comparison.media import View, picture_view, video_sources
from comparison.model import ScoredModel, read_model
from comparison.page import page
from metrics import find_pairs, read_image
from utils.errors import UserError, run_program
from utils.files import write_text
from utils.image_metrics import psnr
from utils.images import image_pixels
from utils.options import parse

MOST_MODELS = 6
CONVENTIONS = ("images", "mean", "PSNR", "SSIM", "LPIPS", "masks")
"""What of metrics_conventions.json has to be the same for figures to be compared."""
TOLERANCE = 0.01  # dB between a picture's PSNR and its score; another program may sum in float32


@dataclass
class Options:
    """Compares rendered and scored models on one HTML page."""

    model_paths: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-m"])] = ()
    """Model folders, one to six; differences and gains are against the first."""
    names: tuple[str, ...] = ()
    """What the page calls them, in the same order; by default as their folders."""
    output: str = "comparison.html"
    """HTML file to write."""

    def model_names(self) -> list[str]:
        """A name for each model.

        Raises:
            UserError: there are too few or too many models, or names, or two models have one name.
        """
        count = len(self.model_paths)
        if not 1 <= count <= MOST_MODELS:
            raise UserError(f"-m: {count} model folders given; give one to {MOST_MODELS}")
        if self.names and len(self.names) != count:
            raise UserError(
                f"--names: {len(self.names)} names for {count} model folders; give one for each, in the same "
                "order"
            )
        names = list(self.names or (Path(path).resolve().name for path in self.model_paths))
        if len(set(names)) < count or not all(names):
            raise UserError(f"--names: each model needs a name of its own, found {', '.join(names)}")
        return names


def main(options: Options) -> None:
    """Reads the models, checks that they can be compared, and writes the page."""
    named = zip(options.model_paths, options.model_names(), strict=True)
    models = [read_model(Path(path), name) for path, name in named]
    demand_comparable(models)
    pairs = [rendered_pairs(model) for model in models]
    views = [compare_view(models, pairs, view) for view in tqdm(models[0].views, disable=None, leave=False)]
    output = Path(options.output)
    text = page(models, views, video_sources([model.video for model in models], output.parent))
    write_text(output, text)
    print(f"{output}: {len(models)} models, {len(views)} views, {len(text) / 1e6:.1f} MB")


def demand_comparable(models: Sequence[ScoredModel]) -> None:
    """Raises a `UserError` if the models were scored on other views, or in another way, than the first."""
    first = models[0]
    again = f"python metrics.py -m {' '.join(str(model.path) for model in models)}"
    for other in models[1:]:
        different = sorted(set(first.views) ^ set(other.views))
        if different:
            raise UserError(
                f"{first.path} and {other.path} have different held-out views: {len(first.views)} and "
                f"{len(other.views)}, {different[0]} in one only; render both of the same photographs "
                f"(--source_path, --eval), then: {again}"
            )
        for name in CONVENTIONS:
            if first.conventions.get(name) != other.conventions.get(name):
                raise UserError(
                    f"the scores of {first.path} and {other.path} were computed differently ({name} in "
                    f"metrics_conventions.json); score them together: {again}"
                )


def rendered_pairs(model: ScoredModel) -> dict[str, tuple[Path, Path]]:
    """The rendering and the photograph of each of the model's views.

    Raises:
        UserError: pictures are missing.
    """
    folder = model.path / "test" / model.method
    advice = f"run: python render.py -m {model.path} && python metrics.py -m {model.path}"
    if not (folder / "renders").is_dir():
        raise UserError(
            f"no pictures in {folder / 'renders'}, though results.json has their scores; {advice}"
        )
    pairs = find_pairs(folder / "renders", folder / "gt")
    missing = [view for view in model.views if view not in pairs]
    if missing:
        raise UserError(
            f"{folder / 'renders'} lacks {missing[0]}, which per_view.json has a score of; {advice}"
        )
    return pairs


def compare_view(
    models: Sequence[ScoredModel], pairs: Sequence[dict[str, tuple[Path, Path]]], view: str
) -> View:
    """The pictures of a view, of which every model must have the same photograph.

    Raises:
        UserError: the models' photographs differ, or a rendering is not the one that was scored.
    """
    photograph: NDArray[np.uint8] | None = None
    renderings = []
    for model, found in zip(models, pairs, strict=True):
        rendering, target = read_pair(model, view, *found[view])
        if photograph is None:
            photograph = target
        if target.shape != photograph.shape:
            sizes = [f"{each.shape[1]} x {each.shape[0]}" for each in (photograph, target)]
            raise UserError(
                f"held-out view {view} is {sizes[0]} pixels in {models[0].path}, {sizes[1]} in {model.path}; "
                "render both with the same --resolution, and score them again"
            )
        if not np.array_equal(target, photograph):
            raise UserError(
                f"held-out view {view} is not the same photograph in {models[0].path} and {model.path}: "
                "another scene, order or background; render both alike, and score them again"
            )
        renderings.append(rendering)
    assert photograph is not None
    return picture_view(view, photograph, renderings)


def read_pair(
    model: ScoredModel, view: str, rendered: Path, target: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rendering and photograph, (H, W, 3) uint8, once it is sure that the model's scores are theirs."""
    rendering, photograph = read_image(rendered), read_image(target)
    mask = model.path / "test" / model.method / "masks" / view
    counted = read_image(mask)[0] if mask.is_file() else None
    alike = rendering.shape == photograph.shape
    measured = psnr(rendering, photograph, counted) if alike else math.nan
    if not math.isclose(measured, model.score("PSNR", view), rel_tol=0, abs_tol=TOLERANCE):
        raise UserError(
            f"{rendered} was changed after it was scored: PSNR {model.score('PSNR', view):.2f} dB in "
            f"per_view.json, {measured:.2f} dB now; run again: python metrics.py -m {model.path}"
        )
    return image_pixels(rendering), image_pixels(photograph)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
