"""What guidance did, for people: numbers as CSV, and contact sheets of what it saw and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from utils.files import whole_file, write_text
from utils.images import image_pixels

if TYPE_CHECKING:
    from sds_guidance.guidance import GuidanceResult
    from sds_guidance.mode import Guided, View

CSV_FILE, SHEETS = "guidance.csv", "guidance"
WIDTH = 320  # pixels of a picture on a sheet
LINE = 20  # pixels of a line of text


class GuidanceLog:
    """Writes `guidance.csv`, a row a guided step, and a PNG under `guidance/` every so many of them."""

    def __init__(self, model_path: Path, every: int, resumed_after: int = 0) -> None:
        """Cuts what lies there back to a checkpoint: rows after it, and a half-written last line.

        Args:
            model_path: the run's folder; nothing is written to it before a step is guided.
            every: guided steps from one sheet to the next; 0: no sheets.
            resumed_after: iteration of the checkpoint from which the run goes on; 0: a new run.
        """
        self.table = Path(model_path) / CSV_FILE
        self.sheets = Path(model_path) / SHEETS
        self.every = every
        if self.table.exists():
            write_text(self.table, rows_until(self.table.read_text(encoding="utf-8"), resumed_after))

    def write(self, iteration: int, guided_steps: int, views: Sequence[View], result: GuidanceResult) -> None:
        """Adds a row, and a sheet if one is due; only then are a mode's pictures asked for.

        Args:
            iteration: the run's.
            guided_steps: how many there have been, this one included; the first has a sheet.
            views, result: what guidance was shown, and what it said.
        """
        row = {"iteration": iteration, **result.scalars}
        with self.table.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(_line(row))
            file.write(_line(row.values()))
        if self.every and (guided_steps - 1) % self.every == 0:
            with whole_file(self.sheets / f"{iteration:06d}.png") as file:
                contact_sheet(iteration, views, result).save(file, format="PNG")


def rows_until(text: str, iteration: int) -> str:
    """The header of a `guidance.csv` and its whole lines up to an iteration; nothing where there are none."""
    header, *lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")] or [""]
    kept = [line for line in lines if int(line.split(",", 1)[0]) <= iteration]
    return "".join([header, *kept]) if kept else ""


def contact_sheet(iteration: int, views: Sequence[View], result: GuidanceResult) -> Image.Image:
    """A row a view: rendering, the mode's own pictures, gradient; t and weights above.

    Pictures are 320 pixels wide. The gradient is shown round grey, dark where guidance wants more of a
    colour; black and white are the 99th percentile of its magnitudes.
    """
    rows = [_row(view, guided) for view, guided in zip(views, result.guided, strict=True)]
    cells = [cell for row in rows for cell in row.values()]
    columns, height = max(map(len, rows)), max(cell.height for cell in cells)
    tall = 2 * LINE + height
    sheet = Image.new("RGB", (columns * WIDTH, len(rows) * tall), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE * 0.7)
    for number, (row, guided) in enumerate(zip(rows, result.guided, strict=True)):
        said = f"t {guided.t}, w {guided.weight:.3g}" if guided.finite else "not finite, dropped"
        pull = f"pull {result.scalars['guidance_ratio']:.3g} of the photometric one"
        title = f"iteration {iteration}: {said}, {pull}"
        draw.text((3, number * tall), title, "black", font)
        for column, (name, cell) in enumerate(row.items()):
            draw.text((column * WIDTH + 3, number * tall + LINE), name, "black", font)
            sheet.paste(cell, (column * WIDTH, number * tall + 2 * LINE))
    return sheet


def _row(view: View, guided: Guided) -> Mapping[str, Image.Image]:
    """A view's pictures by name, in order."""
    gradient = _resized(guided.gradient)
    limit = float(gradient.abs().flatten().quantile(0.99)) or 1.0
    pictures = {"rendering": view.rgb.detach(), **guided.pictures()}
    shown = {name: _resized(picture) for name, picture in pictures.items()}
    shown["gradient"] = 0.5 + gradient / (2 * limit)
    return {name: Image.fromarray(image_pixels(picture)) for name, picture in shown.items()}


def _resized(picture: Tensor) -> Tensor:
    """(3, h, 320) on the CPU, of a (3, H, W) or (1, H, W) picture; what is not finite becomes 0."""
    finite = picture.float().cpu().nan_to_num(0.0, 0.0, 0.0).expand(3, -1, -1)
    height = max(1, round(picture.shape[1] * WIDTH / picture.shape[2]))
    return F.interpolate(finite[None], size=(height, WIDTH), mode="bilinear", antialias=True)[0]


def _line(values: Iterable[object]) -> str:
    """A line of CSV; names and numbers hold no comma."""
    return ",".join(map(str, values)) + "\n"
