"""Solids as signed distances, of which a slice shows the cut: ellipsoids, columns, tubes, blocks.

Lengths are millimetres, in the frame of a patient who lies on the back and is seen from the feet: x to the
patient's left (right in the picture), y to the back (down in the picture), z to the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tools.studio.textures import Array

Point = Sequence[float] | Array
INFINITE = 1e9


@dataclass(frozen=True, eq=False)
class Shape:
    """A solid, possibly without end.

    Attributes:
        distance: of (H, W) x and y on the plane z: (H, W), negative inside, true near the surface.
        low, high: (3,) corners of a box that holds the solid.
    """

    distance: Callable[[Array, Array, float], Array]
    low: Array
    high: Array

    def __and__(self, other: Shape) -> Shape:
        """What is in both."""
        return Shape(
            lambda x, y, z: np.maximum(self.distance(x, y, z), other.distance(x, y, z)),
            np.maximum(self.low, other.low),
            np.minimum(self.high, other.high),
        )

    def __or__(self, other: Shape) -> Shape:
        """What is in at least one."""
        return Shape(
            lambda x, y, z: np.minimum(self.distance(x, y, z), other.distance(x, y, z)),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def __sub__(self, other: Shape) -> Shape:
        """What is in the first and not in the second."""
        return Shape(
            lambda x, y, z: np.maximum(self.distance(x, y, z), -other.distance(x, y, z)), self.low, self.high
        )

    def grown(self, by: float) -> Shape:
        """The solid with its surface moved outwards by so many mm; inwards where negative."""
        return Shape(lambda x, y, z: self.distance(x, y, z) - by, self.low - by, self.high + by)

    def wobbly(self, rng: Generator, amplitude: float, wavelength: float) -> Shape:
        """The solid with a surface that goes up and down by about `amplitude`, over `wavelength`, in mm."""
        waves = rng.normal(0, 2 * math.pi / wavelength / math.sqrt(3), (5, 3))
        phases = rng.uniform(0, 2 * math.pi, 5)

        def distance(x: Array, y: Array, z: float) -> Array:
            bumps = sum(
                np.sin(a * x + b * y + (c * z + phase))
                for (a, b, c), phase in zip(waves.tolist(), phases.tolist(), strict=True)
            )
            return self.distance(x, y, z) + 0.63 * amplitude * bumps  # five sines deviate by 1.6

        reach = 3.2 * amplitude
        return Shape(distance, self.low - reach, self.high + reach)

    def moved(self, along_x: float) -> Shape:
        """The solid moved along x, in mm."""
        offset = np.array([along_x, 0, 0])
        return Shape(lambda x, y, z: self.distance(x - along_x, y, z), self.low + offset, self.high + offset)

    def mirrored(self) -> Shape:
        """The solid on the patient's other side."""
        return Shape(
            lambda x, y, z: self.distance(-x, y, z),
            np.array([-self.high[0], *self.low[1:]]),
            np.array([-self.low[0], *self.high[1:]]),
        )


def ellipsoid(
    centre: Point,
    semi: Point,
    turn: float = 0.0,
    lean: tuple[float, float] = (0.0, 0.0),
    power: float = 2.0,
) -> Shape:
    """An ellipsoid.

    Args:
        centre, semi: (3,) mm.
        turn: degrees about z, from x towards y (clockwise in the picture).
        lean: how far its middle moves along x and y for each mm of z.
        power: 2; more makes it boxier.
    """
    a, b, c = semi

    def distance(x: Array, y: Array, z: float) -> Array:
        u, v, w = _local(x, y, z, centre, turn, lean)
        return _ellipse_distance(np.abs(u), np.abs(v), abs(w), (a, b, c), power)

    wide, deep = (max(a, b), max(a, b)) if turn else (a, b)
    reach = np.array([wide + abs(lean[0]) * c, deep + abs(lean[1]) * c, c])
    return Shape(distance, np.array(centre) - reach, np.array(centre) + reach)


def column(
    centre: Point,
    semi: tuple[float, float],
    half_height: float = INFINITE,
    turn: float = 0.0,
    lean: tuple[float, float] = (0.0, 0.0),
    power: float = 2.0,
) -> Shape:
    """An upright column with an elliptical section; the arguments are those of `ellipsoid`."""

    def distance(x: Array, y: Array, z: float) -> Array:
        u, v, w = _local(x, y, z, centre, turn, lean)
        flat = _ellipse_distance(np.abs(u), np.abs(v), 0.0, (*semi, 1.0), power)
        return np.maximum(flat, abs(w) - half_height)

    wide, deep = (max(semi), max(semi)) if turn else semi
    reach = np.array([wide + abs(lean[0]) * half_height, deep + abs(lean[1]) * half_height, half_height])
    return Shape(distance, np.array(centre) - reach, np.array(centre) + reach)


