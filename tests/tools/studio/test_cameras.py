"""Cameras on a sphere: where they stand, what they see, how they spread."""

import numpy as np
import pytest

from tools.studio.cameras import direction, fitting_distance, on_sphere, spread_on_sphere
from tools.studio.sightings import project


def test_the_front_is_seen_from_minus_y_and_the_right_from_plus_x() -> None:
    assert np.allclose(direction(0, 0), [0, -1, 0])
    assert np.allclose(direction(90, 0), [1, 0, 0])
    assert np.allclose(direction(17, 90), [0, 0, 1])


def test_a_camera_stands_where_it_should_and_looks_at_its_target() -> None:
    camera = on_sphere("x", 40, 25, target=[0.1, 0.2, 0.3], distance=2.5, resolution=64)
    assert np.allclose(camera.position.numpy(), [0.1, 0.2, 0.3] + 2.5 * direction(40, 25), atol=1e-6)
    pixels, depth = project(camera, np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.4]]))
    assert np.allclose(pixels[0], 32, atol=1e-4)
    assert depth[0] == pytest.approx(2.5, abs=1e-5)
    assert pixels[1, 1] < 32  # up is up


@pytest.mark.parametrize("fill", [0.5, 0.9])
def test_the_fitting_distance_makes_the_points_just_fill_the_part(fill: float) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (300, 3)) * [1, 0.4, 0.7]
    distance = fitting_distance(points, [0, 0, 0.1], 70, 30, fill)
    camera = on_sphere("x", 70, 30, target=[0, 0, 0.1], distance=distance, resolution=100)
    pixels, _ = project(camera, points)
    assert np.abs(pixels - 50).max() == pytest.approx(50 * fill, abs=0.01)


def test_a_spread_keeps_its_elevations_and_leaves_no_side_empty() -> None:
    places = np.array(spread_on_sphere(40, (5, 65), start=20))
    assert places[:, 1].min() >= 5
    assert places[:, 1].max() <= 65
    assert places[0, 0] == 20
    azimuths = np.sort(places[:, 0])
    assert np.diff([*azimuths, azimuths[0] + 360]).max() < 20
