"""The page of full_eval.py: well-formed, figures those of the records, names only text, pictures there."""

import re
import statistics
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from protocols.cells import Cell
from protocols.page import report_page
from protocols.page_plots import tick_values, view_plot
from protocols.report import tables
from protocols.visibility import CLASSES
from tests.protocols.test_runner import CELL, record

VOID = {"meta", "img", "input", "br"}
SCENE = 'fern <b>&"x" #1?%2F'
PHOTOGRAPHS = ["<script>alert(1)</script>.jpg", 'b"onload="x.jpg', "c&amp;.jpg"]
GAINS = (0.5, -1.0, 2.0)


class Reader(HTMLParser):
    """What a strict browser makes of a page: every tag is closed, in order.

    Attributes:
        tags: with their attributes.
        text: all that is not in script or style.
        tables: rows of cells.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def table(self, heading: str) -> list[dict[str, str]]:
        """The rows of the table whose first heading is this one, by their columns' headings."""
        (found,) = (rows for rows in self.tables if rows[0][0] == heading)
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


@pytest.fixture
def evaluation(tmp_path: Path) -> dict[Cell, dict]:
    """Two variants with two seeds, whose pictures lie in `tmp_path`; b's second seed has no classes."""
    records = {}
    for seed in (0, 1):
        for variant in ("plain", "b"):
            cell = replace(CELL, scene=SCENE, variant=variant, seed=seed)
            values = {
                f"{number:05d}.png": 20.0 + number + seed + gain * (variant == "b")
                for number, gain in enumerate(GAINS)
            }
            found = record(cell, statistics.fmean(values.values()))
            found["per_view"] = {"PSNR": values}
            found["settings"]["scene"]["test_photographs"] = PHOTOGRAPHS
            if (variant, seed) != ("b", 1):
                classes = {name: {"share": 0.25, "PSNR": 10.0 + (variant == "b")} for name in CLASSES}
                found["visibility"] = {"iterations": 300, **classes}
            records[cell] = found
            for view in values:
                for side in ("renders", "gt"):
                    path = tmp_path / cell.name / f"test/ours_1000/{side}/{view}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)
    return records


def read(records: dict[Cell, dict], folder: Path, planned: int = 0) -> Reader:
    cells = [*records, *(replace(CELL, scene="other", seed=seed) for seed in range(planned))]
    return Reader(report_page(tables(cells, records, "plain"), cells, records, "plain", folder))


def test_names_are_text_and_nothing_else(evaluation, tmp_path: Path) -> None:
    page = read(evaluation, tmp_path)
    assert page.count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in (SCENE, *PHOTOGRAPHS):
        assert name in page.text
    innocent = {replace(cell, scene="fern"): found for cell, found in evaluation.items()}
    without_pictures = read(evaluation, tmp_path / "nowhere").tags
    assert [tag for tag, _ in without_pictures] == [
        tag for tag, _ in read(innocent, tmp_path / "nowhere").tags
    ]


def test_pictures_lie_beside_the_page_and_nothing_is_fetched(evaluation, tmp_path: Path) -> None:
    page = read(evaluation, tmp_path)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2 * 10  # of two views, two sliders and three differences of two pictures each
    for each in pictures:
        assert (each["width"], each["height"]) == ("6", "4") and each["alt"]
        path = tmp_path / unquote(each["src"] or "")
        assert path.is_file() and "seed_0" in path.parts
    assert not any({"href", "srcset", "action"} & attributes.keys() for _, attributes in page.tags)
    assert sum(tag == "input" for tag, _ in page.tags) == 4

    next(iter(tmp_path.rglob("renders/00001.png"))).unlink()
    assert "its pictures are not there any more" in read(evaluation, tmp_path).text


def test_most_and_least_are_the_views_of_largest_and_smallest_gain(evaluation, tmp_path: Path) -> None:
    text = read(evaluation, tmp_path).text
    assert f"Most: {PHOTOGRAPHS[2]}, +2.00 dB (seed 0: plain 22.00 dB, b 24.00 dB)" in text
    assert f"Least: {PHOTOGRAPHS[1]}, -1.00 dB (seed 0: plain 21.00 dB, b 20.00 dB)" in text
    assert "b minus plain over 3 held-out views: mean +0.50 dB" in text


