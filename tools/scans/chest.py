"""The chest: lungs with their vessels, heart, great vessels, airways, shoulder blades, breastbone."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import Shape, block, column, ellipsoid, half_space, tube
from tools.scans.trunk import Trunk, add_back_muscles, add_ribs, add_spine, add_trunk, add_wall

HEIGHTS = (-70.0, 92.0)
FINDINGS = ("lung nodule", "pleural effusion", "consolidation", "coronary calcification")


def level(z: float) -> str:
    """What a slice at that height is known by."""
    if z > 62:
        return "the aortic arch" if z < 82 else "the great vessels"
    if z > 28:
        return "the tracheal bifurcation"
    return "the pulmonary trunk" if z > 2 else "the heart"


def make(rng: Generator, contrast: bool, finding: str) -> Phantom:
    """A chest; z = 0 is at the valves of the heart.

    Args:
        contrast: whether vessels and heart hold contrast medium.
        finding: one of `FINDINGS`, or "".
    """
    phantom = Phantom(0.0)
    width, depth = rng.uniform(118, 142), rng.uniform(82, 102)
    trunk = add_trunk(phantom, rng, (width, depth), (14, 10, rng.uniform(40, 48)))
    phantom.side = 2.16 * float(trunk.outline.high[0]) + 8
    _add_lungs(phantom, rng, trunk, finding)
    _add_middle(phantom, rng, trunk, contrast, finding)
    add_wall(phantom, rng, trunk)
    if rng.random() < 0.45:
        _add_breasts(phantom, rng, trunk)
    _add_shoulders(phantom, rng, trunk)
    add_back_muscles(phantom, rng, trunk.back, 0.85)
    add_spine(phantom, rng, trunk.back, 0.86, ribs=True)
    add_ribs(phantom, rng, trunk, 175, 11)
    breastbone = block((0, -trunk.depth - 3, 10), (rng.uniform(16, 21), 5.5, 90), rounding=4)
    phantom.add_bone(breastbone)
    return phantom


def _add_breasts(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Two mounds of fat with glands in them, in front of the wall."""
    front = float(trunk.outline.low[1])
    size = rng.uniform(0.8, 1.15)
    x, z = 0.58 * trunk.width, -18.0
    for side in (-1, 1):
        mound = ellipsoid((side * x, front + 34, z), (58 * size, 52 * size, 62 * size), side * 14)
        phantom.add("skin", mound - trunk.outline)
        phantom.add("fat", mound.grown(-2.2) - trunk.wall)
        gland = ellipsoid((side * x, front + 16, z), (26 * size, 22 * size, 32)).wobbly(rng, 4, 16)
        phantom.add("gland", gland - trunk.wall.grown(6))


