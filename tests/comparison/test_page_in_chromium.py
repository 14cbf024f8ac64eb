"""The page of compare.py in a real browser: all pictures are drawn, it fits the window, details open."""

from pathlib import Path

import pytest

from tests.comparison.made_up import HEIGHT, NAMES, WIDTH, compare
from tests.viewer.chromium import browser


@pytest.mark.browser
@pytest.mark.slow
def test_pictures_are_drawn_and_details_open_by_a_click(
    models: list[Path], output: Path, tmp_path: Path
) -> None:
    compare(models, output, "plain", "with prior")
    with browser(output.as_uri(), tmp_path / "profile", 900, 800) as page:
        page.wait_for("document.readyState == 'complete' && document.querySelector('details') != null")
        sizes = page.evaluate("[...document.images].map(it => [it.naturalWidth, it.naturalHeight])")
        assert sizes == [[WIDTH, HEIGHT]] * 6 * len(NAMES)  # three pictures, two errors and a difference
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not page.evaluate("document.querySelector('details').open")
        page.evaluate("document.querySelector('summary').scrollIntoView({block: 'center'})")
        page.click_on("summary")
        assert page.evaluate("document.querySelector('details').open")
        page.screenshot(tmp_path / "page.png")
