"""Where a page of the documentation has its measured tables."""

from __future__ import annotations

from pathlib import Path

from utils.errors import UserError
from utils.files import write_text


def fill(page: Path, name: str, text: str) -> None:
    """Replaces what a page has between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises:
        UserError: the page has no such two lines in this order.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise UserError(f"{page}: no lines {begin.strip()} and {end} to write the table between")
    write_text(page, f"{before}{begin}{text.rstrip()}\n{end}{after}")
