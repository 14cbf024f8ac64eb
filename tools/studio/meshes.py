"""Triangle meshes from mathematics: grids, turned bodies, tubes along curves, boxes, leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from tools.studio.textures import Array

Profile = Sequence[Sequence[float]]  # radius and height, of bodies that are turned


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with smooth normals and texture coordinates.

    Attributes:
        vertices: (V, 3) float64, metres.
        normals: (V, 3) float64, unit length.
        uv: (V, 2) float64: across, then down, of the texture.
        faces: (F, 3) int64 into the vertices, counter-clockwise from outside.
    """

    vertices: Array
    normals: Array
    uv: Array
    faces: np.ndarray

    def turned(self, rotation: Array) -> Mesh:
        """The mesh turned about the origin by a (3, 3) rotation."""
        return Mesh(self.vertices @ rotation.T, self.normals @ rotation.T, self.uv, self.faces)

    def moved(self, offset: ArrayLike) -> Mesh:
        """The mesh shifted by (3,) metres."""
        return Mesh(self.vertices + np.asarray(offset, float), self.normals, self.uv, self.faces)

    def scaled(self, factor: float) -> Mesh:
        """The mesh made larger, about the origin, by a positive factor."""
        return Mesh(self.vertices * factor, self.normals, self.uv, self.faces)


def faceted(vertices: Array, faces: np.ndarray, uv: Array | None = None) -> Mesh:
    """A mesh with flat shading: every (3,) row of `faces` gets corners and a normal of its own.

    Triangles without area are left out.

    Args:
        vertices: (V, 3).
        faces: (F, 3) into the vertices, counter-clockwise from outside.
        uv: (V, 2) texture coordinates; None: zeros, for a material of one colour.
    """
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(across, axis=1)
    kept = double_area > 0
    normals = np.repeat(across[kept] / double_area[kept, None], 3, axis=0)
    count = len(normals)
    coordinates = np.zeros((count, 2)) if uv is None else uv[faces[kept]].reshape(-1, 2)
    return Mesh(corners[kept].reshape(-1, 3), normals, coordinates, np.arange(count).reshape(-1, 3))


