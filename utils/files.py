"""Files are written whole: to a temporary name beside the target, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """An open file that becomes `path` only when the block ends well.

    The parent folder is made where it is missing. A crash or an exception leaves the old file, or none, as
    it was; readers never see half of it.

    Args:
        path: the file to write or replace.
        mode: "wb" or "w" (UTF-8).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Writes `value` as JSON, whole; indent 1 as the reference's tables have it."""
    with whole_file(path, "w") as file:
        json.dump(value, file, indent=indent)
        file.write("\n")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole."""
    with whole_file(path, "w") as file:
        file.write(text)
