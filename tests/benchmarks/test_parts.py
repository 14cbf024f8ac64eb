"""`benchmarks/parts.py`: the time of parts that share cells, and their failures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import full_eval
from benchmarks import parts
from benchmarks.parts import planned_time, run_parts
from protocols.cells import Cell
from tests.protocols.test_runner import CELL, record
from utils.errors import UserError

CELLS = [replace(CELL, seed=seed) for seed in range(3)]
OF_PART = {"one": CELLS[:2], "two": CELLS[1:]}


@pytest.fixture
def first_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts that share their middle cell; the first cell is done, in the folder "shared", in 30 s."""

    def known(output: Path, cell: Cell) -> dict[str, Any] | None:
        return record(cell, 20, seconds=30) if (output.name, cell) == ("shared", CELLS[0]) else None

    monkeypatch.setattr(full_eval, "planned", lambda options: OF_PART[options.scenes[0]])
    monkeypatch.setattr(parts, "known_record", known)


def test_a_cell_of_two_parts_is_counted_once(first_is_done: None) -> None:
    evaluations = {
        "one": full_eval.Options(scenes=("one",), output="shared"),
        "two": full_eval.Options(scenes=("two",), output="shared", jobs=2),
    }
    assert planned_time(evaluations) == (
        "one: 2 cells, 1 done, 30 s to go\ntwo: 1 cells, 0 done, 15 s to go\ntogether about 45 s"
    )
    evaluations["two"].output = "other"  # there it is another cell
    assert "\ntwo: 2 cells, 0 done, 30 s to go\ntogether about 60 s" in planned_time(evaluations)


def test_a_part_that_fails_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def evaluates(options: full_eval.Options) -> None:
        ran.append(options.scenes)
        if options.scenes == ("one",):
            raise UserError("1 of 2 cells failed")

    monkeypatch.setattr(full_eval, "main", evaluates)
    assert run_parts({name: full_eval.Options(scenes=(name,)) for name in OF_PART}) == [
        "one: 1 of 2 cells failed"
    ]
    assert ran == [("one",), ("two",)]
