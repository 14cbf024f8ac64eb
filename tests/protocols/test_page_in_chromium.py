"""The page of full_eval.py in a real browser: a heading sorts, a slider moves what divides its pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comparison.media import AMPLIFIED
from protocols.cells import Cell
from protocols.page import report_page
from protocols.report import tables
from tests.protocols.test_page import evaluation  # noqa: F401
from tests.viewer.chromium import Page, browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
COLOURS = {"gt": (10, 200, 30), "plain": (40, 180, 30), "b": (10, 170, 70)}
SLIDER = "document.querySelector('.slider')"


@pytest.fixture
def page(evaluation: dict[Cell, dict], tmp_path: Path) -> Iterator[Page]:  # noqa: F811
    """The page with photographs of one colour, renderings of another, and numbers that text would missort."""
    for count, (cell, found) in zip((1000, 900, 20_000, 10), evaluation.items(), strict=True):
        found["training"]["gaussians"] = count
        for side, colour in (("gt", COLOURS["gt"]), ("renders", COLOURS[cell.variant])):
            for path in (tmp_path / cell.name / "test/ours_1000" / side).iterdir():
                Image.new("RGB", (120, 80), colour).save(path)
    report = tmp_path / "report.html"
    text = report_page(
        tables(list(evaluation), evaluation, "plain"), list(evaluation), evaluation, "plain", tmp_path
    )
    report.write_text(text, encoding="utf-8")
    with browser(report.as_uri(), tmp_path / "profile", 1000, 800) as opened:
        opened.wait_for("document.readyState == 'complete' && document.querySelector('.slider') != null")
        yield opened


def column(page: Page, name: str) -> list[str]:
    """What stands in a column of the table of all runs, from top to bottom."""
    script = (
        """[...document.querySelectorAll('.sortable tbody tr')].map(row => row.cells[NUMBER].textContent)"""
    )
    return page.evaluate(script.replace("NUMBER", str(headings(page).index(name))))


def headings(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.sortable thead th')].map(it => it.textContent)")


def click_heading(page: Page, name: str) -> str:
    """Clicks a heading with the mouse; what the table then says of its order there."""
    number = headings(page).index(name) + 1
    heading = f".sortable thead th:nth-child({number})"
    page.evaluate(
        f"document.querySelector('{heading}').scrollIntoView({{block: 'center', inline: 'center'}})"
    )
    page.click_on(f"{heading} button")
    return page.evaluate(f"document.querySelector('{heading}').ariaSort")


def test_a_heading_sorts_by_numbers_both_ways_and_what_is_not_known_stays_last(page: Page) -> None:
    assert column(page, "Gaussians") == ["1,000", "900", "20,000", "10"]
    assert click_heading(page, "Gaussians") == "ascending"
    assert column(page, "Gaussians") == ["10", "900", "1,000", "20,000"]
    assert column(page, "variant") == ["b", "b", "plain", "plain"] and column(page, "seed") == list("1001")
    assert click_heading(page, "Gaussians") == "descending"
    assert column(page, "Gaussians") == ["20,000", "1,000", "900", "10"]
    for order, expected in (
        ("ascending", ["10.00", "10.00", "11.00"]),
        ("descending", ["11.00", "10.00", "10.00"]),
    ):
        assert click_heading(page, "seen by one") == order
        assert column(page, "seen by one") == [*expected, "-"]
    assert page.evaluate("document.querySelectorAll('.sortable [aria-sort]').length") == 1


def test_a_slider_moves_what_divides_two_pictures(page: Page, tmp_path: Path) -> None:
    page.evaluate(f"{SLIDER}.scrollIntoView({{block: 'center'}})")
    bar = f"{SLIDER}.nextElementSibling.getBoundingClientRect()"
    shares = []
    for wanted in (0.25, 0.75):
        page.click(*page.evaluate(f"(it => [it.x + {wanted} * it.width, it.y + it.height / 2])({bar})"))
        shares.append(page.evaluate(f"{SLIDER}.nextElementSibling.value / 100"))
        assert shares[-1] == pytest.approx(wanted, abs=0.05)
        said = page.evaluate(f"getComputedStyle({SLIDER}).getPropertyValue('--at')")
        assert float(said.rstrip("%")) / 100 == shares[-1]
        page.screenshot(tmp_path / "page.png")
        left, top, width, height = box(page, ".slider", 0)
        shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))[round(top + height / 2)]
        for at in (0.05, wanted - 0.1, wanted + 0.1, 0.95):
            colour = COLOURS["plain" if at < wanted else "b"]
            assert np.abs(shown[round(left + at * width)].astype(int) - colour).max() <= 2
    assert shares[0] < shares[1]


def test_errors_and_the_difference_are_amplified(page: Page, tmp_path: Path) -> None:
    page.evaluate(f"{SLIDER}.scrollIntoView({{block: 'center'}})")
    page.screenshot(tmp_path / "page.png")
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    for number, (one, two) in enumerate((("gt", "plain"), ("gt", "b"), ("plain", "b"))):
        left, top, width, height = box(page, ".difference", number)
        expected = AMPLIFIED * np.abs(np.subtract(COLOURS[one], COLOURS[two]))
        found = shown[round(top + height / 2), round(left + width / 2)].astype(int)
        assert np.abs(found - expected).max() <= AMPLIFIED


def box(page: Page, selector: str, number: int) -> list[float]:
    """Left, top, width and height of an element in the window, pixels; `number` of those that are found."""
    found = f"document.querySelectorAll('{selector}')[{number}].getBoundingClientRect()"
    return page.evaluate(f"(it => [it.x, it.y, it.width, it.height])({found})")
