"""Built land: villages along streets, industrial estates."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tools.aerial.farmland import Details, Drawn, choice
from tools.aerial.ground import Ground, add_road, shade, winding_line
from tools.aerial.things import ROOFS, add_car, add_house, add_trees
from tools.studio.textures import smooth_step


def draw_village(rng: Generator, season: str) -> Drawn:
    """Houses with gardens along a street."""
    roof = choice(rng, tuple(ROOFS))
    crossing = bool(rng.random() < 0.4)
    pools = bool(season == "summer" and rng.random() < 0.3)
    seen = "snowy" if season == "winter" else roof
    words = f"houses with {seen} roofs along {'a crossing' if crossing else 'a street'}"
    return f"{words}{', pools' if pools else ''}", {"roof": roof, "crossing": crossing, "pools": pools}


def paint_village(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """A street or two, houses on both sides, drives with cars, lawns, hedges, trees."""
    span, angle = ground.span, rng.uniform(0, 180)
    ground.heights += 0.008 * span * ground.noise(rng, 2.3)
    ground.paint(ground.mottled(rng, ("#66854a", "#8a9f60"), 1.3), np.ones_like(ground.heights))
    _lay_gardens(ground, rng, angle)
    offset = rng.uniform(-0.12, 0.12) * span
    streets = [(angle, offset)]
    if details["crossing"]:
        streets.append((angle + 90, rng.uniform(-0.2, 0.2) * span))
    away = np.full_like(ground.heights, np.inf)
    for direction, side in streets:
        line = winding_line(rng, span, direction, side, 0.0)
        away = np.minimum(away, add_road(ground, rng, line, rng.uniform(5, 6.5), "asphalt"))
    taken = _build_houses(ground, rng, details, streets[0], away)
    room = smooth_step(4, 6, away) * (1 - taken)
    kind = choice(rng, ("deciduous", "deciduous", "coniferous"))
    add_trees(ground, rng, 0.28 * room, kind=kind, season=season, radius=(1.0, 2.8), spacing=5.2)
    for direction, side in streets:
        c, s = math.cos(math.radians(direction)), math.sin(math.radians(direction))
        for _ in range(int(rng.integers(1, 4))):
            t, lane = rng.uniform(-0.5, 0.5) * span, side + choice(rng, (-1.5, 1.5))
            add_car(ground, rng, (c * t - s * lane, s * t + c * lane), direction)


def _lay_gardens(ground: Ground, rng: Generator, angle: float) -> None:
    """Plots of differing lawns, with hedges between."""
    along, across = ground.turned(angle)
    wide, deep = rng.uniform(15, 20), rng.uniform(26, 34)
    column, row = np.floor(along / wide).astype(int), np.floor(across / deep).astype(int)
    tint = rng.uniform(0.8, 1.2, (64, 64))[column % 64, row % 64]
    ground.colours = np.clip(ground.colours * tint[..., None], 0, 1)
    to_edge = np.minimum(
        np.abs((along / wide + 0.5) % 1 - 0.5) * wide, np.abs((across / deep + 0.5) % 1 - 0.5) * deep
    )
    hedge = ground.band(to_edge, -1, 0.55) * (rng.random((64, 64))[column % 64, row % 64] < 0.6)
    ground.paint(ground.mottled(rng, ("#3b5a2c", "#547040")), hedge, 0.5)
    ground.heights += 1.4 * hedge


def _build_houses(
    ground: Ground, rng: Generator, details: Details, street: tuple[float, float], away: np.ndarray
) -> np.ndarray:
    """Houses along the street in rows; returns (M, M) 1 where they and their drives are."""
    angle, offset = street
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    taken = np.zeros_like(away)
    for way in (-1, 1):
        for depth in (rng.uniform(11, 14), rng.uniform(38, 44), rng.uniform(62, 70)):
            t = -0.75 * ground.span + rng.uniform(0, 10)
            while t < 0.75 * ground.span:
                half = (rng.uniform(5.0, 7.5), rng.uniform(3.8, 5.0))
                t += half[0] + rng.uniform(3, 9)
                side = offset + way * (depth + rng.uniform(-1.5, 1.5))
                x, y = c * t - s * side, s * t + c * side
                t += half[0]
                area, middle = ground.window(x, y, half[0] + 1), ground.window(x, y, ground.pitch)
                if away[middle].size == 0 or away[middle].min() < 9 or taken[area].max() > 0.5:
                    continue
                turn = angle + choice(rng, (0, 0, 90)) + rng.uniform(-4, 4)
                if depth < 20:
                    _lay_drive(ground, rng, (x, y), (c, s), way, half, angle, away)
                add_house(ground, rng, (x, y), half, turn, roof=details["roof"])
                if rng.random() < 0.35:
                    place = (x + c * (half[0] + 2), y + s * (half[0] + 2))
                    add_house(ground, rng, place, (2.8, 2.6), turn, roof="", walls=2.4, pitched=False)
                if details["pools"] and rng.random() < 0.4:
                    _dig_pool(ground, (x - s * way * 10, y + c * way * 10), angle)
                taken[area] = 1
    return taken


def _lay_drive(
    ground: Ground, rng: Generator, place: tuple[float, float], direction: tuple[float, float], way: int,
    half: tuple[float, float], angle: float, away: np.ndarray,
) -> None:  # fmt: skip
    """Paving from a house to the street, and sometimes a car on it."""
    (c, s), shift = direction, rng.uniform(-0.5, 0.5) * half[0]
    x, y = place[0] + c * shift, place[1] + s * shift
    along, across = c * (ground.x - x) + s * (ground.y - y), c * (ground.y - y) - s * (ground.x - x)
    strip = ground.band(np.abs(along), -1, 1.7) * ground.band(-way * across, 0, 15) * (away > 2.6)
    ground.paint(shade("#a9a49a") * rng.uniform(0.8, 1.1), strip, 0.4)
    if rng.random() < 0.6:
        add_car(ground, rng, (x + s * way * 7, y - c * way * 7), angle + 90)


def _dig_pool(ground: Ground, place: tuple[float, float], angle: float) -> None:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u = np.abs(c * (ground.x - place[0]) + s * (ground.y - place[1]))
    v = np.abs(c * (ground.y - place[1]) - s * (ground.x - place[0]))
    for grown, tone in ((1.2, "#cfc8b8"), (0.0, "#4fb3c4")):
        inside = ground.band(np.maximum(u - 3.8, v - 1.9), -1e3, grown)
        ground.paint(shade(tone), inside, 0.3)


def draw_industry(rng: Generator, season: str) -> Drawn:
    """Halls and yards."""
    parking = bool(rng.random() < 0.7)
    words = f"flat-roofed halls{' and a car park' if parking else ' and a yard'}"
    return words, {"parking": parking}


def paint_industry(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """A paved yard, halls side by side, a car park with its bays, a road and lawns beside it."""
    span, angle = ground.span, rng.uniform(0, 180)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = ground.turned(angle)
    ground.paint(ground.mottled(rng, ("#6c8850", "#8a9c62")), np.ones_like(along))
    yard = ground.band(across, -0.42 * span, 0.47 * span)
    ground.paint(ground.mottled(rng, ("#8d8c88", "#a5a39c"), 1.0, 0.6), yard, 0.7)
    road = [(c * t + s * 0.5 * span, s * t - c * 0.5 * span) for t in (-2 * span, 2 * span)]
    add_road(ground, rng, road, 7.0, "asphalt")
    t = -0.72 * span
    while t < 0.6 * span:
        half = (rng.uniform(0.11, 0.26) * span, rng.uniform(0.11, 0.17) * span)
        x, y = t + half[0], 0.45 * span - half[1] - rng.uniform(0, 0.06) * span
        place = (c * x - s * y, s * x + c * y)
        add_house(ground, rng, place, half, angle, roof="", walls=rng.uniform(6, 12), pitched=False)
        for _ in range(int(rng.integers(3, 10))):
            u, v = rng.uniform(-0.85, 0.85) * half[0], rng.uniform(-0.8, 0.8) * half[1]
            box = (rng.uniform(1, 2.4), rng.uniform(0.8, 1.6))
            on_roof = (place[0] + c * u - s * v, place[1] + s * u + c * v)
            add_house(ground, rng, on_roof, box, angle, roof="grey", walls=1.4, pitched=False)
        t += 2 * half[0] + rng.uniform(0.03, 0.1) * span
    _park(ground, rng, angle, details["parking"])
    edge = smooth_step(0.4 * span, 0.47 * span, -across) * smooth_step(0.46 * span, 0.43 * span, -across)
    add_trees(ground, rng, 0.8 * edge, kind="deciduous", season=season, radius=(1.4, 2.6), spacing=6.0)


def _park(ground: Ground, rng: Generator, angle: float, parking: bool) -> None:
    """Rows of cars in marked bays, or a few lorries on the open yard."""
    span = ground.span
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = ground.turned(angle)
    if not parking:
        for _ in range(int(rng.integers(3, 8))):
            u, v = rng.uniform(-0.5, 0.5) * span, rng.uniform(-0.3, 0.02) * span
            turn = angle + choice(rng, (0, 90)) + rng.uniform(-5, 5)
            add_house(
                ground,
                rng,
                (c * u - s * v, s * u + c * v),
                (6.5, 1.3),
                turn,
                roof="",
                walls=3.2,
                pitched=False,
            )
        return
    low, high = -0.36 * span, 0.02 * span
    ground.paint(shade("#6d6e70") * rng.uniform(0.8, 1.1), ground.band(across, low, high), 0.5)
    row = low + 3.5
    while row < high - 3:
        line = ground.band(np.abs(across - row), -1, 2.6) * ground.band(
            np.abs((along / 2.6) % 1 - 0.5) * 2.6, -1, 0.09
        )
        ground.paint(shade("#dcdcd8"), 0.7 * line, 0.4)
        for bay in np.arange(-0.7 * span, 0.7 * span, 2.6):
            if rng.random() < 0.62:
                u = bay - bay % 2.6
                add_car(ground, rng, (c * u - s * row, s * u + c * row), angle + 90)
        row += choice(rng, (5.2, 11.0))
