"""Runs that guidance is loaded for."""

from collections.abc import Callable
from pathlib import Path

import torch

from sds_guidance import Run
from utils.errors import Warnings


def cpu_run(
    folder: Path | None = None,
    *,
    resumed: bool = False,
    seed: int = 0,
    warnings: Warnings | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Run:
    """A run on the CPU, which keeps silent."""
    return Run(torch.device("cpu"), seed, ["train.py"], warnings or Warnings(), folder, resumed, say)
