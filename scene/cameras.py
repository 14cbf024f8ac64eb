"""A pinhole camera: where it stands, how it projects, and which photograph it took."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from scene.photographs import Photograph

NEAR_PLANE = 0.2  # scene units, the reference's; gsplat's own default is 0.01
FARTHEST = 1e9  # scene units
OFF_RIGID = 1e-3  # how much a pose's axes may miss unit length and right angles


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with square or oblong pixels and any principal point.

    Attributes:
        name: the photograph's name (with folder and extension, as COLMAP has it), or any label.
        world_to_camera: (4, 4) float32, OpenCV axes (x right, y down, z forward), scene units.
        intrinsics: (3, 3) float32, pixels; the first pixel's centre is (0.5, 0.5).
        width, height: pixels.
        photograph: what it took, already at width x height; None for a camera of our own making.
        near_plane: scene units; Gaussians whose centres are nearer along its axis are not drawn.
    """

    name: str
    world_to_camera: Tensor
    intrinsics: Tensor
    width: int
    height: int
    photograph: Photograph | None = None
    near_plane: float = NEAR_PLANE

    @property
    def camera_to_world(self) -> Tensor:
        """(4, 4) float32, the inverse of `world_to_camera`, taken as a rigid motion."""
        rotation = self.world_to_camera[:3, :3]
        result = torch.eye(4, dtype=rotation.dtype, device=rotation.device)
        result[:3, :3] = rotation.T
        result[:3, 3] = -rotation.T @ self.world_to_camera[:3, 3]
        return result

    @property
    def position(self) -> Tensor:
        """(3,) float32, the camera's centre in the world frame."""
        return self.camera_to_world[:3, 3]

    @property
    def own_photograph(self) -> Photograph:
        """The photograph of a camera that took one, as all do that train or test."""
        assert self.photograph is not None
        return self.photograph

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Angles in radians, x then y, as the reference takes them: a centred principal point."""
        fx, fy = float(self.intrinsics[0, 0]), float(self.intrinsics[1, 1])
        return 2 * math.atan(self.width / (2 * fx)), 2 * math.atan(self.height / (2 * fy))

    def resized(self, width: int, height: int) -> Camera:
        """The same view on another grid of pixels, without its photograph."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], device=self.intrinsics.device)
        return replace(
            self, intrinsics=self.intrinsics * scale[:, None], width=width, height=height, photograph=None
        )

    def to(self, device: torch.device | str) -> Camera:
        """The same camera with its matrices on `device`."""
        return replace(
            self,
            world_to_camera=self.world_to_camera.to(device),
            intrinsics=self.intrinsics.to(device),
        )


def camera_of_view(
    name: str, camera_to_world: NDArray[np.float64], fov_y_degrees: float, width: int, height: int
) -> Camera:
    """A camera with square pixels and the principal point in the middle, without a photograph.

    Args:
        name: any label.
        camera_to_world: (4, 4), a rigid motion, OpenCV axes.
        fov_y_degrees: the picture's full height as an angle.
        width, height: pixels.
    """
    focal = height / 2 / math.tan(math.radians(fov_y_degrees) / 2)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    world_to_camera = torch.from_numpy(np.linalg.inv(camera_to_world)).float()
    return Camera(name, world_to_camera, intrinsics, width, height)


def demand_rigid(pose: NDArray[np.float64], name: str) -> None:
    """Raises a ValueError, whose message begins with `name`, unless a pose read from a file is one.

    Args:
        pose: (4, 4), of any numbers. It has to be a rotation and a shift, to either frame, each axis within
            0.001 of unit length and right angles, with numbers up to 1e9.
        name: what the file calls it.
    """
    if not (np.abs(pose) < FARTHEST).all():
        raise ValueError(f"{name} has a number that is not finite, or above 1e9")
    rotation = pose[:3, :3]
    off = max(np.abs(rotation @ rotation.T - np.eye(3)).max(), np.abs(pose[3] - (0, 0, 0, 1)).max())
    if off > OFF_RIGID:
        raise ValueError(f"{name} is not a 4x4 rigid motion")
    if np.linalg.det(rotation) < 0:
        raise ValueError(f"{name} mirrors the world")
