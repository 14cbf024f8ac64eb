"""Gaussians of the world become ellipses on the image plane, and gradients come back.

Elliptical weighted average splatting: a Gaussian's covariance goes through the Jacobian of the pinhole
projection at its centre. Conventions and limits are those of gsplat's `fully_fused_projection`.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gaussian_renderer.cpu import geometry
from gaussian_renderer.cpu.compilation import device_function, kernel
from gaussian_renderer.cpu.simd import LANES, aligned

# Gaussians per piece of parallel work. Fixed, so that sums over pieces do not depend on the threads.
PIECE = 512
ZERO = np.float32(0)


@kernel
def _project_forward(
    means, quats, scales, opacities, viewmats, intrinsics, width, height, eps2d, near, far, clip, antialiased,
    radii, means2d, depths, conics, compensations,
):  # fmt: skip
    """Fills the five results, with zeros for what is not drawn; compensations only where antialiased."""
    count = means.shape[0]
    for piece in prange((count + PIECE - 1) // PIECE):
        work = aligned(geometry.ROWS)
        work[:] = ZERO
        for camera in range(viewmats.shape[0]):
            pose = geometry.pose(viewmats[camera])
            limits = geometry.limits(intrinsics[camera], width, height)
            for first in range(piece * PIECE, min(count, (piece + 1) * PIECE), LANES):
                size = min(LANES, count - first)
                geometry.read(means, first, size, work, geometry.MEAN)
                geometry.read(quats, first, size, work, geometry.QUAT)
                geometry.read(scales, first, size, work, geometry.SCALE)
                geometry.read(opacities, first, size, work, geometry.OPACITY)
                drawn = geometry.project(
                    work, pose, limits, np.float32(width), np.float32(height),
                    np.float32(eps2d), np.float32(near), np.float32(far), np.float32(clip), antialiased,
                )  # fmt: skip
                for i in range(size):
                    n, seen = first + i, np.float32(drawn >> i & 1)
                    for k in range(2):
                        radii[camera, n, k] = _where(seen, work[(geometry.RADIUS + k) * LANES + i])
                        means2d[camera, n, k] = _where(seen, work[(geometry.MEAN2D + k) * LANES + i])
                    for k in range(3):
                        conics[camera, n, k] = _where(seen, work[(geometry.CONIC + k) * LANES + i])
                    depths[camera, n] = _where(seen, work[geometry.DEPTH * LANES + i])
                    if antialiased:
                        compensations[camera, n] = _where(seen, work[geometry.COMPENSATION * LANES + i])


@device_function
def _where(seen, value):
    """The value, which may be anything, if seen; else zero."""
    return value if seen else ZERO


@device_function
def _add_to_pose(g_pose, mean, work):
    """Adds one Gaussian's gradient to a world-to-camera matrix, from its lane of the workspace."""
    for i in range(3):
        g_point = work[(geometry.G_POINT + i) * LANES]
        for j in range(3):
            for k in range(3):
                g_shape = np.float64(work[(geometry.G_SHAPE + 3 * i + k) * LANES])
                g_pose[i, j] += g_shape * work[(geometry.OWN + 3 * j + k) * LANES]
            g_pose[i, j] += np.float64(g_point) * mean[j]
        g_pose[i, 3] += g_point


