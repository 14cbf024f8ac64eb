"""Photographs at the resolution at which the dense start works, and how their pixels move between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene.cameras import Camera
from scene.points import visible

WIDEST = 504  # pixels; wider photographs are shrunk to it
OPAQUE = 128  # alpha and masks from here on, of 255, count as there
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class View:
    """A photograph with its camera, at the working size.

    Attributes:
        camera: at this size, without photograph.
        rgb: (H, W, 3) uint8.
        grey: (H, W) float32 in [0, 1]; NaN where masked or transparent.
    """

    camera: Camera
    rgb: NDArray[np.uint8]
    grey: NDArray[np.float32]

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """(3, 3), for pixels that count from the first one's centre, (0, 0)."""
        matrix = self.camera.intrinsics.numpy().astype(np.float64)
        matrix[:2] -= 0.5 * matrix[2]
        return matrix

    @property
    def world_to_camera(self) -> NDArray[np.float64]:
        """(4, 4), OpenCV axes, scene units."""
        return self.camera.world_to_camera.numpy().astype(np.float64)

    def halved(self) -> View:
        """At half the size; a pixel is masked if any of its four is; an odd last row or column is lost."""
        height, width = (side // 2 for side in self.grey.shape)
        blocks = self.grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
        rgb = self.rgb[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        cut = replace(self.camera, width=2 * width, height=2 * height)
        return View(cut.resized(width, height), rgb.astype(np.uint8), blocks.mean(axis=(1, 3)))

    def points_at(self, pixels: NDArray[np.floating], inverse_depths: NDArray[np.floating]) -> NDArray:
        """(N, 3) float64, world points at (N, 2) pixels, x then y, and (N,) inverse depths."""
        rays = np.c_[pixels, np.ones(len(pixels))].astype(np.float64) @ np.linalg.inv(self.intrinsics).T
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return (rays / inverse_depths[:, None] - translation) @ rotation

    def sees(self, positions: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N,) bool, which world points (N, 3) lie in the picture and in front of it."""
        return visible(self.camera, positions)[0]


def view_of(camera: Camera) -> View:
    """The camera's photograph at the working size.

    Raises:
        UserError: the file is damaged; it is named.
    """
    pixels = camera.own_photograph.pixels()
    size = (camera.width, camera.height)
    if camera.width > WIDEST:
        size = (WIDEST, max(round(camera.height * WIDEST / camera.width), 1))

    def at_size(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))

    rgb = at_size(pixels.rgb)
    grey = rgb.astype(np.float32) @ LUMA / np.float32(255)
    for cover in (pixels.alpha, pixels.mask):
        if cover is not None:
            grey[at_size(cover) < OPAQUE] = np.nan
    return View(camera.resized(*size), rgb, grey)


def projection(start: View, end: View) -> NDArray[np.float64]:
    """(12,): M, row by row, and m, by which pixel q of inverse depth w goes to M q + w m; see `kernels`."""
    motion = end.world_to_camera @ np.linalg.inv(start.world_to_camera)
    rotation = end.intrinsics @ motion[:3, :3] @ np.linalg.inv(start.intrinsics)
    return np.r_[rotation.ravel(), end.intrinsics @ motion[:3, 3]]
