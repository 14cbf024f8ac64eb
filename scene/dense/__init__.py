"""A dense start: points on the surfaces that several photographs show, from their poses alone, no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from scene.cameras import Camera
from scene.dense.fusion import confirmed, thinned
from scene.dense.matches import matched_points
from scene.dense.stereo import choose_sources, depth_planes
from scene.dense.views import view_of
from scene.points import PointCloud

SMALLEST = 96  # pixels; narrower than twice that, a picture has no coarse level


def dense_points(cameras: Sequence[Camera], seeds: PointCloud) -> PointCloud:
    """Points where two photographs or more look alike at one place of the world and confirm it mutually.

    Triangulated SIFT matches and the seeds say at which depths to look; PatchMatch stereo (Bleyer et al.
    2011, Galliani et al. 2015) finds a plane for each pixel; what other photographs' depth maps confirm is
    merged and thinned by voxels of about four pixels. Masked and transparent pixels have none. The same bits
    at any number of threads.

    Args:
        cameras: with photographs, which are looked at no wider than 504 pixels; no others are read.
        seeds: points known already, kept in the result; perhaps none.

    Returns:
        the points with the colours of the photographs; perhaps none.

    Raises:
        UserError: a photograph's file is damaged; it is named.
    """
    if len(cameras) < 2:
        return seeds
    views = [view_of(camera) for camera in cameras]
    known = np.concatenate([seeds.positions, matched_points(views)])
    levels = [views]
    if min(min(view.grey.shape) for view in views) >= 2 * SMALLEST:
        levels = [[view.halved() for view in views], views]
    maps = []
    for number in tqdm(range(len(views)), desc="dense start", disable=None):
        sources = choose_sources(views, number, known)
        nothing = np.zeros((*views[number].grey.shape, 3), np.float32)
        maps.append(depth_planes(levels, number, sources, known) if sources.numbers else nothing)
    parts = [confirmed(views, maps, number) for number in range(len(views))]
    positions, colours, footprints = (np.concatenate(each) for each in zip(*parts, strict=True))
    return thinned(positions, colours, footprints) + seeds
