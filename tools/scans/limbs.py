"""Thigh, lower leg and forearm: bones in their muscles, with fractures and what surgeons leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import Shape, block, column, ellipsoid, half_space, tube, walls_between

HEIGHTS = (-60.0, 60.0)
FINDINGS = ("fracture", "intramedullary nail", "metal plate", "lytic bone lesion")


@dataclass(frozen=True)
class Bone:
    """A shaft.

    Attributes:
        name: in captions.
        place: (x, y) of its middle, for a right limb, mm.
        semi: half its width and depth, mm.
        cortex: thickness of its wall, mm.
        crest: (x, y) relative to `place` of a sharp edge, or None.
    """

    name: str
    place: tuple[float, float]
    semi: tuple[float, float]
    cortex: float
    crest: tuple[float, float] | None = None

    def shape(self, shift: tuple[float, float] = (0.0, 0.0), lean: tuple[float, float] = (0.0, 0.0)) -> Shape:
        """The shaft, moved aside."""
        x, y = self.place[0] + shift[0], self.place[1] + shift[1]
        shaft = column((x, y, 0), self.semi, lean=lean, half_height=400)
        if self.crest is None:
            return shaft
        edge = tube([(x, y, -400), (x, y, 400)], 1)
        for share in (0.35, 0.6, 0.85):
            radius = (1 - share) * min(self.semi) + 2.5 * share
            a, b = x + share * self.crest[0], y + share * self.crest[1]
            edge = edge | column((a, b, 0), (radius, radius), lean=lean, half_height=400)
        return shaft | edge


@dataclass(frozen=True)
class Limb:
    """A limb's section.

    Attributes:
        name: in captions.
        semi: half width and depth within the fat, mm.
        fat: thickness of the fat, mm, least and most.
        muscles: how many bellies.
        vessels: (x, y) of the main vessels of a right limb, mm.
    """

    name: str
    semi: tuple[float, float]
    fat: tuple[float, float]
    muscles: int
    vessels: tuple[float, float]
    bones: tuple[Bone, ...]


THIGH = Limb("thigh", (66, 68), (6, 24), 13, (-26, -4), (Bone("femur", (8, -6), (14, 15), 5.0),))
LOWER_LEG = Limb(
    "lower leg", (47, 52), (4, 14), 9, (4, 14),
    (Bone("tibia", (12, -14), (12.5, 13), 4.0, (9, -15)), Bone("fibula", (-24, 8), (6.5, 7), 2.6)),
)  # fmt: skip
FOREARM = Limb(
    "forearm", (37, 27), (3, 9), 10, (-1, -13),
    (Bone("radius", (-16, -2), (7.5, 6.5), 2.4), Bone("ulna", (15, 6), (6.5, 7.5), 2.4)),
)  # fmt: skip


def level(z: float) -> str:
    """What a slice at that height is known by."""
    return "the upper shaft" if z > 20 else "the middle shaft" if z > -20 else "the lower shaft"


def make(rng: Generator, contrast: bool, finding: str, limb: Limb) -> Phantom:
    """A limb; z = 0 is half-way along it. The other arguments are those of `abdomen.make`."""
    side = 2 * int(rng.integers(2)) - 1
    word, mirror = SIDES[side], -side
    size = rng.uniform(0.9, 1.1)
    a, b = limb.semi[0] * size, limb.semi[1] * size
    fat = rng.uniform(*limb.fat)
    inner = column((0, 0, 0), (a, b), lean=(0.03, 0.05)).wobbly(rng, 1.4, 40)
    outline = column((rng.uniform(-2, 2), 2, 0), (a + fat, b + fat), lean=(0.05, 0.05), power=2.1).wobbly(
        rng, 1.2, 60
    )
    phantom = Phantom(2.0 * (max(a, b) + fat) * rng.uniform(1.12, 1.25))
    phantom.add("couch", block((0, b + fat + 6, 0), (2 * a, 1.6, 1e6)), -420)
    phantom.add("skin", outline)
    phantom.add("fat", outline.grown(-1.8))
    for _ in range(5):  # veins under the skin
        turn = rng.uniform(0, 2 * math.pi)
        place = ((a + 0.55 * fat) * math.cos(turn), (b + 0.55 * fat) * math.sin(turn), 0)
        phantom.add("blood", column(place, (1.5, 1.5)) & outline.grown(-2))
    bones = [Bone(x.name, (mirror * x.place[0] * size, x.place[1] * size), x.semi, x.cortex,
                  x.crest and (mirror * x.crest[0], x.crest[1])) for x in limb.bones]  # fmt: skip
    _add_muscles(phantom, rng, inner, (a, b), limb.muscles, bones)
    _add_vessels(phantom, rng, (mirror * limb.vessels[0] * size, limb.vessels[1] * size), a, contrast)
    for number, bone in enumerate(bones):
        _add_bone(phantom, rng, bone, inner, finding if number == 0 else "", f"{word} {bone.name}")
    return phantom


def _add_muscles(
    phantom: Phantom, rng: Generator, inner: Shape, semi: tuple[float, float], count: int, bones: list[Bone]
) -> None:
    """Bellies round the bones with sheets of fat between."""
    a, b = semi
    phantom.add("muscle", inner)
    angles = np.linspace(0, 2 * math.pi, count, endpoint=False) + rng.uniform(-0.2, 0.2, count)
    radii = rng.uniform(0.45, 0.85, count)
    seeds = np.column_stack([a * radii * np.cos(angles), b * radii * np.sin(angles)])
    seeds = np.concatenate([seeds, [bone.place for bone in bones]])
    sheets = walls_between(seeds, float(rng.uniform(0.5, 1.6))) & inner.grown(-1)
    phantom.add("fat", sheets.wobbly(rng, 0.5, 14), -80)


def _add_vessels(
    phantom: Phantom, rng: Generator, place: tuple[float, float], width: float, contrast: bool
) -> None:
    """The main artery and vein in a little fat, and a nerve; `width` is half the limb's."""
    x, y = place[0] + rng.uniform(-3, 3), place[1] + rng.uniform(-3, 3)
    radius = 0.04 * width + 0.8
    phantom.add("fat", column((x, y, 0), (3.4 * radius, 2.8 * radius)).wobbly(rng, 1, 12))
    for shift, size, blood in ((-1.4, 0.9, 230.0), (1.2, 1.2, 90.0)):
        vessel = column((x + shift * radius, y, 0), (size * radius, size * radius))
        phantom.add("blood", vessel, blood if contrast else 42)
    phantom.add("cord", column((x, y + 2 * radius, 0), (1.2 * radius, 0.8 * radius)))


