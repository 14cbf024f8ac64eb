"""Sunlight on ground: slopes, cast shadows, the sky's light, haze, the camera."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from tools.aerial.ground import Ground
from tools.studio.textures import Array, encoded, mix

SKY = np.array([0.20, 0.25, 0.33])
HAZE = np.array([0.30, 0.36, 0.44])
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def photograph(
    ground: Ground, rng: Generator, azimuth: float, elevation: float, finer: int, margin: int
) -> Array:
    """(R, R, 3) uint8 sRGB: the ground as a camera straight above sees it.

    Args:
        azimuth: degrees, where the sun stands, clockwise from north.
        elevation: degrees, how high.
        finer: points of the ground for a pixel, each way.
        margin: pixels round the picture that only cast shadows into it.
    """
    down, across = np.gradient(ground.heights, ground.pitch)
    turn, rise = math.radians(azimuth), math.radians(elevation)
    towards = (math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise))
    facing = (-across * towards[0] - down * towards[1] + towards[2]) / np.sqrt(1 + across**2 + down**2)
    seen = gaussian_filter(sunlit(ground.heights, ground.pitch, azimuth, elevation), 0.6)
    sun = np.maximum(facing, 0) * seen
    hollow = gaussian_filter(ground.heights, 2.5 / ground.pitch) - ground.heights
    open_sky = 1 - np.clip(hollow / 5, -0.15, 0.55)
    warmth = np.clip((40 - elevation) / 40, 0, 1)
    beam = 0.78 / (0.35 + 0.65 * math.sin(rise)) * np.array([1.0, 1 - 0.07 * warmth, 1 - 0.2 * warmth])
    light = sun[..., None] * beam + open_sky[..., None] * SKY
    radiance = ground.colours * light
    grey = radiance @ LUMINANCE
    radiance = mix(
        radiance, np.broadcast_to(grey[..., None], radiance.shape), np.array(rng.uniform(0.1, 0.35))
    )
    exposure = rng.uniform(0.95, 1.2) * (0.18 / grey.mean()) ** 0.3  # cameras hardly darken snow
    haze = rng.uniform(0.0, 0.06)
    radiance = exposure * radiance * (1 - haze) + haze * HAZE
    blurred = gaussian_filter(radiance, (0.55 * finer, 0.55 * finer, 0))
    side = ground.points // finer
    pixels = blurred.reshape(side, finer, side, finer, 3).mean(axis=(1, 3))
    pixels = pixels[margin : side - margin, margin : side - margin]
    pixels = pixels + rng.normal(0, 0.0035, pixels.shape) * np.sqrt(np.maximum(pixels, 0.02) / 0.2)
    return np.round(encoded(np.clip(pixels, 0, 1)) * 255).astype(np.uint8)


def sunlit(heights: Array, pitch: float, azimuth: float, elevation: float) -> Array:
    """(M, M) 1 where the sun reaches the ground, 0 in cast shadow, soft within 0.3 m of a shadow's edge.

    Args:
        heights: (M, M) metres, `pitch` metres from point to point; what lies beyond them casts no shadow.
        azimuth, elevation: of the sun, degrees.
    """
    points = len(heights)
    turn, climb = math.radians(azimuth), pitch * math.tan(math.radians(elevation))
    across, down = math.sin(turn), -math.cos(turn)
    reach = min(points - 1, math.ceil(float(np.ptp(heights)) / climb))
    blocked = np.full(heights.shape, -np.inf)
    for step in range(1, reach + 1):
        columns, rows = round(step * across), round(step * down)
        here, there = _overlap(points, rows), _overlap(points, columns)
        area, source = (here[0], there[0]), (here[1], there[1])
        blocked[area] = np.maximum(blocked[area], heights[source] - step * climb)
    return np.clip((heights - blocked) / 0.3 + 0.5, 0, 1)


def _overlap(points: int, shift: int) -> tuple[slice, slice]:
    """The indices i, and i + shift, for which both are on the ground."""
    first, last = max(0, -shift), min(points, points - shift)
    return slice(first, last), slice(first + shift, last + shift)
