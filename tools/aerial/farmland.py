"""Farmland: fields in strips, irrigated circles, orchards and vineyards, solar farms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from tools.aerial.ground import Ground, add_road, shade
from tools.aerial.things import add_trees
from tools.studio.textures import Array, smooth_step

Details = Mapping[str, Any]
Drawn = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Crop:
    """How a field looks.

    Attributes:
        tones: of what covers it, the darkest and the lightest.
        soil: what shows between rows.
        rows: metres from row to row; 0: none are to be seen.
        share: of the soil, where there are rows.
        height: metres.
        tracks: metres between a sprayer's tracks; 0: none.
    """

    tones: tuple[str, str]
    soil: str = "#8a7052"
    rows: float = 0.0
    share: float = 0.5
    height: float = 0.1
    tracks: float = 0.0


CROPS = {
    "wheat": Crop(("#b99c54", "#cdb36c"), height=0.8, tracks=21),
    "green cereals": Crop(("#557f36", "#71984a"), height=0.5, tracks=21),
    "rapeseed": Crop(("#c2b228", "#d6c93c"), height=1.3, tracks=24),
    "maize": Crop(("#3f6b2c", "#5a8638"), "#7d6548", rows=0.75, share=0.3, height=2.1),
    "sugar beet": Crop(("#4c7d36", "#6a9a48"), "#8a7052", rows=0.5, share=0.25, height=0.4),
    "vegetables": Crop(("#4f8f3c", "#7fae52"), "#84644a", rows=1.8, share=0.45, height=0.3),
    "bare soil": Crop(("#6b503a", "#866a4e"), "#5c4432", rows=1.4, share=0.4),
    "stubble": Crop(("#c4ae7c", "#d4c294"), "#a8925f", rows=1.0, share=0.35),
    "meadow": Crop(("#66874a", "#8aa35e"), height=0.2),
    "mown hay": Crop(("#7b9a52", "#93b068"), "#b9b878", rows=7.0, share=0.3),
    "young wheat": Crop(("#6b8a48", "#82995a"), "#7d6548", rows=0.6, share=0.5, tracks=24),
}
OF_SEASON = {
    "summer": tuple(CROPS)[:10],
    "autumn": ("bare soil", "stubble", "meadow", "young wheat", "maize"),
    "winter": ("bare soil", "stubble", "meadow", "young wheat"),
}


def choice(rng: Generator, items: tuple[Any, ...]) -> Any:
    """One of several."""
    return items[int(rng.integers(len(items)))]


def draw_fields(rng: Generator, season: str) -> Drawn:
    """Strips of two or three crops, with what lies between."""
    crops = rng.permutation(OF_SEASON[season])[: int(rng.integers(2, 4))].tolist()
    between = choice(rng, ("", "hedgerow", "road", *(() if season == "winter" else ("gravel track",))))
    names = f"fields of {', '.join(crops[:-1])} and {crops[-1]}" if season != "winter" else "open fields"
    return f"{names}{f', {between}' if between else ''}", {"crops": crops, "between": between}


def paint_fields(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Lays out the strips in some direction."""
    crops, angle = details["crops"], rng.uniform(0, 180)
    _, across = ground.turned(angle)
    bounds = np.linspace(-0.5, 0.5, len(crops) + 1)[1:-1] + rng.uniform(-0.06, 0.06, len(crops) - 1)
    edges = [-np.inf, *(bounds * ground.span).tolist(), np.inf]
    ground.heights += 0.01 * ground.span * ground.noise(rng, 2.2)
    ground.paint(ground.mottled(rng, ("#6f8a4c", "#8ba060")), np.ones_like(across))
    margin = rng.uniform(0.4, 1.6)
    for crop, low, high in zip(crops, edges[:-1], edges[1:], strict=True):
        inside = ground.band(across, low + margin, high - margin)
        skew = 90 if rng.random() < 0.25 else 0
        add_crop(ground, rng, CROPS[crop], inside, angle + skew + rng.uniform(-2, 2))
    if not details["between"]:
        return
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    place = edges[1 + int(rng.integers(len(edges) - 2))]
    ends = [(c * t - s * place, s * t + c * place) for t in (-2 * ground.span, 2 * ground.span)]
    if details["between"] == "hedgerow":
        hedge = ground.band(np.abs(across - place + 0.6 * ground.noise(rng, 1.6)), -1, rng.uniform(1.2, 2.4))
        add_trees(ground, rng, hedge, kind="deciduous", season=season, radius=(1.3, 3.2), spacing=2.6)
        return
    gravel = details["between"] == "gravel track"
    add_road(ground, rng, ends, rng.uniform(2.8, 3.8) if gravel else 5.5, "gravel" if gravel else "asphalt")


