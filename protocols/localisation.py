"""Photographs localised against a model that stays as it is: their poses from matches with its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from scene.photographs import stored_size
from sfm.reconstruction import add_features, verification

FEWEST_INLIERS, SMALLEST_SHARE, FURTHEST = 30, 0.25, 12.0
"""What COLMAP asks of a photograph before it joins a model: so many matches, so large a part of all, within
so many pixels of where the pose sees their points."""

RATIO = 0.8  # Lowe 2004: the second best match's angle must be this much larger
LARGEST_ANGLE = 0.7  # radians between descriptors, COLMAP's limit


@dataclass(frozen=True, eq=False)
class Localised:
    """A photograph's place in a model.

    Attributes:
        world_to_camera: as pycolmap has it, in the model's frame.
        lens: the model's camera that it was taken with, by its number.
        matches: with points of the model.
        inliers: how many of them agree with the pose.
    """

    world_to_camera: pycolmap.Rigid3d
    lens: int
    matches: int
    inliers: int


def localise(
    model: pycolmap.Reconstruction, database: Path, folder: Path, names: Sequence[str], work: Path, seed: int
) -> dict[str, Localised | str]:
    """Where photographs stand that are not in the model; a sentence instead, where that cannot be said.

    Each by itself: its SIFT features are matched with those of every photograph in the model, matches of a
    pair are verified (they have to share an essential matrix), and what remains and has a point in the model
    gives the pose by P3P in RANSAC and a robust refinement. Lenses are the model's and not refined.

    Args:
        model: as `largest_model` made it.
        database: with the features of its photographs.
        folder: of the photographs.
        names: theirs, relative to it.
        work: a folder for their own features, apart from the model's.
        seed: of the random samples.
    """
    pycolmap.set_random_seed(seed)
    lenses: dict[tuple[int, int], int] = {}  # of a size: that of its first photograph
    for image in _by_name(model):
        camera = model.cameras[image.camera_id]
        lenses.setdefault((camera.width, camera.height), image.camera_id)
    own = work / "localised.db"
    pycolmap.Database.open(own).close()
    add_features(own, folder, names, "SIMPLE_PINHOLE")
    found: dict[str, Localised | str] = {}
    with pycolmap.Database.open(database) as known, pycolmap.Database.open(own) as new:
        for name in names:
            width, height, _ = stored_size(folder / name)
            lens = lenses.get((width, height))
            if lens is None:
                found[name] = f"no training photograph has its size, {width}x{height}, and so its lens"
                continue
            pixels, points = _matches(model, known, new, name, lens, seed)
            found[name] = _pose(model, lens, pixels, points, seed)
    return found


def _by_name(model: pycolmap.Reconstruction) -> list[pycolmap.Image]:
    """The model's photographs, sorted."""
    return sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)


def _matches(
    model: pycolmap.Reconstruction,
    known: pycolmap.Database,
    new: pycolmap.Database,
    name: str,
    lens: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) pixels of a new photograph's features, and the (N, 3) points of the model that they match."""
    image_id = new.read_image_with_name(name).image_id  # type: ignore[union-attr]  # its features were added
    keypoints, descriptors = _features(new, image_id)
    pairs: set[tuple[int, int]] = set()
    for image in _by_name(model):
        there, descriptors_there = _features(known, image.image_id)
        raw = mutual_matches(descriptors, descriptors_there)
        one, two = model.cameras[lens], model.cameras[image.camera_id]
        geometry = pycolmap.estimate_calibrated_two_view_geometry(
            one, keypoints, two, there, raw, verification(seed)
        )
        for row, other in geometry.inlier_matches:
            if image.points2D[int(other)].has_point3D():
                pairs.add((int(row), image.points2D[int(other)].point3D_id))
    ordered = sorted(pairs)
    pixels = np.array([keypoints[row] for row, _ in ordered]).reshape(-1, 2)
    points = np.array([model.points3D[point].xyz for _, point in ordered]).reshape(-1, 3)
    return pixels, points


def _features(database: pycolmap.Database, number: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Pixels (N, 2) of a photograph's features, as COLMAP counts them, and their descriptors (N, 128)."""
    pixels = database.read_keypoints(number).astype(np.float64)
    return pixels[:, :2].reshape(-1, 2), database.read_descriptors(number).data


def mutual_matches(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(M, 2) rows of features that are each other's best, and much better than the second best.

    Args:
        one, two: (N, 128) and (K, 128) SIFT descriptors, in whole numbers, of length 512.
    """
    if min(len(one), len(two)) < 2:
        return np.zeros((0, 2), np.uint32)
    # sums of products of 8-bit numbers are exact in float32, whatever the order of adding
    alike = one.astype(np.float32) @ two.astype(np.float32).T
    rows, best, back = np.arange(len(one)), alike.argmax(axis=1), alike.argmax(axis=0)
    largest = alike[rows, best]
    alike[rows, best] = 0
    angle, second = (np.arccos(np.clip(each / 512**2, -1, 1)) for each in (largest, alike.max(axis=1)))
    chosen = (back[best] == rows) & (angle <= LARGEST_ANGLE) & (angle < RATIO * second)
    return np.c_[rows[chosen], best[chosen]].astype(np.uint32)


def _pose(
    model: pycolmap.Reconstruction,
    lens: int,
    pixels: NDArray[np.float64],
    points: NDArray[np.float64],
    seed: int,
) -> Localised | str:
    """The pose that most matches agree with, or why there is none."""
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = FURTHEST, seed
    needed = max(FEWEST_INLIERS, math.ceil(SMALLEST_SHARE * len(pixels)))
    if len(pixels) < needed:
        return f"{len(pixels)} matches with points of the model; at least {needed} are needed"
    result = pycolmap.estimate_and_refine_absolute_pose(pixels, points, model.cameras[lens], options)
    inliers = int(result["num_inliers"]) if result else 0
    if not result or inliers < needed:
        return f"of {len(pixels)} matches with points of the model {inliers} agree; at least {needed} have to"
    return Localised(result["cam_from_world"], lens, len(pixels), inliers)
