"""Land without fields or houses: forest, rivers, lakes, coasts, bare hills."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tools.aerial.farmland import Details, Drawn, choice
from tools.aerial.ground import Ground, add_road, distance_to_line, shade, winding_line
from tools.aerial.things import add_trees
from tools.studio.textures import Array, mix, smooth_step


def draw_forest(rng: Generator, season: str) -> Drawn:
    """A closed wood, perhaps with a clearing or a track."""
    kind = choice(rng, ("coniferous", "deciduous", "mixed"))
    gap = choice(rng, ("", "clearing", "track"))
    return f"dense {kind} forest{f' with a {gap}' if gap else ''}", {"kind": kind, "gap": gap}


def paint_forest(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Crowns over the whole picture, but for the gap."""
    ground.heights += 0.03 * ground.span * ground.noise(rng, 2.3)
    ground.paint(ground.mottled(rng, ("#5b5a3a", "#77754e")), np.ones_like(ground.heights))
    room = np.ones_like(ground.heights)
    if details["gap"] == "track":
        line = winding_line(rng, ground.span, rng.uniform(0, 180), rng.uniform(-0.2, 0.2) * ground.span, 5)
        room = smooth_step(2.5, 4.5, add_road(ground, rng, line, 3.4, "gravel"))
    elif details["gap"] == "clearing":
        x, y = rng.uniform(-0.2, 0.2, 2) * ground.span
        away = np.hypot(ground.x - x, ground.y - y) + 0.05 * ground.span * ground.noise(rng, 2.3)
        room = smooth_step(0.2 * ground.span, 0.24 * ground.span, away)
        ground.paint(ground.mottled(rng, ("#76924e", "#97a866")), 1 - room)
    add_wood(ground, rng, room, details["kind"], season)


def crown_scale(ground: Ground) -> float:
    """How much larger than nature crowns are drawn where a pixel is wide, so that they can be seen."""
    return max(1.0, 2.2 * ground.pitch)


def add_wood(ground: Ground, rng: Generator, where: Array, kind: str, season: str) -> None:
    """Plants closed forest, "coniferous", "deciduous" or "mixed", where the (M, M) weight is 1."""
    share = {"coniferous": 0.0, "deciduous": 1.0, "mixed": 0.5}[kind]
    patches = 0.5 + 0.3 * ground.noise(rng, 1.6)
    leafy = np.full_like(patches, share) if share != 0.5 else smooth_step(0.35, 0.65, patches)
    larger = crown_scale(ground)
    for name, chance, size, spacing in (
        ("coniferous", (1 - leafy) * where, (1.4, 2.6), 2.9),
        ("coniferous", (1 - leafy) * where * 0.7, (1.2, 2.2), 2.7),
        ("deciduous", leafy * where, (2.4, 4.4), 4.9),
        ("deciduous", leafy * where * 0.8, (1.8, 3.4), 4.3),
    ):
        if float(chance.max()) > 0.05:
            add_trees(
                ground,
                rng,
                chance,
                kind=name,
                season=season,
                radius=(size[0] * larger, size[1] * larger),
                spacing=spacing * larger,
                angle=rng.uniform(0, 90),
            )


def draw_river(rng: Generator, season: str) -> Drawn:
    """A river through meadows, fields' edges or woods."""
    land = choice(rng, ("meadows", "woodland", "dry grassland"))
    bars = bool(rng.random() < 0.5) and season != "winter"
    bridge = bool(rng.random() < 0.3)
    extra = [name for name, there in (("gravel bars", bars), ("a bridge", bridge)) if there]
    seen = "open land" if season == "winter" and land != "woodland" else land  # snow hides the rest
    words = f"a winding river in {seen}" + (f" with {' and '.join(extra)}" if extra else "")
    return words, {"land": land, "bars": bars, "bridge": bridge}


LANDS = {
    "meadows": ("#66874a", "#8aa35e"),
    "woodland": ("#5e6a40", "#78804e"),
    "dry grassland": ("#a0935f", "#bcae7a"),
}


