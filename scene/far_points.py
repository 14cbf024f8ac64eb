"""A start for what lies behind: points far away, where photographs show nothing that is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree, QhullError

from scene.cameras import Camera
from scene.points import NO_POINTS, PointCloud, depth_range, projected, shown_at, visible

ACROSS = 21  # points along a picture's longer side, where nothing is known


def far_points(cameras: Sequence[Camera], known: PointCloud, times: float) -> PointCloud:
    """Points beyond all that is known, at a grid of each photograph's pixels, coloured as these.

    Stereo finds no depth on even walls, floors and sky. Without a start there, Gaussians of what is known
    grow into them at any depth that suits one photograph, and hang before the others as a haze. From far away
    they hide nothing. A pixel of the grid has a point if it lies outside the convex hull of the known ones in
    the picture, farther from them than the grid's spacing; masked and more than half transparent ones have
    none.

    Args:
        cameras: the training cameras, with photographs.
        known: points on surfaces.
        times: their depth, in multiples of the largest one in `depth_range`; 0: no points.

    Returns:
        the new points alone.

    Raises:
        UserError: a photograph's file is damaged; it is named.
    """
    if not times:
        return NO_POINTS
    depth = times * depth_range(cameras, known)[1]
    return sum((behind(camera, known, depth) for camera in cameras), NO_POINTS)


def behind(camera: Camera, known: PointCloud, depth: float) -> PointCloud:
    """Those of one photograph, at a depth in scene units."""
    spacing = max(camera.width, camera.height) / ACROSS
    across, down = (np.arange(spacing / 2, side, spacing) for side in (camera.width, camera.height))
    grid = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    rows, columns = (grid[:, axis].astype(np.int64) for axis in (1, 0))
    pixels = camera.own_photograph.pixels()
    chosen = outside(grid, camera, known, spacing) & pixels.shown[rows, columns]
    positions = shown_at(camera, grid[chosen], depth)
    return PointCloud(positions.astype(np.float32), pixels.rgb[rows[chosen], columns[chosen]])


def outside(
    places: NDArray[np.float64], camera: Camera, known: PointCloud, distance: float
) -> NDArray[np.bool_]:
    """(N,) bool: which places (N, 2) in a picture lie outside the known points' convex hull, so many pixels
    from all of them. An even surface between known points is near, as they are."""
    inside, _ = visible(camera, known.positions)
    pixels, _ = projected(camera, known.positions[inside])
    apart = KDTree(pixels).query(places)[0] >= distance
    try:
        hull = Delaunay(pixels)
    except (QhullError, ValueError):  # none, fewer than three, or all in a line
        return apart
    return apart & (hull.find_simplex(places) < 0)
