"""A depth map for each photograph from how it looks in the others: PatchMatch stereo, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene.dense.kernels import improve_planes, refine_planes
from scene.dense.views import View, projection
from scene.points import PointCloud, depth_range

MOST_SOURCES = 3  # photographs that each one is compared with
BEST_ANGLE, SPREAD = 10.0, 3.0  # degrees between rays, and the factor at which a pair is worth exp(-1/2)
WIDEST_ANGLE = 60.0  # degrees; beyond, surfaces look too different
LEAST_SHARED = 0.05  # of the picture, weighted by the angle
MARGIN = 1.5  # nearer and farther than the seeds, a factor
STEEPEST = 4.0  # tangent of the largest angle between a surface and the image plane
SPREADS = ((0.5, 0.12, 0.03, 0.01), (0.004, 0.001))  # random changes on the coarse and on the fine level

LARGEST_COST = 0.6  # 1 - correlation
LEAST_SHARPNESS = 0.03  # of the cost, two pixels from the best
LEAST_MOTION = 5.0  # pixels from infinity, so that a pixel's error is at most a fifth of the depth


@dataclass(frozen=True)
class Sources:
    """The photographs that one is compared with, and the depths to look at.

    Attributes:
        numbers: theirs, the best first; perhaps none.
        near, far: scene units.
    """

    numbers: list[int]
    near: float
    far: float


def choose_sources(views: Sequence[View], number: int, seeds: NDArray[np.floating]) -> Sources:
    """The views that see what view `number` sees, under angles at which both parallax and likeness are good.

    Args:
        seeds: (N, 3) world points; where the view sees fewer than ten, depths come from the cameras alone.
    """
    view = views[number]
    known = PointCloud(seeds.astype(np.float32), np.zeros((len(seeds), 3), np.uint8))
    seen = seeds[view.sees(seeds)]
    cameras = [view.camera] if len(seen) >= 10 else [each.camera for each in views]
    near, far = depth_range(cameras, known)
    near, far = near / MARGIN, far * MARGIN
    if len(seen) < 10:
        height, width = view.grey.shape
        grid = np.array([(x, y) for x in np.linspace(0, width, 7) for y in np.linspace(0, height, 7)])
        seen = np.concatenate(
            [view.points_at(grid, np.full(len(grid), 1 / depth)) for depth in np.geomspace(near, far, 5)]
        )
    worth = {
        other: score
        for other in range(len(views))
        if other != number and (score := shared(view, views[other], seen)) >= LEAST_SHARED
    }
    return Sources(sorted(worth, key=lambda other: (-worth[other], other))[:MOST_SOURCES], near, far)


def shared(view: View, other: View, points: NDArray[np.floating]) -> float:
    """The part of the points that the other view sees too, each weighted by the angle between its rays."""
    rays = [points - each.camera.position.numpy() for each in (view, other)]
    lengths = [np.linalg.norm(each, axis=1) for each in rays]
    cosine = (rays[0] * rays[1]).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-12)
    degrees = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    distance = np.log(np.maximum(degrees, 1e-3) / BEST_ANGLE) / np.log(SPREAD)
    good = other.sees(points) & (degrees <= WIDEST_ANGLE)
    return float(np.mean(np.exp(-0.5 * distance**2) * good))


def depth_planes(levels: Sequence[Sequence[View]], number: int, sources: Sources, seeds: NDArray) -> NDArray:
    """(H, W, 3) float32, w, gx and gy of each pixel of view `number`; 0 where the surface is not certain.

    Certain are pixels whose window matches, has a texture that tells one depth from the next, and moves
    between the pictures; see `kernels` for what the planes are.

    Args:
        levels: the views at each size, coarse to fine.
        seeds: (N, 3) world points at which to begin.
    """
    limits = np.array([1 / sources.far, 1 / sources.near, 0], np.float32)
    planes = first_planes(levels[0][number], limits, seeds)
    for level, views in enumerate(levels):
        view = views[number]
        others = padded([views[other].grey for other in sources.numbers], np.nan)
        paths = np.array([projection(view, views[other]) for other in sources.numbers], np.float32)
        if level:
            planes = doubled(planes, view.grey.shape)
        limits[2] = STEEPEST / view.intrinsics[0, 0]
        costs = np.full(view.grey.shape, -1, np.float32)
        for turn, spread in enumerate(SPREADS[min(level, 1)]):
            for colour in range(2):
                improve_planes(
                    view.grey,
                    others,
                    paths,
                    planes,
                    costs,
                    colour,
                    np.float32(spread),
                    10 * level + turn,
                    limits,
                )
    sharpness, motion = np.empty_like(costs), np.empty_like(costs)
    refine_planes(view.grey, others, paths, planes, costs, sharpness, motion)
    certain = (costs >= 0) & (costs <= LARGEST_COST)
    certain &= (sharpness >= LEAST_SHARPNESS) & (motion >= LEAST_MOTION)
    planes[~certain] = 0
    return planes


def first_planes(view: View, limits: NDArray[np.float32], seeds: NDArray[np.floating]) -> NDArray[np.float32]:
    """(H, W, 3) float32, planes to improve: facing the camera, random within the limits or through seeds."""
    height, width = view.grey.shape
    planes = np.zeros((height, width, 3), np.float32)
    planes[:, :, 0] = np.random.default_rng(0).uniform(limits[0], limits[1], (height, width))
    seen = seeds[view.sees(seeds)]
    there = (seen @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]) @ view.intrinsics.T
    columns, rows = np.rint(there[:, :2] / there[:, 2:]).astype(np.int64).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    planes[rows[inside], columns[inside], 0] = np.clip(1 / there[inside, 2], limits[0], limits[1])
    return planes


def doubled(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The planes of a picture of twice the size, (2H or 2H + 1, 2W or 2W + 1, 3)."""
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    near_rows, near_columns = (
        np.minimum(each // 2, size - 1) for each, size in zip((rows, columns), planes.shape[:2], strict=True)
    )
    result = planes[near_rows[:, None], near_columns]
    # a pixel x of the larger picture lies at (x - 0.5) / 2 of the smaller one
    result[..., 0] += result[..., 1] * ((columns - 0.5) / 2 - near_columns).astype(np.float32)
    result[..., 0] += result[..., 2] * ((rows - 0.5) / 2 - near_rows).astype(np.float32)[:, None]
    result[..., 1:] /= 2
    return result


def padded(arrays: Sequence[NDArray[np.float32]], value: float) -> NDArray[np.float32]:
    """(N, H, W, ...) float32: arrays of different heights and widths, filled up below and at the right."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in range(2))
    result = np.full((len(arrays), height, width, *arrays[0].shape[2:]), value, np.float32)
    for target, array in zip(result, arrays, strict=True):
        target[: array.shape[0], : array.shape[1]] = array
    return result