def add_crop(ground: Ground, rng: Generator, crop: Crop, where: Array, angle: float) -> None:
    """Grows a crop where the (M, M) weight is 1, in rows of a direction in degrees."""
    _, across = ground.turned(angle)
    ground.paint(ground.mottled(rng, crop.tones, rng.uniform(1.0, 1.6), 0.8), where)
    height = crop.height * (1 + 0.2 * ground.noise(rng, 0.6))
    soil = np.clip(shade(crop.soil) * (1 + 0.06 * ground.noise(rng, 0.8))[..., None], 0, 1)
    if crop.rows:
        pitch = max(crop.rows, 4.4 * ground.pitch)
        fade = np.clip(1.3 * crop.rows / pitch, 0.35, 1.0)  # rows that are closer than pixels show faintly
        wave = 0.5 + 0.5 * np.cos(2 * math.pi * (across / pitch + rng.random()))
        gap = smooth_step(1 - crop.share - 0.25, 1 - crop.share + 0.25, wave)
        ground.paint(soil, where * gap * fade, 0.8)
        height = height * (1 - gap * fade)
    if crop.tracks:
        offset = (across / crop.tracks + rng.random()) % 1 * crop.tracks - crop.tracks / 2
        tracks = ground.band(np.abs(np.abs(offset) - 0.95), -1, 0.25)
        ground.paint(soil, 0.7 * where * tracks)
        height = height * (1 - tracks)
    ground.heights += np.maximum(height, 0) * where


IRRIGATED = (
    ("#3f6b2c", "#5f8f3c"),
    ("#4f8038", "#86a850"),
    ("#b39a58", "#c8b070"),
    ("#7a5f44", "#947655"),
    ("#6f9040", "#98ad58"),
)


def draw_circles(rng: Generator, season: str) -> Drawn:
    """Fields that a turning arm waters."""
    return "centre-pivot irrigation circles", {"radius": float(rng.uniform(0.2, 0.42))}


