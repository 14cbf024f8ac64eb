"""Checkpoints: written whole, found again after a crash, read without unpickling objects."""

import re
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError, Warnings
from utils.files import whole_file

KEPT = 2
"""So many of the regular checkpoints stay; older ones are removed as new ones come."""


def checkpoint_iterations(model_path: Path) -> list[int]:
    """Iterations of which a checkpoint lies in the folder, in order."""
    matches = (re.fullmatch(r"chkpnt(\d+)\.pth", path.name) for path in Path(model_path).glob("chkpnt*.pth"))
    return sorted(int(match[1]) for match in matches if match)


def checkpoint_path(model_path: Path, iteration: int) -> Path:
    """Where the checkpoint of `iteration` lies; the reference's name."""
    return Path(model_path) / f"chkpnt{iteration}.pth"


def save_checkpoint(model_path: Path, state: dict[str, Any], keep: set[int]) -> None:
    """Writes the checkpoint of `state["iteration"]` and removes old ones, except those in `keep`.

    Args:
        model_path: the run's folder.
        state: tensors, numbers, strings, lists and dictionaries only; "iteration" counts from 1.
        keep: iterations whose checkpoints the user asked for.
    """
    with whole_file(checkpoint_path(model_path, state["iteration"])) as file:
        try:
            torch.save(state, file)
        except RuntimeError as failure:  # torch hides a full disk behind a remark on positions
            raise (failure.__context__ if isinstance(failure.__context__, OSError) else failure) from None
    regular = [i for i in checkpoint_iterations(model_path) if i not in keep and i <= state["iteration"]]
    for iteration in regular[:-KEPT]:
        checkpoint_path(model_path, iteration).unlink(missing_ok=True)


def load_newest_checkpoint(model_path: Path, warnings: Warnings) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none at all.

    Raises:
        UserError: there are checkpoints but none can be read.
    """
    iterations = checkpoint_iterations(model_path)
    for iteration in reversed(iterations):
        path = checkpoint_path(model_path, iteration)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as problem:  # damaged bytes bring up a dozen kinds
            reason = (str(problem) or type(problem).__name__).splitlines()[0]
            warnings.add("a damaged checkpoint was passed over", f"{path} ({reason})")
    if iterations:
        raise UserError(f"none of the {len(iterations)} checkpoints in {model_path} can be read; start again")
    return None
