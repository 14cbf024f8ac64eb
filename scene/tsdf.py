"""Depth maps become a surface: a truncated signed distance to it, averaged over views in a grid of voxels.

Curless and Levoy, "A volumetric method for building complex models from range images" (SIGGRAPH 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from scene.cameras import Camera
from scene.meshes import Mesh
from utils.errors import UserError
from utils.kernels import Compiler
from utils.optional_modules import optional_module

MOST_VOXELS = 150_000_000  # about a gigabyte
DEFAULT_VOXELS = 2**24  # in the box, where nobody says how large they are
TRUNCATION = 4.0  # voxels; farther behind the surface that it sees, a view says nothing
SLOPE = 4.0  # in pixels' widths a pixel; a steeper surface (76 degrees) is taken for an edge

_compiler = Compiler([Path(__file__)], "compiling the fusion of depth maps (once per machine, about 5 s) ...")


@dataclass(frozen=True, eq=False)
class Volume:
    """A grid of voxels in the world's axes.

    Attributes:
        origin: (3,) float64, the first voxel's centre, world frame, scene units.
        voxel: scene units, their side.
        distances: (X, Y, Z) float32 in [-1, 1]: distance to the surface in truncations, above 0 in front.
        weights: (X, Y, Z) uint16: how many views the mean is of; 0: nothing is known.
    """

    origin: NDArray[np.float64]
    voxel: float
    distances: NDArray[np.float32]
    weights: NDArray[np.uint16]

    @property
    def truncation(self) -> float:
        """Scene units behind a surface where a view's knowledge ends."""
        return TRUNCATION * self.voxel

    def fuse(self, camera: Camera, depth: NDArray[np.float32], limit: float) -> None:
        """Adds what a camera sees; the same bits at any number of threads.

        Args:
            camera: of the depth's size.
            depth: (H, W) float32, z in the camera's frame, scene units; 0: nothing is known there.
            limit: scene units; voxels farther from the camera are left as they are.
        """
        pose = camera.world_to_camera.double().cpu().numpy()
        lens = camera.intrinsics.float().cpu().numpy()
        first = pose[:3, :3] @ self.origin + pose[:3, 3]
        steps = self.voxel * pose[:3, :3].T  # one voxel on along each of the grid's axes
        _fuse(
            *(self.distances, self.weights, first.astype(np.float32), steps.astype(np.float32)),
            *(lens, depth, np.float32(limit), np.float32(self.truncation)),
        )

    def surface(self) -> Mesh:
        """The surface between the voxels in front of it and those behind, without colours; perhaps empty.

        Vertices are interpolated (marching cubes, Lewiner et al. 2003), triangles turn counterclockwise to
        who stands in front. Where one of a cube's eight corners is unknown there is no surface.
        """
        cubes = optional_module("skimage.measure", "a mesh needs scikit-image", "scikit-image")
        known = self.weights > 0
        for axis in range(3):
            known = np.logical_and(*(np.delete(known, end, axis) for end in (0, -1)))
        inside = np.pad(known, ((1, 0),) * 3)  # a cube counts at its last corner
        crossed = inside.any() and self.distances.min() < 0 < self.distances.max()
        if not crossed:
            return Mesh.of(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
        try:
            vertices, faces, _, _ = cubes.marching_cubes(self.distances, 0.0, mask=inside)
        except RuntimeError:  # what it raises where there is no surface
            return Mesh.of(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
        return Mesh.of(self.origin + self.voxel * vertices, faces)


def empty_volume(low: NDArray[np.float64], high: NDArray[np.float64], voxel: float) -> Volume:
    """A volume that fills the box between two corners, (3,) scene units each, and a truncation around it.

    Raises:
        UserError: it would have too many voxels.
    """
    margin = TRUNCATION * voxel
    sides = high - low + 2 * margin
    shape = np.ceil(sides / voxel) + 1
    if shape.prod() > MOST_VOXELS:
        box = " x ".join(f"{side:.3g}" for side in high - low)
        million, most = shape.prod() / 1e6, MOST_VOXELS / 1e6
        least = float((sides.prod() / MOST_VOXELS) ** (1 / 3))
        raise UserError(
            f"--voxel {voxel:.3g}: the box of {box} units would have {million:.0f} million voxels; "
            f"at most {most:.0f} million are taken. Give --voxel {1.05 * least:.2g} or more, or a smaller "
            "--depth_limit"
        )
    size = tuple(int(side) for side in shape)
    return Volume(low - margin, voxel, np.ones(size, np.float32), np.zeros(size, np.uint16))


def default_voxel(low: NDArray[np.float64], high: NDArray[np.float64], pixel: float) -> float:
    """A voxel's side, scene units: so that the box has 17 million, but no smaller than a pixel is wide there.

    Args:
        low, high: (3,) the box's corners, scene units.
        pixel: scene units.
    """
    side = float((np.maximum(high - low, pixel).prod() / DEFAULT_VOXELS) ** (1 / 3))
    return max(side, pixel)


def box_of(points: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of a box that holds the points (N, 3) but for stray ones, with a little room around it."""
    low, high = np.percentile(np.concatenate(points), (0.5, 99.5), axis=0)
    room = 0.05 * float((high - low).max())
    return low - room, high + room


def world_points(camera: Camera, depth: NDArray[np.float32], limit: float) -> NDArray[np.float64]:
    """(N, 3) float64: the points of a depth map (H, W) that has some, and no farther than the limit."""
    rows, columns = np.nonzero((depth > 0) & (depth <= limit))
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    seen = np.linalg.inv(camera.intrinsics.double().cpu().numpy()) @ pixels * depth[rows, columns]
    pose = np.linalg.inv(camera.world_to_camera.double().cpu().numpy())
    return (seen.T @ pose[:3, :3].T + pose[:3, 3]).astype(np.float64)


def without_edges(depth: NDArray[np.float32], camera: Camera, jump: float) -> NDArray[np.float32]:
    """The depth map (H, W), 0 at its edges, where an expected depth is that of neither side.

    Args:
        camera: of the map's size.
        jump: scene units; the least difference to a pixel beside it that may be an edge.
    """
    far = maximum_filter(depth, size=3)
    near = minimum_filter(np.where(depth > 0, depth, np.inf), size=3)
    pixel = depth / float(camera.intrinsics[1, 1])
    return np.where(far - near > jump + SLOPE * pixel, 0, depth).astype(np.float32)


@_compiler.kernel
def _fuse(distances, weights, first, steps, lens, depth, limit, truncation):
    """Averages into each voxel what the depth of the pixel that it falls on says of it.

    `first` is the first voxel's centre in the camera's frame, rows of `steps` lead to the next one along each
    axis of the grid.
    """
    height, width = depth.shape
    for i in prange(distances.shape[0]):
        for j in range(distances.shape[1]):
            for k in range(distances.shape[2]):
                z = first[2] + i * steps[0, 2] + j * steps[1, 2] + k * steps[2, 2]
                if z <= 0 or z > limit:
                    continue
                x = first[0] + i * steps[0, 0] + j * steps[1, 0] + k * steps[2, 0]
                y = first[1] + i * steps[0, 1] + j * steps[1, 1] + k * steps[2, 1]
                column = np.floor(lens[0, 0] * x / z + lens[0, 2])
                row = np.floor(lens[1, 1] * y / z + lens[1, 2])
                if not (0 <= column < width and 0 <= row < height):
                    continue
                seen = depth[int(row), int(column)]
                if seen <= 0 or seen - z < -truncation:
                    continue
                distance = min((seen - z) / truncation, np.float32(1))
                weights[i, j, k] += 1
                distances[i, j, k] += (distance - distances[i, j, k]) / weights[i, j, k]
