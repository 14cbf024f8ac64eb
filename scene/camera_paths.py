"""Cameras that nobody stood at: where they are placed and where they look."""

import torch
from torch import Tensor


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """World-to-camera matrix of a camera at `position` that looks at `target`, its image upright.

    Args:
        position: (3,) float, world frame, scene units.
        target: (3,) float, the point that falls on the image's centre.
        up: (3,) float of any length, the direction that points up in the image; not along the line of sight.

    Returns:
        (4, 4) of `position`'s dtype, OpenCV axes (x right, y down, z forward).

    Raises:
        ValueError: `position` is `target`, or `up` lies along the line of sight.
    """
    forward = target - position
    right = torch.linalg.cross(forward, up)
    if not float(right.norm()) > 1e-6 * float(forward.norm() * up.norm()):
        raise ValueError(f"no view from {position.tolist()} to {target.tolist()} with up {up.tolist()}")
    forward, right = forward / forward.norm(), right / right.norm()
    world_to_camera = torch.eye(4, dtype=position.dtype, device=position.device)
    world_to_camera[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ position
    return world_to_camera
