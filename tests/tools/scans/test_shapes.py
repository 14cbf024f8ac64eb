"""Solids: their distances, the boxes that hold them, and what a cut makes of them."""

import math

import numpy as np
import pytest

from tools.scans.phantom import AIR, Phantom, cut
from tools.scans.shapes import Shape, block, column, ellipsoid, half_space, tube, walls_between

RNG = np.random.default_rng(0)


def at(shape: Shape, x: float, y: float, z: float) -> float:
    """The distance at one point."""
    return float(shape.distance(np.array([[x]]), np.array([[y]]), z)[0, 0])


def test_distances_are_true_where_they_are_known() -> None:
    ball = ellipsoid((1, 2, 3), (5, 5, 5))
    assert at(ball, 1 + 7, 2, 3) == pytest.approx(2)
    assert at(ball, 1, 2, 3 + 4) == pytest.approx(-1)
    assert at(ball.grown(1.5), 1 + 7, 2, 3) == pytest.approx(0.5)
    assert at(ball.mirrored(), -1 - 7, 2, 3) == pytest.approx(2)
    assert at(ball.moved(10), 11 + 7, 2, 3) == pytest.approx(2)
    assert at(column((0, 0, 0), (3, 3)), 3, 4, 99) == pytest.approx(2)
    assert at(block((0, 0, 0), (1, 2, 3), 90), 4, 0, 0) == pytest.approx(2)
    assert at(block((0, 0, 0), (1, 1, 1), rounding=0.5), 1, 1, 0) == pytest.approx(math.sqrt(0.5) - 0.5)
    assert at(tube([(0, 0, 0), (10, 0, 0)], 1), 5, 3, 0) == pytest.approx(2)
    assert at(tube([(0, 0, 0), (10, 0, 0)], [1, 3]), 5, 0, 0) == pytest.approx(-2)
    assert at(half_space((0, 1, 0), 4), 0, 6, 0) == pytest.approx(2)
    assert at(walls_between(np.array([(-3, 0), (5, 0), (0, 99)]), 1), 0, 0, 0) == pytest.approx(0.5)


def test_solids_join_cross_and_lack() -> None:
    left, right = ellipsoid((-2, 0, 0), (3, 3, 3)), ellipsoid((2, 0, 0), (3, 3, 3))
    for x, in_left, in_right in ((-4, True, False), (0, True, True), (4, False, True), (9, False, False)):
        assert (at(left | right, x, 0, 0) < 0) == (in_left or in_right)
        assert (at(left & right, x, 0, 0) < 0) == (in_left and in_right)
        assert (at(left - right, x, 0, 0) < 0) == (in_left and not in_right)


@pytest.mark.parametrize(
    "shape",
    [
        ellipsoid((1, -2, 3), (9, 4, 6), 30, (0.3, -0.2), 2.5),
        column((1, 2, 3), (4, 7), 5, 70, (0.4, 0.1)),
        tube([(0, 0, 0), (3, 4, 5), (-4, 2, 6)], [2, 1, 3]),
        block((1, 2, 3), (4, 5, 6), 20, 1),
        ellipsoid((0, 0, 0), (6, 6, 6)).wobbly(RNG, 1.0, 8),
        (ellipsoid((0, 0, 0), (6, 5, 4)) | tube([(0, 0, 0), (9, 0, 0)], 1)).mirrored().grown(1),
    ],
)  # fmt: skip
def test_a_solid_lies_in_its_box(shape: Shape) -> None:
    x = np.linspace(-20, 20, 81)[None]
    y = x.T
    found = 0
    for z in np.linspace(-15, 15, 31).tolist():
        inside = shape.distance(x, y, z) < 0
        found += int(inside.sum())
        rows, columns = np.nonzero(inside)
        if len(rows):
            corner_low = np.array([x[0, columns].min(), y[rows, 0].min(), z])
            corner_high = np.array([x[0, columns].max(), y[rows, 0].max(), z])
            assert (corner_low >= shape.low - 1e-6).all()
            assert (corner_high <= shape.high + 1e-6).all()
    assert found > 50


def test_a_cut_shows_the_area_of_a_section_wherever_the_patient_lies() -> None:
    phantom = Phantom(100.0)
    phantom.add("water", column((5, -4, 0), (20, 12)), 0.0)
    for shift, turn in (((0.0, 0.0), 0.0), ((7.3, -4.1), 20.0)):
        found = cut(phantom, 3.0, 160, np.random.default_rng(1), shift, turn)
        wanted = math.pi * 20 * 12
        pixel = (100 / 160) ** 2
        assert (found.hu - AIR).sum() / -AIR * pixel == pytest.approx(wanted, rel=0.01)  # partial volume too
        assert (found.labels == 0).sum() * pixel == pytest.approx(wanted, rel=0.02)
        rows, columns = np.nonzero(found.labels == 0)
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        middle = (np.array([columns.mean(), rows.mean()]) + 0.5) * 100 / 160 - 50
        assert middle == pytest.approx([c * 5 + s * 4 + shift[0], s * 5 - c * 4 + shift[1]], abs=0.3)
