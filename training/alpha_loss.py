"""The loss on rendered alpha: photographs that say where nothing is, by an alpha channel or a mask."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scene.cameras import Camera
from scene.photographs import Pixels
from utils.determinism import single_threaded
from utils.errors import UserError


def alpha_loss(alpha: Tensor, pixels: Pixels) -> Tensor:
    """L1 between the rendered alpha and the photograph's; a scalar in [0, 1] with gradient to `alpha`.

    A photograph without an alpha channel is taken to be as opaque as its mask: where the colours' loss has no
    say, there is to be nothing. With both, masked pixels do not count. With neither the loss is 0.

    Args:
        alpha: (1, H, W) float32 in [0, 1], of a rendering.
        pixels: the photograph, of the same size.
    """
    wanted = pixels.mask if pixels.alpha is None else pixels.alpha
    if wanted is None:
        return alpha.new_zeros(())
    difference = (alpha[0] - torch.from_numpy(wanted).to(alpha) / 255).abs()
    with single_threaded():  # sums of many pixels, whose bits depend on the threads
        if pixels.alpha is None or pixels.mask is None:
            return difference.mean()
        weight = torch.from_numpy(pixels.mask).to(alpha) / 255
        return (weight * difference).sum() / weight.sum().clamp_min(1e-6)


def demand_alpha(cameras: Sequence[Camera]) -> None:
    """Raises a UserError if no photograph of the cameras has a transparent or a masked pixel."""
    found = (camera.own_photograph.pixels() for camera in cameras)
    if all(pixels.alpha is None and pixels.mask is None for pixels in found):
        raise UserError(
            f"--lambda_alpha: none of the {len(cameras)} training photographs has a transparent or a masked "
            "pixel; give photographs with an alpha channel or --masks (not with --mask_mode score, which "
            "masks the test alone), or leave the flag out"
        )
