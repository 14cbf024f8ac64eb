"""One camera's pixels in another one's picture, by their depth; differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from scene.cameras import Camera


def reproject(camera: Camera, source: Camera, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Where the points that a camera sees lie in another camera's picture.

    Args:
        camera: sees the points, one for each of its pixels.
        source: the other camera.
        depth: (H, W), along the z axis of `camera`, scene units.

    Returns:
        Of the depth's type, and with gradient to it.
        pixels: (H, W, 2), x then y in `source`; the first pixel's centre is (0.5, 0.5). Without meaning
            where `distance` is not positive.
        distance: (H, W), along the z axis of `source`, scene units; positive in front of it.
    """
    height, width = depth.shape
    x = torch.arange(width, device=depth.device, dtype=depth.dtype) + 0.5
    y = torch.arange(height, device=depth.device, dtype=depth.dtype) + 0.5
    grid = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones_like(depth)], dim=-1)

    # In double precision, since the world's origin may lie far from both.
    to_source = source.world_to_camera.double().cpu() @ camera.world_to_camera.double().cpu().inverse()
    lens, other_lens = camera.intrinsics.double().cpu(), source.intrinsics.double().cpu()
    turn = (other_lens @ to_source[:3, :3] @ lens.inverse()).to(depth)
    shift = (other_lens @ to_source[:3, 3]).to(depth)
    projected = depth[..., None] * (grid @ turn.T) + shift
    distance = projected[..., 2]
    return projected[..., :2] / distance.clamp_min(1e-6)[..., None], distance


def sample(picture: Tensor, pixels: Tensor) -> Tensor:
    """(C, H, W): bilinear values of a (C, h, w) picture at (H, W, 2) pixels; beyond its edge, the edge's."""
    size = pixels.new_tensor([picture.shape[2], picture.shape[1]])
    grid = (2 * pixels / size - 1)[None]
    return F.grid_sample(picture[None], grid, padding_mode="border", align_corners=False)[0]
