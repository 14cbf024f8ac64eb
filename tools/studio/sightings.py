"""What cameras see of points on surfaces: where in their pictures, what hides them, and in which colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scene.cameras import Camera
from tools.studio.renderer import first_hits
from tools.studio.textures import Array

GRAZING = 0.2  # least cosine between a ray and a surface's normal at which the surface is recognised


def project(camera: Camera, points: Array) -> tuple[Array, Array]:
    """Pixels (N, 2) and depths (N,) of (N, 3) world points."""
    pose, matrix = camera.world_to_camera.double().numpy(), camera.intrinsics.double().numpy()
    seen = (points @ pose[:3, :3].T + pose[:3, 3]) @ matrix.T
    return seen[:, :2] / seen[:, 2:], seen[:, 2]


def towards(camera: Camera, points: Array) -> tuple[Array, Array]:
    """Unit directions (N, 3) from points to the camera, and the distances (N,)."""
    offsets = camera.position.double().numpy() - points
    distances = np.linalg.norm(offsets, axis=1)
    return offsets / distances[:, None], distances


def sightings(
    scene: Any, camera: Camera, points: Array, normals: Array, asked: np.ndarray, slack: float
) -> tuple[np.ndarray, Array]:
    """Which of the points asked for the camera sees, and where.

    That is: inside its picture, on a surface not seen at a grazing angle, and with nothing before it.

    Args:
        scene: of Mitsuba, whose surfaces hide points.
        points, normals: (N, 3), on surfaces; a surface is seen from both sides.
        asked: (N,) bool.
        slack: metres by which a surface may lie before a point and still be its own.

    Returns:
        index: (M,) int64 into the points.
        pixels: (M, 2), x then y; the first pixel's centre is (0.5, 0.5).
    """
    pixels, depths = project(camera, points)
    directions, distances = towards(camera, points)
    upright = np.abs((directions * normals).sum(-1)) > GRAZING
    size = np.array([camera.width, camera.height])
    within = (depths > 0) & (pixels > 1).all(-1) & (pixels < size - 1).all(-1)
    index = np.nonzero(asked & upright & within)[0]
    origins = np.broadcast_to(camera.position.double().numpy(), (len(index), 3))
    hits, _ = first_hits(scene, origins, -directions[index])
    index = index[hits > distances[index] - slack]
    return index, pixels[index]


def mean_colours(
    images: Sequence[np.ndarray], count: int, point: np.ndarray, view: np.ndarray, pixels: Array
) -> np.ndarray:
    """(count, 3) uint8: the means of the colours that points have where pictures show them.

    Args:
        images: (H, W, 3) uint8 each.
        count: of points; each is observed once or more.
        point, view: (O,) int64: which point each observation is of, and in which picture.
        pixels: (O, 2), x then y.
    """
    sums = np.zeros((count, 3))
    for number, image in enumerate(images):
        at = view == number
        column, row = np.floor(pixels[at]).astype(int).T
        row, column = np.clip(row, 0, len(image) - 1), np.clip(column, 0, image.shape[1] - 1)
        np.add.at(sums, point[at], image[row, column])
    return np.round(sums / np.bincount(point, minlength=count)[:, None]).astype(np.uint8)
