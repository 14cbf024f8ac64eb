"""Gradients of a warp, by finite differences; where it leads is tested beside its users' masks."""

import math
from dataclasses import replace

import torch

from tests.small_scene import arc_of_cameras
from utils.warping import reproject, sample


def test_gradients_to_the_depth_are_those_of_finite_differences():
    """Through place, distance and picture, at a depth where no pixel sits on the border of two texels."""
    here, there = arc_of_cameras(5, width=8, height=6)[1:3]
    there = replace(there, intrinsics=there.intrinsics * torch.tensor([[1.3], [1.1], [1.0]]))
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 6, 8, generator=generator, dtype=torch.float64)
    depth = 3 + 0.3 * torch.rand(6, 8, generator=generator, dtype=torch.float64)

    def warped(depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, distance = reproject(here, there, depth)
        return sample(picture, pixels), distance

    pixels, _ = reproject(here, there, depth)
    beside = ((pixels - 0.5) - (pixels - 0.5).round()).abs()
    assert float(beside.min()) > 1e-4  # or the difference is taken across a fold of the picture
    assert torch.autograd.gradcheck(warped, (depth.requires_grad_(),), eps=1e-6)


def test_types_are_kept():
    here, there = arc_of_cameras(3)[:2]
    for dtype in (torch.float32, torch.float64):
        pixels, distance = reproject(here, there, torch.full((here.height, here.width), 3.0, dtype=dtype))
        assert pixels.dtype == distance.dtype == dtype
        assert math.isfinite(float(pixels.sum()))
