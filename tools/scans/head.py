"""The head above the ears: scalp, skull, brain, ventricles."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import Shape, block, column, ellipsoid, half_space, tube, walls_between

HEIGHTS = (-6.0, 54.0)
FINDINGS = ("haemorrhage", "subdural haematoma", "infarct", "skull fracture", "brain tumour")


def level(z: float) -> str:
    """What a slice at that height is known by."""
    if z > 38:
        return "the centrum semiovale"
    return "the lateral ventricles" if z > 12 else "the basal ganglia"


def make(rng: Generator, contrast: bool, finding: str) -> Phantom:
    """A head; z = 0 is at the third ventricle. The arguments are those of `abdomen.make`."""
    size = rng.uniform(0.94, 1.06)
    long = rng.uniform(0.95, 1.06)
    skull = ellipsoid((0, 0, 0), (71 * size, 89 * size * long, 84 * size), power=2.12)
    phantom = Phantom(2.0 * (89 * size * long + rng.uniform(13, 22)))
    scalp = skull.grown(rng.uniform(5, 9)).wobbly(rng, 0.7, 60)
    _add_rest(phantom, 89 * size * long)
    phantom.add("skin", scalp)
    phantom.add("fat", scalp.grown(-2), -85)
    for side in (-1, 1):
        phantom.add("muscle", ellipsoid((side * 70 * size, -18, -22), (10, 42, 46)) & scalp.grown(-2.5))
    _add_skull(phantom, rng, skull, finding)
    room = skull.grown(-rng.uniform(4.6, 6.8))
    phantom.add("cerebrospinal fluid", room)
    _add_brain(phantom, rng, room, size)
    _add_ventricles(phantom, rng, size)
    _add_finding(phantom, rng, room, size, contrast, finding)
    falx = block((0, 0, 60), (0.8, 120, 100)) & room
    gap = falx & (
        half_space((0, 1, 0), -38 * size) | half_space((0, -1, 0), -40 * size) | half_space((0, 0, -1), -34)
    )
    phantom.add("dura", gap)
    return phantom


def _add_rest(phantom: Phantom, back: float) -> None:
    """The bowl that the head lies in."""
    bowl = column((0, -8, 0), (back + 14, back + 16)) & half_space((0, -1, 0), -0.25 * back)
    phantom.add("couch", bowl - bowl.grown(-2.5), -300)


def _add_skull(phantom: Phantom, rng: Generator, skull: Shape, finding: str) -> None:
    """Two dense tables with spongy bone between, the frontal sinus, and perhaps a fracture."""
    phantom.add("cortical bone", skull, 1350)
    phantom.add("trabecular bone", skull.grown(-1.8), 520)
    phantom.add("cortical bone", skull.grown(-rng.uniform(3.0, 4.0)), 1350)
    front = float(skull.low[1])
    for side in (-1, 1):
        sinus = ellipsoid((side * rng.uniform(8, 14), front + 5, -14), (11, 3.5, rng.uniform(10, 18)))
        phantom.add("cortical bone", sinus.grown(1.2))
        phantom.add("air", sinus)
    if finding == "skull fracture":
        side, z = int(rng.choice([-1, 1])), float(rng.uniform(0, 45))
        turn = math.radians(rng.uniform(-50, 50))
        x, y = side * 62 * math.cos(turn), 80 * math.sin(turn)
        swollen = ellipsoid((1.02 * x, 1.02 * y, z), (13, 30, 34), math.degrees(math.atan2(y, x)))
        swollen = swollen.wobbly(rng, 1, 30) - skull
        phantom.add("clotted blood", swollen, 62, name="swelling")
        for shift in (0.0, 14.0):
            line = block((x, y + shift, z), (22, 1.5, 26), math.degrees(turn) * side + rng.uniform(-25, 25))
            phantom.add("water", line & skull, 40, name="skull fracture")
        words = f"{SIDES[side]} skull fracture"
        phantom.findings.append(Finding(finding, words, z, 10))


def _add_brain(phantom: Phantom, rng: Generator, room: Shape, size: float) -> None:
    """Cortex with its furrows, white matter, deep nuclei, the fissures."""
    brain = room.grown(-rng.uniform(1.2, 3.2)).wobbly(rng, 0.7, 16)
    phantom.add("grey matter", brain)
    rim = brain - brain.grown(-rng.uniform(11, 17))
    angles = np.linspace(0, 2 * math.pi, 46) + rng.uniform(-0.05, 0.05, 46)
    radii = rng.uniform(0.74, 1.0, 46)
    seeds = np.column_stack([70 * size * radii * np.sin(angles), 88 * size * radii * np.cos(angles)])
    furrows = walls_between(seeds, float(rng.uniform(0.3, 1.8)))
    white = brain.grown(-6.5).wobbly(rng, 3.0, 24) - furrows.grown(5.5)
    phantom.add("white matter", white | brain.grown(-19))
    phantom.add("cerebrospinal fluid", furrows & rim)
    phantom.add("cerebrospinal fluid", block((0, 0, 60), (1.6, 120, 110)) & room & (
        half_space((0, 1, 0), -40 * size) | half_space((0, -1, 0), -44 * size) | half_space((0, 0, -1), -34)
    ))  # fmt: skip
    for side in (-1, 1):
        cleft = tube([(side * 64, -16, 4), (side * 46, -6, 6), (side * 42, 14, 12)], [3.4, 2, 1.2])
        phantom.add("cerebrospinal fluid", cleft)
        for place, semi, turn in (
            ((15, -24, 12), (6, 12, 14), 18),
            ((27, -6, 2), (9, 18, 15), 22),
            ((12, 10, 4), (9.5, 15, 13), -20),
        ):
            deep = ellipsoid((side * place[0] * size, place[1], place[2]), semi, side * turn)
            phantom.add("grey matter", deep, 42)


def _add_ventricles(phantom: Phantom, rng: Generator, size: float) -> None:
    """Both lateral ventricles, the third, and small calcifications of old age."""
    wide = rng.uniform(0.7, 1.8)
    for side in (-1, 1):
        line = [
            (side * 8, -34, 12),
            (side * 9, -18, 19),
            (side * 13, 6, 24),
            (side * 22, 30, 15),
            (side * 25, 46, 8),
        ]
        body = tube(
            [(x * size, y * size, z) for x, y, z in line],
            [4.5 * wide, 6 * wide, 5.5 * wide, 7 * wide, 4 * wide],
        )
        phantom.add("cerebrospinal fluid", body, name="ventricle")
        if rng.random() < 0.6:
            spot = ellipsoid((side * 22 * size, 28, 14), (2.6, 4.5, 4))
            phantom.add("calcification", spot, 330, name="plexus")
    phantom.add(
        "cerebrospinal fluid", block((0, 2, 0), (1.4 * wide, 13, 11), rounding=1), name="third ventricle"
    )
    if rng.random() < 0.7:
        phantom.add("calcification", ellipsoid((0, 24, 4), (2.6, 2.8, 3)), 380, name="pineal gland")


def _add_finding(
    phantom: Phantom, rng: Generator, room: Shape, size: float, contrast: bool, finding: str
) -> None:
    """Blood, dead tissue or a tumour of one half of the brain."""
    side = int(rng.choice([-1, 1]))
    z = float(rng.uniform(2, 36))
    word = SIDES[side]
    if finding == "haemorrhage":
        deep = rng.random() < 0.5
        x, y = (
            side * (28 if deep else rng.uniform(34, 44)) * size,
            (-4 if deep else rng.uniform(-42, 46)) * size,
        )
        across = float(rng.uniform(10, 18))
        shape = ellipsoid((x, y, z), (across, across * rng.uniform(0.9, 1.5), across), rng.uniform(-30, 30))
        phantom.add("dead tissue", shape.grown(rng.uniform(4, 8)).wobbly(rng, 1.5, 18) & room.grown(-3), 18)
        phantom.add("clotted blood", shape.wobbly(rng, 1.5, 14), 72, name="haemorrhage")
        place = "basal ganglia" if deep else "hemisphere"
        phantom.findings.append(Finding(finding, f"haemorrhage, {word} {place}", z, 0.7 * across))
    elif finding == "subdural haematoma":
        inner = room.moved(-side * rng.uniform(8, 14)).grown(1)
        crescent = ((room - inner) & half_space((-side, 0, 0), -20)).wobbly(rng, 0.6, 20) & room
        phantom.add("clotted blood", crescent, rng.uniform(58, 74), name="subdural haematoma")
        phantom.findings.append(Finding(finding, f"{word} subdural haematoma", z, 26))
    elif finding == "infarct":
        wedge = ellipsoid(
            (side * 52 * size, rng.uniform(-14, 22), z),
            (34, rng.uniform(24, 36), 34),
            side * rng.uniform(-20, 20),
        )
        phantom.add(
            "dead tissue",
            wedge.wobbly(rng, 3, 24) & room.grown(-2.5) & half_space((-side, 0, 0), -20),
            name="infarct",
        )
        phantom.findings.append(Finding(finding, f"{word} middle cerebral infarct", z, 22))
    elif finding == "brain tumour":
        across = float(rng.uniform(10, 17))
        x, y = side * rng.uniform(26, 38) * size, rng.uniform(-46, 46) * size
        shape = ellipsoid((x, y, z), (across, across, across)).wobbly(rng, 1.2, 14)
        phantom.add("dead tissue", shape.grown(rng.uniform(6, 11)).wobbly(rng, 3, 20) & room.grown(-3), 19)
        phantom.add("tumour", shape, 85 if contrast else 44, name="brain tumour")
        phantom.add("tumour", shape.grown(-4), 26, name="brain tumour core")
        words = f"{'ring-enhancing ' if contrast else ''}tumour, {word} hemisphere"
        phantom.findings.append(Finding(finding, words, z, 0.7 * across))
