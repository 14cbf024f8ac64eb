"""The abdomen: liver, spleen, stomach, kidneys, pancreas, vessels, bowel."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import Shape, block, column, ellipsoid, half_space, tube
from tools.scans.trunk import (
    Trunk,
    add_back_muscles,
    add_loop,
    add_ribs,
    add_spine,
    add_trunk,
    add_wall,
    fill,
)

HEIGHTS = (-75.0, 78.0)
FINDINGS = ("liver lesion", "renal cyst", "gallstone", "ascites", "aortic calcification", "kidney stone")


def level(z: float) -> str:
    """What a slice at that height is known by."""
    if z > 48:
        return "the liver dome"
    if z > 14:
        return "the liver and spleen"
    return "the kidneys" if z > -42 else "the lower poles of the kidneys"


def make(rng: Generator, contrast: bool, finding: str) -> Phantom:
    """An abdomen; z = 0 is at the second lumbar vertebra.

    Args:
        contrast: whether vessels and organs hold contrast medium, as in the portal venous phase.
        finding: one of `FINDINGS`, or "".
    """
    phantom = Phantom(0.0)
    width, depth = rng.uniform(118, 145), rng.uniform(76, 98)
    trunk = add_trunk(phantom, rng, (width, depth), (17, 13, rng.uniform(44, 52)))
    phantom.side = 2.12 * float(trunk.outline.high[0]) + 8
    phantom.add("fat", trunk.cavity, -106)
    dome = ellipsoid((0, -10, -12), (width + 5, depth + 8, 112), power=2.7)
    phantom.add("lung", (trunk.cavity.grown(-1) - dome) & half_space((0, 0, -1), -16))
    if finding == "ascites":
        fluid = (trunk.cavity.grown(-1) & dome) - (trunk.cavity.grown(-rng.uniform(9, 15)))
        phantom.add("water", fluid & half_space((0, 1, 0), trunk.back - 25), 9, name="ascites")
        phantom.findings.append(Finding(finding, "ascites", float(rng.uniform(-40, 45)), 1e3))
    _add_bowel(phantom, rng, trunk)
    add_wall(phantom, rng, trunk)
    _add_straight_muscles(phantom, rng, trunk)
    inner = trunk.cavity.grown(-3 if finding != "ascites" else -10) & dome.grown(-3)
    _add_organs(phantom, rng, trunk, inner, contrast, finding)
    add_spine(phantom, rng, trunk.back)
    add_back_muscles(phantom, rng, trunk.back)
    add_ribs(phantom, rng, trunk, 250, 12)
    _add_vessels(phantom, rng, trunk, contrast, finding)
    return phantom


def _add_straight_muscles(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """The two straight muscles in front, with a line of fat between."""
    y = -float(trunk.depth) - 5
    phantom.add("fat", block((0, y - 2, 0), (58, 14, 1e6)) & (trunk.wall - trunk.cavity), -80)
    for side in (-1, 1):
        rectus = ellipsoid((side * 32, y + 1, 0), (30, rng.uniform(5.5, 7.5), 1e4), side * 8)
        phantom.add("muscle", rectus)


def _add_organs(
    phantom: Phantom, rng: Generator, trunk: Trunk, inner: Shape, contrast: bool, finding: str
) -> None:
    """Solid organs, stomach and gallbladder, with what is found in them."""
    w, back = trunk.width, trunk.back
    spine_room = column((0, back, 0), (33, 32))
    stomach = ellipsoid(
        (0.38 * w, -24, 36), (rng.uniform(34, 46), rng.uniform(28, 40), 50), 25
    ).wobbly(rng, 2, 60) & inner  # fmt: skip
    spleen = ellipsoid((w - 26, 34, 42), (rng.uniform(26, 36), 50, 54), 18) & inner.grown(-1)
    right = ellipsoid((-0.48 * w, 4, 22), (0.56 * w, 78, rng.uniform(72, 88)))
    left = ellipsoid((0.02 * w, -40, 42), (rng.uniform(0.45, 0.65) * w, 34, 44), -8)
    liver = ((right | left).wobbly(rng, 1.5, 70) & inner) - spine_room - stomach.grown(3)
    phantom.add("spleen", spleen - stomach.grown(3), 122 if contrast else None)
    phantom.add("liver", liver, 112 if contrast else None)
    phantom.add("fat", block((-0.02 * w, -58, 14), (1.8, 20, 34), 14) & liver, -70)
    _add_liver_vessels(phantom, rng, trunk, contrast)
    if finding == "liver lesion":
        _add_liver_lesion(phantom, rng, trunk, liver, contrast)
    phantom.add("bowel wall", stomach, 85 if contrast else None)
    fill(phantom, rng, stomach.grown(-4), -24 + rng.uniform(-22, 6), 25)
    _add_pancreas(phantom, rng, trunk, contrast)
    z = float(rng.uniform(-12, 0))
    bladder = ellipsoid((-0.38 * w, -50, z), (rng.uniform(11, 15), rng.uniform(17, 23), 24), -24)
    phantom.add("bowel wall", bladder.grown(1.8))
    phantom.add("bile", bladder)
    if finding == "gallstone":
        size = float(rng.uniform(5, 9))
        phantom.add("stone", ellipsoid((-0.38 * w - 2, -41, z), (size, size * 0.8, size)), name="gallstone")
        phantom.findings.append(Finding(finding, "gallstone", z, 0.7 * size))
    chosen = int(rng.choice([-1, 1]))
    for side in (-1, 1):
        _add_kidney(phantom, rng, trunk, side, contrast, finding if side == chosen else "")


def _add_liver_vessels(phantom: Phantom, rng: Generator, trunk: Trunk, contrast: bool) -> None:
    """Hepatic veins that meet below the dome, and the branches of the portal vein."""
    w, blood = trunk.width, 168.0 if contrast else 40.0
    top = (-24, trunk.back - 28, 72)
    ends = [(-0.75 * w, 18, 40), (-0.55 * w, -38, 38), (-0.12 * w, -48, 45), (0.3 * w, -46, 48)]
    for end in ends:
        x, y, z = (value + rng.uniform(-9, 7) for value in end)
        middle = ((x + top[0]) / 2 + rng.uniform(-7, 7), (y + top[1]) / 2, (z + top[2]) / 2 + 5)
        phantom.add("blood", tube([top, middle, (x, y, z)], [6, 4.5, 2]), blood, name="vein")
    gate = (-0.28 * w, 0, 16)
    phantom.add("blood", tube([(-8, 12, -4), gate], [7, 7]), blood, name="vein")
    for end in ((-0.78 * w, 24, 14), (-0.66 * w, -26, 20), (0.1 * w, -36, 36)):
        x, y, z = (value + rng.uniform(-8, 8) for value in end)
        phantom.add("blood", tube([gate, (x, y, z)], [5.5, 2.2]), blood, name="vein")


def _add_liver_lesion(phantom: Phantom, rng: Generator, trunk: Trunk, liver: Shape, contrast: bool) -> None:
    """A round lesion, darker than the liver, mostly in the right lobe."""
    w, size = trunk.width, float(rng.uniform(10, 24))
    in_right = rng.random() < 0.7
    place = (-0.6 * w, rng.uniform(-25, 35), rng.uniform(5, 50)) if in_right else (
        0.12 * w, rng.uniform(-50, -38), rng.uniform(35, 52)
    )  # fmt: skip
    size = size if in_right else min(size, 15)
    x, y, z = (float(value) for value in place)
    lesion = ellipsoid((x, y, z), (size, size * rng.uniform(0.8, 1.1), size)).wobbly(
        rng, 0.08 * size, 2 * size
    )
    hu = float(rng.uniform(35, 60)) if contrast else float(rng.uniform(15, 30))
    phantom.add("tumour", lesion & liver.grown(-1), hu, name="liver lesion")
    words = f"hypodense lesion, {'right' if in_right else 'left'} liver lobe"
    phantom.findings.append(Finding("liver lesion", words, z, 0.75 * size))


def _add_pancreas(phantom: Phantom, rng: Generator, trunk: Trunk, contrast: bool) -> None:
    y = trunk.back - 58
    line = [(-34, y + 4, -14), (-22, y, 2), (4, y - 8, 12), (34, y - 2, 20), (66, y + 12, 30)]
    shape = tube(line, [12, 12, 8, 9, 8]).wobbly(rng, 1.6, 22)
    phantom.add("fat", shape.grown(3))
    phantom.add("pancreas", shape, 95 if contrast else None)
    phantom.add(
        "blood", tube([(66, y + 17, 30), (20, y + 5, 18), (-8, y + 3, 6)], 4), 165 if contrast else 42
    )


def _add_kidney(
    phantom: Phantom, rng: Generator, trunk: Trunk, side: int, contrast: bool, finding: str
) -> None:
    """A kidney in its fat: cortex, medulla, the fat of its hilum, and what is found in it."""
    x, y, z = side * rng.uniform(58, 68), trunk.back - rng.uniform(22, 30), -8.0 if side > 0 else -20.0
    turn, lean = side * rng.uniform(25, 45), (-side * 0.12, -0.1)
    a, b = rng.uniform(26, 31), rng.uniform(22, 26)
    kidney = ellipsoid((x, y, z), (a, b, 56), turn, lean)
    phantom.add("fat", kidney.grown(7))
    phantom.add("kidney", kidney, 175 if contrast else None)
    if contrast:
        for angle in np.linspace(0, 2 * np.pi, 8):
            spot = (x + 0.55 * a * np.cos(angle), y + 0.55 * b * np.sin(angle), z)
            phantom.add("kidney", ellipsoid(spot, (6.5, 6, 46), 0, lean), 118)
    hilum = ellipsoid((x - side * 0.6 * a, y - 0.35 * b, z), (0.75 * a, 0.33 * b, 26), turn, lean)
    phantom.add("fat", hilum, -85)
    phantom.add("water", ellipsoid((x - side * 0.45 * a, y - 0.28 * b, z), (0.4 * a, 0.14 * b, 14), turn))
    _add_kidney_finding(phantom, rng, (x, y, z), (a, b), side, finding)


def _add_kidney_finding(
    phantom: Phantom,
    rng: Generator,
    place: tuple[float, float, float],
    semi: tuple[float, float],
    side: int,
    finding: str,
) -> None:
    """A cyst that bulges out of the kidney, or a stone in its pelvis; nothing for other findings."""
    x, y, z = place
    z = float(z + rng.uniform(-18, 18))
    if finding == "renal cyst":
        size = float(rng.uniform(11, 22))
        cyst = ellipsoid((x + side * 0.8 * semi[0], y + rng.uniform(-14, 2), z), (size, size, size))
        phantom.add("water", cyst, 8, name="renal cyst")
        phantom.findings.append(Finding(finding, f"{SIDES[side]} renal cyst", z, 0.75 * size))
    elif finding == "kidney stone":
        size = float(rng.uniform(4, 7))
        stone = ellipsoid((x - side * 0.3 * semi[0], y - 3, z), (size, size * 0.8, size))
        phantom.add("stone", stone, name="kidney stone")
        phantom.findings.append(Finding(finding, f"{SIDES[side]} renal stone", z, 0.7 * size))


def _add_vessels(phantom: Phantom, rng: Generator, trunk: Trunk, contrast: bool, finding: str) -> None:
    """Aorta, vena cava, psoas muscles, and the vessels of bowel and kidneys."""
    front, blood = trunk.back - 16.5, 175.0 if contrast else 42.0
    for side in (-1, 1):
        x = side * 30
        psoas = tube(
            [(x, trunk.back + 4, 22), (side * 36, front + 8, -30), (side * 50, front, -110)], [5, 16, 24]
        )
        psoas = psoas.wobbly(rng, 2.2, 30)
        phantom.add("fat", psoas.grown(1.5))
        phantom.add("muscle", psoas)
        for ends in ((5, front - 12, -2), (-22, front - 10, -8)):
            kidney = (side * 46, front + 8, -8.0 if side > 0 else -18.0)
            phantom.add("blood", tube([ends, kidney], [3.2, 2.6]), blood)
    radius = float(rng.uniform(8.5, 12.5))
    aorta = tube([(10, front - 9, 120), (6, front - radius - 1, 0), (2, front - radius - 1, -140)], radius)
    cava = ellipsoid((-23, front - 8, 0), (rng.uniform(10, 14), rng.uniform(7, 11), 1e4))
    phantom.add("fat", aorta.grown(2) | cava.grown(1.5))
    phantom.add("blood", cava, 150 if contrast else 40, name="vena cava")
    phantom.add("blood", aorta, blood, name="aorta")
    phantom.add("blood", tube([(0, front - 27, 20), (-2, front - 33, -90)], 3.8), blood)
    phantom.add("blood", tube([(-13, front - 26, 5), (-14, front - 32, -90)], 5), 160 if contrast else 41)
    if finding == "aortic calcification":
        height = float(rng.uniform(-55, 10))
        middle, angle = 6 + 4 * min(height, 0) / 140, float(rng.uniform(0, 360))
        plaque = ellipsoid((middle, front - radius - 1, height), (radius + 0.6, radius + 0.6, 30))
        across, down = radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle))
        sector = block((middle + across, front - radius - 1 + down, height), (5, 8, 30), angle)
        phantom.add("calcification", (plaque - plaque.grown(-3.2)) & sector, 800, name="aortic calcification")
        phantom.findings.append(Finding(finding, "calcified aorta", height, 17))


def _add_bowel(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Colon on both sides and in front, loops of small bowel between."""
    w, d = trunk.width, trunk.depth
    colon: list[list[tuple[float, float, float]]] = [
        [(-w + 26, 12, -140), (-w + 26, 8, -30), (-w + 34, -8, -14)],
        [(w - 24, 26, -140), (w - 24, 22, -10), (w - 30, 6, 24)],
        [(-w + 42, -0.5 * d, -22), (-20, -0.72 * d, -36), (30, -0.7 * d, -30), (w - 42, -0.4 * d, 6)],
    ]
    for line in colon:
        shape = tube(line, float(rng.uniform(15, 21))).wobbly(rng, 2, 25)
        add_loop(phantom, rng, shape, line[1][1] + rng.uniform(-12, 4), 35)
    for x in np.arange(-0.62 * w, 0.63 * w, 27):
        for y in np.arange(-0.66 * d, 0.25 * d, 25):
            for z in (-25, -52, -80, -108):
                place = np.array([x, y, z]) + rng.uniform(-9, 9, 3)
                step = rng.uniform(-17, 17, 3)
                loop = tube(
                    [place - step, place, place + rng.uniform(-17, 17, 3)], float(rng.uniform(11, 14.5))
                )
                add_loop(phantom, rng, loop, place[1] + rng.uniform(-14, -3), 22)
