"""Captioned pictures on disk: metadata.jsonl, a CSV table, or a .txt beside each picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError, Warnings

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".dcm"})
TABLES = ("metadata.jsonl", "metadata.csv", "captions.csv")
NAME, TEXT = "file_name", "text"


@dataclass(frozen=True)
class CaptionedImage:
    """A picture's file, what it shows, and what else its set says of it.

    Attributes:
        path: the picture; it exists, but nobody has looked into it yet.
        caption: never empty.
        attributes: the other keys of its line in the table ("split", "family", ...); empty for .txt files.
    """

    path: Path
    caption: str
    attributes: dict[str, Any] = field(default_factory=dict)


def read_captioned(folder: Path, warnings: Warnings, caption: str = "") -> list[CaptionedImage]:
    """The captioned pictures of a folder and those below it, in the order of the table or of the file names.

    A table (`metadata.jsonl`, `metadata.csv` or `captions.csv`, with "file_name" and "text" in each row) is
    taken where there is one, otherwise the text file beside each picture, "a.png" and "a.txt". Pictures
    without caption and captions without picture are passed over, with a warning each.

    Args:
        folder: the captioned set.
        warnings: takes what was passed over.
        caption: the caption of the pictures that have none; empty: they are passed over.

    Raises:
        UserError: there is no such folder, nothing captioned in it, or a table that cannot be read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"--data {folder}: there is no such folder")
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise UserError(
            f"--data {folder}: there are no pictures in this folder; looked for {', '.join(sorted(SUFFIXES))}"
        )
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    found = _from_rows(table, folder, warnings) if table else _from_text_files(pictures, warnings)

    known = {image.path for image in found}
    for path in pictures:
        if path not in known and caption:
            found.append(CaptionedImage(path, caption))
        elif path not in known:
            warnings.add("a picture without caption was passed over", str(path))
    if not found:
        raise UserError(
            f"--data {folder}: none of its {len(pictures)} pictures has a caption. Write {TABLES[0]} with a "
            f'JSON object a line, {{"{NAME}": "a.png", "{TEXT}": "a red chair"}}, {TABLES[1]} with these two '
            "columns, or a.txt beside a.png; or give one caption for all with --caption"
        )
    return found


def _from_rows(table: Path, folder: Path, warnings: Warnings) -> list[CaptionedImage]:
    """The pictures of a table's rows."""
    found = {}
    for number, row in _rows(table):
        name, text = row.get(NAME), row.get(TEXT)
        if not isinstance(name, str) or not isinstance(text, str):
            raise UserError(f'{table}, line {number}: wanted are "{NAME}" and "{TEXT}", found {sorted(row)}')
        path = folder / name
        if path in found:
            raise UserError(f"{table}, line {number}: {name} is there twice; keep one of the two")
        if not path.is_file():
            warnings.add("a caption without picture was passed over", f"{name} in {table}")
        elif text.strip():
            attributes = {key: value for key, value in row.items() if key not in (NAME, TEXT)}
            found[path] = CaptionedImage(path, text.strip(), attributes)
    return list(found.values())


def _rows(table: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The rows of a table with their line numbers."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            if table.suffix == ".csv":
                yield from enumerate(csv.DictReader(file), start=2)
                return
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as problem:
                    raise UserError(f"{table}, line {number} is not valid JSON: {problem}") from None
                if not isinstance(row, dict):
                    raise UserError(f"{table}, line {number}: wanted is a JSON object, found {line[:40]!r}")
                yield number, row
    except UnicodeDecodeError as problem:
        raise UserError(f"{table} is not UTF-8 text: {problem}") from None


def _from_text_files(pictures: Iterable[Path], warnings: Warnings) -> list[CaptionedImage]:
    """The pictures that have a text file of the same name beside them."""
    pictures = list(pictures)
    found = []
    for path in pictures:
        try:
            text = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as problem:
            raise UserError(f"{path.with_suffix('.txt')} is not UTF-8 text: {problem}") from None
        if text:
            found.append(CaptionedImage(path, text))
    stems = {path.with_suffix("") for path in pictures}
    for text_file in sorted({file for path in pictures for file in path.parent.glob("*.txt")}):
        if text_file.with_suffix("") not in stems:
            warnings.add("a caption without picture was passed over", str(text_file))
    return found
