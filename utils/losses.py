"""The photometric loss: how far a rendering is from its photograph, in L1 and in structural similarity."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from utils.kernels import Compiler

# SSIM as Wang et al. 2004 and the reference have it: an 11 x 11 Gaussian window, sigma 1.5, values in [0, 1].
RADIUS = 5
TAPS = 2 * RADIUS + 1
WINDOW = np.array([math.exp(-((i - RADIUS) ** 2) / (2 * 1.5**2)) for i in range(TAPS)])
WINDOW = (WINDOW / WINDOW.sum()).astype(np.float32)
C1 = np.float32(0.01**2)
C2 = np.float32(0.03**2)

BLOCK = 16  # rows that one thread takes at a time; a fixed number, so that threads change no bits
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)

# `contract` and `reassoc` let LLVM use fused multiply-adds and vector sums in an order fixed when compiling,
# so bits do not depend on threads; NaN and infinity keep their meaning.
_compiler = Compiler(
    [Path(__file__)],
    "compiling the loss (once per machine, about 8 s) ...",
    fastmath={"contract", "reassoc", "nsz", "arcp"},
)


def photometric_loss(
    rgb: Tensor, target: Tensor, weight: Tensor | None = None, lambda_dssim: float = 0.2
) -> Tensor:
    """The loss (1 - lambda) * L1 + lambda * (1 - SSIM), a scalar with gradient to `rgb`.

    L1 is the mean absolute difference; SSIM the mean over pixels and channels with zero padding at the
    image's border and biased variances (equation 7 of Kerbl et al. 2023, and the reference's code). Means are
    weighted by `weight`. Pixels of weight zero count as outside the image: SSIM's windows see zeros there, in
    both images, as they do beyond the border, so what they hold (NaN included) changes neither the value nor
    the gradient. An image without a pixel of positive weight has loss zero.

    Values are taken as they are. The reference clamps a rendering to [0, 1] first, so that values beyond get
    no gradient; that is the caller's business.

    Args:
        rgb: (C, H, W) float32, the rendering, in [0, 1].
        target: (C, H, W) float32, the photograph, in [0, 1]; gets no gradient.
        weight: (H, W) float32 in [0, 1], or None for ones.
        lambda_dssim: share of the structural term, in [0, 1].

    Raises:
        ValueError: shapes that do not fit.
    """
    if rgb.ndim != 3 or rgb.shape != target.shape:
        raise ValueError(
            f"images of one shape (C, H, W) expected, not {(*rgb.shape,)} and {(*target.shape,)}"
        )
    if weight is None:
        weight = rgb.new_ones(rgb.shape[1:])
    if weight.shape != rgb.shape[1:]:
        raise ValueError(f"weight has shape {(*weight.shape,)}, the image {(*rgb.shape,)}")
    target = target.detach()
    if rgb.device.type == "cpu" and rgb.dtype == torch.float32:
        loss: Tensor = _FusedLoss.apply(rgb, target, weight, lambda_dssim)
        return loss
    return torch_photometric_loss(rgb, target, weight, lambda_dssim)


def torch_photometric_loss(rgb: Tensor, target: Tensor, weight: Tensor, lambda_dssim: float) -> Tensor:
    """`photometric_loss` in plain torch, on any device and in any precision."""
    inside = weight > 0
    rgb, target = torch.where(inside, rgb, 0), torch.where(inside, target, 0)
    total = (rgb.shape[0] * weight.sum()).clamp(min=1e-12)
    fields = torch.stack([rgb, target, rgb**2 + target**2, rgb * target])
    window = torch.as_tensor(WINDOW, dtype=rgb.dtype, device=rgb.device)
    blurred = F.conv2d(fields.flatten(0, 1)[:, None], window.view(1, 1, TAPS, 1), padding=(RADIUS, 0))
    blurred = F.conv2d(blurred, window.view(1, 1, 1, TAPS), padding=(0, RADIUS))
    mean_x, mean_y, squares, products = blurred.view_as(fields)
    product, energy = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * product + float(C1)) / (energy + float(C1))
    contrast = (2 * (products - product) + float(C2)) / (squares - energy + float(C2))
    difference = (weight * (rgb - target).abs()).sum() / total
    dissimilarity = (weight * (1 - luminance * contrast)).sum() / total
    return (1 - lambda_dssim) * difference + lambda_dssim * dissimilarity


class _FusedLoss(torch.autograd.Function):
    """The loss and its gradient in one pass of `_loss_kernel`, so that backward is one multiplication."""

    @staticmethod
    def forward(ctx: Any, rgb: Tensor, target: Tensor, weight: Tensor, lambda_dssim: float) -> Tensor:
        channels, height, width = rgb.shape
        images = [tensor.detach().float().contiguous().numpy() for tensor in (rgb, target, weight)]
        total = max(channels * float(images[2].sum(dtype=np.float64)), 1e-12)
        sums = np.empty((channels, height, 2))
        gradient = rgb.new_empty(rgb.shape if ctx.needs_input_grad[0] else (0, 0, 0))
        _loss_kernel(
            *images,
            np.float32((1 - lambda_dssim) / total),
            np.float32(-lambda_dssim / total),
            np.zeros((7, height + 2 * RADIUS, width), np.float32),
            sums,
            gradient.numpy(),
        )
        ctx.gradient = gradient
        difference, dissimilarity = sums.sum(axis=(0, 1)) / total
        return rgb.new_tensor((1 - lambda_dssim) * difference + lambda_dssim * dissimilarity)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.gradient * grad_loss, None, None, None


@_compiler.kernel
def _loss_kernel(rgb, target, weight, l1_factor, ssim_factor, scratch, sums, gradient):
    """Sums of the loss by row, and its gradient, one channel after the other.

    SSIM depends on the rendering x through three blurred fields: x, x^2 + y^2 and x * y. With D1, D2, D3 the
    derivatives of each window's SSIM by these, and blurring being its own transpose, the gradient is
    blur(D1) + 2 x blur(D2) + y blur(D3).

    Args:
        rgb, target: (C, H, W) float32.
        weight: (H, W) float32.
        l1_factor, ssim_factor: float32, what the sums of L1 and SSIM count in the loss.
        scratch: (7, H + 10, W) float32, zeros; four fields and three derivatives, padded above and below.
        sums: (C, H, 2) float64, written: by row, weighted sums of |x - y| and of 1 - SSIM.
        gradient: (C, H, W) float32, written; size zero where no gradient is wanted.
    """
    channels, height, width = rgb.shape
    fields, slopes = scratch[:4], scratch[4:]
    blocks = (height + BLOCK - 1) // BLOCK
    for channel in range(channels):
        for row in prange(height):
            _fill_fields(rgb[channel, row], target[channel, row], weight[row], fields[:, row + RADIUS])
        for block in prange(blocks):
            padded = np.zeros(width + 2 * RADIUS, np.float32)
            values = np.empty((4, width), np.float32)
            for row in range(block * BLOCK, min(height, (block + 1) * BLOCK)):
                for field in range(4):
                    _blur(fields[field], row, padded, values[field])
                _similarity(values)
                _sum_row(values, weight[row], fields[:2, row + RADIUS], sums[channel, row])
                for field in range(3):
                    _multiply(values[1 + field], weight[row], slopes[field, row + RADIUS])
        if gradient.size == 0:
            continue
        for block in prange(blocks):
            padded = np.zeros(width + 2 * RADIUS, np.float32)
            values = np.empty((3, width), np.float32)
            for row in range(block * BLOCK, min(height, (block + 1) * BLOCK)):
                for field in range(3):
                    _blur(slopes[field], row, padded, values[field])
                images = fields[:2, row + RADIUS]
                _combine(values, weight[row], images, l1_factor, ssim_factor, gradient[channel, row])


# One small loop for each array that is written: LLVM turns a loop into vector code only where few pairs of
# arrays could overlap. Together in one loop these run four times slower.


@_compiler.device_function
def _fill_fields(rgb, target, weight, fields):
    """The four fields of one row: x, y, x^2 + y^2, x * y, zero where the weight is zero."""
    x, y, squares, products = fields[0], fields[1], fields[2], fields[3]
    for i in range(x.size):
        x[i] = rgb[i] if weight[i] > ZERO else ZERO
    for i in range(x.size):
        y[i] = target[i] if weight[i] > ZERO else ZERO
    for i in range(x.size):
        squares[i] = x[i] * x[i] + y[i] * y[i]
    for i in range(x.size):
        products[i] = x[i] * y[i]


@_compiler.device_function
def _blur(field, row, padded, out):
    """One row of the field under the window, first down the columns, then along the row.

    `field` has RADIUS rows of zeros above and below, `padded` as many zeros on either side.
    """
    rows = field[row : row + TAPS]
    for i in range(out.size):
        total = ZERO
        for tap in range(TAPS):
            total += WINDOW[tap] * rows[tap, i]
        padded[i + RADIUS] = total
    for i in range(out.size):
        total = ZERO
        for tap in range(TAPS):
            total += WINDOW[tap] * padded[i + tap]
        out[i] = total


@_compiler.device_function
def _similarity(values):
    """In place, for a row: four blurred fields become SSIM and its derivatives by x, x^2 + y^2 and x * y."""
    for i in range(values.shape[1]):
        mean_x, mean_y, squares, products = values[0, i], values[1, i], values[2, i], values[3, i]
        product, energy = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        a1 = TWO * product + C1
        a2 = TWO * (products - product) + C2
        inverse1 = ONE / (energy + C1)
        inverse2 = ONE / (squares - energy + C2)
        both = inverse1 * inverse2
        ssim = a1 * a2 * both
        values[0, i] = ssim
        values[1, i] = TWO * (mean_y * (a2 - a1) * both - mean_x * ssim * (inverse1 - inverse2))
        values[2, i] = -ssim * inverse2
        values[3, i] = TWO * a1 * both


@_compiler.device_function
def _sum_row(values, weight, images, sums):
    """Weighted sums over a row of |x - y| and of 1 - SSIM."""
    difference, dissimilarity = ZERO, ZERO
    for i in range(weight.size):
        difference += weight[i] * abs(images[0, i] - images[1, i])
        dissimilarity += weight[i] * (ONE - values[0, i])
    sums[0], sums[1] = difference, dissimilarity


@_compiler.device_function
def _multiply(values, weight, out):
    for i in range(out.size):
        out[i] = values[i] * weight[i]


@_compiler.device_function
def _combine(values, weight, images, l1_factor, ssim_factor, gradient):
    """One row of the gradient from the three blurred derivatives; zero where the weight is zero."""
    for i in range(gradient.size):
        x, y = images[0, i], images[1, i]
        sign = np.float32(x > y) - np.float32(x < y)
        ssim = values[0, i] + TWO * x * values[1, i] + y * values[2, i]
        slope = l1_factor * weight[i] * sign + ssim_factor * ssim
        gradient[i] = slope if weight[i] > ZERO else ZERO
