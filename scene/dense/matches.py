"""Triangulated matches of photographs whose poses are known: where the dense search begins."""

from itertools import combinations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from scene.dense.views import View, projection

FURTHEST = 2.0  # pixels from the epipolar line, and between a match and its projection
RATIO = 0.8  # Lowe 2004: the second best candidate's distance must be this much larger
LARGEST_ANGLE = 0.7  # radians between descriptors, COLMAP's limit
LEAST_MOTION = 2.0  # pixels between where a match lies and where it would, were it infinitely far


def matched_points(views: list[View]) -> NDArray[np.float64]:
    """(N, 3), world points of SIFT features that match between two of the views.

    A feature's candidates are those within `FURTHEST` of its epipolar line; a match is the best one both ways
    and passes Lowe's ratio test. Matches in several pairs appear several times.
    """
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    features = [_features(view) for view in views]
    found = [np.zeros((0, 3))]
    for one, two in combinations(range(len(views)), 2):
        path = projection(views[one], views[two])
        rows, columns = _matches(features[one], features[two], path)
        pixels, seen = features[one][0][rows], features[two][0][columns]
        inverse_depths, good = triangulate(pixels, seen, path)
        found.append(views[one].points_at(pixels[good], inverse_depths[good]))
    return np.concatenate(found)


def triangulate(
    pixels: NDArray[np.float64], seen: NDArray[np.float64], path: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Inverse depths of matches, by linear least squares along the epipolar line.

    Args:
        pixels, seen: (N, 2), where the matches lie in the first and the second picture.
        path: (12,), the projection from the first into the second.

    Returns:
        inverse_depths: (N,), 1 / scene units.
        good: (N,) bool, those in front of both cameras, near their line and not too far away to tell.
    """
    matrix, motion = path[:9].reshape(3, 3), path[9:]
    infinite = np.c_[pixels, np.ones(len(pixels))] @ matrix.T
    slope = motion[:2] - seen * motion[2]
    target = seen * infinite[:, 2:] - infinite[:, :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = (slope * target).sum(axis=1) / (slope * slope).sum(axis=1)
        there = infinite + inverse[:, None] * motion
        error = np.linalg.norm(there[:, :2] / there[:, 2:] - seen, axis=1)
        moved = np.linalg.norm(infinite[:, :2] / infinite[:, 2:] - seen, axis=1)
    good = (inverse > 0) & (there[:, 2] > 0) & (error <= FURTHEST) & (moved >= LEAST_MOTION)
    return inverse, good


def _features(view: View) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Pixels (N, 2) of unmasked SIFT features, and their descriptors (N, 128) of whole numbers."""
    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.max_num_orientations = 1
    masked = np.isnan(view.grey)
    picture = np.rint(255 * np.where(masked, 0, view.grey)).astype(np.uint8)
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    keypoints, descriptors = extractor.extract_from_uint8_array(picture)
    pixels = np.array([(point.x, point.y) for point in keypoints]).reshape(-1, 2) - 0.5
    nearest = np.rint(pixels).astype(np.int64).clip(0, np.array(masked.shape[::-1]) - 1)
    free = ~masked[nearest[:, 1], nearest[:, 0]]
    # whole numbers of 8 bits: sums of their products are exact, whatever the order of adding
    return pixels[free], descriptors.data[free].astype(np.float32)


def _matches(
    one: tuple[NDArray[np.float64], NDArray[np.float32]],
    two: tuple[NDArray[np.float64], NDArray[np.float32]],
    path: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first and of the second picture's features that match."""
    if min(len(one[0]), len(two[0])) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # the epipolar line through M q and m
    lines = np.cross(np.c_[one[0], np.ones(len(one[0]))] @ path[:9].reshape(3, 3).T, path[9:])
    with np.errstate(divide="ignore", invalid="ignore"):
        lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    near = np.abs(lines @ np.c_[two[0], np.ones(len(two[0]))].T) <= FURTHEST
    angles = np.arccos(np.clip(one[1] @ two[1].T / np.float32(512**2), -1, 1))
    angles[~near] = np.pi
    best = angles.argmin(axis=1)
    rows = np.arange(len(angles))
    smallest, second = np.partition(angles, 1, axis=1)[:, :2].T
    mutual = angles.argmin(axis=0)[best] == rows
    chosen = mutual & (smallest <= LARGEST_ANGLE) & (smallest < RATIO * second)
    return rows[chosen], best[chosen]
