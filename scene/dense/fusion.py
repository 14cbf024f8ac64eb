"""Depth maps become points: what other photographs confirm, thinned by voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene.dense.kernels import compare_depths
from scene.dense.stereo import padded
from scene.dense.views import View, projection
from scene.points import PointCloud

# largest difference in depth (a part of it), of pixels there and back; how much farther opposes
TOLERANCE = np.array([0.02, 1.5, 0.1], np.float32)
FEWEST_IN_VOXEL = 3  # points; fewer are stray ones, for a voxel on a surface has some in each direction
VOXEL = 4.0  # side in pixels of the photograph that a point came from


def confirmed(
    views: Sequence[View], maps: Sequence[NDArray[np.float32]], number: int
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float64]]:
    """The points of depth map `number` that more of the others confirm than see through.

    Args:
        maps: for each view (H, W, 3) float32, planes of `depth_planes`.

    Returns:
        positions: (N, 3), world frame, the mean with what the others say.
        colours: (N, 3) uint8, the view's.
        footprints: (N,), a pixel's side at the point, scene units.
    """
    view, planes = views[number], maps[number]
    rest = [other for other in range(len(views)) if other != number]
    there = np.array([projection(view, views[other]) for other in rest], np.float32)
    back = np.array([projection(views[other], view) for other in rest], np.float32)
    fused = np.empty(planes.shape[:2], np.float32)
    agreeing, opposed = np.empty(fused.shape, np.int64), np.empty(fused.shape, np.int64)
    others = padded([maps[other] for other in rest], 0)
    compare_depths(planes, others, there, back, TOLERANCE, fused, agreeing, opposed)
    rows, columns = np.nonzero(agreeing > opposed)
    inverse_depths = fused[rows, columns].astype(np.float64)
    positions = view.points_at(np.c_[columns, rows], inverse_depths)
    return positions, view.rgb[rows, columns], 1 / (inverse_depths * view.intrinsics[0, 0])


def thinned(
    positions: NDArray[np.float64], colours: NDArray[np.uint8], footprints: NDArray[np.float64]
) -> PointCloud:
    """One point for each voxel that holds three or more: their mean.

    A point's voxels have the power of two next to `VOXEL` footprints as their side, so that what is near has
    points as dense on the pictures as what is far.

    Args:
        positions, colours, footprints: see `confirmed`.
    """
    level = np.rint(np.log2(VOXEL * footprints)).astype(np.int64)
    cells = np.c_[level, np.floor(positions / np.exp2(level)[:, None]).astype(np.int64)]
    _, voxel, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)

    def mean(values: NDArray) -> NDArray[np.float64]:
        sums = [np.bincount(voxel.ravel(), values[:, axis], len(count)) for axis in range(3)]
        return (np.stack(sums, axis=1) / count[:, None])[count >= FEWEST_IN_VOXEL]

    return PointCloud(mean(positions).astype(np.float32), np.rint(mean(colours)).astype(np.uint8))
