"""Plants: cactus, tree, flower, mushroom, apple."""

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import Part, arc, ball, rod, turned, wire
from tools.studio.meshes import Profile, blade, grid, rotation


def cactus(rng: Generator) -> list[Part]:
    """A ribbed column with bent arms, in a pot or in none."""
    height, radius, ribs = rng.uniform(0.75, 1.0), rng.uniform(0.11, 0.15), int(rng.integers(8, 12))
    turn, rise = np.meshgrid(np.linspace(0, 2 * np.pi, 8 * ribs, endpoint=False), np.linspace(0, 1, 40))
    wide = radius * (1 + 0.14 * np.cos(ribs * turn)) * np.minimum(np.sqrt(rise / 0.12 + 0.002), 1)
    points = np.stack([wide * np.cos(turn), wide * np.sin(turn), height * (1 - rise)], axis=2)
    foot = 0.2 if rng.random() < 0.5 else 0.0
    parts: list[Part] = [(grid(points, closed=True).moved([0, 0, foot]), "main")]
    for side in ((-1, 1), (-1,), (1,))[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]:
        low, reach, tall = rng.uniform(0.25, 0.5) * height, rng.uniform(0.22, 0.3), rng.uniform(0.2, 0.36)
        bend = [
            [0, 0, low],
            [side * 0.7 * reach, 0, low],
            [side * reach, 0, low + 0.12],
            [side * reach, 0, low + tall],
        ]
        thick = 0.5 * radius
        parts.append((wire(bend, thick).moved([0, 0, foot]), "main"))
        parts.append((ball((side * reach, 0, low + tall + foot), thick), "main"))
    if foot:
        rim: Profile = [[0.2, 0.2], [0.23, 0.26], [0.24, 0.26], [0.24, 0.2], [0.21, 0.19]]
        parts.append(
            (turned([[0, 0.2], *rim, [0.16, 0], [0, 0]]), "brown" if rng.random() < 0.5 else "light")
        )
    return parts


def tree(rng: Generator) -> list[Part]:
    """A trunk under a round crown of several balls, or a fir of cones."""
    trunk, thick = rng.uniform(0.3, 0.45), rng.uniform(0.04, 0.06)
    parts: list[Part] = [(rod((0, 0, 0), (0, 0, trunk + 0.15), 1.3 * thick, thick), "brown")]
    if rng.random() < 0.45:
        tiers, wide, z = int(rng.integers(3, 5)), rng.uniform(0.3, 0.4), 0.55 * trunk
        for number in range(tiers):
            radius = wide * (1 - 0.75 * number / tiers)
            parts.append((turned([[0.0, z + 1.2 * radius + 0.06], [radius, z], [0, z + 0.03]]), "main"))
            z += 0.62 * radius + 0.06
        return parts
    radius, middle = rng.uniform(0.22, 0.28), trunk + 0.24
    parts.append((ball((0, 0, middle), (1.15 * radius, 1.15 * radius, radius)), "main"))
    for number in range(7):
        turn = 2 * np.pi * (number + rng.uniform(-0.2, 0.2)) / 6
        away = 0.0 if number == 6 else 0.75 * radius
        at = (
            away * np.cos(turn),
            away * np.sin(turn),
            middle + (0.2 if number == 6 else rng.uniform(-0.07, 0.08)),
        )
        parts.append((ball(at, rng.uniform(0.6, 0.8) * radius), "main"))
    return parts


def flower(rng: Generator) -> list[Part]:
    """A large blossom that looks up and to the front, on a stem with two leaves."""
    height, petals, size = rng.uniform(0.6, 0.8), int(rng.integers(5, 11)), rng.uniform(0.26, 0.34)
    width, tilt = size * min(4.2 / petals, 0.75), rng.uniform(40, 62)
    lean = rotation(tilt, "x")
    parts: list[Part] = []
    for number in range(petals):
        petal = blade(size, width, fold=0.15, droop=rng.uniform(0.0, 0.15), point=0.6)
        parts.append((petal.turned(lean @ rotation(360 * number / petals)).moved([0, -0.03, height]), "main"))
    core = ball((0, 0, 0), (0.085, 0.085, 0.05)).turned(lean)
    parts.append((core.moved([0, -0.03, height]), "brown" if rng.random() < 0.5 else "dark"))
    bend = rng.uniform(-0.06, 0.06)
    parts.append((wire([[0, 0.04, 0], [bend, 0.04, 0.5 * height], [0, 0, height]], 0.018), "green"))
    for side in (0, 180):
        leaf = blade(rng.uniform(0.25, 0.34), 0.11, fold=0.3, droop=0.3)
        leaf = leaf.turned(rotation(side + rng.uniform(-30, 30)) @ rotation(-40, "y"))
        parts.append((leaf.moved([0, 0.04, rng.uniform(0.05, 0.2)]), "green"))
    return parts


def mushroom(rng: Generator) -> list[Part]:
    """A domed cap on a pale, thick stem; sometimes with pale spots."""
    height, stem = rng.uniform(0.4, 0.6), rng.uniform(0.09, 0.14)
    radius, dome = rng.uniform(0.34, 0.45), rng.uniform(0.2, 0.34)
    angle = arc(90, 0, 14)
    outside = np.stack([radius * np.cos(angle), height + dome * np.sin(angle)], axis=1)
    cap = turned(np.vstack([outside, [0.9 * radius, height - 0.03], [0, height + 0.02]]), rows=40)
    foot = turned(
        [[stem * 0.8, height + 0.02], [stem * 0.85, 0.5 * height], [stem * 1.25, 0.06], [stem, 0], [0, 0]],
        rows=24,
    )
    parts: list[Part] = [(cap, "main"), (foot, "light")]
    if rng.random() < 0.5:
        for number in range(12):
            turn, rise = 2.4 * number, np.radians(20 + 65 * (number + 0.5) / 12)
            spot = np.array([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)])
            at = spot * [radius, radius, dome] + [0, 0, height]
            parts.append((ball(at, rng.uniform(0.03, 0.05)), "light"))
    return parts


def apple(rng: Generator) -> list[Part]:
    """A fruit with a dimple, a stalk and a leaf."""
    radius, tall = 0.45, rng.uniform(0.72, 0.86)
    narrow = rng.uniform(0.5, 0.75)
    knots = [
        [0.02, 0.86],
        [0.2, 0.98],
        [0.36, 0.96],
        [1, 0.62],
        [narrow + 0.12, 0.15],
        [0.34, 0.0],
        [0, 0.06],
    ]
    body = turned(np.array(knots) * [radius, tall], rows=50)
    top = 0.84 * tall
    stalk = wire([[0, 0, top], [0.01, 0, top + 0.12], [0.06, 0, top + 0.24]], 0.018)
    leaf = blade(0.28, 0.14, fold=0.2, droop=0.25).turned(
        rotation(float(rng.uniform(0, 360))) @ rotation(-25, "y")
    )
    return [(body, "main"), (stalk, "brown"), (leaf.moved([0.02, 0, top + 0.12]), "green")]
