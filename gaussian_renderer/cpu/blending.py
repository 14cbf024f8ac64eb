"""Gaussians on the image plane become pixels, front to back, and gradients come back.

Per pixel as gsplat's CUDA kernels: alpha = min(0.999, opacity exp(-sigma)); alpha below 1/255 is skipped; the
first Gaussian that would bring the transmittance to 1e-4 or less ends the pixel and is not drawn itself.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gaussian_renderer.cpu.compilation import device_function, kernel
from gaussian_renderer.cpu.tiles import TILE, TileLists

ALPHA_MAX = np.float32(0.999)
ALPHA_MIN = np.float32(1.0 / 255.0)
TRANSMITTANCE_MIN = np.float32(1e-4)
ONE, HALF, ZERO = np.float32(1.0), np.float32(0.5), np.float32(0.0)


@device_function
def _opacity_at(mean, conic, opacity, x, y):
    """Opacity times the Gaussian at a pixel's centre (0 where it counts as nothing), and the offset to it."""
    dx, dy = mean[0] - (x + HALF), mean[1] - (y + HALF)
    sigma = HALF * (conic[0] * dx * dx + conic[2] * dy * dy) + conic[1] * dx * dy
    value = opacity * np.float32(math.exp(-sigma)) if sigma >= 0 else ZERO
    return (value if value >= ALPHA_MIN else ZERO), dx, dy


@kernel
def _blend_forward(
    offsets,
    gaussians,
    means2d,
    conics,
    colours,
    opacities,
    width,
    height,
    columns,
    rows,
    image,
    left_over,
    last,
):
    """Fills image (C, D, H, W), remaining transmittance and index of the last pair drawn (C, H, W)."""
    for tile in prange(len(offsets) - 1):
        camera, row, column = tile // (columns * rows), tile // columns % rows, tile % columns
        for y in range(row * TILE, min(height, (row + 1) * TILE)):
            for x in range(column * TILE, min(width, (column + 1) * TILE)):
                transmittance = ONE
                final = -1
                for pair in range(offsets[tile], offsets[tile + 1]):
                    n = gaussians[pair]
                    value, _, _ = _opacity_at(
                        means2d[n], conics[n], opacities[n], np.float32(x), np.float32(y)
                    )
                    if value == 0:
                        continue
                    alpha = min(value, ALPHA_MAX)
                    following = transmittance * (ONE - alpha)
                    if following <= TRANSMITTANCE_MIN:
                        break
                    for channel in range(colours.shape[1]):
                        image[camera, channel, y, x] += colours[n, channel] * alpha * transmittance
                    transmittance = following
                    final = pair
                left_over[camera, y, x] = transmittance
                last[camera, y, x] = final


@kernel
def _blend_backward(
    offsets, gaussians, slots, means2d, conics, colours, opacities, width, height, columns, rows, left_over, last,
    g_image, g_alphas, pairs,
):  # fmt: skip
    """Fills `pairs`: per slot the gradients to mean (2), |mean| (2), conic (3), opacity, colour (D)."""
    channels = colours.shape[1]
    for tile in prange(len(offsets) - 1):
        camera, row, column = tile // (columns * rows), tile // columns % rows, tile % columns
        for y in range(row * TILE, min(height, (row + 1) * TILE)):
            for x in range(column * TILE, min(width, (column + 1) * TILE)):
                transmittance = left_over[camera, y, x]
                # Gradient-weighted colour of all that lies behind, the loss of alpha included.
                behind = -g_alphas[camera, y, x]
                for pair in range(last[camera, y, x], offsets[tile] - 1, -1):
                    n = gaussians[pair]
                    value, dx, dy = _opacity_at(
                        means2d[n], conics[n], opacities[n], np.float32(x), np.float32(y)
                    )
                    if value == 0:
                        continue
                    alpha = min(value, ALPHA_MAX)
                    transmittance /= ONE - alpha
                    g = pairs[slots[pair]]
                    own = ZERO
                    for channel in range(channels):
                        own += colours[n, channel] * g_image[camera, channel, y, x]
                        g[8 + channel] += alpha * transmittance * g_image[camera, channel, y, x]
                    g_alpha = transmittance * (own - behind)
                    behind += alpha * (own - behind)
                    if value > ALPHA_MAX:
                        continue
                    g_sigma = -value * g_alpha
                    gx = g_sigma * (conics[n, 0] * dx + conics[n, 1] * dy)
                    gy = g_sigma * (conics[n, 1] * dx + conics[n, 2] * dy)
                    g[0] += gx
                    g[1] += gy
                    g[2] += abs(gx)
                    g[3] += abs(gy)
                    g[4] += HALF * g_sigma * dx * dx
                    g[5] += g_sigma * dx * dy
                    g[6] += HALF * g_sigma * dy * dy
                    g[7] += value / opacities[n] * g_alpha


