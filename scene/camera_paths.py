"""Cameras that nobody stood at: where they are placed and where they look."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scene.cameras import Camera

WIDEST_GAP = math.radians(120.0)  # a ring of cameras may lack so much and is still a ring
LEAST_SWING = math.radians(3.0)  # of an orbit, where the cameras stand closer together than that
STEEPEST = math.radians(80.0)  # elevation above which a camera's up direction is no longer well defined
PULL = 0.05  # of the points' depths on an orbit's focus, beside the crossing of the cameras' axes


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


def focus_distances(cameras: Sequence[Camera], points: Tensor, spread: float) -> Tensor:
    """(C,) float64: the median depth of the points that each camera sees.

    A camera that sees fewer than ten takes the others' median; without any, twice the cameras' spread or 1.
    """
    distances = torch.full((len(cameras),), math.nan, dtype=torch.float64)
    for index, camera in enumerate(cameras):
        pose, lens = camera.world_to_camera.double().cpu(), camera.intrinsics.double().cpu()
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        depth = seen[:, 2]
        pixels = (seen @ lens.T)[:, :2] / depth[:, None]
        size = torch.tensor([camera.width, camera.height])
        inside = (depth > 0) & (pixels >= 0).all(dim=1) & (pixels < size).all(dim=1)
        if int(inside.sum()) >= 10:
            distances[index] = depth[inside].median()
    common = float(distances.nanmedian())
    return distances.nan_to_num(common if math.isfinite(common) else 2 * spread or 1.0)


def orbit(cameras: Sequence[Camera], points: Tensor, frames: int) -> list[Camera]:
    """A closed, smooth path round what the training cameras look at, upright as they are.

    Cameras on all sides: an ellipse through their midst, level in their mean up direction. Cameras on one
    side (forward-facing scenes): an ellipse in azimuth and elevation about the focus, as far as they are.
    Its half axes are root 2 times the cameras' standard deviations; for a circle of cameras, that circle.

    Args:
        cameras: the training cameras, at least one; the path takes the first one's lens and size.
        points: (P, 3), world frame: the scene's points, which tell how far the subject is.
        frames: how many cameras; after the last one the path is back at the first.
    """
    positions = torch.stack([camera.position for camera in cameras]).double().cpu()
    rotations = torch.stack([camera.world_to_camera[:3, :3] for camera in cameras]).double().cpu()
    spread = float((positions - positions.mean(dim=0)).norm(dim=1).max())
    distances = focus_distances(cameras, torch.as_tensor(points).double(), spread)
    focus = _focus(positions, rotations[:, 2], distances)
    up = -rotations[:, 1].mean(dim=0)
    if float(up.norm()) < 0.1:  # the cameras are rolled all ways
        up = -rotations[0, 1]
    turns = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    return [
        replace(
            cameras[0],
            name=f"orbit {index:05d}",
            world_to_camera=look_at(position, focus, up).to(cameras[0].world_to_camera),
            photograph=None,
        )
        for index, position in enumerate(_ellipse(positions, focus, up / up.norm(), turns))
    ]


def _focus(positions: Tensor, axes: Tensor, distances: Tensor) -> Tensor:
    """(3,) the point nearest to all optical axes, in least squares.

    Parallel axes leave its depth open; a weak pull to the median of the cameras' subjects settles it.
    """
    identity = torch.eye(3, dtype=positions.dtype)
    across = identity - axes[:, :, None] * axes[:, None, :]
    subject = (positions + distances[:, None] * axes).median(dim=0).values
    target = (across @ positions[:, :, None])[..., 0].mean(dim=0) + PULL * subject
    return torch.linalg.solve(across.mean(dim=0) + PULL * identity, target)


def _ellipse(positions: Tensor, focus: Tensor, up: Tensor, turns: Tensor) -> Tensor:
    """(F, 3) points of the orbit at the angles `turns`, see `orbit`."""
    offsets = positions - focus
    front = offsets.mean(dim=0)
    level = torch.eye(3, dtype=up.dtype) - torch.outer(up, up)
    if float((level @ front).norm()) < 1e-3 * float(offsets.norm(dim=1).mean()):
        front = level[int(level.diagonal().argmax())]
    front = level @ front / (level @ front).norm()
    side = torch.linalg.cross(up, front)

    azimuths = torch.atan2(offsets @ side, offsets @ front)
    ordered = azimuths.sort().values
    gaps = torch.cat([ordered[1:], ordered[:1] + 2 * math.pi]) - ordered
    if float(gaps.max()) < WIDEST_GAP:
        centre = positions.mean(dim=0)
        flat = (positions - centre) @ torch.stack([front, side], dim=1)
        variances, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
        circle = torch.stack([turns.cos(), turns.sin()], dim=1) * (2 * variances).sqrt()
        return centre + circle @ directions.T @ torch.stack([front, side])

    distances = offsets.norm(dim=1)
    middle = ordered[gaps.argmax()] + gaps.max() / 2 + math.pi  # opposite to where no camera stands
    azimuths = torch.remainder(azimuths - middle + math.pi, 2 * math.pi) - math.pi
    elevations = torch.asin((offsets @ up / distances).clamp(-1, 1))
    swings = [max(math.sqrt(2) * float(it.std(correction=0)), LEAST_SWING) for it in (azimuths, elevations)]
    azimuth = middle + azimuths.mean() + swings[0] * turns.sin()
    elevation = (elevations.mean() + swings[1] * turns.cos()).clamp(-STEEPEST, STEEPEST)
    level_direction = azimuth.cos()[:, None] * front + azimuth.sin()[:, None] * side
    direction = elevation.cos()[:, None] * level_direction + elevation.sin()[:, None] * up
    return focus + distances.median() * direction
