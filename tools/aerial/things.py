"""Things that stand on the ground: trees, houses, cars."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tools.aerial.ground import Ground, shade
from tools.studio.textures import Array, smooth_step

LEAVES = {
    "deciduous": {
        "summer": ("#3f5f2c", "#6a8a42"),
        "autumn": ("#7d7636", "#ad6330"),
        "winter": ("#6f655a", "#857a6c"),
    },
    "coniferous": {
        "summer": ("#26402c", "#3c5a3a"),
        "autumn": ("#28402c", "#3e583a"),
        "winter": ("#2a3f30", "#42573f"),
    },
    "fruit": {
        "summer": ("#46702f", "#6f9446"),
        "autumn": ("#8a8a3a", "#a8813a"),
        "winter": ("#75695c", "#8a7e70"),
    },
}
"""Colours of crowns, the darkest and the lightest, by kind and season."""
ROOFS = {
    "red tiled": ("#a8573c", "#8a4a38", "#b9694a"),
    "grey": ("#6d6f73", "#85878a", "#5b5d62"),
    "dark": ("#4a4444", "#3d3f45", "#544a45"),
}
CARS = ("#d9dadb", "#303236", "#8d9196", "#f2f2f0", "#3c3f44", "#b9bcc0", "#8e3a35", "#3a4f78", "#e6e6e4")


def add_trees(
    ground: Ground,
    rng: Generator,
    where: Array,
    *,
    kind: str,
    season: str,
    radius: tuple[float, float],
    spacing: float,
    jitter: float = 0.38,
    angle: float = 0.0,
) -> None:
    """Plants trees on a grid, each moved a little, where there is room for them.

    Args:
        where: (M, M) chance of a tree at each place.
        kind: a key of `LEAVES`.
        season: "summer", "autumn" or "winter".
        radius: least and greatest of a crown, metres.
        spacing: of the grid, metres.
        jitter: largest shift as a part of the spacing; 0 is a plantation.
        angle: of the grid, degrees.
    """
    along, across = ground.turned(angle)
    column, row = np.floor(along / spacing).astype(int), np.floor(across / spacing).astype(int)
    first = min(column.min(), row.min()) - 1
    cells = max(column.max(), row.max()) - first + 2
    shift = rng.uniform(-jitter, jitter, (2, cells, cells))
    sizes = rng.uniform(*radius, (cells, cells))
    tones, luck = rng.random((cells, cells)), rng.random((cells, cells))
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    best = np.zeros(ground.heights.shape)
    tint = np.zeros(ground.heights.shape)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            cell = (row + down - first, column + right - first)
            u = (column + right + 0.5 + shift[0][cell]) * spacing
            v = (row + down + 0.5 + shift[1][cell]) * spacing
            place = _nearest(ground, c * u - s * v, s * u + c * v)
            size = sizes[cell] * (luck[cell] < where[place])
            away = np.hypot(along - u, across - v) / np.maximum(size, 1e-6)
            crown = _crown(away, kind) * size * (size > 0)
            tint = np.where(crown > best, tones[cell], tint)
            best = np.maximum(best, crown)
    lumps = ground.noise(rng, 0.9)
    there = smooth_step(0.0, 0.4, best / max(radius))
    if kind != "coniferous":
        best = best * (1 + 0.09 * lumps)
    dark, light = (shade(code) for code in LEAVES[kind][season])
    blend = np.clip(0.25 + 0.5 * tint + 0.14 * lumps, 0, 1)[..., None]
    thin = 0.55 if season == "winter" and kind != "coniferous" else 1.0
    ground.paint(dark + (light - dark) * blend, there * thin, 0.32 if kind == "coniferous" else 0.2)
    ground.heights += best * np.where(there > 0, 1.0, 0.0) * (0.6 + 0.4 * thin)


def _nearest(ground: Ground, x: Array, y: Array) -> tuple[Array, Array]:
    """The indices of the points nearest to places, clipped to the ground."""
    half = ground.points / 2
    rows = np.clip((y / ground.pitch + half).astype(int), 0, ground.points - 1)
    return rows, np.clip((x / ground.pitch + half).astype(int), 0, ground.points - 1)


def _crown(away: Array, kind: str) -> Array:
    """Height of a crown over its radius, at distances from its middle that are 1 at its edge."""
    if kind == "coniferous":
        return 3.2 * np.maximum(1 - away, 0)
    return 1.7 * np.sqrt(np.maximum(1 - away**2, 0))


def add_house(
    ground: Ground,
    rng: Generator,
    place: tuple[float, float],
    half: tuple[float, float],
    angle: float,
    *,
    roof: str,
    walls: float = 3.5,
    pitched: bool = True,
) -> None:
    """Builds a house: gabled or hipped, or flat with a parapet and boxes on top.

    Args:
        place: (x, y) of its middle, metres.
        half: half its length and width, metres.
        angle: of its length, degrees.
        roof: a key of `ROOFS`, or "" for the pale roof of a hall.
        walls: height of its eaves, metres.
    """
    rows, columns = ground.window(*place, math.hypot(*half) + 1)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    area = (rows, columns)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = ground.x[:, columns] - place[0], ground.y[rows] - place[1]
    u, v = np.abs(c * x + s * y), np.abs(c * y - s * x)
    inside = np.minimum(half[0] - u, half[1] - v)
    weight = np.clip(inside / ground.pitch + 0.5, 0, 1)
    base = float(np.median(ground.heights[area]))
    if pitched:
        slope = rng.uniform(0.6, 0.95)
        rise = np.minimum(half[1] - v, half[0] - u) if rng.random() < 0.4 else half[1] - v
        top: Array = walls + slope * np.maximum(rise, 0)
        courses = 1 + 0.05 * np.sin(2 * np.pi * v / 0.45) * (ground.pitch < 0.2)
    else:
        top = walls + 0.5 * (inside < 0.6)
        courses = 1 + 0.03 * np.sin(2 * np.pi * u / 3.0)
    codes = ROOFS.get(roof, ("#b9bcbd", "#a3a8a6", "#c9c6bf"))
    tone = shade(codes[int(rng.integers(len(codes)))]) * rng.uniform(0.85, 1.15)
    stains = 1 + 0.06 * rng.standard_normal()
    painted = tone * (courses * stains)[..., None] * np.ones((*inside.shape, 3))
    ground.colours[area] += (np.clip(painted, 0, 1) - ground.colours[area]) * weight[..., None]
    ground.snow[area] += (0.92 - ground.snow[area]) * weight
    ground.heights[area] = np.where(weight > 0.5, base + top, ground.heights[area])


def add_car(ground: Ground, rng: Generator, place: tuple[float, float], angle: float) -> None:
    """Parks a car of some colour, its windows dark."""
    rows, columns = ground.window(*place, 3.5)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    area = (rows, columns)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = ground.x[:, columns] - place[0], ground.y[rows] - place[1]
    u, v = c * x + s * y, np.abs(c * y - s * x)
    body = np.clip(np.minimum(2.2 - np.abs(u), 0.9 - v) / ground.pitch + 0.5, 0, 1)
    glass = body * ((np.abs(u - 0.75) < 0.4) | (np.abs(u + 1.25) < 0.3))
    tone = shade(CARS[int(rng.integers(len(CARS)))])
    for weight, paint in ((body, tone), (0.85 * glass, shade("#20252a"))):
        ground.colours[area] += (paint - ground.colours[area]) * weight[..., None]
    ground.snow[area] *= 1 - body
    ground.heights[area] += 1.4 * (body > 0.5) * np.where(np.abs(u + 0.2) < 1.3, 1.0, 0.65)
