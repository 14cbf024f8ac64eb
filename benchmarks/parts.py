"""Parts of a measurement: evaluations of full_eval.py, one after the other, with their time said before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import full_eval
from protocols.cells import Cell, known_record
from protocols.schedule import estimated_seconds, shown_time
from utils.errors import UserError

Evaluations = Mapping[Any, full_eval.Options]
"""full_eval.py's options by a part's name."""


def planned_time(evaluations: Evaluations) -> str:
    """How many cells each part has, how many are done, and how long the others take by finished ones.

    A cell of several parts is done once, and counted in the first.

    Raises:
        UserError: a flag or the data cannot be used, or there is a cell of other flags.
    """
    part_of: dict[tuple[str, Cell], str] = {}
    for name, evaluation in evaluations.items():
        for cell in full_eval.planned(evaluation):
            part_of.setdefault((evaluation.output, cell), name)
    found = {key: known_record(Path(key[0]).absolute(), key[1]) for key in part_of}
    records = {cell: record for (_, cell), record in found.items() if record}
    lines: list[str] = []
    total = 0.0
    for part, evaluation in evaluations.items():
        own = [key for key, name in part_of.items() if name == part]
        left = [cell for _, cell in own if not found[evaluation.output, cell]]
        seconds = sum(estimated_seconds(cell, records) for cell in left) / evaluation.jobs
        total += seconds
        lines.append(f"{part}: {len(own)} cells, {len(own) - len(left)} done, {shown_time(seconds)} to go")
    return "\n".join([*lines, f"together about {shown_time(total)}"])


def run_parts(evaluations: Evaluations) -> list[str]:
    """Runs the cells that are missing; returns what failed, by part, when all others are done."""
    failures = []
    for name, evaluation in evaluations.items():
        print(f"part {name}", flush=True)
        try:
            full_eval.main(evaluation)
        except UserError as failure:
            failures.append(f"{name}: {failure}")
    return failures
