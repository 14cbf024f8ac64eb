"""A folder beside the output keeps what is finished of long work, so that an interruption costs little."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import write_json

RECORD = "record.json"


@contextmanager
def work_folder(output: Path, asked: Mapping[str, Any]) -> Iterator[Path]:
    """The folder `output.work`, with what an earlier call that was interrupted had finished.

    It is removed when the block ends well or with a UserError, and stays after any other end.

    Args:
        output: of the work.
        asked: all on which the parts depend, as JSON has it. Parts of other work, whose record has the same
            keys, are removed.

    Raises:
        UserError: there is something else of this name.
    """
    work = output.with_name(f"{output.name}.work")
    if work.exists():
        try:
            found = json.loads((work / RECORD).read_text(encoding="utf-8"))
            if not isinstance(found, dict) or found.keys() != asked.keys():
                raise ValueError("not a record of ours")
        except (OSError, ValueError, RecursionError):
            raise UserError(
                f"{work} is in the way and not from this program; remove it, or choose another --output_path"
            ) from None
        if found == asked:
            print(f"going on with what is finished in {work}")
        else:
            print(f"what is in {work} is of other photographs or flags: starting anew")
            shutil.rmtree(work)
    if not work.exists():
        write_json(work / RECORD, asked)
    try:
        yield work
    except UserError:
        shutil.rmtree(work)
        raise
    shutil.rmtree(work)


def finished(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder as `make(folder)` fills it; made once, under another name until it is whole."""
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        make(part)
        part.rename(folder)
    return folder
