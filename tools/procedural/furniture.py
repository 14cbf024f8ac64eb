"""Furniture: chair, table, sofa, lamp, ladder. Each faces -y and is about one unit in size."""

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import Part, ball, block, rod, turned
from tools.studio.meshes import Mesh, Profile


def _legs(width: float, depth: float, height: float, radius: float, splay: float, square: bool) -> list[Mesh]:
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            top = np.array([x * width / 2, y * depth / 2, height])
            if square:
                legs.append(block((2 * radius, 2 * radius, height), (*top[:2], 0)))
            else:
                legs.append(rod([*(top[:2] * (1 + splay)), 0], top, 0.7 * radius, radius))
    return legs


def chair(rng: Generator) -> list[Part]:
    """Four legs, a seat, a back of a board, of slats or of bars; sometimes arms."""
    width, depth, seat = rng.uniform(0.42, 0.52), rng.uniform(0.4, 0.5), rng.uniform(0.38, 0.48)
    back, thick = rng.uniform(0.42, 0.6), rng.uniform(0.04, 0.07)
    square = bool(rng.integers(2))
    parts = _legs(width - 0.07, depth - 0.07, seat, rng.uniform(0.02, 0.03), rng.uniform(0, 0.25), square)
    parts.append(block((width, depth, thick), (0, 0, seat)))
    top, rear = seat + thick, depth / 2 - 0.025
    style = int(rng.integers(3))
    if style == 0:
        parts.append(block((width, 0.045, back), (0, rear, top)))
    else:
        posts = [block((0.045, 0.045, back), (x * (width / 2 - 0.022), rear, top)) for x in (-1, 1)]
        parts += [*posts, block((width, 0.05, 0.1), (0, rear, top + back - 0.1))]
        if style == 1:
            parts += [
                block((width - 0.08, 0.03, 0.07), (0, rear, top + share * back)) for share in (0.25, 0.55)
            ]
        else:
            parts += [
                rod((x, rear, top), (x, rear, top + back - 0.08), 0.014)
                for x in np.linspace(-width / 2 + 0.11, width / 2 - 0.11, 4)
            ]
    if rng.random() < 0.3:
        for x in (-1, 1):
            at = x * (width / 2 - 0.02)
            parts += [
                block((0.045, depth - 0.03, 0.035), (at, 0, top + 0.2)),
                block((0.04, 0.04, 0.2), (at, -depth / 2 + 0.04, top)),
            ]
    return [(part, "main") for part in parts]


def table(rng: Generator) -> list[Part]:
    """A round or a rectangular top on four legs or on a middle foot."""
    width, height, thick = rng.uniform(0.9, 1.2), rng.uniform(0.45, 0.62), rng.uniform(0.04, 0.08)
    if rng.random() < 0.4:
        radius = width / 2.1
        top = turned([[0, height + thick], [radius, height + thick], [radius, height], [0, height]])
        foot = turned([[0, height], [0.05, height], [0.045, 0.08], [0.26, 0.03], [0.26, 0], [0, 0]])
        return [(top, "main"), (foot, "main")]
    depth = rng.uniform(0.5, 0.75)
    legs = _legs(width - 0.1, depth - 0.1, height, rng.uniform(0.025, 0.04), 0.0, bool(rng.integers(2)))
    return [(part, "main") for part in [block((width, depth, thick), (0, 0, height)), *legs]]


def sofa(rng: Generator) -> list[Part]:
    """A broad seat with cushions between two arms, a back, short feet."""
    width, depth, seat = rng.uniform(1.1, 1.5), rng.uniform(0.5, 0.6), rng.uniform(0.2, 0.27)
    arm, back = rng.uniform(0.1, 0.16), rng.uniform(0.3, 0.42)
    parts: list[Part] = [(block((width, depth, seat - 0.06), (0, 0, 0.06)), "main")]
    parts.append((block((width, 0.16, back), (0, depth / 2 - 0.08, seat)), "main"))
    for x in (-1, 1):
        at = x * (width - arm) / 2
        parts.append((block((arm, depth, 0.2), (at, 0, seat)), "main"))
        parts.append((rod((at, -depth / 2, seat + 0.2), (at, depth / 2, seat + 0.2), arm / 2), "main"))
        parts += [(block((0.06, 0.06, 0.07), (x * (width / 2 - 0.06), y, 0)), "dark") for y in (-0.2, 0.2)]
    inner, cushions = width - 2 * arm, int(rng.integers(2, 4))
    for number in range(cushions):
        at = inner * ((number + 0.5) / cushions - 0.5)
        parts.append((block((inner / cushions - 0.02, depth - 0.17, 0.09), (at, -0.08, seat)), "main"))
    return parts


def lamp(rng: Generator) -> list[Part]:
    """A table lamp: a foot, a stem and a wide shade."""
    stem, foot = rng.uniform(0.3, 0.55), rng.uniform(0.14, 0.2)
    low, high, tall = rng.uniform(0.26, 0.34), rng.uniform(0.1, 0.22), rng.uniform(0.26, 0.36)
    shade = turned([[high, stem + tall], [low, stem], [low - 0.01, stem], [high - 0.01, stem + tall]])
    parts: list[Part] = [(shade, "main")]
    if rng.random() < 0.5:
        profile: Profile = [
            [0.02, stem],
            [0.03, 0.8 * stem],
            [0.5 * foot + 0.03, 0.35 * stem],
            [foot * 0.6, 0],
            [0, 0],
        ]
        parts.append((turned(profile, rows=30), "main"))
    else:
        parts.append((turned([[0, 0.04], [foot, 0.03], [foot, 0], [0, 0]]), "dark"))
        parts.append((rod((0, 0, 0), (0, 0, stem), 0.018), "dark"))
    parts += [
        (rod((0, 0, stem), (0, 0, stem + 0.6 * tall), 0.012), "dark"),
        (ball((0, 0, stem + 0.1), 0.06), "light"),
    ]
    return parts


def ladder(rng: Generator) -> list[Part]:
    """A step ladder: two leaning frames, rungs on the front one."""
    height, width, lean = rng.uniform(0.9, 1.1), rng.uniform(0.36, 0.48), rng.uniform(14, 20)
    rungs, thick = int(rng.integers(4, 7)), rng.uniform(0.035, 0.05)
    slope = height * np.tan(np.radians(lean))
    parts = []
    for x in (-1, 1):
        for y, narrow in ((-1, 1.0), (1, 0.9)):
            foot = [x * width / 2 * narrow * 1.15, y * slope, 0]
            parts.append(rod(foot, (x * width / 2 * narrow * 0.8, y * 0.03, height), thick / 1.6))
    for number in range(rungs):
        share = (number + 0.7) / rungs
        wide = width * (1.15 - 0.35 * share)
        step = block((wide, 0.1, 0.03))
        parts.append(step.moved([0, -slope * (1 - share) - 0.03 * share, height * share - 0.03]))
    parts.append(block((width * 0.85, 0.16, 0.03), (0, 0, height)))
    return [(part, "main") for part in parts]
