"""Gaussians of the world become ellipses on the image plane, and gradients come back.

Elliptical weighted average splatting: a Gaussian's covariance goes through the Jacobian of the pinhole
projection at its centre. Conventions and limits are those of gsplat's `fully_fused_projection`. A single
Gaussian is computed in float64: needles and huge Gaussians have determinants that float32 cancels away.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gaussian_renderer.cpu.compilation import device_function, kernel
from gaussian_renderer.cpu.matrices import dot, multiply, scale_columns, transpose

# Gaussians per piece of parallel work. Fixed, so that sums over pieces do not depend on the threads.
PIECE = 512
ALPHA_THRESHOLD = 1.0 / 255.0
# Beyond this many deviations even an opaque Gaussian is fainter than ALPHA_THRESHOLD (gsplat's constant).
EXTENT_LIMIT = 3.33


@device_function
def _rotation(quat):
    """The rotation matrix of a quaternion w, x, y, z, row by row, and one over the quaternion's length."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    inverse_length = 1.0 / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse_length, x * inverse_length, y * inverse_length, z * inverse_length
    rotation = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
    )
    return rotation, (w, x, y, z), inverse_length


@device_function
def _pose(viewmat):
    """Rotation (rows) and translation of a world-to-camera matrix, in float64."""
    v = viewmat.astype(np.float64)
    rotation = (
        (v[0, 0], v[0, 1], v[0, 2]),
        (v[1, 0], v[1, 1], v[1, 2]),
        (v[2, 0], v[2, 1], v[2, 2]),
    )
    return rotation, (v[0, 3], v[1, 3], v[2, 3])


@device_function
def _to_camera(rotation, translation, mean):
    """A world point in camera coordinates."""
    m = (np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2]))
    return (
        dot(rotation[0], m) + translation[0],
        dot(rotation[1], m) + translation[1],
        dot(rotation[2], m) + translation[2],
    )


@device_function
def _limits(intrinsics, width, height):
    """Focal lengths, principal point, and how far x/z and y/z may go inside the Jacobian.

    0.15 image sizes beyond each border: further out the linearisation of the projection is worthless.
    """
    k = intrinsics.astype(np.float64)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    lower = (-cx / fx - margin_x, -cy / fy - margin_y)
    upper = ((width - cx) / fx + margin_x, (height - cy) / fy + margin_y)
    return fx, fy, cx, cy, lower, upper


@device_function
def _footprint(fx, fy, lower, upper, point, shape):
    """Rows of the 2x3 matrix whose product with its own transpose is the 2D covariance.

    `shape` is the camera-frame square root of the covariance: view rotation x rotation x scales.
    """
    x, y, z = point
    inverse_z = 1.0 / z
    jx, jy = fx * inverse_z, fy * inverse_z
    slope_x = min(upper[0], max(lower[0], x * inverse_z))
    slope_y = min(upper[1], max(lower[1], y * inverse_z))
    px = (
        jx * (shape[0][0] - slope_x * shape[2][0]),
        jx * (shape[0][1] - slope_x * shape[2][1]),
        jx * (shape[0][2] - slope_x * shape[2][2]),
    )
    py = (
        jy * (shape[1][0] - slope_y * shape[2][0]),
        jy * (shape[1][1] - slope_y * shape[2][1]),
        jy * (shape[1][2] - slope_y * shape[2][2]),
    )
    return px, py


@device_function
def _covariance(px, py, eps2d):
    """The blurred 2D covariance (xx, xy, yy), its determinant, and the determinant before the blur."""
    xx, xy, yy = dot(px, px), dot(px, py), dot(py, py)
    cross = (
        px[1] * py[2] - px[2] * py[1],
        px[2] * py[0] - px[0] * py[2],
        px[0] * py[1] - px[1] * py[0],
    )
    sharp = dot(cross, cross)
    return xx + eps2d, xy, yy + eps2d, sharp + eps2d * (xx + yy + eps2d), sharp


