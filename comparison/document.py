"""An HTML document in one text, without a script of its own, that asks no network for anything; and tables.

Whatever comes from files or from the command line has to be escaped: by `words`, or inside `table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as words
from pathlib import Path

__all__ = ["document", "table", "words"]

STYLE = Path(__file__).with_name("page.css")


def document(title: str, lead: str, body: str, *, style: str = "", script: str = "") -> str:
    """The whole document.

    Args:
        title, lead: its heading and the sentence below, plain text, escaped here.
        body: HTML.
        style: CSS after that of all pages.
        script: run when all is there.
    """
    code = f"<script>\n{script}</script>\n" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{words(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{words(title)}</h1>\n"
        f'<p class="lead">{words(lead)}</p>\n'
        f"{body}</main>\n{code}</body>\n</html>\n"
    )


def table(kind: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text, escaped here; the first cell of a row is its heading.

    Args:
        kind: "numbers", aligned to the right, or "texts".
    """
    head = "".join(f'<th scope="col">{words(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{words(row[0])}</th>'
        + "".join(f"<td>{words(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )
