"""Pictures for docs/guidance.md: what each mode sees and says, and held-out views of the models it makes.

    python benchmarks/guidance_pictures.py --output output/guidance_pictures --docs docs

Trains the example scene without guidance and in every mode, with contact sheets and without a gate, renders
and scores it as benchmarks/guidance_modes.py does; what is there is not trained again. Of each mode's sheets
the first, the middle and the last become `guidance_MODE.jpg`, and held-out views of all models, beside the
photographs, `guidance_views.jpg`. The same runs give the same pictures. About a quarter of an hour on two
cores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import guidance_modes
from utils.errors import UserError, demand, run_program
from utils.files import whole_file
from utils.options import parse

LARGEST = 150_000  # bytes of a picture
LINE = 20  # pixels of a line of text
WIDTH = 960  # pixels, at most


@dataclass
class Options:
    """Makes the pictures of docs/guidance.md."""

    scene: str = "still_life-5"
    """Scene and number of photographs, as benchmarks/guidance_modes.py has them."""
    data: str = "../shared/data"
    """Folder of the scenes that do not ship with the project."""
    output: str = "output/guidance_pictures"
    """Folder of the models."""
    docs: str = "docs"
    """Folder for the pictures."""
    modes: tuple[Literal["sds", "ism", "targets", "rectified"], ...] = ("sds", "ism", "targets")
    """Modes of guidance."""
    iterations: int = 3000
    """Of every training."""
    resolution: int = 1
    """As train.py's -r has it."""
    guidance_log: int = 112
    """Guided steps from one contact sheet to the next."""
    views: int = 3
    """Held-out views that are shown."""
    model: str = "small"
    """The guidance model, as --guidance_model has it."""
    guidance_resolution: int = 0
    """Short side in pixels of what it sees; 0: the model's own."""
    inpainting_model: str = ""
    """The inpainting model that the mode rectified wants."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        for name in ("guidance_log", "views"):
            demand(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def main(options: Options) -> None:
    """Trains what is missing and writes the pictures."""
    options.check()
    benchmark = guidance_modes.Options(
        data=options.data,
        output=options.output,
        scenes=(options.scene,),
        modes=("none", *options.modes),
        gates=("off",),
        seeds=(0,),
        iterations=options.iterations,
        resolution=options.resolution,
        model=options.model,
        guidance_resolution=options.guidance_resolution,
        inpainting_model=options.inpainting_model,
    )
    benchmark.check()
    models = {}
    for run in guidance_modes.planned(benchmark):
        sheets = () if run.mode == "none" else ("--guidance_log", str(options.guidance_log))
        guidance_modes.known_or_measured(run, benchmark, sheets)
        models[run.mode] = Path(options.output) / run.scene / run.name
    docs = Path(options.docs)
    for mode in options.modes:
        save_jpeg(docs / f"guidance_{mode}.jpg", stacked(chosen_sheets(models[mode])))
    save_jpeg(docs / "guidance_views.jpg", side_by_side(models, options.views))


def chosen_sheets(model: Path) -> list[Image.Image]:
    """The first, the middle and the last contact sheet of a run, fewer where there are fewer.

    Raises:
        UserError: there is none.
    """
    found = sorted((model / "guidance").glob("*.png"))
    if not found:
        raise UserError(f"{model / 'guidance'} has no contact sheet; remove {model}.json and call again")
    places = sorted({0, (len(found) - 1) // 2, len(found) - 1})
    return [Image.open(found[place]).convert("RGB") for place in places]


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """One picture below the other."""
    sheet = Image.new("RGB", (max(it.width for it in pictures), sum(it.height for it in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def side_by_side(models: Mapping[str, Path], views: int) -> Image.Image:
    """A row for each of some held-out views, evenly chosen: the photograph, then each model's rendering.

    Above each rendering stands its model's name and its PSNR at this view.
    """
    names = sorted(held_out_scores(next(iter(models.values()))))
    count = min(views, len(names))
    shown = [names[place * len(names) // count] for place in range(count)]
    return grid([labelled_view(models, view) for view in shown])


def held_out_scores(model: Path) -> dict[str, float]:
    """A scored model's PSNR, dB, by the file name of the held-out view."""
    (scores,) = json.loads((model / "per_view.json").read_text()).values()
    found: dict[str, float] = scores["PSNR"]
    return found


def labelled_view(
    models: Mapping[str, Path], view: str, photograph: str = "photograph"
) -> dict[str, Image.Image]:
    """The photograph of a held-out view and each model's rendering, by what is to stand above.

    Args:
        models: folders of scored models with their renderings, by name.
        view: file name of the view.
        photograph: what stands above it.
    """
    folders = {name: next((model / "test").iterdir()) for name, model in models.items()}
    row: dict[str, Image.Image] = {photograph: Image.open(next(iter(folders.values())) / "gt" / view)}
    for name, folder in folders.items():
        label = f"{name}, {held_out_scores(models[name])[view]:.1f} dB"
        row[label] = Image.open(folder / "renders" / view)
    return row


def grid(rows: Sequence[Mapping[str, Image.Image]]) -> Image.Image:
    """Rows of pictures, each below its label, in columns as wide as the widest picture."""
    width = max(picture.width for row in rows for picture in row.values())
    heights = [LINE + max(picture.height for picture in row.values()) for row in rows]
    sheet = Image.new("RGB", (width * max(map(len, rows)), sum(heights)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE * 0.7)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, (label, picture) in enumerate(row.items()):
            draw.text((column * width + 3, top), label, "black", font)
            sheet.paste(picture.convert("RGB"), (column * width, top + LINE))
        top += height
    return sheet


def save_jpeg(path: Path, picture: Image.Image) -> None:
    """Writes a picture, made smaller where it is wide, in the best quality that `LARGEST` allows.

    Raises:
        UserError: no quality is low enough.
    """
    if picture.width > WIDTH:
        picture = picture.resize(
            (WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS
        )
    for quality in range(90, 20, -5):
        file = BytesIO()
        picture.save(file, format="JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST:
            with whole_file(path) as target:
                target.write(file.getvalue())
            return
    raise UserError(f"{path} would have more than {LARGEST} bytes; show fewer --views")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
