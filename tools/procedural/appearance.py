"""What objects and floors look like: named colours, far apart in hue or brightness, and materials."""

import colorsys

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import DETAILS
from tools.studio.materials import Material
from tools.studio.textures import Array, coordinates, fractal_noise, mix, smooth_step

COLOURS = {  # hue in degrees, saturation and value in [0, 1]: each drawn between two ends
    "red": ((355, 364), (0.84, 0.95), (0.70, 0.85)),
    "orange": ((22, 29), (0.90, 1.0), (0.90, 1.0)),
    "yellow": ((50, 56), (0.80, 0.95), (0.90, 1.0)),
    "green": ((115, 140), (0.70, 0.90), (0.45, 0.65)),
    "cyan": ((177, 187), (0.75, 0.95), (0.70, 0.85)),
    "blue": ((221, 234), (0.78, 0.92), (0.60, 0.85)),
    "purple": ((272, 284), (0.65, 0.80), (0.50, 0.68)),
    "pink": ((325, 338), (0.45, 0.58), (0.92, 1.0)),
    "brown": ((20, 28), (0.62, 0.74), (0.34, 0.44)),
    "white": ((0, 360), (0.0, 0.02), (0.93, 0.97)),
    "grey": ((0, 360), (0.0, 0.03), (0.42, 0.52)),
    "black": ((0, 360), (0.0, 0.05), (0.05, 0.10)),
}

FLOORS = {  # sRGB, and the colours of objects that would not stand out
    "white": ((0.93, 0.93, 0.92), ("white",)),
    "grey": ((0.68, 0.68, 0.69), ("grey",)),
    "beige": ((0.87, 0.82, 0.74), ("white", "brown", "orange", "yellow")),
    "pale blue": ((0.76, 0.83, 0.91), ("blue", "cyan")),
    "pale green": ((0.78, 0.87, 0.77), ("green", "cyan")),
    "pale pink": ((0.93, 0.82, 0.83), ("pink", "red", "purple")),
}

TEXTURE = 96  # pixels of a pattern's repeat


def draw_colour(rng: Generator, name: str) -> Array:
    """(3,) sRGB in [0, 1], one of the shades that the name stands for."""
    hue, saturation, value = (rng.uniform(*ends) for ends in COLOURS[name])
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value))


def floors_for(colour: str) -> list[str]:
    """The floors on which an object of that colour stands out."""
    return [name for name, (_, hidden) in FLOORS.items() if colour not in hidden]


def main_material(rng: Generator, shade: Array, material: str) -> Material:
    """The material of an object's main parts.

    Args:
        shade: (3,) sRGB of the named colour, which also covers most of every pattern.
        material: one of `families.MATERIALS`.
    """
    if material == "matte":
        return Material(shade, 1.0)
    if material == "glossy":
        return Material(shade, 0.28, coat=0.15)
    if material == "metal":
        return Material(np.clip(1.1 * shade + 0.03, 0, 1), 0.32, metal=1.0)
    if material == "wooden":
        return Material(_grain(rng, shade), 1.0)
    bright = shade.min() > 0.7 or (shade[:2].min() > 0.7)  # white and yellow take dark patterns
    other = np.array(DETAILS["dark" if bright else "light"])
    weight = {"striped": _stripes, "checkered": _checks, "spotted": _spots}[material](rng)
    return Material(mix(np.broadcast_to(shade, (TEXTURE, TEXTURE, 3)), other, weight), 1.0)


def detail_material(name: str) -> Material:
    """The material of a detail, one of `shapes.DETAILS`."""
    return Material(np.array(DETAILS[name]), 1.0)


def _grain(rng: Generator, shade: Array) -> Array:
    """Wood stained in the shade: dark rings and fibres along the planks."""
    down, _ = coordinates(TEXTURE, TEXTURE)
    warp = fractal_noise(rng, TEXTURE, TEXTURE, 2.0, (1, 4))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (4 * down + 0.22 * warp))
    fibres = fractal_noise(rng, TEXTURE, TEXTURE, 0.7, (1, 14))
    dark = 0.42 * shade if shade.max() > 0.2 else shade + 0.16
    return np.clip(
        mix(np.broadcast_to(shade, (TEXTURE, TEXTURE, 3)), dark, 0.75 * rings**2 + 0.12 * fibres), 0, 1
    )


def _stripes(rng: Generator) -> Array:
    down, across = coordinates(TEXTURE, TEXTURE)
    repeats, share = int(rng.integers(2, 5)), rng.uniform(0.28, 0.36)
    place = (down if rng.random() < 0.7 else across) * repeats % 1
    return (place < share).astype(float)


def _checks(rng: Generator) -> Array:
    down, across = coordinates(TEXTURE, TEXTURE)
    repeats = int(rng.integers(2, 4))
    odd = (down * repeats % 1 < 0.5) != (across * repeats % 1 < 0.5)
    return 0.85 * odd


def _spots(rng: Generator) -> Array:
    down, across = coordinates(TEXTURE, TEXTURE)
    repeats, radius = int(rng.integers(2, 4)), rng.uniform(0.22, 0.28)
    row = np.floor(down * 2 * repeats)
    x = (across * repeats + 0.5 * (row % 2)) % 1 - 0.5
    y = (down * 2 * repeats) % 1 - 0.5
    return smooth_step(radius + 0.05, radius - 0.05, np.hypot(x, y / 2 * 1.6))
