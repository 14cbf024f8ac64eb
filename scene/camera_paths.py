"""Cameras that nobody stood at: where they are placed and where they look."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation, RotationSpline
from torch import Tensor

from scene.cameras import Camera

WIDEST_GAP = math.radians(120.0)  # a ring of cameras may lack so much and is still a ring
LEAST_SWING = math.radians(3.0)  # of an orbit, where the cameras stand closer together than that
STEEPEST = math.radians(80.0)  # elevation above which a camera's up direction is no longer well defined
PULL = 0.05  # of the points' depths on an orbit's focus, beside the crossing of the cameras' axes
SAME_PLACE = 1e-6  # radii and radians; a smaller step of a path is none


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


def framed(camera: Camera, width: int, height: int) -> Camera:
    """The same view in a picture of another size, without its photograph.

    What is seen from top to bottom stays and pixels keep their shape, so a wider picture shows more at both
    sides, and a narrower one less.
    """
    scale = height / camera.height
    intrinsics = camera.intrinsics.clone()
    intrinsics[:2] *= scale
    intrinsics[0, 2] += (width - scale * camera.width) / 2
    return replace(camera, intrinsics=intrinsics, width=width, height=height, photograph=None)


def walk(cameras: Sequence[Camera]) -> list[Camera]:
    """The cameras in an order that leads from one to the next on a short way.

    That is the order in which they are listed, mostly the one in which they were taken, unless it is shorter
    to go on to the nearest one not yet visited: from the first, or from the one that is farthest from it.
    """
    positions, rotations = _placed(cameras)
    apart = cdist(positions, positions) + _turn(np.einsum("aij,bij->ab", rotations, rotations))
    orders = [list(range(len(cameras)))]
    for start in (0, int(apart[0].argmax())):
        left, order = apart.copy(), [start]
        for _ in cameras[1:]:
            left[:, order[-1]] = math.inf
            order.append(int(left[order[-1]].argmin()))
        orders.append(order)
    lengths = [apart[order[:-1], order[1:]].sum() for order in orders]
    return [cameras[index] for index in orders[int(np.argmin(lengths))]]


def through(cameras: Sequence[Camera], frames: int, label: str) -> list[Camera]:
    """A smooth path through the cameras, one after another, at about the same speed all along.

    Positions follow a cubic spline and rotations one of their own (continuous angular velocity); lenses are
    mixed linearly. The path's parameter is the way from camera to camera.

    Args:
        cameras: at least two that do not stand and look alike; the path has the first one's size, to which
            the others' pictures are brought (`framed`).
        frames: how many cameras, at least one; the first and the last are the first and the last given.
        label: what the path's cameras are called, before their number.

    Raises:
        ValueError: the cameras are all alike.
    """
    positions, rotations = _placed(cameras)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    steps += _turn(np.einsum("aij,aij->a", rotations[1:], rotations[:-1]))
    moved = np.append(True, steps > SAME_PLACE)
    if moved.sum() < 2:
        raise ValueError("a path needs two cameras or more that differ")
    first = cameras[0]
    views = [
        framed(camera, first.width, first.height)
        for camera, other in zip(cameras, moved, strict=True)
        if other
    ]
    knots = np.append(0.0, np.cumsum(steps[moved[1:]]))
    moments = np.linspace(0, knots[-1], frames)
    poses = spline_poses(
        knots, np.stack([view.camera_to_world.double().cpu().numpy() for view in views]), moments
    )
    lenses = np.stack([view.intrinsics.double().cpu().numpy() for view in views])
    return [
        replace(
            first,
            name=f"{label} {index:05d}",
            world_to_camera=torch.from_numpy(np.linalg.inv(poses[index])).to(first.world_to_camera),
            intrinsics=torch.from_numpy(lens).to(first.intrinsics),
            photograph=None,
        )
        for index, lens in enumerate(_mixed(knots, lenses, moments))
    ]


def spline_poses(
    knots: NDArray[np.float64], poses: NDArray[np.float64], moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rigid motions on a smooth path through given ones: velocity and angular velocity are continuous.

    Args:
        knots: (K,) when each pose is reached, increasing, at least two.
        poses: (K, 4, 4), camera to world.
        moments: (F,) from the first knot to the last.

    Returns:
        (F, 4, 4).
    """
    result = np.tile(np.eye(4), (len(moments), 1, 1))
    result[:, :3, :3] = RotationSpline(knots, Rotation.from_matrix(poses[:, :3, :3]))(moments).as_matrix()
    result[:, :3, 3] = CubicSpline(knots, poses[:, :3, 3], bc_type="natural")(moments)
    return result


def _mixed(
    knots: NDArray[np.float64], matrices: NDArray[np.float64], moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(F, 3, 3): the (K, 3, 3) matrices, mixed linearly at the moments (F,) between their knots (K,)."""
    entries = [np.interp(moments, knots, column) for column in matrices.reshape(-1, 9).T]
    return np.stack(entries, axis=1).reshape(-1, 3, 3)


def _placed(cameras: Sequence[Camera]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(C, 3) positions in radii of all of them, so that a step of 1 weighs as a turn of 1, and (C, 3, 3)."""
    positions = np.stack([camera.position.double().cpu().numpy() for camera in cameras])
    rotations = np.stack([camera.world_to_camera[:3, :3].double().cpu().numpy() for camera in cameras])
    radius = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    return positions / (radius or 1.0), rotations


def _turn(traces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles, radians, of rotations with these traces; 0 for those that are float32's rounding only."""
    return np.where(traces > 3 - 1e-6, 0.0, np.arccos(((traces - 1) / 2).clip(-1, 1)))


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