@kernel
def _project_backward(
    means, quats, scales, viewmats, intrinsics, width, height, eps2d, radii,
    g_means2d, g_depths, g_conics, g_compensations, wants_pose,
    g_means, g_quats, g_scales, g_viewmats,
):  # fmt: skip
    """Fills the gradients of means, quaternions, scales and, if wanted, adds to one partial sum a piece of
    those of the cameras. Gradients to depths or compensations that nobody uses come empty."""
    count = means.shape[0]
    for piece in prange((count + PIECE - 1) // PIECE):
        begin, end = piece * PIECE, min(count, (piece + 1) * PIECE)
        g_means[begin:end] = 0
        g_quats[begin:end] = 0
        g_scales[begin:end] = 0
        work = aligned(geometry.ROWS)
        work[:] = ZERO
        for camera in range(viewmats.shape[0]):
            pose = geometry.pose(viewmats[camera])
            limits = geometry.limits(intrinsics[camera], width, height)
            for first in range(begin, end, LANES):
                size = min(LANES, count - first)
                geometry.read(means, first, size, work, geometry.MEAN)
                geometry.read(quats, first, size, work, geometry.QUAT)
                geometry.read(scales, first, size, work, geometry.SCALE)
                geometry.read(g_means2d[camera], first, size, work, geometry.G_MEAN2D)
                if g_depths.shape[1]:
                    geometry.read(g_depths[camera], first, size, work, geometry.G_DEPTH)
                geometry.read(g_conics[camera], first, size, work, geometry.G_CONIC)
                if g_compensations.shape[1]:
                    geometry.read(g_compensations[camera], first, size, work, geometry.G_COMPENSATION)
                geometry.project_back(work, pose, limits, np.float32(eps2d))
                for i in range(size):
                    n = first + i
                    if radii[camera, n, 0] <= 0 or radii[camera, n, 1] <= 0:
                        continue
                    for k in range(3):
                        g_means[n, k] += work[(geometry.G_MEAN + k) * LANES + i]
                        g_scales[n, k] += work[(geometry.G_SCALE + k) * LANES + i]
                    for k in range(4):
                        g_quats[n, k] += work[(geometry.G_QUAT + k) * LANES + i]
                    if wants_pose:
                        _add_to_pose(g_viewmats[piece, camera], means[n], work[i:])


class _Project(torch.autograd.Function):
    """The two kernels as one differentiable function; see `project`."""

    @staticmethod
    def forward(
        ctx,
        means,
        quats,
        scales,
        opacities,
        viewmats,
        intrinsics,
        width,
        height,
        eps2d,
        near,
        far,
        clip,
        antialiased,
    ):
        cameras, count = len(viewmats), len(means)
        radii = torch.empty(cameras, count, 2, dtype=torch.int32)
        means2d, depths = torch.empty(cameras, count, 2), torch.empty(cameras, count)
        conics = torch.empty(cameras, count, 3)
        compensations = torch.empty(cameras, count if antialiased else 0)
        columns = means, quats, scales, opacities[:, None], viewmats, intrinsics
        inputs = [tensor.numpy() for tensor in columns]
        results = [tensor.numpy() for tensor in (radii, means2d, depths, conics, compensations)]
        _project_forward(*inputs, width, height, eps2d, near, far, clip, antialiased, *results)
        ctx.save_for_backward(means, quats, scales, viewmats, intrinsics, radii)
        ctx.constants = width, height, eps2d
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return radii, means2d, depths, conics, compensations

    @staticmethod
    def backward(ctx, _, *gradients):
        saved = [tensor.numpy() for tensor in ctx.saved_tensors]
        *inputs, radii = saved
        means, quats, scales, viewmats, _ = inputs
        pieces = (len(means) + PIECE - 1) // PIECE
        results = [np.empty_like(array) for array in (means, quats, scales)]
        g_viewmats = np.zeros((pieces, *viewmats.shape))
        empty = torch.empty(len(viewmats), 0)
        g_means2d, g_depths, g_conics, g_compensations = (
            empty if gradient is None else gradient for gradient in gradients
        )
        columns = g_means2d, g_depths[..., None], g_conics, g_compensations[..., None]
        incoming = [gradient.contiguous().numpy() for gradient in columns]
        wants_pose = ctx.needs_input_grad[4]
        _project_backward(*inputs, *ctx.constants, radii, *incoming, wants_pose, *results, g_viewmats)
        g_pose = torch.from_numpy(g_viewmats.sum(axis=0).astype(np.float32))
        return *map(torch.from_numpy, results), None, g_pose, *[None] * 8


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, intrinsics: Tensor,
    width: int, height: int, eps2d: float, near: float, far: float, radius_clip: float, antialiased: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Radii, centres, depths, inverse covariances and opacity factors of Gaussians seen by cameras.

    What is not drawn (behind the camera, fainter than 1/255, outside the image, not finite) has radius 0,
    zeros elsewhere, and no gradient.

    Args:
        means: (N, 3) float32, world frame, scene units.
        quats: (N, 4) float32, w x y z, of any length but zero.
        scales: (N, 3) float32, deviations along the Gaussian's axes, scene units.
        opacities: (N,) float32 in [0, 1]; only for the extent, without gradient.
        viewmats: (C, 4, 4) float32, world to camera, OpenCV axes.
        intrinsics: (C, 3, 3) float32, pixels; without gradient, without skew.
        width, height: of the images, pixels.
        eps2d: added to both variances on the image, px^2.
        near, far: allowed depths, scene units.
        radius_clip: Gaussians of no larger radius are not drawn, pixels.
        antialiased: whether the opacity factor is sqrt(det before / det after the blur); else 1.

    Returns:
        radii: (C, N, 2) int32, pixels, half the box in which alpha may reach 1/255.
        means2d: (C, N, 2) float32, pixels; the first pixel's centre is (0.5, 0.5).
        depths: (C, N) float32, scene units.
        conics: (C, N, 3) float32, inverse 2D covariance xx, xy, yy, px^-2.
        compensations: (C, N) float32 in [0, 1]; (C, 0) unless `antialiased`.
    """
    return _Project.apply(
        means, quats, scales, opacities, viewmats, intrinsics,
        width, height, eps2d, near, far, radius_clip, antialiased,
    )  # fmt: skip