def paint_river(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """The bed along a winding line, banks, bars on its inner sides, trees beside it."""
    ground.heights += 0.012 * ground.span * ground.noise(rng, 2.3)
    ground.paint(ground.mottled(rng, LANDS[details["land"]], 1.5), np.ones_like(ground.heights))
    angle, width = rng.uniform(0, 180), rng.uniform(0.09, 0.2) * ground.span
    line = winding_line(rng, ground.span, angle, rng.uniform(-0.1, 0.1) * ground.span, 0.16 * ground.span)
    away, _ = distance_to_line(ground, line)
    away = away + 0.02 * ground.span * ground.noise(rng, 1.9)
    if details["bars"]:
        lobes = smooth_step(0.2, 0.9, ground.noise(rng, 2.0))
        bar = ground.band(away, -1e3, 0.5 * width + 0.05 * ground.span * lobes)
        ground.paint(ground.mottled(rng, ("#a89c86", "#c6bca6"), 0.8), bar)
        away = away + 0.22 * width * lobes
    ground.paint(
        ground.mottled(rng, ("#7d7350", "#8f8660")),
        0.8 * ground.band(away, -1e3, 0.5 * width + 0.02 * ground.span),
    )
    ground.heights -= 1.2 * smooth_step(0.5 * width + 3, 0.5 * width, away)
    add_water(
        ground,
        rng,
        away - 0.5 * width,
        choice(rng, (("#3d5a55", "#24423f"), ("#5d6a50", "#3f4c3c"), ("#3a5666", "#20394a"))),
    )
    beside = smooth_step(0.55 * width + 1, 0.55 * width + 4, away)
    if details["land"] == "woodland":
        bank = 0.5 * width + 3.5 * crown_scale(ground)  # so that crowns do not hide the river
        wood = smooth_step(bank, bank + 2, away)
        add_wood(ground, rng, wood, choice(rng, ("deciduous", "mixed")), season)
    else:
        belt = (
            beside
            * smooth_step(0.55 * width + 0.1 * ground.span, 0.55 * width + 2, away)
            * (0.15 + 0.7 * smooth_step(0, 0.6, ground.noise(rng, 1.8)))
        )
        size = max(1.0, 1.7 * ground.pitch)
        add_trees(
            ground,
            rng,
            belt,
            kind="deciduous",
            season=season,
            radius=(1.8 * size, 3.6 * size),
            spacing=6.5 * size,
        )
    if details["bridge"]:
        add_bridge(ground, rng, angle + 90 + rng.uniform(-15, 15))


def add_bridge(ground: Ground, rng: Generator, angle: float) -> None:
    """A straight road over all that is there, on a deck with pale kerbs."""
    _, across = ground.turned(angle)
    across = np.abs(across - rng.uniform(-0.15, 0.15) * ground.span)
    width = max(3.5, 3 * ground.pitch)
    ground.paint(shade("#b9b6ae"), ground.band(across, -1, width), 0.3)
    ground.paint(shade("#75767a") * rng.uniform(0.8, 1.1), ground.band(across, -1, 0.78 * width), 0.2)
    deck = ground.band(across, -1, width)
    level = float(np.percentile(ground.heights[deck > 0.5], 60)) + 1.2
    ground.heights = np.where(deck > 0.5, level, ground.heights)


def add_water(ground: Ground, rng: Generator, shore: Array, tones: tuple[str, str]) -> None:
    """Floods where the (M, M) distance in metres from the shore is negative; deep water is darker."""
    depth = smooth_step(0, 0.12 * ground.span, -shore)
    ripples = 1 + 0.035 * ground.noise(rng, 0.7) + 0.03 * ground.noise(rng, 1.6)
    surface = mix(shade(tones[0]) * np.ones((*shore.shape, 3)), shade(tones[1]), depth) * ripples[..., None]
    inside = ground.band(shore, -1e6, 0)
    ground.paint(np.clip(surface, 0, 1), inside, 0.0)
    level = float(np.median(ground.heights[inside > 0.5])) if (inside > 0.5).any() else 0.0
    ground.heights = np.where(inside > 0.5, level, ground.heights)


def draw_lake(rng: Generator, season: str) -> Drawn:
    """A lake or pond with its shore."""
    size = choice(rng, ("a pond", "a lake shore"))
    land = choice(rng, ("meadows", "woodland", "dry grassland"))
    reeds = bool(rng.random() < 0.5)
    return f"{size} in {land}{' with reeds' if reeds else ''}", {"size": size, "land": land, "reeds": reeds}


def paint_lake(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Water inside an uneven round, or on one side of an uneven line."""
    ground.heights += 0.01 * ground.span * ground.noise(rng, 2.3)
    ground.paint(ground.mottled(rng, LANDS[details["land"]], 1.5), np.ones_like(ground.heights))
    uneven = 0.05 * ground.span * ground.noise(rng, 2.0)
    if details["size"] == "a pond":
        x, y = rng.uniform(-0.1, 0.1, 2) * ground.span
        shore = (
            np.hypot(ground.x - x, (ground.y - y) * rng.uniform(0.8, 1.4))
            - rng.uniform(0.22, 0.34) * ground.span
        )
    else:
        _, across = ground.turned(rng.uniform(0, 360))
        shore = across - rng.uniform(-0.15, 0.1) * ground.span
    shore = shore + uneven
    ground.paint(ground.mottled(rng, ("#8a8060", "#a09670")), ground.band(shore, -1e6, 0.015 * ground.span))
    add_water(
        ground,
        rng,
        shore,
        choice(rng, (("#40605c", "#1f3d42"), ("#4d6a4c", "#2c4636"), ("#3d5c74", "#1f3a52"))),
    )
    if details["reeds"]:
        belt = ground.band(shore, -0.045 * ground.span, 0.02 * ground.span) * smooth_step(
            -0.4, 0.3, ground.noise(rng, 1.7)
        )
        ground.paint(ground.mottled(rng, ("#7f8648", "#a39a5c"), 0.7), 0.9 * belt)
        ground.heights += belt * (1.4 + 0.3 * ground.noise(rng, 0.3))
    dry = smooth_step(0.03 * ground.span, 0.06 * ground.span, shore)
    if details["land"] == "woodland":
        add_wood(ground, rng, dry, "mixed", season)
    else:
        size = max(1.0, 1.7 * ground.pitch)
        add_trees(
            ground,
            rng,
            0.8 * dry * smooth_step(0.5, 1.3, ground.noise(rng, 1.8)),
            kind="deciduous",
            season=season,
            radius=(2 * size, 3.8 * size),
            spacing=8 * size,
        )


def draw_coast(rng: Generator, season: str) -> Drawn:
    """A shore of the sea."""
    kind = choice(rng, ("sandy", "sandy", "rocky"))
    words = {"sandy": "a sandy beach with surf", "rocky": "a rocky coast with surf"}[kind]
    return words, {"kind": kind}


def paint_coast(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Sea on one side, lines of surf along the shore, sand or rock, and the land behind."""
    _, across = ground.turned(rng.uniform(0, 360))
    rocky = details["kind"] == "rocky"
    rough = ground.noise(rng, 1.5 if rocky else 2.2)
    shore = across - rng.uniform(-0.15, 0.15) * ground.span + (0.07 if rocky else 0.04) * ground.span * rough
    inland = np.maximum(shore, 0)
    wide = rng.uniform(0.1, 0.2) * ground.span
    if rocky:
        crags = np.abs(ground.noise(rng, 1.7))
        ground.heights += np.minimum(inland, wide) * 0.25 * (0.7 + 0.4 * crags)
        ground.paint(ground.mottled(rng, ("#6e675c", "#968d7e"), 1.0, 1.3), np.ones_like(shore))
        green = smooth_step(0.7 * wide, 1.1 * wide, shore + 0.3 * wide * crags)
        ground.paint(ground.mottled(rng, ("#6c7648", "#8d8d5c"), 1.2), green)
    else:
        ground.paint(ground.mottled(rng, ("#cdb78c", "#e0cfa8"), 1.6, 0.5), np.ones_like(shore))
        ground.paint(shade("#a8916a"), smooth_step(0.03 * ground.span, 0, shore))
        dunes = smooth_step(wide, 1.3 * wide, shore)
        ground.heights += dunes * np.maximum(2.5 + 2.2 * ground.noise(rng, 1.7), 0)
        tufts = smooth_step(-0.1, 0.9, ground.noise(rng, 1.2)) * dunes
        ground.paint(ground.mottled(rng, ("#76804a", "#99985e")), 0.9 * tufts)
    add_water(
        ground,
        rng,
        shore,
        choice(rng, (("#4f8a90", "#2c5c74"), ("#5a8584", "#35606e"), ("#4b7f96", "#285474"))),
    )
    surf = np.zeros_like(shore)
    for number in range(int(rng.integers(2, 5))):
        place = -(
            0.012 + 0.05 * number + rng.uniform(0, 0.02)
        ) * ground.span + 0.012 * ground.span * ground.noise(rng, 1.8)
        crest = smooth_step(0.022 * ground.span, 0, np.abs(shore - place)) * smooth_step(
            -0.6, 0.6, ground.noise(rng, 1.0)
        )
        surf = np.maximum(surf, crest * (1 - 0.15 * number))
    if rocky:
        surf = np.maximum(
            surf,
            smooth_step(0.03 * ground.span, 0, np.abs(shore))
            * smooth_step(-0.5, 0.5, ground.noise(rng, 1.3)),
        )
    ground.paint(shade("#eef3f3"), 0.9 * surf, 0.0)


def draw_hills(rng: Generator, season: str) -> Drawn:
    """Land that is nothing but its shape."""
    kinds = ("bare dry hills", "a rocky mountain ridge", "grassy hills", "desert dunes")
    kind = choice(rng, kinds[:3] if season == "winter" else kinds)
    words = "rounded hills" if season == "winter" and kind != kinds[1] else kind
    return words, {"kind": kind}


def paint_hills(ground: Ground, rng: Generator, details: Details, season: str) -> None:
    """Heights first, then colours by height and slope."""
    kind, span = details["kind"], ground.span
    if kind == "desert dunes":
        _, across = ground.turned(rng.uniform(0, 180))
        phase = across / (rng.uniform(0.12, 0.22) * span) + 0.55 * ground.noise(rng, 2.2)
        saw = phase % 1
        crest = np.where(saw < 0.72, saw / 0.72, (1 - saw) / 0.28)
        ground.heights += 0.035 * span * crest * (1 + 0.25 * ground.noise(rng, 2.0))
        ground.paint(ground.mottled(rng, ("#c79f66", "#d9b680"), 1.8, 0.4), np.ones_like(saw))
        return
    steep, rough = {"a rocky mountain ridge": (0.15, 1.0), "grassy hills": (0.06, 0.25)}.get(
        kind, (0.09, 0.55)
    )
    ridges = (
        1
        - np.abs(ground.noise(rng, 2.5))
        + rough * (0.4 * (1 - np.abs(ground.noise(rng, 2.1))) + 0.1 * (1 - np.abs(ground.noise(rng, 1.7))))
    )
    ground.heights += steep * span * (0.7 * ridges + 0.6 * ground.noise(rng, 2.6))
    down, across = np.gradient(ground.heights, ground.pitch)
    slope = np.hypot(down, across)
    low = smooth_step(0.6, -0.8, (ground.heights - ground.heights.mean()) / ground.heights.std())
    rock, cover = {
        "a rocky mountain ridge": (("#6d6862", "#948c82"), ("#7c8058", "#95936a")),
        "grassy hills": (("#8a7f60", "#a0926c"), ("#6f8a48", "#8f9f5c")),
    }.get(kind, (("#96805e", "#b39c76"), ("#a3935f", "#b9a974")))
    ground.paint(ground.mottled(rng, rock, 1.2), np.ones_like(slope))
    ground.paint(ground.mottled(rng, cover, 1.4), smooth_step(0.95, 0.35, slope) * (0.35 + 0.65 * low))
    if kind == "bare dry hills":
        add_trees(
            ground, rng, 0.25 * smooth_step(0.55, 0.95, low), kind="deciduous", season="summer",
            radius=(2.2 * ground.pitch, 4 * ground.pitch), spacing=9 * ground.pitch,
        )  # fmt: skip
