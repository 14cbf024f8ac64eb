"""The training log: one JSON object a line, cut back to a checkpoint when a run goes on from there."""

import json
from pathlib import Path
from typing import Any

from utils.files import write_text


class TrainingLog:
    """Appends rows to `log.jsonl`; every row has an "iteration"."""

    def __init__(self, model_path: Path, resumed_after: int = 0) -> None:
        """Opens the log; rows after iteration `resumed_after`, and a half-written last line, are cut."""
        path = Path(model_path) / "log.jsonl"
        kept = []
        if path.exists() and resumed_after:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    break
                if row["iteration"] > resumed_after:
                    break
                kept.append(line + "\n")
        write_text(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, iteration: int, **values: Any) -> None:
        """Adds a row."""
        self._file.write(json.dumps({"iteration": iteration, **values}) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
