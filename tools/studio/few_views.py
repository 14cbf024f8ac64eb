"""Cameras of a few-view test: nested training views in a triangle, test views inside and outside of it."""

import math

import numpy as np
from scipy.optimize import nnls

from tools.studio.cameras import direction, spread_on_sphere
from tools.studio.textures import Array

CORNERS = ((-35.0, 12.0), (35.0, 12.0), (0.0, 47.0))
"""Azimuth and elevation of the first three training views, degrees: 68 degrees apart, and 46 from the top."""
TRAINING = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (4, 1, 1), (1, 4, 1), (1, 1, 4))
"""Shares of the corners in each training view: the corners, the middles of the sides, and within."""
AROUND = (5.0, 40.0)  # degrees from the triangle to the test views outside
ELEVATIONS = (2.0, 75.0)  # degrees, of these views
CANDIDATES = 1000  # places on the sphere that those outside are chosen from
PLASTIC = 1.32471795724474602596  # the R2 sequence's number (Roberts 2018): x^3 = x + 1


def training_places(count: int) -> list[tuple[float, float]]:
    """(azimuth, elevation) of `count` training views, degrees, 3 to 9; fewer are the first of more.

    All lie in the triangle of the first three, so that what is inside does not depend on their number.
    """
    return [_place(np.array(shares, float)) for shares in TRAINING[:count]]


def inside_places(count: int) -> list[tuple[float, float]]:
    """(azimuth, elevation) of `count` views, degrees, evenly in the triangle of the training views."""
    result = []
    for number in range(count):
        first, second = (0.5 + number / PLASTIC) % 1, (0.5 + number / PLASTIC**2) % 1
        if first + second > 1:  # back into the triangle
            first, second = 1 - first, 1 - second
        result.append(_place(np.array([first, second, 1 - first - second])))
    return result


def outside_places(count: int) -> list[tuple[float, float]]:
    """(azimuth, elevation) of `count` views, degrees, evenly on the zone about the triangle, low to high."""
    corners = np.stack([direction(*corner) for corner in CORNERS])
    near, far = AROUND
    zone = [
        place
        for place in spread_on_sphere(CANDIDATES, ELEVATIONS)
        if near <= degrees_outside(corners, direction(*place)) <= far
    ]
    return [zone[(2 * number + 1) * len(zone) // (2 * count)] for number in range(count)]


def degrees_outside(directions: Array, seen_from: Array) -> float:
    """The angle in degrees, 0 to 90, from a direction to the cone that others span; 0: it is inside.

    The nearest point of the cone is a least-squares solution without negative shares. What is farther away
    than 90 degrees counts as that.

    Args:
        directions: (C, 3) unit vectors from the middle to cameras.
        seen_from: (3,) unit vector from the middle to another camera.
    """
    _, distance = nnls(directions.T, seen_from)
    return math.degrees(math.asin(min(distance, 1.0)))


def _place(shares: Array) -> tuple[float, float]:
    """(azimuth, elevation) of the direction that mixes those of the corners, degrees."""
    mixed = shares @ np.stack([direction(*corner) for corner in CORNERS])
    east, north, up = mixed
    return math.degrees(math.atan2(east, -north)), math.degrees(math.atan2(up, math.hypot(east, north)))