def test_every_run_has_a_row_that_can_be_sorted(evaluation, tmp_path: Path) -> None:
    page = read(evaluation, tmp_path, planned=2)
    assert "4 of 6 runs are finished" in page.text
    rows = page.table("scene")
    assert [(row["variant"], row["seed"]) for row in rows] == [
        (cell.variant, str(cell.seed)) for cell in evaluation
    ]
    for row, found in zip(rows, evaluation.values(), strict=True):
        assert row["scene"] == SCENE and row["PSNR"] == f"{found['scores']['PSNR']:.2f}"
        assert row["minutes"] == "0.2" and row["Gaussians"] == "100"
        assert row["PSNR less plain's"] == ("-" if row["variant"] == "plain" else "+0.50")
    assert [row["seen by one"] for row in rows] == ["10.00", "11.00", "10.00", "-"]
    (sortable,) = (each for tag, each in page.tags if tag == "table" and "sortable" in (each["class"] or ""))
    assert sortable == {"class": "numbers sortable"}  # which the script looks for
    assert 'querySelectorAll("table.sortable")' in Path("protocols/page.js").read_text()


def test_old_records_without_classes_have_a_page(evaluation, tmp_path: Path) -> None:
    for found in evaluation.values():
        found.pop("visibility", None)
    page = read(evaluation, tmp_path)
    assert "seen by" not in page.text and "Visibility" not in page.text
    assert len(page.table("scene")) == 4


def test_a_page_of_one_variant_has_no_gains(evaluation, tmp_path: Path) -> None:
    page = read({cell: it for cell, it in evaluation.items() if cell.variant == "b"}, tmp_path)
    assert page.count("img") == 0 and "against" not in page.text
    assert [row["PSNR less plain's"] for row in page.table("scene")] == ["-", "-"]


def test_the_plot_has_each_view_where_its_value_is() -> None:
    """Dots are as far apart as the values are; a missing view is a gap in the line."""
    figure = view_plot(
        ["a", "b", "c"], {"x": [[20.0], [22.0, 24.0], [21.0]], "y": [[21.0], [], [20.0]]}, "dB"
    )
    assert Reader(figure).count("circle") == 5
    dots = {
        said: (float(x), float(y))
        for x, y, said in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3"><title>([^<]+)<', figure)
    }
    assert set(dots) >= {"x, a: 20.00 dB", "x, b: 23.00 dB (seeds from 22.00 to 24.00)", "y, c: 20.00 dB"}
    unit = dots["x, a: 20.00 dB"][1] - dots["x, c: 21.00 dB"][1]
    assert unit > 0 and dots["x, a: 20.00 dB"][1] == dots["y, c: 20.00 dB"][1]
    up = dots["x, a: 20.00 dB"][1] - dots["x, b: 23.00 dB (seeds from 22.00 to 24.00)"][1]
    assert up == pytest.approx(3 * unit, abs=0.3)
    (line,) = re.findall(r'class="series-1"><path class="mean" d="([^"]+)"', figure)
    assert line.count("M") == 2 and "L" not in line


@pytest.mark.parametrize(("low", "high"), [(20, 20), (19.99, 20.01), (3, 47.3), (-0.4, 0.4), (18.01, 18.02)])
def test_ticks_are_round_even_and_enclose(low: float, high: float) -> None:
    ticks = tick_values(low, high)
    steps = np.diff(ticks)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    assert np.allclose(steps, steps[0]) and f"{steps[0]:e}"[0] in "125"


def test_the_table_by_visibility_has_shares_means_and_gains_of_pairs(evaluation) -> None:
    """b's second seed has no classes: its row rests on the first alone. A class that nobody has is a dash."""
    for found in evaluation.values():
        if "visibility" in found:
            found["visibility"]["none"] = {"share": 0.0, "PSNR": None}
    _, (title, header, rows) = tables(list(evaluation), evaluation, "plain")
    assert "PSNR by how many training photographs see a pixel" in title
    shares, plain, b = (dict(zip(header, row, strict=True)) for row in rows)
    assert [shares[f"seen by {name}"] for name in CLASSES] == ["0.0", "25.0", "25.0"]
    assert [plain[f"seen by {name}"] for name in CLASSES] == ["-", "10.00 +- 0.00", "10.00 +- 0.00"]
    assert [b[f"seen by {name}"] for name in CLASSES] == ["-", "11.00", "11.00"]
    assert [b[f"{name} less plain's"] for name in CLASSES] == ["-", "+1.00", "+1.00"]
