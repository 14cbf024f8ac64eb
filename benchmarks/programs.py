"""The project's programs as a benchmark runs them: as a user does, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from utils.errors import UserError
from utils.idle_threads import limits

ROOT = Path(__file__).resolve().parents[1]


def call(program: str, *words: str, threads: int = 0) -> None:
    """Runs a program of the repository, so that its memory is its own.

    Args:
        program: below the repository.
        words: that follow it.
        threads: how many it may use; 0: as many as it likes.

    Raises:
        UserError: it failed.
    """
    environment = os.environ | (limits(threads, threads) if threads else {})
    arguments = [sys.executable, str(ROOT / program), *words]
    result = subprocess.run(arguments, cwd=ROOT, env=environment, check=False)
    if result.returncode:
        raise UserError(f"{program} {' '.join(words)} failed with exit code {result.returncode}")


def lpips_flags(data: Path) -> list[str]:
    """The flags of metrics.py for the LPIPS that can be had offline: with weights in the folder of scenes."""
    weights = data / "weights" / "squeezenet1_1_fp16.pth"
    if not weights.exists():
        return ["--lpips_net", "none"]
    return ["--lpips_net", "squeeze", "--lpips_weights", str(weights)]
