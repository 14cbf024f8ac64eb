"""Vessels: vase, bottle, bowl, cup, teapot. Each stands on z = 0; a handle points to +x."""

import numpy as np
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator

from tools.procedural.shapes import Part, ball, turned, wire
from tools.studio.textures import Array

WALL = 0.02


def _hollow(outside: Array, floor: float = 0.03) -> Array:
    """A vessel's profile from its outer one (top down): up the inside, over the rim, down the outside."""
    inside = np.stack([np.maximum(outside[:, 0] - WALL, 0.005), outside[:, 1]], axis=1)
    inside = inside[inside[:, 1] > floor][::-1]
    return np.vstack([[0, floor], inside, outside, [0, 0]])


def vase(rng: Generator) -> list[Part]:
    """A belly, a narrow neck and a flared, open rim."""
    height, belly, at = rng.uniform(0.8, 1.1), rng.uniform(0.24, 0.38), rng.uniform(0.3, 0.55)
    neck, rim, foot = rng.uniform(0.07, 0.13), rng.uniform(0.13, 0.22), rng.uniform(0.12, 0.18)
    knots = [[rim, 1], [neck, 0.82], [neck * 1.3, 0.74], [belly, at], [foot * 1.1, 0.06], [foot, 0]]
    outside = np.array(knots) * [1, height]
    return [(turned(_hollow(_smooth(outside)), rows=70), "main")]


def _smooth(outside: Array) -> Array:
    """A monotone curve through a profile's knots, 24 points: no bulge between knots that is not theirs."""
    steps = np.linspace(0, len(outside) - 1, 24)
    return np.asarray(PchipInterpolator(np.arange(len(outside)), outside)(steps))


def bottle(rng: Generator) -> list[Part]:
    """A straight body, a shoulder, a long thin neck with a cap or a cork; sometimes a label."""
    height, radius = rng.uniform(0.9, 1.1), rng.uniform(0.13, 0.18)
    neck, shoulder = rng.uniform(0.04, 0.055), rng.uniform(0.5, 0.66) * height
    knots = [[neck, height], [neck, shoulder + 0.18], [radius, shoulder - 0.04], [radius, 0.02]]
    outline = np.vstack([[0, height], _smooth(np.array([*knots, [radius - 0.02, 0]])), [0, 0]])
    parts: list[Part] = [(turned(outline, rows=70), "main")]
    cap = [
        [0, height + 0.07],
        [neck + 0.008, height + 0.07],
        [neck + 0.008, height - 0.02],
        [0, height - 0.02],
    ]
    parts.append((turned(cap), str(rng.choice(["dark", "brown", "light"]))))
    if rng.random() < 0.35:
        low, high = 0.3 * shoulder, 0.6 * shoulder
        parts.append((turned([[radius + 0.004, high], [radius + 0.004, low]], segments=40), "light"))
    return parts


def bowl(rng: Generator) -> list[Part]:
    """A wide, open half round on a small foot."""
    radius, height, foot = rng.uniform(0.45, 0.55), rng.uniform(0.26, 0.42), rng.uniform(0.14, 0.24)
    angle = np.linspace(0, np.pi / 2, 14)
    curve = np.stack(
        [
            foot + (radius - foot) * np.cos(angle) ** rng.uniform(0.6, 1.0),
            height - (height - 0.05) * np.sin(angle),
        ],
        axis=1,
    )
    return [(turned(_hollow(np.concatenate([curve, [[foot, 0.0]]]), 0.07), segments=48), "main")]


def cup(rng: Generator) -> list[Part]:
    """A mug, straight or tapered, with a round handle."""
    height, top = rng.uniform(0.5, 0.7), rng.uniform(0.24, 0.32)
    base = top * rng.uniform(0.65, 1.0)
    outside = np.array([[top, height], [(top + base) / 2 + 0.01, height / 2], [base, 0.02], [base - 0.02, 0]])
    middle, reach = (top + base) / 2 - 0.01, rng.uniform(0.15, 0.22)
    loop = [
        [middle, 0, 0.8 * height],
        [middle + reach, 0, 0.75 * height],
        [middle + reach, 0, 0.35 * height],
        [middle - 0.02, 0, 0.25 * height],
    ]
    body = turned(_hollow(outside), segments=48)
    return [(body, "main"), (wire(loop, rng.uniform(0.028, 0.04)), "main")]


def teapot(rng: Generator) -> list[Part]:
    """A round belly with a spout, a handle opposite to it and a lid with a knob."""
    belly, height = rng.uniform(0.3, 0.38), rng.uniform(0.42, 0.56)
    knots = [[0.14, height], [belly * 0.8, 0.8 * height], [belly, 0.45 * height], [0.2, 0.03], [0.19, 0]]
    body = turned(np.vstack([[0, height], _smooth(np.array(knots)), [0, 0]]), rows=60)
    lid = turned([[0, height + 0.07], [0.08, height + 0.06], [0.15, height], [0.14, height - 0.03]], rows=16)
    spout = wire(
        [
            [belly * 0.85, 0, 0.3 * height],
            [belly + 0.12, 0, 0.5 * height],
            [belly + 0.17, 0, 0.8 * height],
            [belly + 0.27, 0, height * rng.uniform(0.95, 1.05)],
        ],
        np.linspace(0.075, 0.035, 24),
    )
    reach = rng.uniform(0.18, 0.25)
    handle = wire(
        [
            [-belly * 0.75, 0, 0.85 * height],
            [-belly - reach, 0, 0.85 * height],
            [-belly - reach, 0, 0.3 * height],
            [-belly * 0.88, 0, 0.25 * height],
        ],
        0.03,
    )
    knob = ball((0, 0, height + 0.1), 0.045)
    return [(part, "main") for part in (body, lid, spout, handle, knob)]
