"""A plain stage for objects: a floor, a backdrop, a lamp, and the Mitsuba scene of what stands on it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from tools.studio.cameras import direction
from tools.studio.materials import Item, Material
from tools.studio.meshes import Mesh, grid, sheet
from tools.studio.renderer import assembled, load_mitsuba
from tools.studio.textures import Array, linear

LAMP_DISTANCE = 8.0  # scene units; the object is about one
FLOOR_SIDE = 60.0  # scene units, as good as endless
FLOOR_NEAR = 10.0  # scene units, of the floor's part that a reconstruction starts with


@dataclass(frozen=True)
class Stage:
    """Floor, backdrop and light round an object of about one scene unit that stands on z = 0.

    Attributes:
        floor: sRGB of the ground plane in [0, 1]; None for an object that floats before the backdrop.
        backdrop: sRGB of what lies behind, which also lights the scene evenly.
        lamp_azimuth, lamp_elevation: degrees, where the lamp stands, see `cameras.direction`.
        lamp_power: irradiance from the lamp as a multiple of pi: 1 shows a white floor as white by itself.
        lamp_tint: linear RGB, about 1.
        lamp_size: scene units; the larger, the softer the shadows.
    """

    floor: tuple[float, float, float] | None = (0.85, 0.85, 0.85)
    backdrop: tuple[float, float, float] = (0.8, 0.8, 0.8)
    lamp_azimuth: float = -40.0
    lamp_elevation: float = 50.0
    lamp_power: float = 0.6
    lamp_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lamp_size: float = 1.5

    def lights(self) -> dict[str, Any]:
        """The Mitsuba emitters: an even surround of the backdrop's colour, and the lamp."""
        transform = load_mitsuba().ScalarTransform4f
        towards = direction(self.lamp_azimuth, self.lamp_elevation)
        area = (2 * self.lamp_size) ** 2  # Mitsuba's rectangle reaches from -1 to 1
        radiance = math.pi * self.lamp_power * LAMP_DISTANCE**2 / area * np.array(self.lamp_tint)
        place = transform().look_at(origin=(LAMP_DISTANCE * towards).tolist(), target=[0, 0, 0], up=[0, 0, 1])
        return {
            "surround": {"type": "constant", "radiance": rgb(linear(np.array(self.backdrop)))},
            "lamp": {
                "type": "rectangle",
                "to_world": place @ transform().scale(self.lamp_size),
                "emitter": {"type": "area", "radiance": rgb(radiance)},
            },
        }

    def ground(self, side: float) -> list[Item]:
        """The floor, where there is one: a square about the origin, its side in scene units."""
        if self.floor is None:
            return []
        return [(grid(sheet(side, side, 2, 2)), Material(np.array(self.floor), 1.0))]

    def surfaces(self, items: list[Item]) -> list[list[Mesh]]:
        """Groups of meshes, each for an equal share of a reconstruction's first points: items, and floor."""
        groups = (items, self.ground(FLOOR_NEAR))
        return [[mesh for mesh, _ in group] for group in groups if group]


def rgb(values: Array) -> dict[str, Any]:
    """A Mitsuba colour of (3,) linear values."""
    return {"type": "rgb", "value": values.tolist()}


def staged(items: list[Item], stage: Stage, max_depth: int = 4, hide_lights: bool = False) -> Any:
    """The Mitsuba scene of items on a stage, for `renderer.picture`.

    Args:
        items: meshes with materials, standing on z = 0, about one unit in size; see `meshes.normalising`.
        max_depth: edges of the longest light path; 4 has two bounces between surfaces.
        hide_lights: cameras see neither lamp nor backdrop, only their light.
    """
    return assembled([*stage.ground(FLOOR_SIDE), *items], stage.lights(), max_depth, hide_lights)


def random_lamp(rng: Generator) -> dict[str, Any]:
    """A lamp's fields of a `Stage`, drawn: above and before the object, warm to cool, hard to soft."""
    warmth = rng.uniform(-0.06, 0.08)
    return {
        "lamp_azimuth": float(rng.uniform(0, 360)),
        "lamp_elevation": float(rng.uniform(35, 70)),
        "lamp_power": float(rng.uniform(0.45, 0.8)),
        "lamp_tint": (1 + float(warmth), 1.0, 1 - float(warmth)),
        "lamp_size": float(rng.uniform(0.6, 2.5)),
    }
