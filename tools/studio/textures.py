"""Procedural textures: wood, masonry, plaster, cloth, glaze, print, fruit and leaves, all from numbers.

A colour texture is (H, W, 3) float64, sRGB-encoded, in [0, 1]; a relief is (H, W) float64, 1 on top.
Every function that draws random numbers takes its generator first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[Any]


def colour(code: str) -> Array:
    """(3,) float64 sRGB in [0, 1] of a code such as "#c08040"."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def linear(values: Array) -> Array:
    """sRGB values in [0, 1], of any shape, as linear ones."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: Array) -> Array:
    """Linear values in [0, 1], of any shape, as sRGB ones."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def mix(first: Array, second: Array, weight: Array) -> Array:
    """(H, W, 3): `first` where the (H, W) weight is 0, `second` where it is 1."""
    return first + (second - first) * np.clip(weight, 0, 1)[..., None]


def smooth_step(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, a smooth cubic between; `low` > `high` turns it round."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fractal_noise(
    rng: Generator, height: int, width: int, slope: float = 1.5, stretch: tuple[float, float] = (1, 1)
) -> Array:
    """(H, W) noise of mean 0 and deviation 1, periodic, with amplitude 1 / frequency^slope.

    Args:
        slope: 0 is white noise; 1 is rough; 2 is soft clouds.
        stretch: how much longer the features are, downwards and across.
    """
    down = np.fft.fftfreq(height)[:, None] * height * stretch[0]
    across = np.fft.rfftfreq(width)[None] * width * stretch[1]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**slope
    noise = np.fft.irfft2(spectrum, (height, width))
    return noise / noise.std()


def coordinates(height: int, width: int) -> tuple[Array, Array]:
    """Two (H, W) arrays in (0, 1): how far down, and how far across, each pixel's centre is."""
    down, across = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    return down, across


def wood(rng: Generator, height: int, width: int, planks: int, tones: Sequence[str]) -> tuple[Array, Array]:
    """Colour and relief of planks that lie across, one above the other, with grain, knots and dark gaps."""
    down, across = coordinates(height, width)
    row = np.minimum((down * planks).astype(int), planks - 1)
    within = down * planks - row
    warp = fractal_noise(rng, height, width, 2.0, (1, 5))
    grain = within * rng.uniform(3, 6, planks)[row] + 0.25 * warp + rng.uniform(0, 9, planks)[row]
    knots = np.zeros((height, width))
    for _ in range(2 * planks):
        x, y = rng.uniform(0, 1), rng.uniform(0, planks)
        distance = np.hypot((across - x) * planks * width / height / 2.2, down * planks - y)
        same_plank = row == int(y)
        grain += same_plank * 1.6 * np.exp(-((distance / 0.3) ** 2))
        knots = np.maximum(knots, same_plank * smooth_step(0.13, 0.04, distance))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * grain)
    fibres = fractal_noise(rng, height, width, 0.7, (1, 16))
    light, dark = colour(tones[0]), colour(tones[1])
    surface = mix(light, dark, 0.55 * rings**2 + 0.16 * fibres + 0.15)
    surface *= rng.uniform(0.78, 1.12, planks)[row][..., None]
    surface = mix(surface, 0.35 * dark, 0.85 * knots)
    edge = np.minimum(within, 1 - within)
    gap = smooth_step(0.035, 0.012, edge + 0.004 * fibres)
    surface = mix(surface, 0.15 * dark, gap)
    relief = np.clip(0.8 - 0.8 * gap - 0.1 * rings + 0.04 * fibres, 0, 1)
    return np.clip(surface, 0, 1), relief


def masonry(
    rng: Generator,
    height: int,
    width: int,
    *,
    rows: int,
    columns: int,
    joint: float,
    bond: float,
    stones: Sequence[str],
    mortar: str,
) -> tuple[Array, Array]:
    """Colour and relief of bricks or tiles with mortar between.

    Args:
        rows, columns: how many bricks the texture holds.
        joint: half the width of the mortar, as a fraction of a row's height.
        bond: by what fraction of a brick every other row is shifted.
        stones: the colours that single bricks are drawn from.
    """
    down, across = coordinates(height, width)
    y = down * rows + 0.010 * fractal_noise(rng, height, width, 1.6)
    row = np.floor(y).astype(int)
    x = across * columns + bond * (row % 2) + 0.006 * fractal_noise(rng, height, width, 1.6)
    column = np.floor(x).astype(int)
    to_row_edge = np.minimum(y - row, 1 - (y - row))
    aspect = (width / columns) / (height / rows)
    to_column_edge = np.minimum(x - column, 1 - (x - column)) * aspect
    body = smooth_step(joint, joint * 1.9, np.minimum(to_row_edge, to_column_edge))
    brick = (row % rows, column % columns)
    palette = np.array([colour(code) for code in stones])
    tint = palette[rng.integers(0, len(palette), (rows, columns))] * rng.uniform(
        0.8, 1.15, (rows, columns, 1)
    )
    stain = fractal_noise(rng, height, width, 1.3)
    speckle = fractal_noise(rng, height, width, 0.5)
    surface = tint[brick] * (1 + 0.11 * stain + 0.08 * speckle)[..., None]
    grout = colour(mortar) * (1 + 0.10 * speckle)[..., None]
    lift = rng.uniform(0.75, 1, (rows, columns))[brick]
    relief = body * np.clip(lift + 0.05 * stain + 0.03 * speckle, 0, 1)
    return np.clip(mix(grout, surface, body), 0, 1), np.clip(relief, 0, 1)


