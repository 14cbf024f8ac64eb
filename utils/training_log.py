"""The training log: one JSON object a line, cut back to a checkpoint when a run goes on from there."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from utils.files import write_text

BOARD = "tensorboard"


class TrainingLog:
    """Appends rows to `log.jsonl`, and on request for TensorBoard; every row has an "iteration"."""

    def __init__(self, model_path: Path, resumed_after: int = 0, *, tensorboard: bool = False) -> None:
        """Opens the log; rows after iteration `resumed_after`, and a half-written last line, are cut.

        Args:
            model_path: the run's folder.
            resumed_after: iteration of the checkpoint from which the run goes on; 0: a new run.
            tensorboard: write the rows' numbers to `tensorboard/` too, which needs that package; what lies
                there of later iterations stays in its files, and TensorBoard is told to forget it.
        """
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
        self._board: Any = None
        self._new_board = partial(_board, Path(model_path), resumed_after) if tensorboard else None

    def write(self, iteration: int, **values: Any) -> None:
        """Adds a row."""
        self._file.write(json.dumps({"iteration": iteration, **values}) + "\n")
        if self._new_board:
            self._board = self._board or self._new_board()  # which makes a file: not before there is a row
            for name, value in flatten(values):
                self._board.add_scalar(name, value, iteration)
            self._board.flush()  # or a run that is killed would lose what came before its checkpoint

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board:
            self._board.close()


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Names and numbers of nested dictionaries and lists, as TensorBoard wants them: ("a/b/0", 1.5)."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)


def _board(model_path: Path, resumed_after: int) -> Any:
    """TensorBoard's writer into the run's folder."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional extra

    first = resumed_after + 1 if resumed_after else 0  # a new run's rows begin at 0
    return SummaryWriter(str(model_path / BOARD), purge_step=first)
