"""The light over the example scene: a hazy sky and a soft, warm sun."""

from typing import Any

import numpy as np

from tools.studio.materials import Item
from tools.studio.renderer import assembled, load_mitsuba
from tools.studio.textures import Array, coordinates, smooth_step


def sky() -> Array:
    """(64, 128, 3) float32 linear radiance, rows from the zenith down: blue sky, bright haze, warm ground."""
    down, across = coordinates(64, 128)
    zenith, haze, ground = (
        np.array([0.30, 0.50, 0.95]),
        np.array([0.95, 0.95, 0.92]),
        np.array([0.34, 0.29, 0.24]),
    )
    height = np.cos(np.pi * down)[..., None]
    above = haze + (zenith - haze) * np.clip(height, 0, 1) ** 0.6
    light = np.where(height > 0, above, ground)
    glow = smooth_step(0.35, 0.0, np.hypot((across - 0.25 + 0.5) % 1 - 0.5, 0.7 * (down - 0.3)))
    return (light * (1 + 1.2 * glow[..., None])).astype(np.float32)


def build(items: list[Item]) -> Any:
    """The Mitsuba scene: the items under a hazy sky and a soft, warm sun."""
    mitsuba = load_mitsuba()
    transform = mitsuba.ScalarTransform4f
    lights = {
        "sky": {
            "type": "envmap",
            "bitmap": mitsuba.Bitmap(sky()),
            "to_world": transform().rotate([1, 0, 0], 90),
            "scale": 0.48,
        },
        "sun": {
            "type": "rectangle",
            "to_world": transform().look_at(origin=[-2.3, -0.6, 2.9], target=[0, 0, 0], up=[0, 0, 1])
            @ transform().scale(0.30),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [112.0, 93.0, 68.0]}},
        },
    }
    return assembled(items, lights, max_depth=5)
