"""Running a recorded cell again, and comparing what comes out with what was recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.cells import cell_from_plain, run_cell
from utils.errors import UserError
from utils.tables import markdown_table

DECIMALS = {"PSNR": 2, "SSIM": 3, "LPIPS": 3, "average_error": 3}
"""Scores that agree when rounded like this, give or take one half, are the same number of a table."""


def recorded(path: Path, name: str) -> dict[str, Any]:
    """The record of a cell in a file: a cell's own, or `results.json` of many.

    Args:
        path: the file.
        name: of the cell, SCENE/3_views/VARIANT/seed_0; empty where the file holds one only.

    Raises:
        UserError: no such file, of another form, no such cell, or which of several is not said.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        records = content.get("records", [content])
        named = {cell_from_plain(record["cell"]).name: record for record in records}
    except OSError as failure:
        raise UserError(f"--from {path} cannot be read ({failure.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError) as failure:
        raise UserError(f"--from {path} is no file of full_eval.py's results ({failure!r})") from None
    if not name and len(named) == 1:
        return next(iter(named.values()))
    if name not in named:
        raise UserError(f"--cell {name or '(none)'}: {path} has {', '.join(named)}; name one of them")
    return named[name]


def reproduce(record: Mapping[str, Any], output: Path) -> str:
    """Runs a recorded cell again, from nothing and with as many threads, and says what came out.

    Args:
        record: of the cell.
        output: folder for the new run, of which an earlier one is removed.

    Returns:
        a table of both runs' scores in Markdown.

    Raises:
        UserError: a score differs in a decimal that a table shows; the message has what else differs.
    """
    cell = cell_from_plain(record["cell"])
    shutil.rmtree(output / cell.name, ignore_errors=True)
    again = run_cell(cell, output, record["device"], record["settings"]["threads"])
    rows, different = [], []
    for metric, decimals in DECIMALS.items():
        before, now = record["scores"][metric], again["scores"][metric]
        if not same_number(before, now, decimals):
            different.append(metric)
        rows.append([metric, *("-" if it is None else f"{it:.{decimals + 3}f}" for it in (before, now))])
    table = markdown_table([cell.name, "recorded", "again"], rows)
    text = f"{table}{_circumstances(record, again)}"
    if different:
        raise UserError(f"{', '.join(different)} of {cell.name} did not come out again:\n{text}")
    return text


def same_number(before: float | None, now: float | None, decimals: int) -> bool:
    """Whether two scores are one number of a table: equal, or apart by half of its last decimal at most."""
    if before is None or now is None:
        return before is now
    return before == now or abs(before - now) <= 0.5 * 10**-decimals


def _circumstances(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A sentence on what differs between the machines or programs of two runs."""
    found = []
    for group in ("versions", "threads"):
        old, new = before["settings"][group], now["settings"][group]
        changed = [name for name in new if old.get(name) != new[name]]
        found += [f"{name} {old.get(name)}, now {new[name]}" for name in changed]
    return f"Differences: {'; '.join(found)}.\n" if found else "Versions and threads are those of then.\n"
