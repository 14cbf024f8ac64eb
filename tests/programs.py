"""The programs as a user runs them, and train.py called from a test."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import train
from training.presets import read_options
from utils.checkpoints import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ("--lambda_sds", "0", "--quiet", "--device", "cpu", "--preset", "reference", "--disable_viewer")
BUSY = (
    *("--densify_from_iter", 5, "--densification_interval", 10, "--opacity_reset_interval", 25),
    *("--densify_until_iter", 60, "--checkpoint_interval", 10, "--test_iterations", -1),
)
"""Flags under which growing, splitting, pruning and a reset all happen within 60 iterations."""


def flat(options) -> dict:
    """Every flag and its value, groups opened."""
    result: dict = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        result |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return result


def run_train(source: Path, model: Path, *flags: Any) -> Path:
    """Trains in this process, unguided unless the flags say otherwise; returns the model's folder."""
    words = ["-s", str(source), "-m", str(model), *PLAIN, *(str(flag) for flag in flags)]
    train.main(read_options(words), ["train.py", *words])
    return model


class Stop(Exception):
    """A training cut short."""


def break_off(source: Path, model: Path, *flags: Any, at: int = 0) -> None:
    """Trains as `run_train` does, up to the moment after the checkpoint of iteration `at` (0: the first)."""

    def stopping(model_path: Path, state: dict[str, Any], keep: set[int]) -> None:
        save_checkpoint(model_path, state, keep)
        if at in (0, state["iteration"]):
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(train, "save_checkpoint", stopping)
        run_train(source, model, *flags)


def run_program(name: str, *flags: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the repository in a process of its own and waits for it."""
    return subprocess.run(
        [sys.executable, str(ROOT / name), *(str(flag) for flag in flags)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def ply(model: Path, iteration: int) -> bytes:
    """The saved model of an iteration, as bytes."""
    return (model / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply").read_bytes()
