"""A square of ground from straight above: colours and heights, and how things are painted on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from tools.studio.textures import Array, colour, fractal_noise, linear, mix, smooth_step


def shade(code: str) -> Array:
    """(3,) reflectance, linear, of a colour as it looks on a screen, such as "#c08040"."""
    return linear(colour(code))


@dataclass
class Ground:
    """What lies in and a little round the picture.

    Attributes:
        pitch: metres from one point to the next.
        points: M, both ways.
        span: metres that the picture is wide, without what lies round it.
        colours: (M, M, 3) reflectance, linear, in [0, 1].
        heights: (M, M) metres.
        snow: (M, M) how much snow would lie there: 1 on open ground, 0 on water and cleared roads.
        x, y: (1, M) and (M, 1) metres to the east and to the south of the middle.
    """

    pitch: float
    points: int
    span: float
    colours: Array = field(init=False)
    heights: Array = field(init=False)
    snow: Array = field(init=False)
    x: Array = field(init=False)
    y: Array = field(init=False)

    def __post_init__(self) -> None:
        places = (np.arange(self.points) + 0.5 - self.points / 2) * self.pitch
        self.x, self.y = places[None], places[:, None]
        self.colours = np.zeros((self.points, self.points, 3))
        self.heights = np.zeros((self.points, self.points))
        self.snow = np.ones((self.points, self.points))

    def noise(self, rng: Generator, slope: float = 1.5, stretch: tuple[float, float] = (1, 1)) -> Array:
        """(M, M) fractal noise of deviation 1, see `textures.fractal_noise`."""
        return fractal_noise(rng, self.points, self.points, slope, stretch)

    def turned(self, angle: float) -> tuple[Array, Array]:
        """(M, M) coordinates in metres along and across a direction, `angle` degrees from east to south."""
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return c * self.x + s * self.y, c * self.y - s * self.x

    def band(self, distance: Array, low: float, high: float | Array) -> Array:
        """(M, M) 1 where low < distance < high, in metres, with edges one point wide."""
        return np.clip((distance - low) / self.pitch + 0.5, 0, 1) * np.clip(
            (high - distance) / self.pitch + 0.5, 0, 1
        )

    def paint(self, tone: Array, weight: Array, snow: float = 1.0) -> None:
        """Lays a colour, (3,) or (M, M, 3), over the ground where the (M, M) weight is 1."""
        self.colours = mix(self.colours, tone, weight)
        self.snow += (snow - self.snow) * np.clip(weight, 0, 1)

    def mottled(self, rng: Generator, tones: Sequence[str], slope: float = 1.3, amount: float = 1.0) -> Array:
        """(M, M, 3) a mixture of two tones in clouds, uneven in brightness."""
        clouds = 0.5 + 0.3 * amount * self.noise(rng, slope)
        fine = 1 + 0.07 * amount * self.noise(rng, 0.5)
        return np.clip(mix(shade(tones[0]), shade(tones[1]), clouds) * fine[..., None], 0, 1)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The rows and columns of the points within `reach` metres of a place, in a square."""
        ends = []
        for place in (y, x):
            low, high = ((place + way * reach) / self.pitch + self.points / 2 for way in (-1, 1))
            ends.append(slice(int(np.clip(low, 0, self.points)), int(np.clip(high + 1, 0, self.points))))
        return ends[0], ends[1]


def distance_to_line(ground: Ground, line: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """(M, M) metres to a broken line of (x, y) points, and metres along it to the nearest point of it."""
    best = np.full(ground.heights.shape, np.inf)
    along, length = np.zeros_like(best), 0.0
    for (x0, y0), (x1, y1) in pairwise(line):
        step = math.hypot(x1 - x0, y1 - y0)
        a, b = (x1 - x0) / step, (y1 - y0) / step
        t = np.clip((ground.x - x0) * a + (ground.y - y0) * b, 0, step)
        away = np.hypot(ground.x - x0 - t * a, ground.y - y0 - t * b)
        nearer = away < best
        best, along = np.where(nearer, away, best), np.where(nearer, length + t, along)
        length += step
    return best, along


def winding_line(
    rng: Generator, span: float, angle: float, offset: float, swing: float
) -> list[tuple[float, float]]:
    """A line of (x, y) in metres that crosses a square in a direction, going to and fro by about `swing`."""
    t = np.linspace(-0.85, 0.85, 36) * span
    waves = rng.uniform(1.2, 3.2, 2) * math.pi / span
    phases = rng.uniform(0, 2 * math.pi, 2)
    side = offset + swing * (
        0.7 * np.sin(waves[0] * t + phases[0]) + 0.4 * np.sin(2 * waves[1] * t + phases[1])
    )
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return list(zip((c * t - s * side).tolist(), (s * t + c * side).tolist(), strict=True))


def add_road(
    ground: Ground, rng: Generator, line: Sequence[tuple[float, float]], width: float, kind: str
) -> Array:
    """Lays a road of some width in metres, "asphalt" or "gravel"; returns (M, M) metres to its middle."""
    away, along = distance_to_line(ground, line)
    grain = ground.noise(rng, 0.4)
    if kind == "asphalt":
        tone = shade("#77777a") * rng.uniform(0.7, 1.1)
        ground.paint(shade("#9a9384"), 0.8 * ground.band(away, -1, width / 2 + 1.1), 0.7)
        ground.paint(tone * (1 + 0.05 * grain[..., None]), ground.band(away, -1, width / 2), 0.2)
        dashes = ground.band(away, -1, 0.14) * (along % 9 < 3.5)
        ground.paint(shade("#e8e6dd"), dashes if ground.pitch < 0.4 else 0 * dashes, 0.2)
    else:
        tone = shade("#c9b795") * rng.uniform(0.75, 1.1)
        edge = away + 0.25 * ground.noise(rng, 1.2)
        ground.paint(tone * (1 + 0.09 * grain[..., None]), ground.band(edge, -1, width / 2), 0.75)
        ground.paint(shade("#8d9160"), 0.5 * ground.band(edge, -1, 0.35))
    ground.heights -= 0.15 * ground.band(away, -1, width / 2)
    return away


def add_snow(ground: Ground, rng: Generator) -> None:
    """Lays snow where it would stay: thick on open ground, thin on steep slopes, none on water."""
    down, across = np.gradient(ground.heights, ground.pitch)
    steep = smooth_step(0.7, 1.8, np.hypot(down, across))
    thin = rng.uniform(0.72, 0.92) + 0.07 * ground.noise(rng, 1.3)
    white = shade("#e4e8ee") * (1 + 0.02 * ground.noise(rng, 0.8))[..., None]
    ground.paint(np.clip(white, 0, 1), ground.snow * thin * (1 - 0.8 * steep))