def plaster(rng: Generator, height: int, width: int, tones: Sequence[str]) -> tuple[Array, Array]:
    """Colour and relief of weathered plaster: two tones in clouds, and chips that show the ground below."""
    clouds = fractal_noise(rng, height, width, 1.5)
    rough = fractal_noise(rng, height, width, 0.9)
    down, _ = coordinates(height, width)
    surface = mix(colour(tones[0]), colour(tones[1]), 0.45 + 0.3 * clouds + 0.1 * rough)
    chips = smooth_step(
        1.25, 1.4, 0.9 * fractal_noise(rng, height, width, 1.35) + 0.8 * (down - 0.4) + 0.1 * rough
    )
    rim = smooth_step(0.0, 0.5, chips) * smooth_step(1.0, 0.5, chips)
    ground = colour(tones[2]) * (1 + 0.12 * rough)[..., None]
    surface = mix(surface, ground, chips) * (1 - 0.5 * rim)[..., None]
    return np.clip(surface, 0, 1), np.clip(0.7 - 0.5 * chips + 0.05 * rough, 0, 1)


def woven_cloth(
    rng: Generator, height: int, width: int, threads: tuple[int, int], dye: str, ground: str
) -> Array:
    """Linen with a check of dyed threads, broad bands and thin lines both ways, over a visible weave."""
    down, across = coordinates(height, width)

    def dyed(thread: Array) -> Array:
        band = np.abs(thread % 24 - 12)
        return ((band < 3.5) | ((band > 5.5) & (band < 6.8))).astype(np.float64)

    warp, weft = across * threads[1], down * threads[0]
    over = 0.5 + 0.5 * np.sign(np.sin(np.pi * warp) * np.sin(np.pi * weft))
    share = np.where(over > 0.5, dyed(warp), dyed(weft)) * 0.55 + 0.45 * (dyed(warp) + dyed(weft)) / 2
    bulge = np.abs(np.where(over > 0.5, np.sin(np.pi * warp), np.sin(np.pi * weft)))
    uneven = fractal_noise(rng, height, width, 0.8)
    surface = mix(colour(ground), colour(dye), share) * (0.84 + 0.16 * bulge + 0.04 * uneven)[..., None]
    return np.clip(surface, 0, 1)


def painted_bands(
    height: int, width: int, ground: str, paint: str, accent: str, repeats: int, aspect: float
) -> Array:
    """Painted pottery, to be wrapped round: rings, scallops, flowers on a wavy vine with leaves, dots.

    Args:
        repeats: how many flowers go round.
        aspect: the width of one repeat on the pot, as a fraction of the texture's height there.
    """
    down, across = coordinates(height, width)
    turn = across * repeats
    x, y = (turn - np.floor(turn) - 0.5) * aspect, down - 0.48

    def stroke(distance: Array, thickness: float) -> Array:
        return smooth_step(thickness, 0.6 * thickness, np.abs(distance))

    rings = [stroke(down - ring, 0.010) for ring in (0.10, 0.135, 0.30, 0.66, 0.695, 0.90)]
    scallops = smooth_step(0, -0.015, down - 0.22 - 0.06 * np.abs(np.cos(2 * np.pi * turn))) * (down > 0.14)
    vine = 0.8 * stroke(y - 0.09 * np.sin(2 * np.pi * turn), 0.014)
    angle = np.arctan2(y, np.abs(x) - 0.33 * aspect)
    sprig = np.hypot(np.abs(x) - 0.33 * aspect, y) - 0.16 * aspect * np.abs(np.cos(1.5 * angle))
    size = min(0.40 * aspect, 0.13)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    flower = smooth_step(0.008, -0.008, radius - size * (0.68 + 0.32 * np.cos(6 * angle)))
    halo = smooth_step(1.35 * size, 1.2 * size, radius)
    ink = np.max([*rings, scallops, vine, 0.75 * smooth_step(0.008, -0.008, sprig)], axis=0)
    ink = np.maximum(ink * (1 - halo), flower)
    twice = 2 * turn
    dots = np.hypot((twice - np.floor(twice) - 0.5) * aspect / 2, down - 0.79)
    warm = np.maximum(smooth_step(0.38 * size, 0.28 * size, radius), smooth_step(0.034, 0.024, dots))
    surface = mix(np.broadcast_to(colour(ground), (height, width, 3)), colour(paint), ink)
    return mix(surface, colour(accent), warm)


def fruit_skin(rng: Generator, height: int, width: int, tones: Sequence[str], streaks: float) -> Array:
    """Skin for a fruit, pole to pole: a blush over the ground colour, streaks along it, pores."""
    down, _ = coordinates(height, width)
    blush = fractal_noise(rng, height, width, 1.8)
    lines = fractal_noise(rng, height, width, 0.9, (10, 1))
    pores = fractal_noise(rng, height, width, 0.3)
    surface = mix(colour(tones[0]), colour(tones[1]), 0.4 + 0.4 * blush + streaks * lines)
    surface = mix(surface, colour(tones[2]), smooth_step(0.16, 0.02, down) + smooth_step(0.9, 1.0, down))
    return np.clip(surface * (1 + 0.03 * pores)[..., None], 0, 1)


def leaf(rng: Generator, height: int, width: int, tones: Sequence[str]) -> Array:
    """A leaf from base to tip (downwards): a pale midrib, side veins, mottled green between."""
    down, across = coordinates(height, width)
    side = np.abs(across - 0.5)
    mottle = fractal_noise(rng, height, width, 1.2)
    veins = np.abs(((down + 0.55 * side) * 9) % 1 - 0.5)
    pale = np.maximum(smooth_step(0.035, 0.015, side), 0.55 * smooth_step(0.12, 0.04, veins))
    surface = mix(colour(tones[0]), colour(tones[1]), 0.5 + 0.25 * mottle)
    return np.clip(mix(surface, colour(tones[2]), pale), 0, 1)
