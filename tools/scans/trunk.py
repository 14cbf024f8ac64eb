"""What every slice of the trunk has: skin, fat, the muscular wall, the spine, ribs, the couch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import Phantom
from tools.scans.shapes import INFINITE, Shape, block, column, ellipsoid, half_space, tube, walls_between

SKIN = 2.2  # mm
VERTEBRA = 34.0  # mm from one vertebra to the next


@dataclass(frozen=True)
class Trunk:
    """The shells of a trunk, from outside to inside.

    Attributes:
        outline: with the skin.
        wall: what is inside the fat, the long muscles of the back excepted.
        cavity: what is inside the muscles; its semi-axes are `width` and `depth`.
        back: y of the spine's bodies' middle.
    """

    outline: Shape
    wall: Shape
    cavity: Shape
    width: float
    depth: float
    back: float


def add_couch(phantom: Phantom, y: float) -> None:
    """The scanner's couch, whose hollow the patient lies in; y is the lowest point of the back."""
    radius = 640.0
    bed = column((0, y + 2 - radius, 0), (radius, radius)) & block((0, y, 0), (210, 60, 1e6))
    phantom.add("couch", (bed - bed.grown(-6)) & half_space((0, -1, 0), -(y - 60)))


def add_trunk(
    phantom: Phantom, rng: Generator, cavity: tuple[float, float], wall: tuple[float, float, float]
) -> Trunk:
    """Adds couch, skin and fat; `add_wall` closes the trunk when its content is there.

    Args:
        cavity: half width and half depth in mm.
        wall: the thickness of the muscles in mm at the side, in front, and behind the spine.
    """
    width, depth = cavity
    fat = float(rng.gamma(3.0, 5.5)) + 5
    side, front, back = wall
    fat_front, fat_back = fat * rng.uniform(0.6, 1.3), fat * rng.uniform(0.7, 1.2)
    inner = column((0, 0, 0), (width, depth), power=2.3).wobbly(rng, 1.2, 90)
    middle = (back - front) / 2
    ring = column((0, 1, 0), (width + side, depth + front + 1), power=2.25).wobbly(rng, 1.0, 110)
    plate = ellipsoid((0, depth - 14, 0), (0.8 * width, back + 14, 1e4), power=2.4)
    shift = middle + (fat_back - fat_front) / 2
    outline = column(
        (0, shift, 0),
        (width + side + fat, depth + (front + back + fat_front + fat_back) / 2),
        power=rng.uniform(2.15, 2.5),
    ).wobbly(rng, 1.5, 150)
    add_couch(phantom, shift + depth + (front + back + fat_front + fat_back) / 2 + 3)
    phantom.add("skin", outline)
    phantom.add("fat", outline.grown(-SKIN))
    return Trunk(outline, ring | plate, inner, width, depth, depth - 12)