def _add_shoulders(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Shoulder blades with their muscles, and the chest muscles in front."""
    w, d = trunk.width, trunk.depth
    for side in (-1, 1):
        chest = ellipsoid((side * 0.58 * w, -d - 9, 55), (56, rng.uniform(7, 10), 75), side * 20)
        phantom.add("muscle", chest & trunk.outline.grown(-6))
        back = ellipsoid((side * (w + 2), 0.42 * d, 40), (13, 62, 120), side * 22)
        phantom.add("muscle", back & trunk.outline.grown(-6))
        below = ellipsoid((side * 0.83 * w, 0.74 * d, 75), (52, 15, 66), side * -42)
        phantom.add("fascia", below.grown(2) & trunk.outline.grown(-6))
        phantom.add("muscle", below & trunk.outline.grown(-6))
        blade = tube(
            [(side * 0.62 * w, 1.02 * d, 60), (side * 0.86 * w, 0.84 * d, 66), (side * 1.1 * w, 0.5 * d, 78)],
            [3.5, 3, 6],
        )
        lower = tube([(side * 0.62 * w, 1.02 * d, 62), (side * 0.84 * w, 0.86 * d, 6)], [3.4, 3.4])
        sheet = block((side * 0.8 * w, 0.87 * d, 48), (34, 2.4, 26), side * -36)
        phantom.add_bone((blade | lower | sheet) & trunk.outline.grown(-5), cortex=1.4)


def _add_lungs(phantom: Phantom, rng: Generator, trunk: Trunk, finding: str) -> None:
    """Lungs with vessels and fissures, and what is found in them; the middle of the chest comes over them."""
    w, d = trunk.width, trunk.depth
    room = trunk.cavity.grown(-2)
    side = int(rng.choice([-1, 1]))
    half = half_space((-side, 0, 0), 0)
    phantom.add("fat", trunk.cavity)
    phantom.add("lung", room, rng.uniform(-875, -815))
    for slope in (0.35, -0.45):
        fissure = half_space((0, 0.87, -0.5 * math.copysign(1, slope)), slope * 60)
        phantom.add("lung", (fissure - fissure.grown(-0.9)) & room & half_space((0, -1, 0), 40), -620)
    _add_lung_vessels(phantom, rng, trunk)
    if finding == "pleural effusion":
        depth = float(rng.uniform(28, 58))
        above = column((side * 0.42 * w, -0.1 * d, 0), (0.5 * w, 1.1 * d - depth)).wobbly(rng, 1, 60)
        fluid = ((room & half) - above) & half_space((0, -1, 0), 0.1 * d)
        phantom.add("water", fluid, 12, name="pleural effusion")
        words = f"{SIDES[side]} pleural effusion"
        phantom.findings.append(Finding(finding, words, float(rng.uniform(-65, 20)), 1e3))
    elif finding == "lung nodule":
        size = float(rng.uniform(6, 13))
        x, y = side * rng.uniform(0.55, 0.76) * w, rng.uniform(-0.3, 0.45) * d
        z = float(rng.uniform(-40, 80))
        nodule = ellipsoid((x, y, z), (size, size, size)).wobbly(rng, 0.1 * size, size)
        phantom.add("tumour", nodule, 38, name="lung nodule")
        words = f"{SIDES[side]} lung nodule"
        phantom.findings.append(Finding(finding, words, z, 0.7 * size))
    elif finding == "consolidation":
        _add_consolidation(phantom, rng, trunk, room, side)


def _add_consolidation(phantom: Phantom, rng: Generator, trunk: Trunk, lungs: Shape, side: int) -> None:
    """Lung without air, in which the airways stay dark."""
    w, d, z = trunk.width, trunk.depth, float(rng.uniform(-50, 40))
    patch = ellipsoid((side * 0.62 * w, 0.5 * d, z), (rng.uniform(30, 42), rng.uniform(28, 40), 42))
    patch = patch.wobbly(rng, 5, 26) & lungs
    phantom.add("lung", patch.grown(4).wobbly(rng, 2, 14) & lungs, -480)
    phantom.add("consolidation", patch, name="consolidation")
    for angle in np.linspace(-0.8, 1.0, 5) + rng.uniform(-0.1, 0.1, 5):
        start = (side * 0.3 * w, 0.2 * d, z + 4)
        end = (start[0] + side * 58 * math.cos(angle), start[1] + 46 * math.sin(angle) + 16, z - 4)
        phantom.add("air", tube([start, end], [2.6, 1.0]) & patch, -900)
    words = f"{SIDES[side]} lung consolidation"
    phantom.findings.append(Finding("consolidation", words, z, 30))


def _add_lung_vessels(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Trees of vessels from each lung's root outwards, ever thinner."""
    w, d = trunk.width, trunk.depth
    for side in (-1, 1):
        for _ in range(44):
            turn, reach = rng.uniform(-1.5, 1.5), rng.uniform(0.7, 0.93)
            goal = np.array(
                [side * reach * w * math.cos(turn), reach * d * math.sin(turn), rng.uniform(-120, 130)]
            )
            root = np.array([side * 42.0, 6.0, 14.0 + 0.25 * goal[2]])
            bend = root + (goal - root) * 0.45 + rng.normal(0, 7, 3)
            thick = rng.uniform(3.6, 6.4)
            tree = tube([root, bend, goal], [thick, 0.62 * thick, 0.8])
            for _ in range(3):
                start = bend + (goal - bend) * rng.uniform(0, 0.75)
                tree = tree | tube([start, start + rng.normal(0, 20, 3)], [0.45 * thick, 0.6])
            phantom.add("blood", tree, name="lung vessel")


def _add_middle(phantom: Phantom, rng: Generator, trunk: Trunk, contrast: bool, finding: str) -> None:
    """The middle of the chest: fat, and in it heart, great vessels, airways and gullet."""
    size = rng.uniform(0.95, 1.15)
    heart = ellipsoid((24, -28, -36), (60 * size, 44 * size, 60), 28).wobbly(rng, 2, 45)
    vessels, airway = _great_vessels(rng, trunk, contrast), _airway(trunk)
    front, back = -trunk.depth, trunk.depth
    room = heart.grown(rng.uniform(3, 8)) | airway.grown(4)
    for _, shape, _ in vessels:
        room = room | shape.grown(rng.uniform(2.5, 4.5))
    room = room | column((0, front + 10, 0), (rng.uniform(12, 20), 24)) | column((0, back - 4, 0), (27, 30))
    room = room | column((3, 12, 0), (16, 42), power=2.3) | column((2, -12, 90), (30, 30), 60)
    phantom.add("fat", room.wobbly(rng, 1, 25) & trunk.cavity)
    _add_heart(phantom, rng, heart, size, contrast, finding)
    for name, shape, hu in vessels:
        phantom.add("blood", shape, hu, name=name)
    phantom.add("cartilage", airway.grown(1.5), 50)
    phantom.add("air", airway, name="windpipe")
    y = trunk.back - 32
    gullet = tube([(4, y - 5, 130), (3, y - 2, 20), (6, y + 1, -120)], [7, 7, 7.5])
    phantom.add("muscle", gullet, 45)
    if rng.random() < 0.5:
        phantom.add("air", gullet.grown(-4.5))


def _add_heart(
    phantom: Phantom, rng: Generator, heart: Shape, size: float, contrast: bool, finding: str
) -> None:
    """The heart's muscle, with its chambers where contrast medium shows them."""
    blood = 185.0 if contrast else 42.0
    phantom.add("heart muscle", heart, 105 if contrast else None)
    chambers = {
        "left ventricle": ellipsoid((46, -24, -42), (34 * size, 19 * size, 36), 38),
        "right ventricle": ellipsoid((8, -50, -42), (38 * size, 17 * size, 40), 18),
        "left atrium": ellipsoid((8, 2, -14), (32 * size, 17 * size, 24), 4),
        "right atrium": ellipsoid((-26, -22, -28), (20 * size, 24 * size, 34)),
    }
    for name, shape in chambers.items():
        less = 0 if name.startswith("left") else 18
        phantom.add("blood", shape.wobbly(rng, 1, 25) & heart.grown(-2.5), blood - less * contrast, name=name)
    groove = tube([(12, -72, -30), (24, -44, -24)], [4, 2]) | tube([(44, 0, -16), (34, -8, -18)], [4, 2])
    phantom.add("fat", groove, -85)
    if finding == "coronary calcification":
        z = float(rng.uniform(-34, -18))
        line = [(4, -60, z + 0.5), (16, -66, z), (30, -67, z - 0.5)]
        phantom.add("fat", tube(line, 6.5), -85)
        phantom.add("calcification", tube(line, [2.4, 3.4, 2.6]), 900, name="coronary calcification")
        phantom.findings.append(Finding(finding, "coronary calcification", z, 2.0))


def _great_vessels(rng: Generator, trunk: Trunk, contrast: bool) -> list[tuple[str, Shape, float]]:
    """Aorta with its arch, pulmonary arteries and veins, hollow veins: name, shape, HU."""
    front, blood = trunk.back - 15, 190.0 if contrast else 42.0
    radius = float(rng.uniform(12, 15.5))
    x, y = 20 + radius * 0.3, front - 2
    arch = [
        (2, -24, -14), (-10, -32, 14), (-10, -34, 44), (-4, -26, 66), (8, -4, 76), (17, front - 24, 70),
        (x, y - 4, 52), (x, y, 10), (x - 4, y + 2, -60), (x - 12, y, -140),
    ]  # fmt: skip
    widths = [radius * 1.1] * 3 + [radius] * 3 + [radius * 0.85] * 4
    found = [("artery", tube(line, 5.5), blood) for line in (
        [(-6, -22, 72), (-16, -22, 112)],
        [(6, -8, 76), (5, -10, 112)],
        [(14, front - 30, 74), (17, front - 36, 112)],
    )]  # fmt: skip
    lungs = blood - 10 * contrast
    found.append(
        (
            "pulmonary trunk",
            tube([(18, -46, -8), (22, -40, 14), (18, -22, 24), (2, -8, 24)], [14, 14, 12.5, 11]),
            lungs,
        )
    )
    for side in (-1, 1):
        branch = [(10, -14, 24), (side * 34, 0, 20 + 4 * side), (side * 56, 8, 14)]
        found.append(("pulmonary artery", tube(branch, [11, 9, 5]), lungs))
        found.append(("pulmonary vein", tube([(side * 20, 6, -8), (side * 52, 4, -6)], [6.5, 4]), blood))
    upper = tube([(-27, -20, -18), (-29, -24, 30), (-28, -26, 80), (-24, -30, 120)], 9)
    found.append(("upper vena cava", upper, blood + 40 * contrast))
    found.append(("lower vena cava", tube([(-24, -4, -44), (-22, 4, -120)], 12), 120.0 if contrast else 40.0))
    found.append(("aorta", tube(arch, widths), blood))
    return found


def _airway(trunk: Trunk) -> Shape:
    """The windpipe and its two branches."""
    y = trunk.back - 49
    fork = (0.0, y, 36.0)
    airway = tube([(0, y - 4, 140), fork], 8.6)
    for side in (-1, 1):
        airway = airway | tube(
            [fork, (side * 22, y - 6, 22 - 4 * side), (side * 48, y - 6, 6)], [7.2, 6, 3.6]
        )
    return airway