def paint_circles(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Circles on a grid, each with its own crop, and the dry ground between."""
    radius = details["radius"] * ground.span
    cell = 2.06 * radius
    ground.heights += 0.004 * ground.span * ground.noise(rng, 2.2)
    ground.paint(ground.mottled(rng, ("#a88f68", "#c4ad86"), 1.4), np.ones_like(ground.heights))
    start_x, start_y = rng.uniform(-0.5, 0.5, 2) * cell
    covers = [ground.mottled(rng, tones, 1.3) for tones in IRRIGATED]
    for x in start_x + cell * np.arange(-3, 4):
        for y in start_y + cell * np.arange(-3, 4):
            _water_circle(ground, rng, (x, y), radius * rng.uniform(0.93, 0.99), covers)
    for track in (start_x + cell / 2, start_x - cell / 2):
        add_road(ground, rng, [(track, -2 * ground.span), (track, 2 * ground.span)], 6.0, "gravel")


def _water_circle(
    ground: Ground, rng: Generator, place: tuple[float, float], radius: float, covers: list[Array]
) -> None:
    """One circle of one or two crops, the tracks of the arm's wheels, and the arm."""
    dx, dy = ground.x - place[0], ground.y - place[1]
    away, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    cut, arm = rng.uniform(-math.pi, math.pi, 2)
    first, second = rng.integers(len(covers), size=2)
    inside = ground.band(away, -1, radius)
    if not inside.any():
        return
    half = np.sin(turn - cut) > 0 if rng.random() < 0.35 else np.ones_like(turn, bool)
    ground.paint(np.where(half[..., None], covers[first], covers[second]), inside)
    ring = np.abs((away / 48 + 0.5) % 1 - 0.5) * 48
    ground.paint(shade("#8f7d58"), 0.45 * inside * ground.band(ring, -1, 1.2))
    beside = np.abs((turn - arm + math.pi) % (2 * math.pi) - math.pi) * away
    ground.paint(shade("#e0e2e0"), 0.8 * inside * ground.band(beside, -1, 1.6))


def draw_orchard(rng: Generator, season: str) -> Drawn:
    """Trees or vines in rows."""
    kind = choice(rng, ("an orchard", "a young orchard", "a vineyard"))
    track = bool(rng.random() < 0.5)
    return f"{kind}{', gravel track' if track else ''}", {"kind": kind, "track": track}


def paint_orchard(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Rows in some direction on grass or bare soil."""
    angle = rng.uniform(0, 180)
    along, across = ground.turned(angle)
    tones = choice(rng, (("#6f8a4c", "#8ba060"), ("#8b7452", "#a58c64"), ("#7d8450", "#9a9a66")))
    ground.heights += 0.012 * ground.span * ground.noise(rng, 2.2)
    ground.paint(ground.mottled(rng, tones), np.ones_like(along))
    where = np.ones_like(along)
    if details["track"]:
        line = [
            (-2 * ground.span, rng.uniform(-0.3, 0.3) * ground.span),
            (2 * ground.span, rng.uniform(-0.3, 0.3) * ground.span),
        ]
        where = smooth_step(2.5, 4.0, add_road(ground, rng, line, 3.2, "gravel"))
    if details["kind"] == "a vineyard":
        pitch = max(2.3, 5 * ground.pitch)
        row = smooth_step(
            0.55, 0.8, 0.5 + 0.5 * np.cos(2 * math.pi * across / pitch) + 0.05 * ground.noise(rng, 0.7)
        )
        dark, light = ("#3f6030", "#64853f") if season == "summer" else ("#8f6a2c", "#a8843a")
        ground.paint(ground.mottled(rng, (dark, light)), row * where, 0.4)
        ground.heights += 1.7 * row * where
        return
    young = details["kind"] == "a young orchard"
    spacing = rng.uniform(4.2, 5.4)
    radius = (0.7, 1.1) if young else (1.6, 2.3)
    strip = smooth_step(0.5, 0.75, 0.5 + 0.5 * np.cos(2 * math.pi * (across / spacing + 0.5)))
    ground.paint(ground.mottled(rng, ("#7a6248", "#8f7656")), 0.7 * strip * where)
    chance = 0.97 * where
    add_trees(
        ground,
        rng,
        chance,
        kind="fruit",
        season=season,
        radius=radius,
        spacing=spacing,
        jitter=0.05,
        angle=angle,
    )


def draw_solar(rng: Generator, season: str) -> Drawn:
    """Rows of solar panels."""
    return "a solar farm on grass", {"gap": float(rng.uniform(1.6, 3.2))}


def paint_solar(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Rows from east to west that face south, with a service track and inverter boxes."""
    deep = 3.6
    pitch = deep + details["gap"]
    angle = rng.uniform(-8, 8)
    along, across = ground.turned(angle)
    ground.heights += 0.006 * ground.span * ground.noise(rng, 2.2)
    ground.paint(ground.mottled(rng, ("#6d8a4a", "#8aa060")), np.ones_like(along))
    place = (across / pitch + rng.random()) % 1 * pitch
    length = rng.uniform(26, 44)
    table = (along + 0.3 * length) % length
    inside = ground.band(place, 0, deep) * ground.band(table, 0, length - 2.0)
    edge = rng.uniform(0.25, 0.55) * ground.span * choice(rng, (-1, 1))
    inside *= (
        ground.band(along, -10 * ground.span, edge)
        if edge > 0
        else ground.band(along, edge, 10 * ground.span)
    )
    blue = shade("#27344f") * rng.uniform(0.8, 1.2)
    modules = 1 - 0.35 * ((table % 1.7 < 0.12) | (place % 1.8 < 0.1))
    ground.paint(
        np.clip(blue * modules[..., None] * (1 + 0.1 * ground.noise(rng, 1.2))[..., None], 0, 1), inside, 0.3
    )
    ground.heights += inside * (0.8 + 1.2 * (deep - place) / deep)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    middle = edge + math.copysign(4, edge)
    ends = [(c * middle - s * t, s * middle + c * t) for t in (-2 * ground.span, 2 * ground.span)]
    add_road(ground, rng, ends, 3.2, "gravel")
