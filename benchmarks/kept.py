"""Figures of finished cells in a CSV: for readers, and for another machine to go on from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import full_eval
from benchmarks.parts import Evaluations
from protocols.cells import Cell
from utils.errors import UserError
from utils.files import write_text

Record = Mapping[str, Any]
Key = tuple[str, ...]

SCORES = ("PSNR", "SSIM", "LPIPS")
SIDES = ("inside", "outside")
WHICH = ("scene", "views", "variant", "seed", "flags")
COLUMNS = (*WHICH[:-1], *SCORES, *SIDES, "gate", "seconds", "gaussians", WHICH[-1])
"""Scores are means over held-out views, PSNR in dB; inside and outside are its means over groups of views,
where there are such. Seconds are those of the training. Flags are train.py's, without folders and seed."""


def save_figures(path: str, records: Mapping[Cell, Record], folder: Path) -> None:
    """Adds the figures of cells to the file, one line each; lines of other cells and other flags stay.

    Args:
        path: the CSV; empty: nothing is written.
        records: of finished cells; see `protocols.cells.run_cell`.
        folder: of the measurement; it is left out of flags that name files in it.

    Raises:
        UserError: the file is there, and none of these.
    """
    if not path:
        return
    lines = _lines(path) | {
        _key(cell, folder): _line(cell, record, folder) for cell, record in records.items()
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines[key] for key in sorted(lines))
    write_text(Path(path), text.getvalue())


def kept_records(path: str, cells: Iterable[Cell], folder: Path) -> dict[Cell, Record]:
    """What the file says of cells: a record as tables read it, for each one that ran with the same flags.

    Args:
        path: the CSV; where it is empty, or not there yet, nothing is known.
        cells: as they would be run now.
        folder: as `save_figures` takes it.

    Raises:
        UserError: the file is none that `save_figures` wrote.
    """
    lines = _lines(path)
    try:
        return {cell: _record(lines[key]) for cell in cells if (key := _key(cell, folder)) in lines}
    except ValueError as failure:
        raise UserError(f"{path}: a figure cannot be read: {failure}") from None


def without_kept(evaluations: Evaluations, path: str, folder: Path) -> Evaluations:
    """The parts of a measurement, of the seeds that the file does not wholly have; none that it has all of.

    Args:
        evaluations: full_eval.py's options by a part's name.
        path, folder: as `kept_records` takes them.
    """
    if not path:
        return evaluations
    left = {}
    for name, evaluation in evaluations.items():
        cells = full_eval.planned(evaluation)
        kept = kept_records(path, cells, folder)
        missing = {cell.seed for cell in cells if cell not in kept}
        if seeds := tuple(seed for seed in evaluation.seeds if seed in missing):
            left[name] = replace(evaluation, seeds=seeds)
    return left


def _lines(path: str) -> dict[Key, Mapping[str, Any]]:
    """The file's lines by what they are of; none where there is no file."""
    if not path or not Path(path).exists():
        return {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in line.values() for line in lines):
        raise UserError(f"{path}: every line should have {', '.join(COLUMNS)}")
    return {tuple(line[name] for name in WHICH): line for line in lines}


def _key(cell: Cell, folder: Path) -> Key:
    flags = " ".join(cell.flags).replace(f"{folder}/", "")
    return cell.scene, str(cell.views), cell.variant, str(cell.seed), flags


def _line(cell: Cell, record: Record, folder: Path) -> Mapping[str, Any]:
    training = record["training"]
    figures = {name: record["scores"][name] for name in SCORES} | {name: record.get(name) for name in SIDES}
    return {
        **dict(zip(WHICH, _key(cell, folder), strict=True)),
        **{name: "" if value is None else round(value, 5) for name, value in figures.items()},
        "gate": (training.get("gate") or {}).get("decision", ""),
        "seconds": round(training["seconds"], 1),
        "gaussians": training["gaussians"],
    }


def _record(line: Mapping[str, str]) -> Record:
    figures = {name: float(line[name]) if line[name] else None for name in (*SCORES, *SIDES)}
    training = {"seconds": float(line["seconds"]), "gaussians": int(line["gaussians"])}
    gate = {"gate": {"decision": line["gate"]}} if line["gate"] else {}
    return {
        "cell": {name: line[name] for name in WHICH} | {name: int(line[name]) for name in ("views", "seed")},
        "scores": {name: figures[name] for name in SCORES},
        "training": training | gate,
        **{name: figures[name] for name in SIDES},
    }