@kernel
def _sum_slots(order, slot_offsets, pairs, sums):
    """Adds up each Gaussian's pairs, always in the same order."""
    for i in prange(len(order)):
        for slot in range(slot_offsets[i], slot_offsets[i + 1]):
            for k in range(pairs.shape[1]):
                sums[order[i], k] += pairs[slot, k]


class _Blend(torch.autograd.Function):
    """The kernels as one differentiable function; see `blend`."""

    @staticmethod
    def forward(ctx, means2d, conics, colours, opacities, lists, width, height, absgrad):
        cameras, columns, rows = len(means2d), -(-width // TILE), -(-height // TILE)
        channels = colours.shape[-1]
        image = torch.zeros(cameras, channels, height, width)
        left_over = np.empty((cameras, height, width), np.float32)
        last = np.empty((cameras, height, width), np.int32)
        ctx.sizes = width, height, columns, rows
        flat = _flat(means2d, conics, colours, opacities)
        _blend_forward(lists.offsets, lists.gaussians, *flat, *ctx.sizes, image.numpy(), left_over, last)
        ctx.save_for_backward(means2d, conics, colours, opacities)
        ctx.lists, ctx.left_over, ctx.last, ctx.absgrad = lists, left_over, last, absgrad
        return image, torch.from_numpy(1 - left_over)

    @staticmethod
    def backward(ctx, g_image, g_alphas):
        means2d, conics, colours, opacities = ctx.saved_tensors
        lists, flat = ctx.lists, _flat(means2d, conics, colours, opacities)
        pairs = np.zeros((len(lists.slots), 8 + colours.shape[-1]), np.float32)
        incoming = [gradient.contiguous().numpy() for gradient in (g_image, g_alphas)]
        _blend_backward(
            lists.offsets,
            lists.gaussians,
            lists.slots,
            *flat,
            *ctx.sizes,
            ctx.left_over,
            ctx.last,
            *incoming,
            pairs,
        )
        sums = np.zeros((means2d[..., 0].numel(), pairs.shape[1]), np.float32)
        _sum_slots(lists.order, lists.slot_offsets, pairs, sums)
        gradients = torch.from_numpy(sums).view(*means2d.shape[:2], -1)
        if ctx.absgrad:
            means2d.absgrad = gradients[..., 2:4].contiguous()
        parts = gradients[..., 0:2], gradients[..., 4:7], gradients[..., 8:], gradients[..., 7]
        return *(part.contiguous() for part in parts), None, None, None, None


def _flat(means2d: Tensor, conics: Tensor, colours: Tensor, opacities: Tensor) -> list[np.ndarray]:
    """The four per-Gaussian arrays with cameras and Gaussians as one axis."""
    axes = [tensor.detach().flatten(0, 1) for tensor in (means2d, conics, colours, opacities)]
    return [tensor.contiguous().numpy() for tensor in axes]


def blend(
    means2d: Tensor, conics: Tensor, colours: Tensor, opacities: Tensor, lists: TileLists,
    width: int, height: int, absgrad: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The image (C, D, H, W) on black, and its alpha (C, H, W).

    Args:
        means2d: (C, N, 2) float32, pixels; with `absgrad`, backward leaves the sums of absolute per-pixel
            gradients in its attribute `.absgrad`.
        conics: (C, N, 3) float32, inverse covariance xx, xy, yy, px^-2.
        colours: (C, N, D) float32.
        opacities: (C, N) float32.
        lists: every tile's Gaussians, from `tile_lists`.
        width, height: of the image, pixels.
    """
    return _Blend.apply(means2d, conics, colours, opacities, lists, width, height, absgrad)
