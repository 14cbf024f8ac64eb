"""The lower jaw: teeth and their roots, tongue, throat, the muscles and vessels of the upper neck."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import Shape, block, column, ellipsoid, tube, walls_between
from tools.scans.trunk import add_spine

HEIGHTS = (-26.0, 8.0)
FINDINGS = ("metal fillings", "dental implant", "jaw cyst", "jaw fracture")
WIDTHS = (5.5, 6.0, 7.0, 7.2, 7.4, 11.0, 10.5)  # of the teeth of one side, mm, from the middle backwards


def level(z: float) -> str:
    """What a slice at that height is known by."""
    if z > 0:
        return "the tooth crowns"
    return "the tooth roots" if z > -13 else "the mandibular body"


@dataclass(frozen=True)
class Arch:
    """The line along which the teeth stand: a parabola in the plane, open to the back.

    Attributes:
        front: y of its front, mm.
        half_width: |x| where it ends, at y = `end`.
    """

    front: float
    half_width: float
    end: float

    def at(self, x: float) -> tuple[float, float]:
        """(x, y) of the point at a given x."""
        return x, self.front + (self.end - self.front) * (abs(x) / self.half_width) ** 2.5

    def along(self, length: float) -> tuple[float, float, float]:
        """(x, y, angle of the line in degrees) at a length in mm from the front, negative to the right."""
        xs = np.linspace(0, self.half_width, 200)
        ys = np.array([self.at(x)[1] for x in xs])
        lengths = np.concatenate([[0], np.cumsum(np.hypot(np.diff(xs), np.diff(ys)))])
        x, y = np.interp(abs(length), lengths, xs), np.interp(abs(length), lengths, ys)
        ahead = np.interp(abs(length) + 1, lengths, xs) - x, np.interp(abs(length) + 1, lengths, ys) - y
        angle = math.degrees(math.atan2(ahead[1], ahead[0]))
        return float(math.copysign(x, length)), float(y), angle if length > 0 else 180 - angle

    def tube(self, z: float, radius: float) -> Shape:
        """A tube along the whole arch at height z."""
        return tube([(*self.at(x), z) for x in np.linspace(-self.half_width, self.half_width, 25)], radius)


def make(rng: Generator, contrast: bool, finding: str) -> Phantom:
    """A lower jaw; z = 0 is at the edge of its bone. The arguments are those of `abdomen.make`."""
    phantom = Phantom(float(rng.uniform(186, 202)))
    size = rng.uniform(0.94, 1.06)
    outline = column((0, 8, 0), (66 * size, 86 * size), power=2.25, lean=(0, -0.1)).wobbly(rng, 1.2, 70)
    phantom.add("couch", block((0, 100, 0), (70, 2.5, 1e6), rounding=2), -450)
    phantom.add("skin", outline)
    phantom.add("fat", outline.grown(-2.0), -95)
    arch = Arch(-58 * size, 46 * size, 0.0)
    _add_soft_parts(phantom, rng, arch, outline, size, contrast)
    _add_nape(phantom, rng, outline, size)
    add_spine(phantom, rng, 50 * size, 0.52)
    bone = _bone(arch, size)
    side = int(rng.choice([-1, 1]))
    gap = side * float(rng.uniform(16, 34))
    x, y, angle = arch.along(gap)
    if finding == "jaw fracture":
        swollen = ellipsoid((1.12 * x, y - 4, -14), (17, 13, 22)) & outline.grown(-4)
        phantom.add("clotted blood", swollen, 62, name="swelling")
        bone = bone - block((x, y, -14), (1.4, 16, 30), angle + rng.uniform(-25, 25))
        words = f"{SIDES[side]} mandibular fracture"
        phantom.findings.append(Finding(finding, words, float(rng.uniform(-22, -8)), 12))
    phantom.add_bone(bone, cortex=2.1)
    if finding == "jaw cyst":
        size, z = float(rng.uniform(7, 11)), float(rng.uniform(-18, -12))
        cyst = ellipsoid((x, y, z), (size, size * 0.85, size), angle)
        phantom.add("cortical bone", cyst.grown(1.3))
        phantom.add("water", cyst, 22, name="jaw cyst")
        words = f"{SIDES[side]} mandibular cyst"
        phantom.findings.append(Finding(finding, words, z, 0.6 * size))
    _add_teeth(phantom, rng, arch, finding, side)
    return phantom


def _bone(arch: Arch, size: float) -> Shape:
    """The mandible: a tall wall along the arch, and behind it the branches that go up."""
    bone = arch.tube(-7, 5.6)
    for z in (-12, -17, -22):
        bone = bone | arch.tube(z, 6.0)
    chin = ellipsoid((0, arch.front - 1, -20), (14, 7, 9))
    for side in (-1, 1):
        x, y = arch.at(arch.half_width)
        line = [(side * x, y, -22), (side * (x + 2), y + 12, -16), (side * (x + 5), y + 20, 4)]
        branch = block((side * (x + 6), y + 24, 16), (4.6, 15 * size, 34), side * 96 - 90, rounding=3)
        bone = bone | tube(line, [6, 6, 5]) | branch
    return bone | chin


def _add_soft_parts(
    phantom: Phantom, rng: Generator, arch: Arch, outline: Shape, size: float, contrast: bool
) -> None:
    """Lips and cheeks, tongue, throat, glands, chewing muscles, neck muscles and vessels."""
    cheek = arch.tube(-6, 10.5) | arch.tube(4, 10.5) | arch.tube(-18, 10.5)
    phantom.add("muscle", cheek & outline.grown(-3.5), 48, name="cheek")
    mouth = column((0, arch.front + 40, 0), (36 * size, 40 * size), 34)
    phantom.add("fat", mouth, -60)
    tongue = ellipsoid((0, arch.front + 38, 4), (30 * size, 36 * size, 46)).wobbly(rng, 1, 30)
    phantom.add("muscle", tongue, 52, name="tongue")
    phantom.add("fat", block((0, arch.front + 36, -6), (0.9, 26, 30)), -40)
    neck = column((0, 44, 0), (56 * size, 34 * size), power=2.3) & outline.grown(-5)
    phantom.add("fat", neck, -90)
    for side in (-1, 1):
        phantom.add("muscle", ellipsoid((side * 57 * size, 10, 14), (7.5, 22, 46), side * -8))
        phantom.add("muscle", ellipsoid((side * 40 * size, 14, 12), (6, 15, 34), side * -10))
        gland = ellipsoid((side * 47 * size, 32, -16), (11, 15, 20), side * 20).wobbly(rng, 1.2, 14)
        phantom.add("gland", gland, 55 if contrast else None)
        phantom.add("gland", ellipsoid((side * 56 * size, 38, 20), (9, 15, 24), side * 14), 5)
        phantom.add("muscle", ellipsoid((side * 50 * size, 62, 0), (9, 18, 1e4), side * 24))
        phantom.add("muscle", ellipsoid((side * 14 * size, 39, 0), (11, 5, 1e4)))
        for x, y, radius, blood in ((27, 37, 3.4, 230.0), (34, 45, 6.0, 180.0), (38, 30, 2.2, 220.0)):
            vessel = column((side * x * size, y, 0), (radius, radius))
            phantom.add("blood", vessel, blood if contrast else 42)
    throat = ellipsoid((0, 25, 0), (rng.uniform(11, 17), rng.uniform(5, 9), 60), power=2.4)
    phantom.add("muscle", throat.grown(3.5), 58)
    phantom.add("air", throat, name="throat")


def _add_nape(phantom: Phantom, rng: Generator, outline: Shape, size: float) -> None:
    """The muscles behind the spine, with sheets of fat between."""
    for side in (-1, 1):
        nape = ellipsoid((side * 23 * size, 70, 0), (25 * size, 21, 1e4), side * 20, power=2.3)
        nape = nape & outline.grown(-6)
        phantom.add("muscle", nape)
        seeds = rng.uniform((2, 54), (46, 86), (8, 2)) * (side * size, 1)
        phantom.add("fascia", walls_between(seeds, 1.1) & nape, -60)


def _add_teeth(phantom: Phantom, rng: Generator, arch: Arch, finding: str, side: int) -> None:
    """Both rows of teeth; one may be an implant, some may hold metal, a few are missing."""
    special = int(rng.integers(4, 7)) if finding != "dental implant" else int(rng.integers(2, 6))
    for which in (-1, 1):
        length = 0.0
        for number, width in enumerate(WIDTHS):
            x, y, angle = arch.along(which * (length + width / 2))
            length += width + 0.25
            chosen = which == side and number == special
            if chosen and finding == "dental implant":
                _add_implant(phantom, (x, y), width)
                words = f"{SIDES[side]} dental implant"
                phantom.findings.append(Finding(finding, words, float(rng.uniform(-8, -2)), 8))
                continue
            if rng.random() < 0.05 and not chosen:
                continue
            filled = finding == "metal fillings" and (chosen or (number > 3 and rng.random() < 0.4))
            _add_tooth(phantom, (x, y), width, angle, filled)
    if finding == "metal fillings":
        words = "metal fillings, streak artefacts"
        phantom.findings.append(Finding(finding, words, float(rng.uniform(3, 6)), 2.5))


def _add_tooth(
    phantom: Phantom, place: tuple[float, float], width: float, angle: float, filled: bool
) -> None:
    x, y = place
    deep = 4.2 if width < 7 else 5.2
    roots = [(x, y)]
    if width > 9:
        turn = math.radians(angle)
        roots = [(x + s * 2.6 * math.cos(turn), y + s * 2.6 * math.sin(turn)) for s in (-1, 1)]
    for a, b in roots:
        root = tube([(a, b, 1), (0.97 * a, b + 1, -13)], [0.36 * min(width, 7.5), 1.2])
        phantom.add("fat", root.grown(0.5), 70, name="gap of the root")
        phantom.add("dentine", root)
        phantom.add("grey matter", tube([(a, b, 2), (0.98 * a, b + 1, -11)], 0.7), 60, name="pulp")
    crown = ellipsoid((x, y, 4.5), (width / 2, deep, 6.5), angle, power=2.6)
    phantom.add("enamel", crown)
    phantom.add("dentine", crown.grown(-1.3))
    if filled:
        phantom.add("steel", ellipsoid((x, y, 5), (0.3 * width, 2.4, 3.4), angle), name="filling")


def _add_implant(phantom: Phantom, place: tuple[float, float], width: float) -> None:
    """A titanium screw in the bone, with a crown of ceramic."""
    x, y = place
    phantom.add("enamel", ellipsoid((x, y, 5), (width / 2, 4.5, 5.5)), 2900, name="ceramic crown")
    phantom.add("titanium", tube([(x, y, 3), (0.98 * x, y, -11)], 2.1), name="implant")
