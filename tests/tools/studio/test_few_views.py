"""Cameras of a few-view test: nested, spread, and truly inside or outside of the first three's triangle."""

import itertools

import numpy as np
import pytest

from tools.studio.cameras import direction
from tools.studio.few_views import (
    AROUND,
    CORNERS,
    ELEVATIONS,
    degrees_outside,
    inside_places,
    outside_places,
    training_places,
)

TRIANGLE = np.stack([direction(*corner) for corner in CORNERS])


def sides_of(place: tuple[float, float]) -> np.ndarray:
    """(3,) on which side of the planes through the triangle's sides a place is; positive: its own."""
    low, right, top = TRIANGLE
    normals = np.stack([np.cross(low, right), np.cross(right, top), np.cross(top, low)])
    return normals @ direction(*place)


def test_fewer_training_views_are_the_first_of_more() -> None:
    nine = training_places(9)
    assert training_places(3) == nine[:3] and training_places(6) == nine[:6]
    assert np.allclose(nine[:3], CORNERS)
    assert len({(round(azimuth), round(elevation)) for azimuth, elevation in nine}) == 9


@pytest.mark.parametrize("count", [1, 8, 20])
def test_views_inside_are_inside_and_spread(count: int) -> None:
    places = inside_places(count)
    assert len(places) == count
    assert all((sides_of(place) > 0).all() for place in places)
    for place in [*places, *training_places(9)]:
        assert degrees_outside(TRIANGLE, direction(*place)) == pytest.approx(0, abs=1e-5)
    apart = [np.dot(direction(*a), direction(*b)) for a, b in itertools.combinations(places, 2)]
    assert not apart or np.degrees(np.arccos(max(apart))) > 60 / count


@pytest.mark.parametrize("count", [1, 4, 20])
def test_views_outside_are_outside_but_near(count: int) -> None:
    places = outside_places(count)
    assert len(set(places)) == count
    for place in places:
        assert (sides_of(place) < 0).any()
        assert ELEVATIONS[0] <= place[1] <= ELEVATIONS[1]
        assert AROUND[0] <= degrees_outside(TRIANGLE, direction(*place)) <= AROUND[1]
    if count == 20:  # on the left and on the right, below and above
        azimuths = (np.array(places)[:, 0] + 180) % 360 - 180
        assert azimuths.min() < -45 and azimuths.max() > 45
        assert min(place[1] for place in places) < 10 and max(place[1] for place in places) > 60


def test_the_angle_outside_is_that_to_the_nearest_mixture() -> None:
    """Against all mixtures of the three on a fine grid, and where it is known."""
    steps = np.linspace(0, 1, 201)
    shares = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1])
    mixtures = shares @ TRIANGLE
    mixtures /= np.linalg.norm(mixtures, axis=1, keepdims=True)
    for place in [(60, 10), (-80, 40), (0, 75), (0, 5), (120, 30), *outside_places(6)]:
        nearest = np.degrees(np.arccos(np.clip((mixtures @ direction(*place)).max(), -1, 1)))
        assert degrees_outside(TRIANGLE, direction(*place)) == pytest.approx(min(nearest, 90), abs=0.05)
    assert degrees_outside(TRIANGLE[:1], TRIANGLE[1]) == pytest.approx(68.3, abs=0.1)
    assert degrees_outside(TRIANGLE, direction(180, 10)) == 90
