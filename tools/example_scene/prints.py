"""Printed matter for the still life: a small alphabet, book covers, spines and a page of text."""

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from tools.studio.textures import Array, colour, coordinates, fractal_noise, mix, smooth_step

# Five columns a letter, the lowest bit at the top.
LETTERS = {
    "A": "7e1111117e", "B": "7f49494936", "C": "3e41414122", "D": "7f4141413e", "E": "7f49494941",
    "F": "7f09090901", "G": "3e4149497a", "H": "7f0808087f", "I": "00417f4100", "J": "204041403f",
    "K": "7f08142241", "L": "7f40404040", "M": "7f020c027f", "N": "7f0408107f", "O": "3e4141413e",
    "P": "7f09090906", "Q": "3e4151215e", "R": "7f09192946", "S": "4649494931", "T": "01017f0101",
    "U": "3f4040403f", "V": "1f2040201f", "W": "3f4038403f", "X": "6314081463", "Y": "0708700807",
    "Z": "6151494543", " ": "0000000000", ".": "0060600000", ",": "0050300000",
}  # fmt: skip


def lettering(text: str) -> Array:
    """(7, 6 * len(text)) float64: 1 where a letter has ink; the last column of each letter is empty."""
    columns = [[*bytes.fromhex(LETTERS[letter]), 0] for letter in text.upper()]
    bits = np.array(columns, dtype=np.uint8).reshape(-1)
    return ((bits[None] >> np.arange(7)[:, None]) & 1).astype(np.float64)


def print_line(surface: Array, text: str, top: float, middle: float, size: float, ink: str) -> None:
    """Prints one line into a (H, W, 3) texture, in place.

    Args:
        top, middle: where the line starts from above, and its middle across, as fractions of H and W.
        size: the letters' height as a fraction of H.
    """
    scale = max(1, round(size * len(surface) / 7))
    mask = np.kron(lettering(text), np.ones((scale, scale)))
    row, column = round(top * surface.shape[0]), round(middle * surface.shape[1] - mask.shape[1] / 2)
    if (
        row < 0
        or column < 0
        or row + mask.shape[0] > surface.shape[0]
        or column + mask.shape[1] > surface.shape[1]
    ):
        raise ValueError(f"the line {text!r} does not fit: {mask.shape} in {surface.shape[:2]}")
    target = surface[row : row + mask.shape[0], column : column + mask.shape[1]]
    target[:] = mix(target, colour(ink), mask)


def book_cover(rng: Generator, height: int, width: int, title: Sequence[str], tones: Sequence[str]) -> Array:
    """A cover in cloth: a double frame, the title's lines, below them hills before a sun.

    Args:
        tones: the cloth, the print, the sun, the far hills, the near hills.
    """
    down, across = coordinates(height, width)
    cloth = fractal_noise(rng, height, width, 0.5)
    surface = colour(tones[0]) * (1 + 0.05 * cloth)[..., None]
    edge = np.minimum(np.minimum(down, 1 - down), np.minimum(across, 1 - across) * width / height)
    frame = smooth_step(0.008, 0.006, np.abs(edge - 0.045)) + smooth_step(0.004, 0.003, np.abs(edge - 0.065))
    surface = mix(surface, colour(tones[1]), frame)
    picture = (down > 0.48) & (edge > 0.1)
    surface[picture] = colour(tones[1])
    sun = np.hypot((across - 0.62) * width / height, down - 0.62)
    surface = mix(surface, colour(tones[2]), picture * smooth_step(0.085, 0.08, sun))
    rays = smooth_step(0.25, 0.3, np.cos(18 * np.arctan2(down - 0.62, (across - 0.62) * width / height)))
    surface = mix(surface, colour(tones[2]), picture * rays * smooth_step(0.1, 0.105, sun) * (sun < 0.14))
    far = 0.72 + 0.05 * np.sin(9 * across + 1) + 0.02 * np.sin(23 * across)
    near = 0.80 + 0.04 * np.sin(7 * across + 4) + 0.015 * np.sin(31 * across)
    surface = mix(surface, colour(tones[3]), picture * (down > far))
    surface = mix(surface, colour(tones[4]), picture * (down > near))
    furrows = 0.35 * (np.sin(70 * (down - near) + 14 * across) > 0.3)
    surface = mix(surface, colour(tones[1]), picture * (down > near) * furrows)
    for line, text in enumerate(title):
        print_line(surface, text, 0.12 + 0.15 * line, 0.5, 0.11, tones[1])
    return np.clip(surface, 0, 1)


def book_spine(rng: Generator, height: int, width: int, title: str, tones: Sequence[str]) -> Array:
    """A spine, its title running across, with two bands at either end."""
    _, across = coordinates(height, width)
    surface = colour(tones[0]) * (1 + 0.05 * fractal_noise(rng, height, width, 0.5))[..., None]
    edge = np.minimum(across, 1 - across)
    bands = smooth_step(0.012, 0.009, np.abs(edge - 0.06)) + smooth_step(0.005, 0.004, np.abs(edge - 0.09))
    surface = mix(surface, colour(tones[1]), bands)
    print_line(surface, title, 0.25, 0.5, 0.5, tones[1])
    return np.clip(surface, 0, 1)


def page_edges(rng: Generator, height: int, width: int) -> Array:
    """The edges of a block of paper: thin lines, some darker."""
    sheet = rng.uniform(0.72, 1.0, (height, 1)) * np.ones((1, width))
    shade = sheet + 0.02 * fractal_noise(rng, height, width, 1.0, (1, 10))
    return np.clip(shade[..., None] * colour("#f0e6cf"), 0, 1)


def printed_page(rng: Generator, height: int, width: int, heading: str, text: str) -> Array:
    """A sheet of paper with a heading, a rule, and as much of `text`, repeated, as fits."""
    surface = colour("#f3ecdc") * (1 + 0.015 * fractal_noise(rng, height, width, 1.2))[..., None]
    print_line(surface, heading, 0.07, 0.5, 0.055, "#8c2f23")
    surface[round(0.15 * height) : round(0.157 * height), round(0.1 * width) : round(0.9 * width)] = colour(
        "#40372c"
    )
    lines = textwrap.wrap(" ".join([text] * 9), 26)
    for number, line in enumerate(lines[:14]):
        print_line(surface, line.ljust(26), 0.19 + 0.054 * number, 0.51, 0.028, "#2b2722")
    return np.clip(surface, 0, 1)
