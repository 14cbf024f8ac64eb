"""A cell: one scene, number of photographs, variant and seed; trained, rendered and scored in processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from protocols.poses import train_poses, with_failures
from protocols.selection import Split
from scene.points import random_in_cube, save_point_cloud
from scene.split import write_split
from utils.errors import UserError
from utils.files import write_json
from utils.idle_threads import limits

ROOT = Path(__file__).resolve().parents[1]
BOX, BOX_POINTS = 1.0, 10_000  # half a side, and how many random points DNGaussian and CoR-GS put into it


@dataclass(frozen=True)
class Cell:
    """What is run once; as JSON values it says all that is needed to run it again.

    Attributes:
        protocol, scene, variant: names.
        views: number of training photographs, 0: all.
        seed: of the training, and of random points to start from.
        source: the scene's folder.
        flags: of train.py, without folders, seed and device.
        split: names to train from and to test on, where the flags do not say it.
        random_start: from random points in the box [-1, 1]^3.
        metrics_flags: of metrics.py.
        iterations, guided, pixels: how long it will take; of no weight in whether two cells are the same.
        pose_source: of whose photographs the poses are, "all" or "train".
    """

    protocol: str
    scene: str
    views: int
    variant: str
    seed: int
    source: str
    flags: tuple[str, ...]
    split: Split | None
    random_start: bool
    metrics_flags: tuple[str, ...]
    iterations: int = field(compare=False)
    guided: bool = field(compare=False)
    pixels: int = field(compare=False)
    pose_source: str = "all"

    @property
    def name(self) -> str:
        """Of its folder, and with .json of its record, below the output folder."""
        return f"{self.scene}/{self.views or 'all'}_views/{self.variant}/seed_{self.seed}"


def cell_from_plain(plain: Mapping[str, Any]) -> Cell:
    """The cell of a record.

    Raises:
        UserError: it is of another form.
    """
    try:
        values = {**plain, "flags": tuple(plain["flags"]), "metrics_flags": tuple(plain["metrics_flags"])}
        return Cell(**values | {"split": plain["split"] and tuple(map(tuple, plain["split"]))})
    except (KeyError, TypeError) as failure:
        raise UserError(f"this is no record of full_eval.py: {failure}") from None


def record_path(output: Path, cell: Cell) -> Path:
    """The file of a cell's record."""
    return output / f"{cell.name}.json"


def known_record(output: Path, cell: Cell) -> dict[str, Any] | None:
    """The record of a cell that was run; None where there is none.

    Raises:
        UserError: the file is damaged, or a record of other flags.
    """
    path = record_path(output, cell)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before = cell_from_plain(record["cell"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no record of full_eval.py; remove it to run the cell again") from None
    if before != cell:
        raise UserError(
            f"{path} was run otherwise:\n  {_shown(before)}\nand now it would be\n  {_shown(cell)}\n"
            "Choose another --output, or remove the file"
        )
    return record


def run_cell(
    cell: Cell, output: Path, device: str, threads: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Trains, renders and scores a cell; writes its record and returns it. Its folder keeps the model.

    A training that was stopped goes on from its checkpoint; the checkpoints go when all is done.

    Args:
        cell: what to run.
        output: the folder of all cells.
        device: as train.py's --device.
        threads: how many "torch" and "numba" use; None: as many as they like.

    Raises:
        UserError: one of the programs failed; what it said lies in the cell's .log.
    """
    model = output / cell.name
    model.mkdir(parents=True, exist_ok=True)
    log = model.with_suffix(".log")
    log.unlink(missing_ok=True)
    source, split = cell.source, cell.split
    poses: dict[str, Any] | None = None
    if cell.pose_source == "train" and split:
        posed = model.parents[1] / "train_poses"  # of all variants and seeds
        poses = train_poses(Path(source), *split, posed)
        source, split = str(posed), (poses["train"], poses["test"])
    words = ["-s", source, *cell.flags, "--seed", str(cell.seed)]
    if split:
        write_split(model / "split.json", *split)
        words += ["--split", str(model / "split.json")]
    if cell.random_start:
        save_point_cloud(model / "start.ply", random_in_cube(BOX_POINTS, BOX, cell.seed))
        words += ["--init_ply", str(model / "start.ply")]
    common = ["-m", str(model), "--device", device, "--quiet"]
    once = ["--resume", "--test_iterations", "-1", "--save_iterations", "-1"]
    started = time.perf_counter()
    call("train.py", [*words, *common, *once], log, threads)
    seconds = time.perf_counter() - started
    call("render.py", ["--skip_train", *common], log, threads)
    call("metrics.py", ["-m", str(model), *cell.metrics_flags], log, threads)
    record = {"cell": asdict(cell), "device": device, "process_seconds": round(seconds, 1), **_found(model)}
    if poses:
        record |= {"poses": poses, "scores_with_failures": with_failures(record["scores"], poses)}
    write_json(record_path(output, cell), record)
    for checkpoint in model.glob("chkpnt*.pth"):
        checkpoint.unlink()
    return record


def call(program: str, words: Sequence[str], log: Path, threads: Mapping[str, int] | None) -> None:
    """Runs a program of the repository; what it prints is added to `log`.

    Raises:
        UserError: it failed; the message has what it said of that, or its last line.
    """
    environment = os.environ | (limits(**threads) if threads else {})
    with log.open("a", encoding="utf-8") as file:
        result = subprocess.run(
            [sys.executable, str(ROOT / program), *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    if result.returncode:
        text = log.read_text(encoding="utf-8").strip()
        _, ours, message = text.rpartition("error: ")
        said = message if ours else text.rpartition("\n")[2]
        raise UserError(
            f"{program} failed with exit code {result.returncode}: {said} (all of it is in {log})"
        )


def average_error(psnr: float, ssim: float, lpips: float | None) -> float | None:
    """RegNeRF's average error: the geometric mean of the MSE, sqrt(1 - SSIM) and LPIPS; lower is better.

    Args:
        psnr: dB, of colours in [0, 1].
        ssim, lpips: of the same view; without LPIPS there is no average.
    """
    if lpips is None:
        return None
    return float((10 ** (-psnr / 10) * math.sqrt(max(1 - ssim, 0)) * max(lpips, 0)) ** (1 / 3))


def _found(model: Path) -> dict[str, Any]:
    """What the programs wrote into a model's folder: scores, how they were made, settings, time, memory."""
    files = ("results", "per_view", "metrics_conventions", "settings", "training")
    results, per_view, conventions, settings, training = (
        json.loads((model / f"{name}.json").read_text(encoding="utf-8")) for name in files
    )
    (scores,), (views,) = results.values(), per_view.values()
    views["average_error"] = {
        view: average_error(views["PSNR"][view], views["SSIM"][view], views["LPIPS"][view])
        for view in views["PSNR"]
    }
    errors = [error for error in views["average_error"].values() if error is not None]
    return {
        "scores": {**scores, "average_error": sum(errors) / len(errors) if errors else None},
        "per_view": views,
        "conventions": conventions,
        "training": training,
        "settings": settings,
    }


def _shown(cell: Cell) -> str:
    """A cell's flags as one line, with the test photographs' number where a list names them."""
    listed = f", {len(cell.split[0])} and {len(cell.split[1])} photographs listed" if cell.split else ""
    flags = " ".join((*cell.flags, *cell.metrics_flags))
    return f"{cell.protocol}, --pose_source {cell.pose_source}: {cell.source} {flags}{listed}"
