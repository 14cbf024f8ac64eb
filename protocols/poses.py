"""Poses as somebody has them who owns the training photographs alone (`--pose_source train`).

Structure from motion sees the training photographs; the test photographs are localised against its model,
which they do not change. What comes out is a dataset in its own frame and scale, which train.py reads.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pycolmap

from protocols.localisation import Localised, localise
from scene.colmap import read_colmap
from scene.undistort import is_pinhole
from sfm.reconstruction import FEWEST, largest_model
from utils.errors import UserError, Warnings
from utils.files import write_json

Names = Sequence[str]
IMAGES, RECORD = "images", "poses.json"
SEED = 0  # one dataset for all seeds of the trainings
FAILED = {"PSNR": 6.02, "SSIM": 0.0, "LPIPS": 1.0, "average_error": 0.63}
"""Scores of a test photograph that was not localised: a mid-grey picture's PSNR is never lower (its error is
0.5 at most), its structure is none, its distance full; the average error is that of these three."""
_ONE_AT_A_TIME = threading.Lock()  # it uses all cores, and the second finds what the first made


def demand_photographs_for_poses(folder: Path, kind: str, train: Names, test: Names) -> None:
    """A `UserError` where no poses can be found from the training photographs alone, before anything runs.

    Args:
        folder: of the scene.
        kind: of the dataset; see `scene.kinds.Kind`.
        train, test: names of the photographs, below `images/`.
    """
    if kind != "colmap":
        raise UserError(
            f"--pose_source train: {folder} is a {kind} dataset; only photographs of a COLMAP dataset can be "
            "posed anew. Use --pose_source all"
        )
    if len(train) < FEWEST:
        raise UserError(
            f"--pose_source train: {len(train)} training photographs of {folder}; focal length and shape "
            f"need {FEWEST} or more. Use --pose_source all, or more --views"
        )
    missing = [name for name in (*train, *test) if not (folder / IMAGES / name).is_file()]
    if missing:
        raise UserError(
            f"--pose_source train: {folder / IMAGES} lacks {len(missing)} of the photographs, {missing[0]} "
            "say; poses are found from those in that folder. Put them there, or use --pose_source all"
        )


def train_poses(source: Path, train: Names, test: Names, folder: Path) -> dict[str, Any]:
    """A dataset whose poses come from the training photographs alone, made where it is not yet there.

    It is `source` itself, linked, but for `sparse/0`: the model of the training photographs (pinhole cameras
    where those of `source` are free of distortion, otherwise with one radial term), and in it the test
    photographs, which observe none of its points. It is written whole or not at all.

    Args:
        source: the scene's folder, a COLMAP dataset with `images/`.
        train, test: names of the photographs.
        folder: of the new dataset.

    Returns:
        what `folder/poses.json` says, JSON values: `asked`, the arguments; `train` and `test`, the names with
        a pose; `not_registered`, training photographs without; `not_localised`, for each test photograph
        without a pose why; `localised`, for the others how many matches and inliers; `points`, how many;
        `error`, their mean reprojection error in pixels.

    Raises:
        UserError: no model or no test photograph in it, or `folder` is of other photographs.
    """
    asked = {"source": str(source), "train": list(train), "test": list(test)}
    with _ONE_AT_A_TIME:
        if not (folder / RECORD).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                made = Path(temporary) / "dataset"
                write_json(made / RECORD, {"asked": asked} | _make(source, train, test, made))
                try:
                    made.rename(folder)
                except OSError:  # another machine was faster, and made the same
                    if not (folder / RECORD).is_file():
                        raise
    found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if found["asked"] != asked:
        raise UserError(
            f"{folder} has poses of other photographs, of {found['asked']['source']}; choose another "
            "--output, or remove the folder"
        )
    return found


def _make(source: Path, train: Names, test: Names, folder: Path) -> dict[str, Any]:
    """Writes all of the dataset but its record, which is returned; what only serves it lies beside it."""
    posed, _ = read_colmap(source, IMAGES, Warnings())
    lens = "SIMPLE_PINHOLE" if all(is_pinhole(each.lens) for each in posed) else "SIMPLE_RADIAL"
    images, work = source / IMAGES, folder.parent
    try:
        model = largest_model(
            images, train, work, SEED, lens=lens, points_of_two=True, say=lambda sentence: None
        )
    except UserError as failure:
        raise UserError(f"--pose_source train: {failure}; or use --pose_source all") from None
    registered = sorted(image.name for image in model.images.values() if image.has_pose)
    if len(registered) < FEWEST:
        raise UserError(
            f"--pose_source train: of the {len(train)} training photographs of {source} SfM registered "
            f"{len(registered)}, too few for a model; use more --views, or --pose_source all"
        )
    points, error = model.num_points3D(), model.compute_mean_reprojection_error()
    results = localise(model, work / "database.db", images, test, work, SEED)
    localised = {name: it for name, it in results.items() if isinstance(it, Localised)}
    failed = {name: reason for name, reason in results.items() if isinstance(reason, str)}
    if not localised:
        name, reason = next(iter(failed.items()))
        raise UserError(
            f"--pose_source train: none of the {len(test)} test photographs of {source} could be localised "
            f"against the model of {len(registered)} training photographs ({name}: {reason}); use more "
            "--views, or --pose_source all"
        )
    for number, (name, found) in enumerate(localised.items(), start=max(model.images) + 1):
        image = pycolmap.Image(name=name, camera_id=found.lens, image_id=number)
        model.add_image_with_trivial_frame(image, found.world_to_camera)
    (folder / "sparse/0").mkdir(parents=True)
    model.write_binary(folder / "sparse/0")
    for entry in source.iterdir():
        if entry.name not in ("sparse", RECORD):
            (folder / entry.name).symlink_to(entry.resolve())
    return {
        "train": registered,
        "test": list(localised),
        "not_registered": sorted(set(train) - set(registered)),
        "not_localised": failed,
        "localised": {name: {"matches": it.matches, "inliers": it.inliers} for name, it in localised.items()},
        "points": points,
        "error": error,
    }


def with_failures(scores: Mapping[str, float | None], poses: Mapping[str, Any]) -> dict[str, float | None]:
    """Mean scores over all test photographs, those that were not localised entering as `FAILED`.

    Args:
        scores: means over the localised ones.
        poses: what `train_poses` returned.
    """
    found, lost = len(poses["test"]), len(poses["not_localised"])
    return {
        name: None if mean is None else (found * mean + lost * FAILED[name]) / (found + lost)
        for name, mean in scores.items()
    }


def pose_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whose poses the figures rest on, and which photographs found no place; a sentence for each.

    Args:
        records: of finished cells.
    """
    lines = []
    if any("poses" not in record for record in records):
        lines.append("Poses (--pose_source all): those of the dataset, from all of its photographs.")
    for record in records:
        if "poses" not in record:
            continue
        cell, poses = record["cell"], record["poses"]
        lost = poses["not_localised"]
        line = (
            f"Poses (--pose_source train): {cell['scene']}, {cell['views'] or 'all'} photographs: "
            f"{_of(poses['train'], poses['not_registered'])} registered by SfM on themselves alone, "
            f"{_of(poses['test'], lost)} test photographs localised against that model."
        )
        if lost:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in lost.items())
            line += f" Not localised, and not in the means: {reasons}."
        lines.append(line)
    return list(dict.fromkeys(lines))


def _of(found: Names, lost: Names | Mapping[str, str]) -> str:
    """How many of how many, and the names of the others."""
    count = f"{len(found)} of {len(found) + len(lost)}"
    return f"{count} (not {', '.join(lost)})" if lost else count
