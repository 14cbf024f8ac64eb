"""A scanner: what X-rays of many energies, few photons and a filter make of a cut.

The picture is the cut, blurred as a scanner blurs it, plus the filtered back-projection of all that goes
wrong between the true line integrals and the measured ones. Back-projection is linear, so that is the same
as measuring and reconstructing everything, but keeps the resolution of the cut with few views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import prange
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from tools.studio.textures import Array
from utils.kernels import Compiler

LOWEST, HIGHEST = -1024, 3071
"""Hounsfield units that a scanner of 12 bits can store."""
WATER = 0.0193  # attenuation of water at 70 keV, per mm
SPECTRUM = np.array([0.34, 0.41, 0.25])  # shares of the photons at 50, 70 and 100 keV
RATIOS = {
    "water": np.array([1.176, 1.0, 0.886]),
    "mineral": np.array([2.0, 1.0, 0.58]),
    "metal": np.array([2.25, 1.0, 0.47]),
}
"""Attenuation at those energies as a multiple of that at 70 keV (after NIST's tables)."""
DENSEST_SOFT, DENSEST_BONE = 100.0, 3000.0  # HU above which the excess is bone mineral, or metal
BLUR = 0.5  # standard deviation in pixels of the picture

_compiler = Compiler([Path(__file__)], "compiling the scanner (once per machine, about 5 s) ...")


@dataclass(frozen=True)
class Scanner:
    """How a scan is made.

    Attributes:
        photons: sent to each bin of the detector in each view; fewer give more noise.
        ring: relative error of the bins' sensitivity, which draws rings; 0 for a well calibrated detector.
    """

    photons: float
    ring: float = 0.0

    def picture(self, cut: Array, side: float, pixels: int, rng: Generator) -> Array:
        """(pixels, pixels) int16 Hounsfield units, from `LOWEST` to `HIGHEST`.

        Args:
            cut: (M, M) HU without imaging, M a multiple of `pixels`.
            side: mm that it is wide.
            pixels: of the picture, both ways.
            rng: of photons and detector.
        """
        finer = len(cut) // pixels
        sharp = gaussian_filter(cut, BLUR * finer, mode="nearest")
        base = sharp.reshape(pixels, finer, pixels, finer).mean(axis=(1, 3))
        found = base + self._errors(base, side / pixels, rng)
        return np.clip(np.round(found), LOWEST, HIGHEST).astype(np.int16)

    def _errors(self, hu: Array, pitch: float, rng: Generator) -> Array:
        """(N, N) HU: noise, beam hardening, photon starvation and rings."""
        pixels = len(hu)
        views, bins = 3 * pixels // 2, math.ceil(pixels * math.sqrt(2)) + 4
        angles = np.arange(views) * math.pi / views
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        lengths = np.zeros((len(RATIOS), views, bins))
        _project(split_materials(hu), directions, lengths)
        lengths *= WATER * pitch
        ratios = np.stack(list(RATIOS.values()))
        seen = sum(
            share * np.exp(-np.tensordot(ratios[:, energy], lengths, 1))
            for energy, share in enumerate(SPECTRUM.tolist())
        )
        gain = 1 + self.ring * rng.standard_normal(bins)
        counted = rng.poisson(self.photons * seen * gain) + 3 * rng.standard_normal(seen.shape)
        measured = -np.log(np.maximum(counted, 0.5) / self.photons)
        filtered = _filtered(water_corrected(measured) - lengths.sum(axis=0))
        errors = np.zeros((pixels, pixels))
        _back_project(filtered, directions, errors)
        return errors * (math.pi / views / (WATER * pitch) * 1000)


def split_materials(hu: Array) -> Array:
    """(3, N, N): how much water, bone mineral and metal there is, in units of water's attenuation at 70 keV.

    Their sum is 1 + hu / 1000.
    """
    soft = np.clip(hu, -1000, DENSEST_SOFT)
    mineral = np.clip(hu, DENSEST_SOFT, DENSEST_BONE) - DENSEST_SOFT
    metal = np.maximum(hu, DENSEST_BONE) - DENSEST_BONE
    return np.stack([1 + soft / 1000, mineral / 1000, metal / 1000])


def water_corrected(measured: Array) -> Array:
    """Line integrals at 70 keV, were all that was met water, from those that the whole spectrum gives."""
    thickness = np.linspace(0, 60, 1201)  # line integrals; 12 are 60 cm of water
    energies = SPECTRUM[:, None] * np.exp(-RATIOS["water"][:, None] * thickness)
    return np.interp(measured, -np.log(energies.sum(axis=0)), thickness)


def _filtered(sinogram: Array) -> Array:
    """The views (V, K) through the ramp filter of back-projection, its highest frequencies damped (Hann)."""
    bins = sinogram.shape[1]
    size = 2 ** math.ceil(math.log2(2 * bins))
    offsets = np.fft.fftfreq(size, 1 / size)
    odd = offsets % 2 == 1
    kernel = np.where(odd, -1 / (math.pi * np.where(odd, offsets, 1)) ** 2, 0.0)  # Kak and Slaney, eq. 3.61
    kernel[0] = 0.25
    frequencies = np.fft.rfftfreq(size)
    response = np.fft.rfft(kernel).real * (0.5 + 0.5 * np.cos(2 * math.pi * frequencies))
    return np.fft.irfft(np.fft.rfft(sinogram, size, axis=1) * response, size, axis=1)[:, :bins].copy()


@_compiler.kernel
def _project(maps, directions, result):
    """Adds up (C, N, N) maps along parallel rays: (C, V, K), in units of a pixel's side."""
    channels, pixels, _ = maps.shape
    views, bins = result.shape[1:]
    for view in prange(views):
        c, s = directions[view]
        for row in range(pixels):
            for column in range(pixels):
                place = (column - 0.5 * (pixels - 1)) * c + (row - 0.5 * (pixels - 1)) * s + 0.5 * (bins - 1)
                first = int(place)
                share = place - first
                for channel in range(channels):
                    value = maps[channel, row, column]
                    result[channel, view, first] += (1 - share) * value
                    result[channel, view, first + 1] += share * value


@_compiler.kernel
def _back_project(sinogram, directions, result):
    """Adds to each pixel of (N, N) what the rays through it saw, (V, K)."""
    pixels = result.shape[0]
    views, bins = sinogram.shape
    for row in prange(pixels):
        for view in range(views):
            c, s = directions[view]
            for column in range(pixels):
                place = (column - 0.5 * (pixels - 1)) * c + (row - 0.5 * (pixels - 1)) * s + 0.5 * (bins - 1)
                first = int(place)
                share = place - first
                result[row, column] += (1 - share) * sinogram[view, first] + share * sinogram[view, first + 1]
