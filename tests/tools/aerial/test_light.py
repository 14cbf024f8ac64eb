"""Sunlight: shadows as long as they must be, slopes that face the sun, snow."""

import math

import numpy as np
import pytest

from tools.aerial.ground import Ground, add_snow, distance_to_line
from tools.aerial.light import photograph, sunlit
from tools.aerial.things import add_trees


def plain(points: int = 96, pitch: float = 0.5) -> Ground:
    """Flat grey ground."""
    ground = Ground(pitch, points, pitch * points)
    ground.colours += 0.2
    return ground


@pytest.mark.parametrize(("azimuth", "way"), [(90, (0, -1)), (180, (-1, 0)), (270, (0, 1))])
def test_a_tower_s_shadow_lies_away_from_the_sun_and_is_as_long_as_it_must_be(
    azimuth: float, way: tuple[int, int]
) -> None:
    ground = plain()
    ground.heights[47:49, 47:49] = 8.0
    lit = sunlit(ground.heights, ground.pitch, azimuth, 35)
    line = [lit[48 + step * way[0], 48 + step * way[1]] for step in range(3, 45)]
    assert sum(value < 0.5 for value in line) * ground.pitch == pytest.approx(
        8 / math.tan(math.radians(35)), abs=1.6
    )
    back = [lit[48 - step * way[0], 48 - step * way[1]] for step in range(3, 45)]
    assert min(back) == 1


def test_flat_ground_is_evenly_lit_and_slopes_by_where_they_face() -> None:
    ground = plain()
    even = photograph(ground, np.random.default_rng(0), 90, 40, 2, 8).astype(float)
    assert even.shape == (32, 32, 3)
    assert even.std(axis=(0, 1)).max() < 4  # the camera's noise
    ground.heights = 10 - np.abs(ground.x) * 0.5 * np.ones((96, 1))  # a roof, its ridge from north to south
    roof = photograph(ground, np.random.default_rng(0), 90, 40, 2, 8).astype(float)
    assert roof[:, 20:].mean() > roof[:, :12].mean() + 20


def test_snow_whitens_open_ground_and_spares_roads_and_water() -> None:
    ground = plain()
    ground.paint(np.array([0.1, 0.1, 0.1]), (np.abs(ground.y) < 4) * np.ones((1, 96)), snow=0.0)
    add_snow(ground, np.random.default_rng(0))
    road = np.abs(ground.y[:, 0]) < 3
    assert ground.colours[road].max() < 0.15
    assert ground.colours[~road][20:].mean() > 0.5


def test_trees_stand_where_there_is_room_for_them() -> None:
    ground = plain()
    where = (ground.x > 6) * np.ones((96, 1))
    add_trees(
        ground,
        np.random.default_rng(1),
        where,
        kind="coniferous",
        season="summer",
        radius=(1, 1.5),
        spacing=4,
    )
    assert ground.heights[:, :50].max() == 0
    assert (ground.heights[:, 70:] > 1).mean() > 0.1


def test_distances_to_a_line_and_along_it() -> None:
    ground = plain()
    away, along = distance_to_line(ground, [(-30, 3), (0, 3), (30, 3)])
    assert np.allclose(away, np.abs(ground.y - 3) * np.ones((1, 96)))
    assert np.allclose(along, (ground.x + 30) * np.ones((96, 1)))
