"""A phantom: parts of known tissues, painted one over the other, with findings, and its cut by a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from tools.scans.shapes import Shape
from tools.studio.textures import Array, fractal_noise

AIR = -1000.0
SIDES = {-1: "right", 1: "left"}
"""The patient's sides by the sign of x: the right one is on the picture's left."""


@dataclass(frozen=True)
class Tissue:
    """What a part is made of.

    Attributes:
        hu: mean in Hounsfield units, without contrast medium.
        mottle: standard deviation of its unevenness in Hounsfield units, besides the scanner's noise.
    """

    hu: float
    mottle: float = 0.0


TISSUES = {
    "air": Tissue(AIR),
    "couch": Tissue(-45),
    "skin": Tissue(40, 4),
    "fat": Tissue(-102, 5),
    "muscle": Tissue(55, 4),
    "fascia": Tissue(-70, 4),
    "cortical bone": Tissue(1150, 60),
    "trabecular bone": Tissue(220, 55),
    "marrow": Tissue(-40, 18),
    "disc": Tissue(85, 4),
    "cartilage": Tissue(110, 6),
    "lung": Tissue(-850, 22),
    "blood": Tissue(42),
    "heart muscle": Tissue(48, 3),
    "liver": Tissue(60, 4),
    "spleen": Tissue(50, 3),
    "kidney": Tissue(34, 3),
    "pancreas": Tissue(42, 9),
    "gland": Tissue(25, 12),
    "bowel wall": Tissue(48, 3),
    "bowel content": Tissue(24, 7),
    "water": Tissue(6, 2),
    "bile": Tissue(8, 1),
    "cord": Tissue(36, 1),
    "grey matter": Tissue(39, 1.5),
    "white matter": Tissue(29, 1.2),
    "cerebrospinal fluid": Tissue(6, 1),
    "dura": Tissue(62, 2),
    "enamel": Tissue(2400, 60),
    "dentine": Tissue(1500, 50),
    "calcification": Tissue(650, 80),
    "stone": Tissue(750, 90),
    "clotted blood": Tissue(70, 4),
    "dead tissue": Tissue(17, 3),
    "tumour": Tissue(28, 8),
    "consolidation": Tissue(35, 25),
    "titanium": Tissue(8500),
    "steel": Tissue(12000),
}
"""Attenuation as textbooks of radiology have it; metals by their density, far above what a file can hold."""
METALS = frozenset({"titanium", "steel"})


@dataclass(frozen=True, eq=False)
class Part:
    """A solid of one tissue.

    Attributes:
        name: what it is, or the tissue's name.
        hu: mean in Hounsfield units.
        mottle: as in `Tissue`.
    """

    name: str
    shape: Shape
    hu: float
    mottle: float


@dataclass(frozen=True)
class Finding:
    """Something to be reported.

    Attributes:
        kind: a word or two, the same wherever and however large it is.
        words: for a caption, with the place.
        z, reach: mm; slices at heights of z +- reach show it.
    """

    kind: str
    words: str
    z: float
    reach: float

    def shown_at(self, z: float) -> bool:
        """Whether a slice at height z shows it."""
        return abs(z - self.z) <= self.reach


@dataclass
class Phantom:
    """A patient under construction.

    Attributes:
        side: mm that a picture of it is wide and high.
        parts: later ones lie over earlier ones.
        findings: what is to be reported, in the order of a report.
    """

    side: float
    parts: list[Part] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, tissue: str, shape: Shape, hu: float | None = None, name: str = "") -> None:
        """Adds a part of a tissue, with its mean HU or another (contrast medium, say)."""
        kind = TISSUES[tissue]
        self.parts.append(Part(name or tissue, shape, kind.hu if hu is None else hu, kind.mottle))

    def add_bone(self, shape: Shape, cortex: float = 1.6, inside: str = "trabecular bone") -> None:
        """Adds a bone: a dense shell, `cortex` mm thick, round what is inside."""
        self.add("cortical bone", shape)
        self.add(inside, shape.grown(-cortex))


@dataclass(frozen=True)
class Cut:
    """What a plane shows of a phantom.

    Attributes:
        hu: (N, N) float64, without any imaging; metals as dense as they are.
        labels: (N, N) int64, the index in `phantom.parts` of what is on top; -1 where nothing is.
    """

    hu: Array
    labels: Array


def cut(
    phantom: Phantom, z: float, pixels: int, rng: Generator, shift: tuple[float, float], turn: float
) -> Cut:
    """The cut of a phantom at height z; edges are as sharp as the pixels.

    Args:
        pixels: N, both ways, over `phantom.side`.
        rng: of the tissues' unevenness.
        shift, turn: mm and degrees by which the patient does not lie straight in the middle.
    """
    pitch = phantom.side / pixels
    places = (np.arange(pixels) + 0.5) * pitch - phantom.side / 2
    across, down = places[None] - shift[0], places[:, None] - shift[1]
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    x, y = c * across + s * down, c * down - s * across
    uneven = (fractal_noise(rng, pixels, pixels, 1.0) + fractal_noise(rng, pixels, pixels, 0.3)) / math.sqrt(
        2
    )
    hu, labels = np.full((pixels, pixels), AIR), np.full((pixels, pixels), -1)
    for number, part in enumerate(phantom.parts):
        if not part.shape.low[2] <= z <= part.shape.high[2]:
            continue
        rows, columns = _window(part.shape, shift, (c, s), phantom.side, pixels)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        area = (rows, columns)
        distance = part.shape.distance(x[area], y[area], z)
        weight = np.clip(0.5 - distance / pitch, 0, 1)
        hu[area] += weight * (part.hu + part.mottle * uneven[area] - hu[area])
        labels[area] = np.where(weight > 0.5, number, labels[area])
    return Cut(hu, labels)


def _window(
    shape: Shape, shift: tuple[float, float], turn: tuple[float, float], side: float, pixels: int
) -> tuple[slice, slice]:
    """The rows and columns that may show a shape."""
    c, s = turn
    corners = np.array([[a, b] for a in (shape.low[0], shape.high[0]) for b in (shape.low[1], shape.high[1])])
    across = c * corners[:, 0] - s * corners[:, 1] + shift[0]
    down = s * corners[:, 0] + c * corners[:, 1] + shift[1]
    ends = []
    for values in (down, across):
        low, high = (np.array([values.min(), values.max()]) + side / 2) * pixels / side
        ends.append(slice(int(np.clip(low - 1, 0, pixels)), int(np.clip(high + 2, 0, pixels))))
    return ends[0], ends[1]
