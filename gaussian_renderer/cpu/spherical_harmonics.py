"""Colours that depend on the direction of sight: real spherical harmonics to degree 3, and their gradients.

The basis and its signs are those of gsplat and of the 3D Gaussian Splatting file format (Sloan, "Efficient
Spherical Harmonic Evaluation", JCGT 2013).
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gaussian_renderer.cpu.compilation import device_function, kernel

MAX_DEGREE = 3
# Gaussians per piece of parallel work. Fixed, so that sums over pieces do not depend on the threads.
PIECE = 512

C0 = np.float32(0.28209479177387814)
C1 = np.float32(0.4886025119029199)
C2_XY = np.float32(1.0925484305920792)
C2_ZZ = np.float32(0.31539156525252005)
C2_XX = np.float32(0.5462742152960396)
C3_XXX = np.float32(0.5900435899266435)
C3_XYZ = np.float32(2.890611442640554)
C3_XZZ = np.float32(0.4570457994644658)
C3_ZZZ = np.float32(0.3731763325901154)
C3_ZXX = np.float32(1.445305721320277)
ONE, TWO, THREE, FOUR, FIVE, SIX = (np.float32(number) for number in range(1, 7))
EIGHT, TEN = np.float32(8), np.float32(10)


# `bands` is a tuple as long as there are bands, degree + 1: each length is compiled by itself, its loops
# unrolled.


@device_function
def _basis(bands, x, y, z, basis):
    """Fills `basis` with the functions of so many bands at a unit direction."""
    basis[0] = C0
    if len(bands) >= 2:
        basis[1] = -C1 * y
        basis[2] = C1 * z
        basis[3] = -C1 * x
    if len(bands) >= 3:
        basis[4] = C2_XY * x * y
        basis[5] = -C2_XY * y * z
        basis[6] = C2_ZZ * (THREE * z * z - ONE)
        basis[7] = -C2_XY * x * z
        basis[8] = C2_XX * (x * x - y * y)
    if len(bands) >= 4:
        basis[9] = -C3_XXX * y * (THREE * x * x - y * y)
        basis[10] = C3_XYZ * x * y * z
        basis[11] = -C3_XZZ * y * (FIVE * z * z - ONE)
        basis[12] = C3_ZZZ * z * (FIVE * z * z - THREE)
        basis[13] = -C3_XZZ * x * (FIVE * z * z - ONE)
        basis[14] = C3_ZXX * z * (x * x - y * y)
        basis[15] = -C3_XXX * x * (x * x - THREE * y * y)


@device_function
def _basis_backward(bands, x, y, z, g):
    """Gradient to the unit direction, from gradients `g` to the basis functions."""
    gx = gy = gz = np.float32(0)
    if len(bands) >= 2:
        gx -= C1 * g[3]
        gy -= C1 * g[1]
        gz += C1 * g[2]
    if len(bands) >= 3:
        gx += C2_XY * (y * g[4] - z * g[7]) + TWO * C2_XX * x * g[8]
        gy += C2_XY * (x * g[4] - z * g[5]) - TWO * C2_XX * y * g[8]
        gz += SIX * C2_ZZ * z * g[6] - C2_XY * (y * g[5] + x * g[7])
    if len(bands) >= 4:
        xx, yy, zz = x * x, y * y, z * z
        gx += -SIX * C3_XXX * x * y * g[9] + C3_XYZ * y * z * g[10] - C3_XZZ * (FIVE * zz - ONE) * g[13]
        gx += TWO * C3_ZXX * x * z * g[14] - THREE * C3_XXX * (xx - yy) * g[15]
        gy += -THREE * C3_XXX * (xx - yy) * g[9] + C3_XYZ * x * z * g[10] - C3_XZZ * (FIVE * zz - ONE) * g[11]
        gy += -TWO * C3_ZXX * y * z * g[14] + SIX * C3_XXX * x * y * g[15]
        gz += C3_XYZ * x * y * g[10] - TEN * C3_XZZ * z * (y * g[11] + x * g[13])
        gz += THREE * C3_ZZZ * (FIVE * zz - ONE) * g[12] + C3_ZXX * (xx - yy) * g[14]
    return gx, gy, gz


@device_function
def _direction(mean, position):
    """The unit direction from the camera to a Gaussian, and one over the distance (0 at no distance)."""
    x, y, z = mean[0] - position[0], mean[1] - position[1], mean[2] - position[2]
    length = math.sqrt(x * x + y * y + z * z)
    inverse = ONE / length if length > 0 else np.float32(0)
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def _colours_forward(bands, means, positions, constant, rest, radii, colours):
    """Fills the colours of visible Gaussians; coefficients have one entry or one a camera in front."""
    count, bases = means.shape[0], len(bands) ** 2
    for piece in prange((count + PIECE - 1) // PIECE):
        basis = np.empty(16, np.float32)
        for camera in range(len(positions)):
            base, own = constant[camera % len(constant)], rest[camera % len(rest)]
            for n in range(piece * PIECE, min(count, (piece + 1) * PIECE)):
                if radii[camera, n, 0] <= 0 or radii[camera, n, 1] <= 0:
                    continue
                x, y, z, _ = _direction(means[n], positions[camera])
                _basis(bands, x, y, z, basis)
                red = np.float32(0.5) + C0 * base[n, 0, 0]
                green = np.float32(0.5) + C0 * base[n, 0, 1]
                blue = np.float32(0.5) + C0 * base[n, 0, 2]
                for k in range(1, bases):
                    red += basis[k] * own[n, k - 1, 0]
                    green += basis[k] * own[n, k - 1, 1]
                    blue += basis[k] * own[n, k - 1, 2]
                # Comparisons that let a NaN through: the tile lists drop such a Gaussian.
                colours[camera, n, 0] = np.float32(0) if red < 0 else red
                colours[camera, n, 1] = np.float32(0) if green < 0 else green
                colours[camera, n, 2] = np.float32(0) if blue < 0 else blue


@kernel
def _colours_backward(
    bands, means, positions, constant, rest, colours, g_colours, g_means, g_positions, g_constant, g_rest
):
    """Fills the gradients, whatever they held; `g_positions` is one partial sum a piece of work."""
    count, bases = means.shape[0], len(bands) ** 2
    for piece in prange((count + PIECE - 1) // PIECE):
        basis, g_basis = np.empty(16, np.float32), np.empty(16, np.float32)
        first, last = piece * PIECE, min(count, (piece + 1) * PIECE)
        g_means[first:last] = 0
        g_positions[piece] = 0
        for camera in range(len(positions)):
            own, g_own = rest[camera % len(rest)], g_rest[camera % len(rest)]
            g_base = g_constant[camera % len(constant)]
            for n in range(first, last):
                if camera < len(rest):  # the first camera that uses these coefficients
                    g_base[n] = 0
                    g_own[n] = 0
                # No gradient through the clamp at 0.
                red = g_colours[camera, n, 0] if colours[camera, n, 0] > 0 else np.float32(0)
                green = g_colours[camera, n, 1] if colours[camera, n, 1] > 0 else np.float32(0)
                blue = g_colours[camera, n, 2] if colours[camera, n, 2] > 0 else np.float32(0)
                # What was not drawn, perhaps because it is not finite: 0 times that would be NaN.
                if red == 0 and green == 0 and blue == 0:
                    continue
                x, y, z, inverse = _direction(means[n], positions[camera])
                _basis(bands, x, y, z, basis)
                g_base[n, 0, 0] += C0 * red
                g_base[n, 0, 1] += C0 * green
                g_base[n, 0, 2] += C0 * blue
                for k in range(1, bases):
                    j = k - 1
                    g_own[n, j, 0] += basis[k] * red
                    g_own[n, j, 1] += basis[k] * green
                    g_own[n, j, 2] += basis[k] * blue
                    g_basis[k] = own[n, j, 0] * red + own[n, j, 1] * green + own[n, j, 2] * blue
                gx, gy, gz = _basis_backward(bands, x, y, z, g_basis)
                along = gx * x + gy * y + gz * z
                gx, gy, gz = (
                    (gx - along * x) * inverse,
                    (gy - along * y) * inverse,
                    (gz - along * z) * inverse,
                )
                g_means[n, 0] += gx
                g_means[n, 1] += gy
                g_means[n, 2] += gz
                g_positions[piece, camera, 0] -= gx
                g_positions[piece, camera, 1] -= gy
                g_positions[piece, camera, 2] -= gz


class _Colours(torch.autograd.Function):
    """The two kernels as one differentiable function; see `colours_from_harmonics`."""

    @staticmethod
    def forward(ctx, degree, means, positions, constant, rest, radii):
        colours = torch.zeros(*radii.shape[:2], 3)
        arrays = [tensor.numpy() for tensor in (means, positions, constant, rest, radii, colours)]
        ctx.bands = (0,) * (degree + 1)
        _colours_forward(ctx.bands, *arrays)
        ctx.save_for_backward(means, positions, constant, rest, colours)
        return colours

    @staticmethod
    def backward(ctx, g_colours):
        saved = [tensor.numpy() for tensor in ctx.saved_tensors]
        means, positions, constant, rest, _ = saved
        g_means, g_constant, g_rest = np.empty_like(means), np.empty_like(constant), np.empty_like(rest)
        g_positions = np.empty(((len(means) + PIECE - 1) // PIECE, *positions.shape))
        incoming = g_colours.contiguous().numpy()
        _colours_backward(ctx.bands, *saved, incoming, g_means, g_positions, g_constant, g_rest)
        g_position = g_positions.sum(axis=0).astype(np.float32)
        return None, *map(torch.from_numpy, (g_means, g_position, g_constant, g_rest)), None


def colours_from_harmonics(
    degree: int, means: Tensor, positions: Tensor, constant: Tensor, rest: Tensor, radii: Tensor
) -> Tensor:
    """Colours (C, N, 3) of Gaussians seen from cameras: harmonics plus 0.5, at least 0; 0 where not visible.

    Args:
        degree: 0 to 3, of the harmonics used; further coefficients are ignored and get no gradient.
        means: (N, 3) float32, world frame.
        positions: (C, 3) float32, the cameras' centres, world frame.
        constant: (1 or C, N, 1, 3) float32, contiguous, the coefficients of degree 0.
        rest: (1 or C, N, K - 1, 3) float32, contiguous, the others, K >= (degree + 1)^2.
        radii: (C, N, 2) int32, a Gaussian is visible where both are positive.
    """
    return _Colours.apply(degree, means, positions, constant, rest, radii)