def add_wall(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Adds the muscles round the cavity, in layers with sheets of fat between."""
    shell = trunk.wall - trunk.cavity
    phantom.add("muscle", shell)
    for inset in (5.0, 10.5):
        sheet = trunk.wall.grown(-inset) - trunk.wall.grown(-inset - rng.uniform(0.8, 1.6))
        sides = half_space((0, 1, 0), 0.45 * trunk.depth) - column((0, -trunk.depth, 0), (55, 40))
        phantom.add("fascia", sheet & shell & sides, -30)


def add_back_muscles(phantom: Phantom, rng: Generator, y: float, size: float = 1.0) -> None:
    """The long muscles on both sides of the spine, with fat between their bundles; y as for `add_spine`."""
    y += 34 * (0.4 + 0.6 * size)
    for side in (-1, 1):
        bundle = ellipsoid((side * 31 * size, y, 0), (27 * size, 19 * size, 1e4), side * 10, power=2.4)
        phantom.add("fascia", bundle.grown(1.6))
        phantom.add("muscle", bundle)
        seeds = np.column_stack([rng.uniform(-30, 30, 7) + side * 31, rng.uniform(-20, 20, 7)]) * size + (
            0,
            y,
        )
        phantom.add("fascia", walls_between(seeds, 1.0) & bundle, -20)


def add_spine(phantom: Phantom, rng: Generator, y: float, size: float = 1.0, ribs: bool = False) -> None:
    """Vertebrae one above the other, with discs, canal and cord; bodies are centred on (0, y).

    Args:
        y: mm.
        size: 1 for the lower back; necks are about half as large.
        ribs: short transverse processes, as where ribs begin.
    """
    pitch = VERTEBRA * (0.5 + 0.5 * size)
    offset = float(rng.uniform(0, pitch))
    a, b = 22 * size * rng.uniform(0.92, 1.1), 16.5 * size * rng.uniform(0.92, 1.1)
    flat_back = half_space((0, 1, 0), y + 0.86 * b)
    canal_y = y + b + 6.5 * (0.5 + 0.5 * size)
    phantom.add("disc", column((0, y, 0), (a * 0.97, b * 0.97), power=2.3) & flat_back)
    canal = column((0, canal_y, 0), (11 * (0.4 + 0.6 * size), 8.5 * (0.4 + 0.6 * size)))
    reach = (24 if ribs else 36) * size
    for number in range(-6, 7):
        z = offset + number * pitch
        body = column((0, y, z), (a, b), pitch / 2 - 4 * size, power=2.3) & flat_back
        arch = tube([(0, canal_y + 11 * size, z), (0, canal_y + 33 * size, z - 9)], 3.6 * size)
        for side in (-1, 1):
            arch = arch | tube(
                [
                    (side * 0.55 * a, y + 0.5 * b, z + 5),
                    (side * 0.66 * a, canal_y - 1, z + 4),
                    (side * 0.62 * a, canal_y + 6 * size, z),
                    (0, canal_y + 12 * size, z - 3),
                ],
                [5 * size, 4.6 * size, 4.2 * size, 3.6 * size],
            )
            arch = arch | tube(
                [(side * 0.6 * a, canal_y, z + 3), (side * reach, canal_y + 5 * size, z + 4)],
                [4.4 * size, 3 * size],
            )
            arch = arch | ellipsoid((side * 0.72 * a, canal_y + 6, z - 8), (6 * size, 7 * size, 9))
        phantom.add_bone((body | arch) - canal, cortex=1.7 * (0.5 + 0.5 * size))
    phantom.add("fat", canal, -60)
    phantom.add("cerebrospinal fluid", canal.grown(-1.6), 14)
    phantom.add("cord", column((0, canal_y, 0), (5.4 * (0.5 + 0.5 * size), 4.2 * (0.5 + 0.5 * size))))


def add_ribs(phantom: Phantom, rng: Generator, trunk: Trunk, top: float, pairs: int) -> None:
    """Pairs of ribs that run down and forward round the cavity; the first pair begins at height `top`."""
    fall = rng.uniform(95, 130)
    for number in range(pairs):
        start = top - number * 27
        ends = 0.86 if number < 7 else 0.86 - 0.14 * (number - 6)
        points = []
        for share in np.linspace(0.0, ends, 16):
            angle = math.pi * (0.5 - share)  # from the spine (down in the picture) over the side to the front
            x = (trunk.width + 5) * abs(math.cos(angle)) ** (2 / 2.3)
            y = (trunk.depth + 3) * math.copysign(abs(math.sin(angle)) ** (2 / 2.3), math.sin(angle))
            points.append((max(x, 26.0), min(y, trunk.back + 22), start - fall * share**1.2))
        rib = tube(points, 5.2)
        for shape in (rib, rib.mirrored()):
            phantom.add_bone(shape, cortex=1.5)


def add_loop(phantom: Phantom, rng: Generator, shape: Shape, surface: float, content: float) -> None:
    """A piece of bowel in a little fat, with content of some HU, and often gas in front of y = `surface`."""
    phantom.add("fat", shape.grown(1.6))
    phantom.add("bowel wall", shape, 62)
    fill(phantom, rng, shape.grown(-2.4), surface if rng.random() < 0.45 else -INFINITE, content)


def fill(phantom: Phantom, rng: Generator, inside: Shape, surface: float, content: float) -> None:
    """Fluid of about some HU in a hollow organ, and gas in front of y = `surface`."""
    phantom.add("bowel content", inside, content + rng.uniform(-8, 8))
    phantom.add("air", inside & half_space((0, 1, 0), surface))