def tube(points: Sequence[Point], radius: float | Sequence[float]) -> Shape:
    """A round tube along a line of (K, 3) points, with one radius or one at each point, in mm."""
    line = np.array(points, dtype=float)
    radii = np.broadcast_to(np.array(radius, dtype=float), len(line))
    starts, steps = line[:-1], np.diff(line, axis=0)
    squares = np.maximum((steps**2).sum(axis=1), 1e-9)

    def distance(x: Array, y: Array, z: float) -> Array:
        result = np.full(np.broadcast_shapes(x.shape, y.shape), INFINITE)
        for start, step, square, first, last in zip(
            starts.tolist(), steps.tolist(), squares.tolist(), radii[:-1].tolist(), radii[1:].tolist(),
            strict=True,
        ):  # fmt: skip
            reach = max(first, last) + 5
            if (
                not min(start[2], start[2] + step[2]) - reach
                <= z
                <= max(start[2], start[2] + step[2]) + reach
            ):
                continue
            x0, y0, z0 = x - start[0], y - start[1], z - start[2]
            along = np.clip((x0 * step[0] + y0 * step[1] + z0 * step[2]) / square, 0, 1)
            away = np.sqrt(
                (x0 - along * step[0]) ** 2 + (y0 - along * step[1]) ** 2 + (z0 - along * step[2]) ** 2
            )
            result = np.minimum(result, away - (first + along * (last - first)))
        return result

    widest = radii.max()
    return Shape(distance, line.min(axis=0) - widest, line.max(axis=0) + widest)


def block(centre: Point, half: Point, turn: float = 0.0, rounding: float = 0.0) -> Shape:
    """A box with half its sides in mm, turned about z as an `ellipsoid`, its edges rounded by so many mm."""

    def distance(x: Array, y: Array, z: float) -> Array:
        u, v, w = _local(x, y, z, centre, turn, (0.0, 0.0))
        across, down = np.abs(u) - (half[0] - rounding), np.abs(v) - (half[1] - rounding)
        up = abs(w) - (half[2] - rounding)
        outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2 + max(up, 0) ** 2)
        inside = np.minimum(np.maximum(np.maximum(across, down), up), 0)
        return outside + inside - rounding

    flat = math.hypot(half[0], half[1])
    reach = np.array([flat, flat, half[2]])
    return Shape(distance, np.array(centre) - reach, np.array(centre) + reach)


def half_space(normal: Point, offset: float) -> Shape:
    """All points p with normal . p <= offset; the (3,) normal has length 1, the offset is in mm."""
    a, b, c = normal
    everywhere = np.full(3, INFINITE)
    return Shape(lambda x, y, z: a * x + b * y + (c * z - offset), -everywhere, everywhere)


def walls_between(seeds: Array, thickness: float) -> Shape:
    """Walls half-way between (K, 2) upright lines, so thick in mm: the sheets of fat between muscles."""
    everywhere = np.full(3, INFINITE)
    places = np.asarray(seeds, dtype=float)

    def distance(x: Array, y: Array, z: float) -> Array:
        squares = np.stack([(x - a) ** 2 + (y - b) ** 2 for a, b in places.tolist()])
        order = np.argpartition(squares, 1, axis=0)[:2]
        nearest, second = np.take_along_axis(squares, order, axis=0)
        apart = np.hypot(*np.moveaxis(places[order[0]] - places[order[1]], -1, 0))
        return np.abs(second - nearest) / (2 * np.maximum(apart, 1e-6)) - thickness / 2

    return Shape(distance, -everywhere, everywhere)


def _local(
    x: Array, y: Array, z: float, centre: Point, turn: float, lean: tuple[float, float]
) -> tuple[Array, Array, float]:
    """Coordinates along a solid's own axes, about its middle at that height."""
    w = z - centre[2]
    x, y = x - (centre[0] + lean[0] * w), y - (centre[1] + lean[1] * w)
    if turn:
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        x, y = c * x + s * y, c * y - s * x
    return x, y, w


def _ellipse_distance(u: Array, v: Array, w: float, semi: Point, power: float) -> Array:
    """(k - 1) / |grad k| for k = (|u/a|^p + |v/b|^p + |w/c|^p)^(1/p): true to first order at the surface."""
    a, b, c = semi
    p, q, r = np.maximum(u / a, 1e-4), np.maximum(v / b, 1e-4), max(w / c, 1e-4)
    if power == 2:
        k = np.sqrt(p * p + q * q + r * r)
        slope = np.sqrt((p / a) ** 2 + (q / b) ** 2 + (r / c) ** 2) / k
    else:
        k = (p**power + q**power + r**power) ** (1 / power)
        slope = k ** (1 - power) * np.sqrt(
            (p ** (power - 1) / a) ** 2 + (q ** (power - 1) / b) ** 2 + (r ** (power - 1) / c) ** 2
        )
    return (k - 1) / slope