@kernel
def _project_forward(
    means, quats, scales, opacities, viewmats, intrinsics, width, height, eps2d, near, far, clip, antialiased,
    radii, means2d, depths, conics, compensations,
):  # fmt: skip
    """Fills the five results; what is not drawn keeps the zeros that it came with."""
    count = means.shape[0]
    for piece in prange((count + PIECE - 1) // PIECE):
        for camera in range(viewmats.shape[0]):
            rotation_camera, translation = _pose(viewmats[camera])
            fx, fy, cx, cy, lower, upper = _limits(intrinsics[camera], width, height)
            for n in range(piece * PIECE, min(count, (piece + 1) * PIECE)):
                point = _to_camera(rotation_camera, translation, means[n])
                # Written so that a NaN anywhere fails.
                if not (near <= point[2] <= far and ALPHA_THRESHOLD <= opacities[n] < np.inf):
                    continue
                rotation, _, _ = _rotation(quats[n])
                s = (np.float64(scales[n, 0]), np.float64(scales[n, 1]), np.float64(scales[n, 2]))
                shape = multiply(rotation_camera, scale_columns(rotation, s))
                px, py = _footprint(fx, fy, lower, upper, point, shape)
                xx, xy, yy, determinant, sharp = _covariance(px, py, eps2d)
                if not (0.0 < determinant < np.inf):
                    continue
                compensation = math.sqrt(sharp / determinant) if antialiased else 1.0
                opacity = opacities[n] * compensation
                if not opacity >= ALPHA_THRESHOLD:
                    continue
                extent = min(EXTENT_LIMIT, math.sqrt(2.0 * math.log(opacity / ALPHA_THRESHOLD)))
                radius_x, radius_y = math.ceil(extent * math.sqrt(xx)), math.ceil(extent * math.sqrt(yy))
                u, v = fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy
                if radius_x <= clip and radius_y <= clip:
                    continue
                if not (
                    u + radius_x > 0 and u - radius_x < width and v + radius_y > 0 and v - radius_y < height
                ):
                    continue
                radii[camera, n, 0] = min(radius_x, 2.0**30)
                radii[camera, n, 1] = min(radius_y, 2.0**30)
                means2d[camera, n, 0] = u
                means2d[camera, n, 1] = v
                depths[camera, n] = point[2]
                conics[camera, n, 0] = yy / determinant
                conics[camera, n, 1] = -xy / determinant
                conics[camera, n, 2] = xx / determinant
                compensations[camera, n] = compensation


@device_function
def _rotation_backward(quat, inverse_length, g):
    """Gradient to an unnormalised quaternion, from gradient `g` to its rotation matrix (rows)."""
    w, x, y, z = quat
    gw = 2.0 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1]))
    gx = 2.0 * (
        -2.0 * x * (g[1][1] + g[2][2])
        + y * (g[0][1] + g[1][0])
        + z * (g[0][2] + g[2][0])
        + w * (g[2][1] - g[1][2])
    )
    gy = 2.0 * (
        x * (g[0][1] + g[1][0])
        - 2.0 * y * (g[0][0] + g[2][2])
        + z * (g[1][2] + g[2][1])
        + w * (g[0][2] - g[2][0])
    )
    gz = 2.0 * (
        x * (g[0][2] + g[2][0])
        + y * (g[1][2] + g[2][1])
        - 2.0 * z * (g[0][0] + g[1][1])
        + w * (g[1][0] - g[0][1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    return (
        (gw - along * w) * inverse_length,
        (gx - along * x) * inverse_length,
        (gy - along * y) * inverse_length,
        (gz - along * z) * inverse_length,
    )


@device_function
def _covariance_backward(covariance, eps2d, g_conic, g_compensation):
    """Gradient to the 2D covariance: xx, xy (half of what both its equal entries get), yy."""
    xx, xy, yy, determinant, sharp = covariance
    inverse = 1.0 / determinant
    a, b, c = yy * inverse, -xy * inverse, xx * inverse
    ga, gb, gc = np.float64(g_conic[0]), 0.5 * np.float64(g_conic[1]), np.float64(g_conic[2])
    # Inverse of a matrix: -X G X.
    left_xx, left_xy = a * ga + b * gb, a * gb + b * gc
    left_yx, left_yy = b * ga + c * gb, b * gb + c * gc
    gxx = -(left_xx * a + left_xy * b)
    gxy = -(left_xx * b + left_xy * c)
    gyy = -(left_yx * b + left_yy * c)
    if g_compensation != 0.0:
        ratio = sharp * inverse
        # gsplat's guard for a Gaussian without area.
        g_ratio = np.float64(g_compensation) * 0.5 / (math.sqrt(ratio) + 1e-6)
        gxx += g_ratio * ((1.0 - ratio) * a - eps2d * inverse)
        gxy += g_ratio * (1.0 - ratio) * b
        gyy += g_ratio * ((1.0 - ratio) * c - eps2d * inverse)
    return gxx, gxy, gyy


@device_function
def _footprint_backward(fx, fy, lower, upper, point, shape, px, py, g_covariance, g_mean2d, g_depth):
    """Gradients to the camera-frame centre and (rows) to the camera-frame square root of the covariance."""
    x, y, z = point
    gxx, gxy, gyy = g_covariance
    inverse_z = 1.0 / z
    jx, jy = fx * inverse_z, fy * inverse_z
    slope_x, slope_y = x * inverse_z, y * inverse_z
    limited_x = min(upper[0], max(lower[0], slope_x))
    limited_y = min(upper[1], max(lower[1], slope_y))
    gpx = (
        2.0 * (gxx * px[0] + gxy * py[0]),
        2.0 * (gxx * px[1] + gxy * py[1]),
        2.0 * (gxx * px[2] + gxy * py[2]),
    )
    gpy = (
        2.0 * (gxy * px[0] + gyy * py[0]),
        2.0 * (gxy * px[1] + gyy * py[1]),
        2.0 * (gxy * px[2] + gyy * py[2]),
    )
    # A limited slope is a constant of the Jacobian.
    g_slope_x = -jx * dot(gpx, shape[2]) if limited_x == slope_x else 0.0
    g_slope_y = -jy * dot(gpy, shape[2]) if limited_y == slope_y else 0.0
    g_slope_x += fx * g_mean2d[0]
    g_slope_y += fy * g_mean2d[1]
    along = dot(gpx, px) + dot(gpy, py) + g_slope_x * slope_x + g_slope_y * slope_y
    g_point = (g_slope_x * inverse_z, g_slope_y * inverse_z, g_depth - along * inverse_z)
    g_shape = (
        (jx * gpx[0], jx * gpx[1], jx * gpx[2]),
        (jy * gpy[0], jy * gpy[1], jy * gpy[2]),
        (
            -jx * limited_x * gpx[0] - jy * limited_y * gpy[0],
            -jx * limited_x * gpx[1] - jy * limited_y * gpy[1],
            -jx * limited_x * gpx[2] - jy * limited_y * gpy[2],
        ),
    )
    return g_point, g_shape


@kernel
def _project_backward(
    means, quats, scales, viewmats, intrinsics, width, height, eps2d, radii,
    g_means2d, g_depths, g_conics, g_compensations, wants_pose,
    g_means, g_quats, g_scales, g_viewmats,
):  # fmt: skip
    """Adds to the gradients of means, quaternions, scales and, if wanted, one partial sum a piece of those of
    the cameras."""
    count = means.shape[0]
    for piece in prange((count + PIECE - 1) // PIECE):
        for camera in range(viewmats.shape[0]):
            rotation_camera, translation = _pose(viewmats[camera])
            back = transpose(rotation_camera)
            fx, fy, _, _, lower, upper = _limits(intrinsics[camera], width, height)
            g_pose = g_viewmats[piece, camera]
            for n in range(piece * PIECE, min(count, (piece + 1) * PIECE)):
                if radii[camera, n, 0] <= 0 or radii[camera, n, 1] <= 0:
                    continue
                point = _to_camera(rotation_camera, translation, means[n])
                rotation, quat, inverse_length = _rotation(quats[n])
                s = (np.float64(scales[n, 0]), np.float64(scales[n, 1]), np.float64(scales[n, 2]))
                own = scale_columns(rotation, s)
                shape = multiply(rotation_camera, own)
                px, py = _footprint(fx, fy, lower, upper, point, shape)
                g_covariance = _covariance_backward(
                    _covariance(px, py, eps2d), eps2d, g_conics[camera, n], g_compensations[camera, n]
                )
                g_point, g_shape = _footprint_backward(
                    fx, fy, lower, upper, point, shape, px, py,
                    g_covariance, g_means2d[camera, n], g_depths[camera, n],
                )  # fmt: skip
                g_own = multiply(back, g_shape)
                columns, g_columns = transpose(rotation), transpose(g_own)
                g_quat = _rotation_backward(quat, inverse_length, scale_columns(g_own, s))
                for k in range(3):
                    g_means[n, k] += dot(back[k], g_point)
                    g_scales[n, k] += dot(columns[k], g_columns[k])
                for k in range(4):
                    g_quats[n, k] += g_quat[k]
                if wants_pose:
                    for i in range(3):
                        for j in range(3):
                            g_pose[i, j] += dot(g_shape[i], own[j]) + g_point[i] * means[n, j]
                        g_pose[i, 3] += g_point[i]


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
        radii = torch.zeros(cameras, count, 2, dtype=torch.int32)
        means2d, depths = torch.zeros(cameras, count, 2), torch.zeros(cameras, count)
        conics, compensations = torch.zeros(cameras, count, 3), torch.zeros(cameras, count)
        inputs = [tensor.numpy() for tensor in (means, quats, scales, opacities, viewmats, intrinsics)]
        results = [tensor.numpy() for tensor in (radii, means2d, depths, conics, compensations)]
        _project_forward(*inputs, width, height, eps2d, near, far, clip, antialiased, *results)
        ctx.save_for_backward(means, quats, scales, viewmats, intrinsics, radii)
        ctx.constants = width, height, eps2d
        ctx.mark_non_differentiable(radii)
        return radii, means2d, depths, conics, compensations

    @staticmethod
    def backward(ctx, _, *gradients):
        saved = [tensor.numpy() for tensor in ctx.saved_tensors]
        *inputs, radii = saved
        means, quats, scales, viewmats, _ = inputs
        pieces = (len(means) + PIECE - 1) // PIECE
        results = [np.zeros_like(array) for array in (means, quats, scales)]
        g_viewmats = np.zeros((pieces, *viewmats.shape))
        incoming = [gradient.contiguous().numpy() for gradient in gradients]
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
        compensations: (C, N) float32 in [0, 1].
    """
    return _Project.apply(
        means, quats, scales, opacities, viewmats, intrinsics,
        width, height, eps2d, near, far, radius_clip, antialiased,
    )  # fmt: skip
