"""Points to start a training from: on surfaces that its pictures show, as structure from motion has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from scene.cameras import Camera
from scene.points import PointCloud
from tools.studio.meshes import Mesh
from tools.studio.sightings import mean_colours, sightings
from tools.studio.textures import Array

ROUNDS = 8  # of drawing points, at most, twice as many in each; those that no two cameras see are lost
SLACK = 1e-4  # scene units: the ray caster's single precision, seen at a grazing angle


def on_surfaces(rng: Generator, meshes: Sequence[Mesh], count: int) -> tuple[Array, Array]:
    """(count, 3) points, even over the area of the triangles, and the triangles' unit normals there."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
    sides = corners[:, 1:] - corners[:, :1]
    across = np.cross(sides[:, 0], sides[:, 1])
    double_area = np.linalg.norm(across, axis=1)
    chosen = rng.choice(len(corners), count, p=double_area / double_area.sum())
    steps = rng.random((count, 2, 1))
    steps = np.where(steps.sum(axis=1, keepdims=True) > 1, 1 - steps, steps)  # back into the triangle
    points = corners[chosen, 0] + (steps * sides[chosen]).sum(axis=1)
    return points, across[chosen] / double_area[chosen, None]


def points_in_sight(
    rng: Generator,
    scene: Any,
    meshes: Sequence[Mesh],
    cameras: Sequence[Camera],
    images: Sequence[np.ndarray],
    count: int,
) -> PointCloud:
    """Points on the meshes that two cameras see (one, where there is only one), with their mean colours.

    Args:
        scene: of Mitsuba, whose surfaces hide points.
        cameras, images: of the training pictures, (H, W, 3) uint8 each.
        count: how many points; there are fewer where next to nothing is in sight.
    """
    positions, colours, missing = [], [], count
    for attempt in range(ROUNDS):
        drawn = count * 2**attempt
        points, normals = on_surfaces(rng, meshes, drawn)
        seen = [sightings(scene, camera, points, normals, np.ones(drawn, bool), SLACK) for camera in cameras]
        point = np.concatenate([index for index, _ in seen])
        view = np.repeat(np.arange(len(cameras)), [len(index) for index, _ in seen])
        pixels = np.concatenate([where for _, where in seen])
        often = np.bincount(point, minlength=drawn) >= min(2, len(cameras))
        kept = np.nonzero(often)[0][:missing]
        number = np.full(drawn, -1)
        number[kept] = np.arange(len(kept))
        of = number[point] >= 0
        positions.append(points[kept])
        colours.append(mean_colours(images, len(kept), number[point[of]], view[of], pixels[of]))
        missing -= len(kept)
        if not missing:
            break
    return PointCloud(np.concatenate(positions).astype(np.float32), np.concatenate(colours))
