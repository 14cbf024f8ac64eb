"""What a depth-to-image U-Net sees of a rendering beside the noised latents: inverse depth, relative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_guidance.sds import fit_to_prior

if TYPE_CHECKING:
    from sds_guidance.mode import View

FLAT = 1e-4  # share of the largest inverse depth below which the range of a map is rounding, and says nothing


@torch.no_grad()
def depth_channel(view: View, short_side: int, multiple: int, latent_pixel: int) -> Tensor:
    """A rendering's depth as Stable Diffusion 2 depth was trained to see it.

    Its training pictures had MiDaS's estimate: inverse depth, larger where nearer, of unknown scale. The
    picture's own is brought to the latents' size by bicubic interpolation and its range to [-1, 1], as
    diffusers' StableDiffusionDepth2ImgPipeline does. A map without a range is 0, the middle.

    Args:
        view: the rendering.
        short_side, multiple: as `fit_to_prior` has them for the picture.
        latent_pixel: side of a latent pixel in pixels of the picture.

    Returns:
        (1, 1, h, w) float32 in [-1, 1], of the latents' size; not finite if a depth is NaN.
    """
    near = fit_to_prior(inverse_depth(view), short_side, multiple)
    size = (near.shape[2] // latent_pixel, near.shape[3] // latent_pixel)
    near = F.interpolate(near, size=size, mode="bicubic", align_corners=False)
    low, high = near.amin(), near.amax()
    if high - low <= FLAT * high:
        return torch.zeros_like(near)
    return 2 * (near - low) / (high - low) - 1


def inverse_depth(view: View) -> Tensor:
    """(1, H, W) float32, 1 / scene units: that of the surface times its alpha.

    So what lies behind a rendering counts as infinitely far, and where alpha is small, and the depth means
    nothing, it has no say.
    """
    return torch.where(view.depth == 0, 0.0, view.alpha / view.depth)
