"""The page of full_eval.py: all runs in a table, each view in a plot, and where variants gained or lost.

Its pictures are those that render.py left in the cells' folders, which it names relative to its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from comparison.document import document, table, words
from comparison.gains import gain_sentence, paired_gain, signed
from comparison.media import AMPLIFIED
from comparison.model import photograph_name
from protocols.cells import Cell
from protocols.page_plots import view_plot
from protocols.report import SCORES, Table, said, training_seconds
from protocols.schedule import Records
from protocols.visibility import CLASSES, pictures_folder

STYLE, SCRIPT = (Path(__file__).with_name(f"page.{ending}") for ending in ("css", "js"))


def report_page(
    found: Sequence[Table], planned: Sequence[Cell], records: Records, baseline: str, folder: Path
) -> str:
    """The page as one HTML text.

    Args:
        found: the tables of `protocols.report`.
        planned: all cells, finished or not.
        records: of the finished ones, at least one.
        baseline: the variant from which others are said to differ.
        folder: where the page will lie, which has the cells' folders.
    """
    scenes = ", ".join(dict.fromkeys(cell.scene for cell in planned))
    tables = "".join(
        f"<h3>{words(title)}</h3>\n{table('numbers', header, rows)}" for title, header, rows in found
    )
    notes = "".join(f'<p class="note">{words(line)}</p>\n' for line in said(records).splitlines())
    places = dict.fromkeys((cell.scene, cell.views) for cell in records)
    parts = (
        f"<h2>Means</h2>\n{tables}{notes}",
        _runs(records, baseline),
        *(_section(group_of(records, place, baseline, folder)) for place in places),
    )
    return document(
        f"{planned[0].protocol}: {scenes}",
        f"{len(records)} of {len(planned)} runs are finished: 3D Gaussian Splatting, trained by Guided "
        "Splatting and scored on photographs that were kept out of training.",
        "".join(parts),
        style=STYLE.read_text(encoding="utf-8"),
        script=SCRIPT.read_text(encoding="utf-8"),
    )


def _runs(records: Records, baseline: str) -> str:
    """A row for each finished cell."""
    psnr = {(it.scene, it.views, it.seed, it.variant): records[it]["scores"]["PSNR"] for it in records}
    apart = any("visibility" in record for record in records.values())
    header = ["scene", "views", "variant", "seed", "PSNR", "SSIM", "LPIPS", "average error"]
    header += [f"PSNR less {baseline}'s", *(f"seen by {name}" for name in CLASSES if apart)]
    header += ["minutes", "Gaussians"]
    rows = []
    for cell, record in records.items():
        row = [cell.scene, str(cell.views or "all"), cell.variant, str(cell.seed)]
        row += [_number(record["scores"][name], decimals) for name, decimals in SCORES]
        gain = record["scores"]["PSNR"] - psnr.get((cell.scene, cell.views, cell.seed, baseline), math.nan)
        row.append("-" if cell.variant == baseline else signed(gain))
        if apart:
            row += [_number(record.get("visibility", {}).get(name, {}).get("PSNR"), 2) for name in CLASSES]
        seconds = training_seconds(record)
        row += [_number(seconds and seconds / 60, 1), f"{record['training']['gaussians']:,}"]
        rows.append(row)
    return (
        f"<h2>Every run</h2>\n{table('numbers sortable', header, rows)}"
        '<p class="note">A heading sorts by its column, and once more the other way round.</p>\n'
    )


@dataclass(frozen=True)
class Group:
    """The finished cells of one scene and number of photographs.

    Attributes:
        records: of these cells.
        scores: by variant and a view's file name, for each seed its PSNR in dB where that is finite.
        baseline: the variant from which others are said to differ.
        folder: of the page.
    """

    records: Records
    scores: dict[str, dict[str, dict[int, float]]]
    baseline: str
    folder: Path

    def called(self, view: str) -> str:
        """The name of a view's photograph in the dataset."""
        return photograph_name(next(iter(self.records.values()))["settings"], view)


def group_of(records: Records, place: tuple[str, int], baseline: str, folder: Path) -> Group:
    """The group of a scene and number of photographs."""
    own = {cell: record for cell, record in records.items() if (cell.scene, cell.views) == place}
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for cell, record in own.items():
        of_variant = scores.setdefault(cell.variant, {})
        for view, value in record["per_view"]["PSNR"].items():
            if math.isfinite(value):
                of_variant.setdefault(view, {})[cell.seed] = value
    return Group(own, scores, baseline, folder)


