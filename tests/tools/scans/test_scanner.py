"""The scanner: projection and its adjoint, water that is water, noise that follows the photons, metal."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tools.scans import scanner
from tools.scans.scanner import HIGHEST, LOWEST, Scanner, split_materials, water_corrected

PIXELS, SIDE = 64, 320.0
SHARP = Scanner(photons=1e9)


def disc(radius: float, inside: float, outside: float = -1000.0, pixels: int = 2 * PIXELS) -> np.ndarray:
    """A disc of some HU in the middle of the picture; the radius is in mm."""
    places = (np.arange(pixels) + 0.5) * SIDE / pixels - SIDE / 2
    away = np.hypot(places[None], places[:, None])
    return np.where(away < radius, inside, outside)


def middle(picture: np.ndarray, half: int = 8) -> np.ndarray:
    """The pixels about the middle."""
    start = len(picture) // 2 - half
    return picture[start : start + 2 * half, start : start + 2 * half].astype(float)


def test_back_projection_is_the_adjoint_of_projection() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, math.pi, 7)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    maps, sinogram = rng.standard_normal((1, 16, 16)), rng.standard_normal((1, 7, 30))
    projected, smeared = np.zeros_like(sinogram), np.zeros((16, 16))
    scanner._project(maps, directions, projected)
    scanner._back_project(sinogram[0], directions, smeared)
    assert (projected * sinogram).sum() == pytest.approx((maps[0] * smeared).sum())


def test_filtered_back_projection_undoes_projection() -> None:
    smooth = gaussian_filter(disc(90, 1.0, 0.0, PIXELS), 2.0)
    views = 120
    angles = np.arange(views) * math.pi / views
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    sinogram, found = np.zeros((1, views, 96)), np.zeros((PIXELS, PIXELS))
    scanner._project(smooth[None], directions, sinogram)
    scanner._back_project(scanner._filtered(sinogram[0]), directions, found)
    assert np.abs(found * math.pi / views - smooth).max() < 0.04


def test_materials_add_up_to_the_attenuation() -> None:
    hu = np.array([[-1000.0, -100, 0, 60, 100], [101, 900, 3000, 3001, 12000]])
    parts = split_materials(hu)
    assert (parts >= 0).all()
    assert parts.sum(axis=0) == pytest.approx(1 + hu / 1000)


def test_a_beam_through_water_alone_is_corrected_exactly() -> None:
    through = np.array([0.0, 1, 4, 8])
    ratios, shares = scanner.RATIOS["water"], scanner.SPECTRUM
    seen = [-math.log((shares * np.exp(-ratios * length)).sum()) for length in through]
    assert water_corrected(np.array(seen)) == pytest.approx(through, abs=1e-3)


def test_water_is_0_and_air_is_minus_1000_without_cupping() -> None:
    picture = SHARP.picture(disc(120, 0.0), SIDE, PIXELS, np.random.default_rng(0))
    assert picture.dtype == np.int16
    assert middle(picture).mean() == pytest.approx(0, abs=2)
    assert picture[32, 12:16].mean() == pytest.approx(middle(picture).mean(), abs=4)
    assert picture[:4, :4].mean() == pytest.approx(-1000, abs=2)


def test_noise_falls_with_the_square_root_of_the_photons() -> None:
    spread = [
        middle(Scanner(photons).picture(disc(120, 0.0), SIDE, PIXELS, np.random.default_rng(3))).std()
        for photons in (1e5, 4e5)
    ]
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.15)
    assert spread[0] > 3


def test_metal_casts_streaks_and_is_cut_at_what_twelve_bits_hold() -> None:
    body = disc(120, 40.0)
    metal = body.copy()
    metal[60:68, 30:38] = metal[60:68, 90:98] = 12000
    rng = np.random.default_rng
    clean, streaked = (Scanner(4e5).picture(hu, SIDE, PIXELS, rng(5)).astype(float) for hu in (body, metal))
    assert streaked.max() == HIGHEST
    assert streaked.min() >= LOWEST
    between = np.s_[30:34, 22:42]  # in line with both pieces
    assert streaked[between].mean() < clean[between].mean() - 60


def test_badly_calibrated_bins_draw_rings() -> None:
    pictures = [
        Scanner(1e9, ring).picture(disc(120, 0.0), SIDE, PIXELS, np.random.default_rng(2)).astype(float)
        for ring in (0.0, 2e-3)
    ]
    assert middle(pictures[1]).std() > 1 + middle(pictures[0]).std()
