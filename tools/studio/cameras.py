"""Cameras on a sphere round what they look at."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from scene.camera_paths import look_at
from scene.cameras import Camera
from tools.studio.textures import Array

FIELD_OF_VIEW = 40.0  # degrees; a long lens, so that proportions stay as they are


def direction(azimuth: float, elevation: float) -> Array:
    """(3,) unit vector from the middle to a camera.

    Args:
        azimuth: degrees; 0 is the front (from -y), 90 the right of who looks at the front (from +x).
        elevation: degrees over the horizon.
    """
    turn, rise = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise)])


def on_sphere(
    name: str, azimuth: float, elevation: float, *, target: ArrayLike, distance: float, resolution: int
) -> Camera:
    """A square camera that looks at `target` from `distance`, upright (+z is up).

    Args:
        azimuth, elevation: degrees, see `direction`; straight up or down gives no picture's up.
        target: (3,) world frame.
        resolution: pixels, both ways.

    Raises:
        ValueError: the elevation is 90 or -90 degrees, or the distance 0.
    """
    middle = np.asarray(target, float)
    position = middle + distance * direction(azimuth, elevation)
    pose = look_at(*(torch.from_numpy(vector) for vector in (position, middle, np.array([0.0, 0, 1]))))
    half = resolution / 2
    focal = half / math.tan(math.radians(FIELD_OF_VIEW / 2))
    intrinsics = torch.tensor([[focal, 0, half], [0, focal, half], [0, 0, 1]])
    return Camera(name, pose.float(), intrinsics, resolution, resolution)


def fitting_distance(
    points: Array, target: ArrayLike, azimuth: float, elevation: float, fill: float
) -> float:
    """How far from `target` a camera must stand for all (N, 3) points to lie in the middle of its picture.

    Args:
        fill: the part of the picture's half width and height that the points may take, 0 to 1.
    """
    back = direction(azimuth, elevation)
    right = np.cross([0.0, 0, 1], back)
    right /= np.linalg.norm(right)
    offsets = points - np.asarray(target, float)
    wide = np.maximum(np.abs(offsets @ right), np.abs(offsets @ np.cross(back, right)))
    return float((offsets @ back + wide / (fill * math.tan(math.radians(FIELD_OF_VIEW / 2)))).max())


def spread_on_sphere(
    count: int, elevations: Sequence[float], start: float = 0.0
) -> list[tuple[float, float]]:
    """`count` (azimuth, elevation) pairs, degrees, evenly over the sphere between two elevations.

    A spiral whose turns keep their distance: each next azimuth is a golden angle on.

    Args:
        elevations: the lowest and the highest, degrees.
        start: azimuth of the first, degrees.
    """
    low, high = (math.sin(math.radians(elevation)) for elevation in elevations)
    heights = low + (high - low) * (np.arange(count) + 0.5) / count
    golden = 180 * (3 - math.sqrt(5))
    return [
        ((start + golden * number) % 360, math.degrees(math.asin(height)))
        for number, height in enumerate(heights.tolist())
    ]


def spread_on_path(count: int, elevations: Sequence[float], turns: float = 1.0) -> list[tuple[float, float]]:
    """`count` (azimuth, elevation) pairs, degrees, evenly along a way round the object from the front on.

    Args:
        elevations: of the way's begin and end, degrees; alike, and with one turn, it is a turntable's circle.
        turns: how often it goes round, to the right of who looks at the front.
    """
    along = (np.arange(count) + 0.5) / count
    heights = elevations[0] + (elevations[1] - elevations[0]) * along
    return list(zip((360 * turns * along % 360).tolist(), heights.tolist(), strict=True))