def normalising(points: Array, size: float = 1.0) -> tuple[Array, float]:
    """Offset (3,) and factor that make points stand on z = 0 over the origin, `size` across at most.

    (points + offset) * factor has its box's middle over the origin, its lowest point at z = 0, and its
    longest side of length `size`.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    offset = -np.array([*(low + high)[:2] / 2, low[2]])
    return offset, size / float((high - low).max())


def rotation(degrees: float, axis: str = "z") -> Array:
    """(3, 3) right-handed rotation about a coordinate axis."""
    index = "xyz".index(axis)
    first, second = (index + 1) % 3, (index + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    result = np.eye(3)
    result[first, first] = result[second, second] = cosine
    result[second, first], result[first, second] = sine, -sine
    return result


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several, for parts of the same material."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
    )


def grid(points: Array, closed: bool = False) -> Mesh:
    """A surface through (R, C, 3) points; texture coordinates follow columns, then rows.

    The normal is along d(points)/d(row) x d(points)/d(column). `closed` joins the last column to the first,
    with smooth normals across the seam; a whole row may shrink to almost a point, not quite.
    """
    if closed:
        points = np.concatenate([points, points[:, :1]], axis=1)
        ring = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], axis=1)
        along_row = ring[:, 2:] - ring[:, :-2]
    else:
        along_row = np.gradient(points, axis=1)
    rows, columns = points.shape[:2]
    normals = np.cross(np.gradient(points, axis=0), along_row)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    faces = np.concatenate(
        [
            np.stack([corner, corner + columns, corner + 1], axis=1),
            np.stack([corner + 1, corner + columns, corner + columns + 1], axis=1),
        ]
    )
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2), faces)


def spline(points: ArrayLike, count: int) -> Array:
    """(count, D) points on a smooth curve through the given (P, D) ones, evenly spaced along it."""
    knots = np.asarray(points, float)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    return CubicSpline(lengths, knots)(np.linspace(0, lengths[-1], count))


def lathe(profile: Profile | Array, segments: int = 72, rows: int = 0) -> Mesh:
    """A body turned about z.

    Args:
        profile: (P, 2) radius and height; from the top down the outside, for normals that point outwards.
        rows: the profile is first smoothed into so many points; 0 takes it as it is, with its corners.
    """
    outline = spline(profile, rows) if rows else np.asarray(profile, float)
    radius = np.maximum(outline[:, 0], 1e-5)
    angle = np.arange(segments) * 2 * np.pi / segments
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    points = np.empty((len(outline), segments, 3))
    points[..., :2] = radius[:, None, None] * circle
    points[..., 2] = outline[:, 1:2]
    return grid(points, closed=True)


def tube(path: Array, radius: ArrayLike, sides: int = 10) -> Mesh:
    """A round wire along a (P, 3) path, closed at its ends.

    Args:
        radius: metres, one number or one for every point of the path.
    """
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    side = np.cross(tangents[0], np.eye(3)[np.argmin(np.abs(tangents[0]))])
    sides_along = []
    for tangent in tangents:  # carried along without twist
        side = side - tangent * (side @ tangent)
        side /= np.linalg.norm(side)
        sides_along.append(side)
    across = np.array(sides_along)
    other = np.cross(across, tangents)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    thickness = np.broadcast_to(np.asarray(radius, float), len(path))[:, None, None]
    points = path[:, None] + thickness * ring
    first, last = path[:1, None] + 1e-5 * ring[:1], path[-1:, None] + 1e-5 * ring[-1:]
    return grid(np.concatenate([first, points, last]), closed=True)


def sheet(width: float, length: float, rows: int, columns: int) -> Array:
    """(R, C, 3) points of a flat rectangle about the origin, rows from +y to -y: as a `grid` it faces +z."""
    x, y = np.meshgrid(
        np.linspace(-width / 2, width / 2, columns), np.linspace(length / 2, -length / 2, rows)
    )
    return np.stack([x, y, np.zeros_like(x)], axis=-1)


def box(size: Sequence[float]) -> Mesh:
    """A box that stands on the origin; each face shows the whole texture, upright on the sides."""
    half = np.array(size, float) / 2
    top = grid(sheet(2, 2, 2, 2)).moved([0, 0, 1])
    sides = [top.turned(rotation(turn) @ rotation(90, "x")) for turn in (0, 90, 180, 270)]
    cube = joined([top, top.turned(rotation(180, "x")), *sides])
    return Mesh(cube.vertices * half + [0, 0, half[2]], cube.normals, cube.uv, cube.faces)


def blade(length: float, width: float, *, fold: float, droop: float, point: float = 1.0) -> Mesh:
    """A leaf or petal that starts at the origin and grows along +x, its upper side towards +z.

    Args:
        fold: height of the edges over the midrib, as a fraction of the half width.
        droop: how far the tip hangs below a straight leaf, as a fraction of the length.
        point: 1 is a pointed leaf; smaller is rounder.
    """
    along = np.linspace(0, 1, 9)[:, None]
    side = np.linspace(-1, 1, 5)[None]
    half = width / 2 * np.maximum(np.sin(np.pi * along**0.8), 0.02) ** point
    points = np.empty((9, 5, 3))
    points[..., 0] = length * (along - 0.15 * droop * along**2)
    points[..., 1] = half * side
    points[..., 2] = fold * half * np.abs(side) - droop * length * along**2
    return grid(points)


def facing(direction: ArrayLike) -> Array:
    """(3, 3) a rotation that takes +z to `direction`."""
    z = np.asarray(direction, float)
    z = z / np.linalg.norm(z)
    x = np.cross(np.eye(3)[np.argmin(np.abs(z))], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)
