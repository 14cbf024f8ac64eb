"""Scores rendered images: PSNR, SSIM and LPIPS as JSON files and as one table.

python metrics.py -m output/fern output/fox
python metrics.py -m output/fern --renders THEIR_IMAGES --gt output/fern/test/ours_30000/gt --name theirs

The first reads `test/ours_N/{renders,gt}`, which render.py writes, and puts into each model's folder
`results.json` and `per_view.json`, of the reference's form (PSNR of equal images is `Infinity`, LPIPS without
weights `null`), and `metrics_conventions.json`, which says how they were computed. Where `masks` lie beside,
only their white pixels count, and a view without any is left out. `--renders` and `--gt` score any other
images, matched by file name, into the same table.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from utils.errors import UserError, Warnings, run_program
from utils.files import write_json, write_text
from utils.image_metrics import LpipsRange, LpipsUnavailable, any_counts, load_lpips, psnr, ssim
from utils.images import image_tensor
from utils.options import load_settings, parse
from utils.tables import markdown_table

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
METRICS = ("SSIM", "PSNR", "LPIPS")  # in the order of the reference's files

MASKED = {
    "pixels": "PSNR over the pixels that the mask leaves in; SSIM a mean over them, its windows see black "
    "elsewhere; LPIPS of both images blackened elsewhere",
    "image": "PSNR over the pixels that the mask leaves in; SSIM and LPIPS of both images blackened "
    "elsewhere",
}

Distance = Callable[[Tensor, Tensor], float]
Scores = dict[str, dict[str, float | None]]
"""Metric, then file name, then value; None where LPIPS could not be computed."""


@dataclass
class Options:
    """Scores rendered images against the photographs: PSNR, SSIM, LPIPS."""

    model_paths: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-m"])] = ()
    """Model folders, rendered by render.py; all methods found in their test/ folders are scored."""
    renders: str = ""
    """A folder of any other tool's images, to be scored against --gt."""
    gt: str = ""
    """The photographs for --renders: same file names (endings may differ), same sizes."""
    name: str = ""
    """What the table calls --renders; empty: the folder."""
    lpips_net: Literal["vgg", "alex", "squeeze", "none"] = "vgg"
    """Network of LPIPS; the reference takes vgg. none leaves LPIPS out."""
    lpips_weights: str = ""
    """Torchvision weights of that network, a state dict; empty: torch hub's cache, or a download."""
    lpips_range: LpipsRange = "reference"
    """What LPIPS is fed: reference, values in [0, 1] as published results; correct, values in [-1, 1]."""
    masked_ssim: Literal["pixels", "image"] = "pixels"
    """SSIM under a mask: its mean over the white pixels, or over the image blackened elsewhere (DTU)."""
    output: str = ""
    """Markdown file to write the table to, besides printing it."""

    def check(self) -> None:
        """Raises a `UserError` for flags that do not go together."""
        if bool(self.renders) != bool(self.gt):
            raise UserError("--renders and --gt go together: a folder of images and one of photographs")
        if not self.model_paths and not self.renders:
            raise UserError("nothing to score: give model folders with -m, or --renders and --gt")
        if self.name and not self.renders:
            raise UserError("--name names the images of --renders, which is not given")


@dataclass
class Method:
    """Pairs of images to be scored together: a row of the table."""

    label: str
    pairs: dict[str, tuple[Path, Path]]
    """By file name, the rendering and the photograph."""
    masks: dict[str, Path] = field(default_factory=dict)
    """By file name, the mask of those that have one; its pixels above a half count."""


def main(options: Options) -> None:
    """Scores all that the options name; every folder is checked before the first image is read."""
    options.check()
    models = {Path(path): find_methods(Path(path)) for path in options.model_paths}
    others = []
    if options.renders:
        pairs = find_pairs(Path(options.renders), Path(options.gt))
        others.append(Method(options.name or options.renders, pairs))
    lpips, conventions = choose_lpips(options)
    warnings = Warnings()

    rows = []
    for path, methods in models.items():
        scored = {method.label: score(method, lpips, warnings, options.masked_ssim) for method in methods}
        rows += [table_row(f"{path} {name}", scores) for name, scores in scored.items()]
        means = {
            name: {metric: mean(scores[metric]) for metric in METRICS} for name, scores in scored.items()
        }
        write_json(path / "results.json", means)
        write_json(path / "per_view.json", scored)
        masked = {"masks": MASKED[options.masked_ssim]} if any(method.masks for method in methods) else {}
        write_json(path / "metrics_conventions.json", {**conventions, **masked, **trained_on(path)})
    rows += [table_row(method.label, score(method, lpips, warnings)) for method in others]

    warnings.show()
    lpips_title = "LPIPS"
    if lpips:
        fed = "[0, 1]" if options.lpips_range == "reference" else "[-1, 1]"
        lpips_title = f"LPIPS ({options.lpips_net}, {fed})"
    table = markdown_table(["model", "PSNR", "SSIM", lpips_title, "views"], rows)
    print(table, end="")
    if options.output:
        write_text(Path(options.output), table)


def find_methods(model_path: Path) -> list[Method]:
    """The rendered methods `test/*` of a model, by the number of iterations."""
    if not model_path.is_dir():
        raise UserError(f"model folder {model_path} does not exist; check -m")
    folders = [folder for folder in model_path.glob("test/*") if (folder / "renders").is_dir()]
    if not folders:
        raise UserError(
            f"no renderings in {model_path / 'test'}; run this first: python render.py -m {model_path}"
        )
    folders.sort(key=lambda folder: (len(folder.name), folder.name))  # ours_7000 before ours_30000
    return [
        Method(
            folder.name,
            find_pairs(folder / "renders", folder / "gt"),
            {path.name: path for path in (folder / "masks").glob("*.png")},
        )
        for folder in folders
    ]


