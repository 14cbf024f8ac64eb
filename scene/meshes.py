"""Triangle meshes with coloured vertices: their parts, their colours from pictures, and their PLY file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import plyfile
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scene.cameras import Camera
from utils.files import whole_file

GREY = 128  # of vertices that no picture shows


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles.

    Attributes:
        vertices: (V, 3) float32, world frame, scene units.
        faces: (F, 3) int32, numbers of vertices, counterclockwise seen from outside.
        colours: (V, 3) uint8.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8]

    @staticmethod
    def of(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Mesh:
        """A grey mesh."""
        grey = np.full(vertices.shape, GREY, np.uint8)
        return Mesh(vertices.astype(np.float32), faces.astype(np.int32), grey)

    def areas(self) -> NDArray[np.float64]:
        """(F,) of each triangle, square scene units."""
        corners = self.vertices.astype(np.float64)[self.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        areas: NDArray[np.float64] = np.linalg.norm(normals, axis=1) / 2
        return areas

    def largest_parts(self, count: int) -> Mesh:
        """The connected parts with the largest area, `count` of them; all for 0. Loose vertices go."""
        start, end = self.faces[:, [0, 1]].ravel(), self.faces[:, [1, 2]].ravel()
        links = coo_array((np.ones(len(start), bool), (start, end)), shape=(len(self.vertices),) * 2)
        parts, part = connected_components(links, directed=False)
        sizes = np.bincount(part[self.faces[:, 0]], weights=self.areas(), minlength=parts)
        kept = np.argsort(-sizes, kind="stable")[: count or parts]
        faces = self.faces[np.isin(part[self.faces[:, 0]], kept)]
        used, numbers = np.unique(faces, return_inverse=True)
        return Mesh(self.vertices[used], numbers.reshape(-1, 3).astype(np.int32), self.colours[used])


class VertexColours:
    """The mean colour of each vertex over the pictures that show it.

    A picture shows a vertex whose depth is, up to a tolerance, that of the surface seen there.

    Args:
        mesh: whose vertices get colours.
        tolerance: scene units.
    """

    def __init__(self, mesh: Mesh, tolerance: float) -> None:
        self.mesh, self.tolerance = mesh, tolerance
        self.sums = np.zeros(mesh.vertices.shape)
        self.counts = np.zeros(len(mesh.vertices), np.int64)

    def add(self, camera: Camera, rgb: NDArray[np.float32], depth: NDArray[np.float32]) -> None:
        """Adds a picture.

        Args:
            camera: of the picture's size.
            rgb: (3, H, W) float32 in [0, 1].
            depth: (H, W) float32, scene units; 0: nothing is seen.
        """
        pose = camera.world_to_camera.double().cpu().numpy()
        seen = self.mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
        ahead = np.flatnonzero(seen[:, 2] > 0)
        pixels = seen[ahead] / seen[ahead, 2:] @ camera.intrinsics.double().cpu().numpy().T
        inside = ((pixels[:, :2] >= 0) & (pixels[:, :2] < (camera.width, camera.height))).all(axis=1)
        ahead, columns, rows = ahead[inside], pixels[inside, 0], pixels[inside, 1]
        surface = depth[rows.astype(np.int64), columns.astype(np.int64)]
        shown = (surface > 0) & (np.abs(surface - seen[ahead, 2]) <= self.tolerance)
        places = np.stack([rows[shown], columns[shown]]) - 0.5
        for channel in range(3):
            colour = map_coordinates(rgb[channel], places, order=1, mode="nearest")
            self.sums[ahead[shown], channel] += colour
        self.counts[ahead[shown]] += 1

    def coloured(self) -> Mesh:
        """The mesh with the colours; grey where no picture shows a vertex."""
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        colours = np.rint(255 * means.clip(0, 1)).astype(np.uint8)
        return replace(self.mesh, colours=np.where(self.counts[:, None] > 0, colours, GREY).astype(np.uint8))


def save_mesh(path: Path, mesh: Mesh) -> None:
    """Writes a binary PLY: vertices with float32 positions and colours in bytes, faces of three numbers."""
    names = [(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")]
    vertices = np.zeros(len(mesh.vertices), names)
    for number, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, number]
    for number, colour in enumerate(("red", "green", "blue")):
        vertices[colour] = mesh.colours[:, number]
    faces = np.zeros(len(mesh.faces), [("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = mesh.faces
    elements = [
        plyfile.PlyElement.describe(vertices, "vertex"),
        plyfile.PlyElement.describe(faces, "face"),
    ]
    with whole_file(path) as file:
        plyfile.PlyData(elements, byte_order="<").write(file)