def _add_bone(phantom: Phantom, rng: Generator, bone: Bone, inner: Shape, finding: str, words: str) -> None:
    """A shaft with its marrow, and what is found in it."""
    z = float(rng.uniform(-45, 45))
    x, y = bone.place
    if finding == "fracture":
        _add_fracture(phantom, rng, bone, inner, z, words)
        return
    shaft = bone.shape()
    phantom.add_bone(shaft, bone.cortex, "marrow")
    if finding == "intramedullary nail":
        thick = min(bone.semi) - bone.cortex - rng.uniform(0.5, 2.5)
        phantom.add("titanium", column((x, y, 0), (thick, thick)), name="nail")
        found = f"{words} nail, metal artefacts"
        phantom.findings.append(Finding(finding, found, z, 1e3))
    elif finding == "metal plate":
        angle = math.radians(rng.uniform(0, 360))
        out = (math.cos(angle), math.sin(angle))
        reach = 1 / math.hypot(out[0] / bone.semi[0], out[1] / bone.semi[1]) + 1.6
        place = (x + reach * out[0], y + reach * out[1], z)
        phantom.add("steel", block(place, (1.8, 5.5, 60), math.degrees(angle), rounding=1), name="plate")
        for number in range(-3, 4):
            height = z + 16 * number
            screw = [
                (place[0], place[1], height),
                (x - 0.95 * reach * out[0], y - 0.95 * reach * out[1], height),
            ]
            phantom.add("steel", tube(screw, 1.7), name="screw")
        phantom.findings.append(Finding(finding, f"{words} plate, metal artefacts", z, 55))
    elif finding == "lytic bone lesion":
        size = float(rng.uniform(0.8, 1.15) * min(bone.semi))
        angle = rng.uniform(0, 2 * math.pi)
        spot = (x + 0.6 * bone.semi[0] * math.cos(angle), y + 0.6 * bone.semi[1] * math.sin(angle), z)
        lesion = ellipsoid(spot, (size, size, 2 * size)).wobbly(rng, 0.12 * size, size)
        phantom.add("tumour", lesion, 48, name="lytic bone lesion")
        phantom.findings.append(Finding(finding, f"lytic lesion, {words}", z, size))


def _add_fracture(phantom: Phantom, rng: Generator, bone: Bone, inner: Shape, z: float, words: str) -> None:
    """Two pieces of a shaft that an oblique break parts and moves against each other, splinters, blood."""
    radius = max(bone.semi)
    steep = math.radians(rng.uniform(50, 70))
    around = rng.uniform(0, 2 * math.pi)
    normal = (math.sin(steep) * math.cos(around), math.sin(steep) * math.sin(around), math.cos(steep))
    away = rng.uniform(0.25, 0.8) * radius
    drift = rng.uniform(0, 2 * math.pi)
    shift = (away * math.cos(drift), away * math.sin(drift))
    x, y = bone.place
    offset = normal[0] * x + normal[1] * y + normal[2] * z
    lower = bone.shape() & half_space(normal, offset - 1.2)
    opposite = (-normal[0], -normal[1], -normal[2])
    upper = bone.shape(shift) & half_space(opposite, -offset - 1.2)
    blood = ellipsoid((x, y, z), (2.3 * radius, 2.3 * radius, 2.6 * radius)).wobbly(rng, 2, 16)
    phantom.add("clotted blood", blood & inner.grown(2), 63, name="haematoma")
    for piece in (lower, upper):
        phantom.add("cortical bone", piece)
        phantom.add("marrow", piece.grown(-bone.cortex))
    for _ in range(2):
        turn = rng.uniform(0, 2 * math.pi)
        spot = (x + 1.5 * radius * math.cos(turn), y + 1.5 * radius * math.sin(turn), z + rng.uniform(-3, 3))
        chip = ellipsoid(spot, (0.36 * radius, 0.15 * radius, 0.6 * radius), math.degrees(turn) + 70)
        phantom.add("cortical bone", chip, 900)
    reach = 0.5 * radius * math.tan(steep)
    phantom.findings.append(Finding("fracture", f"displaced {words} fracture", z, reach))
