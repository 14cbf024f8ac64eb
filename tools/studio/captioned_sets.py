"""Captioned image sets on disk: `metadata.jsonl`, `dataset.json` with the settings, and pictures."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import UserError
from utils.files import whole_file, write_json

METADATA = "metadata.jsonl"
DATASET = "dataset.json"


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 sRGB, or (H, W) uint16 grey, as a PNG, whole."""
    with whole_file(path) as file:
        Image.fromarray(pixels).save(file, "PNG")


def write_metadata(folder: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Writes `metadata.jsonl` whole: the rows whose picture is there, in their order.

    Args:
        rows: each with `file_name` (relative to `folder`), `text`, and any further keys that JSON has.

    Returns:
        How many rows were written.
    """
    present = [row for row in rows if (folder / row["file_name"]).is_file()]
    with whole_file(folder / METADATA, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in present)
    return len(present)


def fill(
    folder: Path, rows: Sequence[Mapping[str, Any]], splits: Sequence[str], make: Callable[[], object]
) -> None:
    """Lets `make` write the pictures, then writes the table, also when it is stopped on the way.

    Args:
        rows: of all pictures, as `write_metadata` takes them, each with "split".
        splits: their names, in the order in which it is said how many there are of each.
    """
    try:
        make()
    finally:
        written = write_metadata(folder, rows)
    counts = Counter(row["split"] for row in rows)
    shares = ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in splits)
    print(f"{folder}: {written} pictures ({shares})")


def keep_settings(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Notes in `dataset.json` how the set is made, or makes sure that what is there was made alike.

    Args:
        settings: all that decides what the pictures are; JSON values.
        facts: what is good to know beside them (versions, families, splits); not compared.

    Raises:
        UserError: the folder holds a set of other settings, or something else.
    """
    path = folder / DATASET
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["settings"]
        except (ValueError, KeyError, TypeError):
            found = None
        if found != wanted:
            raise UserError(
                f"{folder} holds a set made with {found}, not with {wanted}; "
                "delete it, choose another --output, or give the same settings"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no {DATASET}; empty it or choose another --output")
    write_json(path, {"settings": wanted, **facts})
