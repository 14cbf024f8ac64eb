"""The output folder of a run: whose it is, and whether this run may use it."""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from utils.checkpoints import checkpoint_iterations, checkpoint_path
from utils.errors import UserError
from utils.files import write_json
from utils.memory import peak_memory
from utils.options import SETTINGS_FILE, differences, load_settings
from utils.training_log import BOARD

OWN_OUTPUTS = (
    "point_cloud",
    *("train/ours_*", "test/ours_*", "train_resized/ours_*", "test_resized/ours_*"),
    *("orbit/ours_*", "paths/*/ours_*", "mesh/ours_*"),
    "guidance",
    "conditioning",
    BOARD,
    "wandb",
)
OWN_FILES = (
    *(SETTINGS_FILE, "conditioning.json", "cfg_args", "cameras.json", "input.ply"),
    *("log.jsonl", "log.csv", "guidance.csv", "training.json", "exposure.json"),
    *("results.json", "per_view.json", "metrics_conventions.json"),
)


def default_model_path() -> str:
    """A fresh folder name, `output/` and ten characters, as the reference chooses it."""
    return str(Path("output") / uuid4().hex[:10])


def resumes(
    model_path: Path, options: Mapping[str, Any], *, resume: bool, overwrite: bool, may_differ: frozenset[str]
) -> bool:
    """Whether there is a run in the folder to go on from; looks only, and writes nothing.

    Args:
        model_path: the folder; it need not exist.
        options: the run's options as plain values.
        resume: go on from the run that lies there, if one does.
        overwrite: replace what an earlier run left there.
        may_differ: names of options that do not change the result.

    Raises:
        UserError: the folder holds another run, or a run with other settings.
    """
    if model_path.exists() and not model_path.is_dir():
        raise UserError(f"--model_path {model_path} is a file; choose a folder")
    saved = load_settings(model_path)
    if saved and resume:
        demand_same_settings(model_path, saved["options"], options, may_differ)
        return True
    used = saved is not None or (model_path / "point_cloud").exists() or (model_path / "cfg_args").exists()
    if used and resume and not overwrite:
        raise UserError(
            f"--resume: {model_path} holds a model, but no {SETTINGS_FILE} of a run of this program to go on "
            "from; start from its PLY with --init_ply in another --model_path"
        )
    if used and not overwrite:
        raise UserError(
            f"--model_path {model_path} already holds a run. Continue it with --resume, replace it with "
            "--overwrite, or choose another folder."
        )
    return False


def demand_same_settings(
    model_path: Path, old: Mapping[str, Any], new: Mapping[str, Any], may_differ: frozenset[str]
) -> None:
    """Raises a UserError that shows every setting in which a run to go on from differs from this one."""
    changed = differences(old, new, may_differ)
    if changed:
        raise UserError(
            f"--resume: {model_path} holds a run with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Give the same flags as then, or train into another --model_path."
        )


def clear(model_path: Path) -> None:
    """Removes what a run writes, and nothing else: a dataset in the same folder keeps its `train/`, say.

    The settings go first, so that a run which is killed here is not taken for one to go on from.
    """
    for name in OWN_FILES:
        (model_path / name).unlink(missing_ok=True)
    for pattern in OWN_OUTPUTS:
        for path in model_path.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for iteration in checkpoint_iterations(model_path):
        checkpoint_path(model_path, iteration).unlink()


def save_summary(
    model_path: Path,
    iteration: int,
    gaussians: int,
    iterations: int,
    seconds: float,
    gate: Mapping[str, Any] | None = None,
) -> None:
    """Writes `training.json`: how large the model is, and what this process needed for its iterations.

    What the gate decided on guidance stands there too, where it was asked.
    """
    write_json(
        model_path / "training.json",
        {
            "iteration": iteration,
            "gaussians": gaussians,
            "iterations_in_this_process": iterations,
            "seconds": round(seconds, 3),
            "iterations_per_second": round(iterations / seconds, 3),
            "peak_memory_mib": peak_memory(),
            **({"gate": gate} if gate else {}),
        },
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    found = {"python": platform.python_version()}
    for name in ("torch", "gsplat", "numba", "numpy", "diffusers", "transformers", "pycolmap", "pillow"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