def find_pairs(renders: Path, gt: Path) -> dict[str, tuple[Path, Path]]:
    """Pairs of a rendering and the photograph of its name (endings aside), by the rendering's file name."""
    found = []
    for folder in (renders, gt):
        if not folder.is_dir():
            raise UserError(f"image folder {folder} does not exist")
        by_stem: dict[str, Path] = {}
        for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES):
            if path.stem in by_stem:
                raise UserError(
                    f"{by_stem[path.stem].name} and {path.name} in {folder} have one name; remove one"
                )
            by_stem[path.stem] = path
        found.append(by_stem)
    images, photographs = found
    if not images and not photographs:
        raise UserError(
            f"{renders} and {gt} hold no images: the test set is empty; train with --eval to have one"
        )
    for folder, missing in ((gt, images.keys() - photographs), (renders, photographs.keys() - images)):
        if missing:
            names = ", ".join(sorted(missing)[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(
                f"{folder} lacks {len(missing)} of {len(images | photographs)} images: {names}; "
                f"{renders} and {gt} must hold the same names"
            )
    return {path.name: (path, photographs[stem]) for stem, path in images.items()}


def choose_lpips(options: Options) -> tuple[Distance | None, dict[str, Any]]:
    """The LPIPS function, or None with one line said, and the record of how everything is computed."""
    lpips, left_out = None, "--lpips_net none"
    if options.lpips_net != "none":
        try:
            weights = Path(options.lpips_weights) if options.lpips_weights else None
            lpips = load_lpips(options.lpips_net, options.lpips_range, weights)
        except LpipsUnavailable as reason:
            left_out = str(reason)
            print(reason, file=sys.stderr)
    fed = "[0, 1] (reference)" if options.lpips_range == "reference" else "[-1, 1] (correct)"
    return lpips, {
        "images": "8 bits a channel, the first three channels, divided by 255",
        "mean": "plain mean over the images",
        "PSNR": "20 log10(1 / sqrt(MSE)), MSE over all pixels and channels of an image",
        "SSIM": "11 x 11 Gaussian window of sigma 1.5, zero padding, C1 0.01^2, C2 0.03^2, biased variances, "
        "mean over pixels and channels",
        "LPIPS": {"version": "0.1", "net": options.lpips_net, "input_range": fed} if lpips else None,
        **({} if lpips else {"LPIPS_left_out": left_out}),
    }


def trained_on(model_path: Path) -> dict[str, Any]:
    """What the model rests on, where its settings say so: how many photographs, and which points."""
    scene = (load_settings(model_path) or {}).get("scene")
    if not scene:
        return {}
    return {
        "points": scene["points"],
        "train_photographs": len(scene["train_photographs"]),
        "test_photographs": len(scene["test_photographs"]),
    }


def score(
    method: Method,
    lpips: Distance | None,
    warnings: Warnings,
    masked_ssim: Literal["pixels", "image"] = "pixels",
) -> Scores:
    """The scores of a method's images, one pair in memory at a time.

    A view whose mask leaves no pixel to compare is left out, with a warning.

    Raises:
        UserError: an image cannot be read or has another size than its pair, or every view is left out.
    """
    scores: Scores = {metric: {} for metric in METRICS}
    for name, paths in tqdm(method.pairs.items(), desc=method.label, disable=None, leave=False):
        image, photograph = (read_image(path) for path in paths)
        mask = read_image(method.masks[name])[0] if name in method.masks else None
        if image.shape != photograph.shape:
            sizes = [f"{it.shape[2]} x {it.shape[1]}" for it in (image, photograph)]
            raise UserError(
                f"{paths[0]} is {sizes[0]} pixels, {paths[1]} {sizes[1]}; they must be of one size"
            )
        if not any_counts(mask):
            warnings.add("left out a view whose mask is all black", str(method.masks[name]))
            continue
        scores["PSNR"][name] = psnr(image, photograph, mask)
        if mask is not None:
            image, photograph = image * (mask > 0.5), photograph * (mask > 0.5)
        scores["SSIM"][name] = ssim(image, photograph, mask if masked_ssim == "pixels" else None)
        scores["LPIPS"][name] = lpips(image, photograph) if lpips else None
    if not scores["PSNR"]:
        raise UserError(
            f"the masks of all {len(method.pairs)} views of {method.label} are black, so no pixel counts; "
            "white is what counts: correct the dataset's masks, and run render.py again"
        )
    return scores


def read_image(path: Path) -> Tensor:
    """(3, H, W) float32 in [0, 1], the first three channels of an 8-bit image."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(
                    f"{path} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits"
                )
            return image_tensor(np.asarray(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        raise UserError(f"{path} cannot be read as an image ({problem}); render or copy it again") from None


def mean(values: dict[str, float | None]) -> float | None:
    """The plain mean over the images; None where there are no values."""
    numbers = [value for value in values.values() if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def table_row(label: str, scores: Scores) -> list[str]:
    """The label, the mean PSNR, SSIM and LPIPS with the usual decimals, and the number of views."""
    cells = []
    for metric, decimals in (("PSNR", 2), ("SSIM", 4), ("LPIPS", 4)):
        value = mean(scores[metric])
        cells.append("-" if value is None else f"{value:.{decimals}f}")
    return [label, *cells, str(len(scores["PSNR"]))]


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
