"""The training log: one JSON object a line, cut back to a checkpoint when a run goes on from there."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import whole_file, write_text
from utils.optional_modules import optional_module

BOARD = "tensorboard"
WANDB = "--wandb needs the package wandb"


class TrainingLog:
    """Appends rows to `log.jsonl`, and on request for TensorBoard and Weights & Biases.

    Every row has an "iteration". At the end, `log.csv` has the numbers as a table.
    """

    def __init__(
        self,
        model_path: Path,
        resumed_after: int = 0,
        *,
        tensorboard: bool = False,
        wandb: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens the log; rows after iteration `resumed_after`, and a half-written last line, are cut.

        Args:
            model_path: the run's folder.
            resumed_after: iteration of the checkpoint from which the run goes on; 0: a new run.
            tensorboard: write the rows' numbers to `tensorboard/` too, which needs that package; what lies
                there of later iterations stays in its files, and TensorBoard is told to forget it.
            wandb: the run's settings; the rows' numbers go to Weights & Biases too, which needs that package.
                What goes on from a checkpoint is a run of its own there, in the same group. None: not so.
        """
        self._path = path = Path(model_path) / "log.jsonl"
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
        path.with_suffix(".csv").unlink(missing_ok=True)  # until the end it would be another run's
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._board: Any = None
        self._new_board = partial(_board, Path(model_path), resumed_after) if tensorboard else None
        self._wandb = None if wandb is None else _wandb_run(Path(model_path), wandb)

    def write(self, iteration: int, **values: Any) -> None:
        """Adds a row; a number that is none becomes null, since JSON has neither NaN nor infinity."""
        values = {name: None if _is_none(value) else value for name, value in values.items()}
        self._file.write(json.dumps({"iteration": iteration, **values}) + "\n")
        if self._new_board:
            self._board = self._board or self._new_board()  # which makes a file: not before there is a row
            for name, value in flatten(values):
                self._board.add_scalar(name, value, iteration)
            self._board.flush()  # or a run that is killed would lose what came before its checkpoint
        if self._wandb:
            self._wandb.log({"iteration": iteration, **dict(flatten(values))})

    def close(self) -> None:
        """Closes the files and writes the table."""
        self._file.close()
        write_table(self._path)
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def write_table(log: Path) -> None:
    """Writes the numbers of a `log.jsonl` beside it as a `.csv`: a row an iteration, a column a name."""
    table: dict[int, dict[str, float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        table.setdefault(row.pop("iteration"), {}).update(flatten(row))
    if not table:
        return
    names = dict.fromkeys(name for row in table.values() for name in row)
    with whole_file(log.with_suffix(".csv"), "w") as file:
        writer = csv.DictWriter(file, ["iteration", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"iteration": iteration, **row} for iteration, row in table.items())


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Names and numbers of nested dictionaries and lists, as TensorBoard wants them: ("a/b/0", 1.5)."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)


def _is_none(value: Any) -> bool:
    """Whether a value is a float that is not finite."""
    return isinstance(value, float) and not math.isfinite(value)


def _board(model_path: Path, resumed_after: int) -> Any:
    """TensorBoard's writer into the run's folder."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional extra

    first = resumed_after + 1 if resumed_after else 0  # a new run's rows begin at 0
    return SummaryWriter(str(model_path / BOARD), purge_step=first)


def _wandb_run(model_path: Path, settings: Mapping[str, Any]) -> Any:
    """A run of Weights & Biases, named after the folder; its files lie in `wandb/` there."""
    wandb = optional_module("wandb", WANDB)
    name, folder = model_path.name, str(model_path)
    try:
        run = wandb.init(name=name, group=name, dir=folder, config=dict(settings))
    except wandb.Error as failure:
        raise UserError(
            f"--wandb: Weights & Biases cannot be reached or knows no account ({failure}); run: wandb login; "
            "or set WANDB_MODE=offline and send the run later with: wandb sync"
        ) from failure
    run.define_metric("*", step_metric="iteration")
    return run
