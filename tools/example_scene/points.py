"""A point cloud such as structure from motion would find, from rays into the scene: tracks, triangulated.

Corners of the pictures are lifted to the surfaces that they show. Other cameras that see the same spot
observe it with some luck, as a feature matcher would, and with the noise of a keypoint. The positions are
then triangulated from those observations, so their errors are true to the method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from scipy.spatial import cKDTree

from scene.cameras import Camera
from tools.studio.renderer import first_hits
from tools.studio.sightings import mean_colours, project, sightings, towards
from tools.studio.textures import Array

KEYPOINT_NOISE = 0.3  # pixels, standard deviation in x and in y
SLACK = 0.004  # metres that a surface may lie before a point of its own
LARGEST_ERROR = 2.0  # pixels; a point with a worse observation is dropped, as COLMAP drops it
LEAST_PARALLAX = 2.0  # degrees between two of a point's rays


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points and where the pictures show them.

    Attributes:
        positions: (N, 3) float64, world frame, metres, triangulated.
        colours: (N, 3) uint8, means over the observations.
        point, view: (O,) int64: which point each observation is of, and in which camera.
        pixels: (O, 2) float64, x then y; the first pixel's centre is (0.5, 0.5).
    """

    positions: Array
    colours: np.ndarray
    point: np.ndarray
    view: np.ndarray
    pixels: Array


def corners(image: np.ndarray, count: int) -> Array:
    """(M, 2) pixel positions of the strongest corners (Shi and Tomasi 1994), at most `count` of them.

    Args:
        image: (H, W, 3) uint8.
    """
    grey = image.mean(-1) / 255
    down, across = (ndimage.gaussian_filter(grey, 0.7, order) for order in ((1, 0), (0, 1)))
    xx, yy, xy = (ndimage.gaussian_filter(product, 1.2) for product in (across**2, down**2, across * down))
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    strength[:3], strength[-3:], strength[:, :3], strength[:, -3:] = 0, 0, 0, 0
    peak = (strength == ndimage.maximum_filter(strength, 3)) & (strength > 1e-6)
    rows, columns = np.nonzero(peak)
    best = np.argsort(-strength[rows, columns], kind="stable")[:count]
    return np.stack([columns[best], rows[best]], axis=-1) + 0.5


def rays(camera: Camera, pixels: Array) -> tuple[Array, Array]:
    """The camera's centre (3,) and the unit directions (N, 3) of its rays through (N, 2) pixels."""
    pose, matrix = camera.camera_to_world.double().numpy(), camera.intrinsics.double().numpy()
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    directions = homogeneous @ np.linalg.inv(matrix).T @ pose[:3, :3].T
    return pose[:3, 3], directions / np.linalg.norm(directions, axis=1, keepdims=True)


def lift(scene: Any, camera: Camera, pixels: Array) -> tuple[Array, Array]:
    """(M, 3) surface points behind those pixels that do not lie on an outline, and the normals there."""
    centre, _ = rays(camera, pixels)
    around = []
    for offset in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        _, directions = rays(camera, pixels + np.array(offset))
        distances, normals = first_hits(scene, np.broadcast_to(centre, directions.shape), directions)
        around.append(distances)
        if offset == (0, 0):
            points, facing = centre + distances[:, None] * directions, normals
    inside = np.max(around, axis=0) < 1.06 * np.min(around, axis=0)
    return points[inside], facing[inside]


def candidates(
    scene: Any, cameras: list[Camera], images: list[np.ndarray], per_view: int
) -> tuple[Array, Array, np.ndarray]:
    """Surface points at the images' corners: (N, 3) positions, (N, 3) normals, (N,) views of origin.

    Of points closer together than 1.5 pixels, the first stays.
    """
    positions, normals, sources = [], [], []
    for view, (camera, image) in enumerate(zip(cameras, images, strict=True)):
        points, facing = lift(scene, camera, corners(image, per_view))
        positions.append(points)
        normals.append(facing)
        sources.append(np.full(len(points), view))
    position, normal, source = (np.concatenate(parts) for parts in (positions, normals, sources))
    _, depth = project(cameras[0], position)
    spacing = 1.5 * np.abs(depth) / float(cameras[0].intrinsics[0, 0])  # metres that 1.5 pixels span
    tree, kept = cKDTree(position), np.ones(len(position), dtype=bool)
    for index, neighbours in enumerate(tree.query_ball_point(position, spacing)):
        if kept[index]:
            later = np.array(neighbours)
            kept[later[later > index]] = False
    return position[kept], normal[kept], source[kept]