def _section(group: Group) -> str:
    """Each view of a group in a plot and a table, and what every variant gained or lost."""
    cell = next(iter(group.records))
    views = sorted({view for found in group.scores.values() for view in found})
    names = [group.called(view) for view in views]
    lines = {
        variant: [list(found.get(view, {}).values()) for view in views]
        for variant, found in group.scores.items()
    }
    rows = [
        [str(number), name, *(_number(mean(line[number]), 2) for line in lines.values())]
        for number, name in enumerate(names)
    ]
    figures = table("numbers", ["view", "photograph", *lines], rows)
    others = [variant for variant in group.scores if variant != group.baseline]
    gains = [_gain(group, variant) for variant in others if group.baseline in group.scores]
    count = f"{cell.views} photographs" if cell.views else "all training photographs"
    return (
        f"<h2>{words(cell.scene)}, {count}</h2>\n{view_plot(names, lines, 'dB')}"
        f"<details>\n<summary>PSNR of every view, mean of the seeds</summary>\n{figures}</details>\n"
        f"{''.join(gains)}"
    )


def _gain(group: Group, variant: str) -> str:
    """What a variant gained over the baseline, with pictures of the views where that is most and least."""
    pairs = {}
    for view, own in group.scores[variant].items():
        before = group.scores[group.baseline].get(view, {})
        seeds = own.keys() & before.keys()
        if seeds:
            pairs[view] = tuple(statistics.fmean(each[seed] for seed in seeds) for each in (before, own))
    if not pairs:
        return ""
    sentence = gain_sentence(group.baseline, variant, paired_gain(*zip(*pairs.values(), strict=True)))
    ordered = sorted(pairs, key=lambda view: pairs[view][1] - pairs[view][0])
    pictures = "".join(
        _pictures(group, variant, view, f"{kind}: {group.called(view)}, {signed(gain)} dB")
        for kind, view in (("Most", ordered[-1]), ("Least", ordered[0]))
        for gain in (pairs[view][1] - pairs[view][0],)
    )
    return (
        f"<h3>{words(variant)} against {words(group.baseline)}</h3>\n"
        f'<div class="verdict"><p>{words(sentence)}</p></div>\n{pictures}'
    )


def _pictures(group: Group, variant: str, view: str, title: str) -> str:
    """A view's photograph and two renderings of it, of the lowest seed that both variants have."""
    found = {(cell.variant, cell.seed): cell for cell in group.records}
    seed = min(seed for name, seed in found if name == variant and (group.baseline, seed) in found)
    cells = [found[name, seed] for name in (group.baseline, variant)]
    folders = [pictures_folder(group.folder, cell, group.records[cell]) for cell in cells]
    paths = [folders[0] / "gt" / view, *(folder / "renders" / view for folder in folders)]
    if not all(path.is_file() for path in paths):
        return f'<p class="note">{words(title)}; its pictures are not there any more.</p>\n'
    with Image.open(paths[0]) as image:
        size = f'width="{image.width}" height="{image.height}"'
    names = ("photograph", group.baseline, variant)
    photograph, first, second = (
        f'<img src="{words(quote(path.relative_to(group.folder).as_posix()))}" {size} loading="lazy" '
        f'alt="{words(f"{group.called(view)}: {name}")}">'
        for path, name in zip(paths, names, strict=True)
    )
    scores = [group.scores[name][view].get(seed, math.inf) for name in names[1:]]
    said = f"seed {seed}: {group.baseline} {scores[0]:.2f} dB, {variant} {scores[1]:.2f} dB"
    errors = f"against the photograph, {AMPLIFIED}x"
    figures = (
        _slider(second, first, names[1], names[2]),
        _slider(second, photograph, names[0], names[2]),
        _difference(photograph, first, f"Error of {names[1]}", errors),
        _difference(photograph, second, f"Error of {names[2]}", errors),
        _difference(first, second, "Difference", f"between the two, {AMPLIFIED}x"),
    )
    return (
        f'<p><b>{words(title)}</b> <span class="note">({words(said)})</span></p>\n'
        f'<div class="pictures">\n{"".join(figures)}</div>\n'
    )


def _slider(under: str, over: str, left: str, right: str) -> str:
    """Two pictures in one place, of which `over` is shown to the left of a line that can be moved."""
    return (
        f'<figure><div class="stack slider">{under}{over}</div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{words(f"{left} or {right}")}">'
        f"<figcaption><b>{words(left)}</b> | <b>{words(right)}</b></figcaption></figure>\n"
    )


def _difference(first: str, second: str, title: str, rest: str) -> str:
    """The absolute difference of two pictures, colour by colour, amplified; the browser computes it."""
    return (
        f'<figure><div class="stack difference" style="filter: brightness({AMPLIFIED})">{first}{second}</div>'
        f"<figcaption><b>{words(title)}</b> {words(rest)}</figcaption></figure>\n"
    )


def mean(values: Sequence[float]) -> float | None:
    """The mean, None of no values."""
    return statistics.fmean(values) if values else None


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
