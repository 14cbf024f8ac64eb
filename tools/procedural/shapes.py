"""The solids that objects are put together from, with texture coordinates in tiles of one size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tools.studio.meshes import Mesh, Profile, box, faceted, facing, lathe, spline, tube
from tools.studio.textures import Array

TILE = 0.5  # scene units that one repeat of a pattern takes; an object is about one unit

Part = tuple[Mesh, str]
"""A mesh and what it is made of: "main" (the object's colour and material) or a name in `DETAILS`."""

DETAILS = {
    "dark": (0.13, 0.13, 0.14),
    "light": (0.90, 0.88, 0.84),
    "glass": (0.36, 0.42, 0.47),
    "brown": (0.36, 0.23, 0.13),
    "green": (0.22, 0.45, 0.16),
    "flame": (1.0, 0.78, 0.3),
}


def tiled(mesh: Mesh) -> Mesh:
    """The mesh with its texture projected along the axis that each corner's normal is nearest to."""
    axis = np.abs(mesh.normals).argmax(axis=1)
    x, y, z = mesh.vertices.T
    across, down = np.where(axis == 0, y, x), np.where(axis == 2, y, -z)
    return Mesh(mesh.vertices, mesh.normals, np.stack([across, down], axis=1) / TILE, mesh.faces)


def block(size: Sequence[float], at: ArrayLike = (0, 0, 0)) -> Mesh:
    """A box whose bottom's middle is at `at`."""
    return tiled(box(size).moved(at))


def turned(profile: Profile | Array, at: ArrayLike = (0, 0, 0), rows: int = 0, segments: int = 36) -> Mesh:
    """A body turned about the vertical through `at`.

    Args:
        profile: radius and height, from the top down the outside; an inside comes first, from its bottom up.
        rows: points of the smooth curve through the profile; 0: straight pieces with crisp edges.
    """
    outline = np.asarray(profile, float)
    if not rows:  # points close to every corner keep the shading of its two sides apart
        steps = np.diff(outline, axis=0)
        outline = np.concatenate(
            [
                outline[:-1, None],
                (outline[:-1] + 0.03 * steps)[:, None],
                (outline[1:] - 0.03 * steps)[:, None],
            ],
            axis=1,
        ).reshape(-1, 2)
        outline = np.vstack([outline, np.asarray(profile, float)[-1]])
    mesh = lathe(outline, segments, rows)
    length = np.linalg.norm(np.diff(outline, axis=0), axis=1).sum()
    repeats = max(round(2 * np.pi * outline[:, 0].max() / TILE), 1)
    uv = mesh.uv * [repeats, max(length / TILE, 0.25)]
    return Mesh(mesh.vertices, mesh.normals, uv, mesh.faces).moved(at)


def rod(start: ArrayLike, end: ArrayLike, radius: float, end_radius: float | None = None) -> Mesh:
    """A round bar, or a cone's stump, from one point to another."""
    along = np.subtract(end, start)
    length = float(np.linalg.norm(along))
    last = radius if end_radius is None else end_radius
    straight = turned([[0, length], [last, length], [radius, 0], [0, 0]], segments=24)
    return straight.turned(facing(along)).moved(start)


def wire(points: ArrayLike, radius: ArrayLike, count: int = 24) -> Mesh:
    """A round wire along a smooth curve through points; `radius`: one number, or one for each of `count`."""
    mesh = tube(spline(points, count), radius, 12)
    return Mesh(mesh.vertices, mesh.normals, mesh.uv * [1, 2], mesh.faces)


def ball(at: ArrayLike, radii: ArrayLike) -> Mesh:
    """An ellipsoid about `at` with one radius, or one for x, y and z."""
    angle = np.linspace(0, np.pi, 25)
    unit = turned(np.stack([np.sin(angle), np.cos(angle)], axis=1), rows=25)
    scale = np.broadcast_to(np.asarray(radii, float), 3)
    normals = unit.normals / scale
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    repeats = [max(round(2 * np.pi * scale[:2].mean() / TILE), 1), max(np.pi * scale[2] / TILE, 0.5)]
    uv = unit.uv / unit.uv.max(axis=0) * repeats
    return Mesh(unit.vertices * scale, normals, uv, unit.faces).moved(at)


def slab(across: ArrayLike, low: ArrayLike, high: ArrayLike, thickness: ArrayLike) -> Mesh:
    """An upright plate that faces -y: between two curves over x, as thick as said, its middle at y = 0.

    Args:
        across: (N,) increasing x.
        low, high: (N,) z of the lower and the upper edge, or one number.
        thickness: (N,) along y, or one number.
    """
    x = np.asarray(across, float)
    bottom, top, half = (
        np.broadcast_to(np.asarray(value, float), len(x)) for value in (low, high, thickness)
    )
    half = half / 2
    corners = [(-half, bottom), (-half, top), (half, top), (half, bottom)]
    vertices = np.stack([np.stack([x, y, z], axis=1) for y, z in corners], axis=1)  # (N, 4, 3)
    index = np.arange(4 * len(x)).reshape(-1, 4)
    faces = [index[0, [0, 1, 2]], index[0, [0, 2, 3]], index[-1, [0, 2, 1]], index[-1, [0, 3, 2]]]
    for side in range(4):
        here, there = index[:, side], index[:, (side + 1) % 4]
        faces.append(np.stack([here[:-1], here[1:], there[1:]], axis=1))
        faces.append(np.stack([here[:-1], there[1:], there[:-1]], axis=1))
    return tiled(faceted(vertices.reshape(-1, 3), np.concatenate([np.atleast_2d(face) for face in faces])))


def arc(start: float, end: float, count: int = 16) -> Array:
    """(count,) angles in radians between two of them in degrees."""
    return np.linspace(np.radians(start), np.radians(end), count)