def observe(
    rng: Generator, scene: Any, cameras: list[Camera], points: Array, normals: Array, sources: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Array]:
    """Which cameras observe which points, and the noisy pixels where: (O,), (O,) and (O, 2).

    A camera that sees a point finds it with a chance that falls with the angle from the point's source view.
    """
    centres = np.stack([camera.position.double().numpy() for camera in cameras])
    source_rays = centres[sources] - points
    source_rays /= np.linalg.norm(source_rays, axis=1, keepdims=True)
    point, view, pixels = [], [], []
    for number, camera in enumerate(cameras):
        away, _ = towards(camera, points)
        angle = np.degrees(np.arccos(np.clip((away * source_rays).sum(-1), -1, 1)))
        chance = np.where(sources == number, 1.0, 0.75 * np.exp(-((angle / 30) ** 2)))
        lucky = rng.uniform(size=len(points)) < chance
        index, seen = sightings(scene, camera, points, normals, lucky, SLACK)
        point.append(index)
        view.append(np.full(len(index), number))
        pixels.append(seen + rng.normal(0, KEYPOINT_NOISE, (len(index), 2)))
    return np.concatenate(point), np.concatenate(view), np.concatenate(pixels)


def triangulate(
    cameras: list[Camera], count: int, point: np.ndarray, view: np.ndarray, pixels: Array
) -> Array:
    """(count, 3) the points nearest, by least squares, to their observations' rays, two or more each."""
    normal_matrix, right_side = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for number, camera in enumerate(cameras):
        chosen = view == number
        centre, directions = rays(camera, pixels[chosen])
        across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        np.add.at(normal_matrix, point[chosen], across)
        np.add.at(right_side, point[chosen], across @ centre)
    return np.linalg.solve(normal_matrix, right_side[..., None])[..., 0]


def parallax(cameras: list[Camera], positions: Array, point: np.ndarray, view: np.ndarray) -> Array:
    """(N,) degrees: the widest angle between a point's first ray and its others."""
    centres = np.stack([camera.position.double().numpy() for camera in cameras])
    towards = centres[view] - positions[point]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    _, first = np.unique(point, return_index=True)
    cosine = (towards * towards[first][point]).sum(-1)
    narrowest = np.ones(len(positions))
    np.minimum.at(narrowest, point, cosine)
    return np.degrees(np.arccos(np.clip(narrowest, -1, 1)))


def keep(chosen: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which observations belong to the chosen points, (O,) bool, and their points' new numbers."""
    number = np.cumsum(chosen) - 1
    return chosen[point], number[point[chosen[point]]]


def find_tracks(
    rng: Generator, scene: Any, cameras: list[Camera], images: list[np.ndarray], per_view: int
) -> Tracks:
    """The point cloud of the pictures: the points with three observations, and a third of those with two."""
    points, normals, sources = candidates(scene, cameras, images, per_view)
    point, view, pixels = observe(rng, scene, cameras, points, normals, sources)
    lengths = np.bincount(point, minlength=len(points))
    chosen = (lengths > 2) | ((lengths == 2) & (rng.uniform(size=len(points)) < 1 / 3))
    of, point = keep(chosen, point)
    view, pixels = view[of], pixels[of]
    positions = triangulate(cameras, int(chosen.sum()), point, view, pixels)

    worst = np.zeros(len(positions))
    for number, camera in enumerate(cameras):
        at = view == number
        error = np.linalg.norm(project(camera, positions[point[at]])[0] - pixels[at], axis=1)
        np.maximum.at(worst, point[at], error)
    good = (worst < LARGEST_ERROR) & (parallax(cameras, positions, point, view) > LEAST_PARALLAX)
    of, point = keep(good, point)
    view, pixels, positions = view[of], pixels[of], positions[good]
    colours = mean_colours(images, len(positions), point, view, pixels)
    return Tracks(positions, colours, point, view, pixels)
