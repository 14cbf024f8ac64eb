"""Pictures of the panel: depth in colours, photographs made small."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from viewer.pictures import coloured_depth, enlarged, photograph, together, within


def test_depth_is_coloured_between_its_ends_and_black_where_nothing_is():
    depth = torch.linspace(2, 6, 101)[None, None].repeat(1, 10, 1)
    alpha = torch.ones(1, 10, 101)
    alpha[0, 0] = 0.4
    pixels, span = coloured_depth(depth, alpha)
    assert span == pytest.approx((2 + 0.02 * 4, 6 - 0.02 * 4), abs=0.05)
    assert not pixels[0].any() and pixels[1:].any(axis=-1).all()
    brightness = pixels[1].sum(axis=-1).astype(int)
    assert (np.diff(brightness) <= 1).all() and brightness[0] > 2 * brightness[-1]  # near is light
    assert coloured_depth(depth, 0 * alpha)[1] is None
    flat, span = coloured_depth(torch.full((1, 4, 4), 3.0), torch.ones(1, 4, 4))
    assert span is not None and span[0] == 3 and flat.any()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_photograph_made_small_is_the_mean_of_its_pixels(tmp_path: Path, mode: str):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    taken = Photograph(tmp_path / "a.png", 80, 40, PixelCache(0))
    camera = Camera("a", torch.eye(4), torch.eye(3), 80, 40, taken)
    background = torch.tensor([0.0, 0.5, 1.0])
    small = photograph(camera, background, 20)
    whole = taken.target(background)[0].numpy().transpose(1, 2, 0) * 255
    wanted = whole.reshape(10, 4, 20, 4, 3).mean(axis=(1, 3))
    assert small.shape == (10, 20, 3) and np.abs(small - wanted).max() < 2


def test_pictures_are_made_smaller_never_larger():
    assert within(1600, 800, 640) == (640, 320) and within(48, 40, 640) == (48, 40)
    assert within(3, 5000, 100) == (1, 100)


def test_a_small_picture_is_shown_large_and_a_large_one_as_it_is():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    large = enlarged(pixels, 20)
    assert large.shape == (12, 18, 3) and np.array_equal(large[1::3, 1::3], pixels)
    assert np.array_equal(enlarged(pixels, 11), pixels)


def test_two_pictures_lie_so_that_both_are_seen():
    wide, upright = np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)
    assert together(wide, wide + 1).shape == (4, 3, 3) and together(wide, wide + 1)[2:].all()
    assert together(upright, upright + 1).shape == (3, 4, 3) and together(upright, upright + 1)[:, 2:].all()
