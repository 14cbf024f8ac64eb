"""The geometry of splatting, sixteen Gaussians at a time, one a lane: the workspace in, the workspace out.

Determinants are sums of squares, so that float32 cancels nothing away, however thin or large a Gaussian is.
"""

import math

import numpy as np

from gaussian_renderer.cpu.compilation import device_function
from gaussian_renderer.cpu.lane_functions import log_of_two
from gaussian_renderer.cpu.matrices import dot, multiply, scale_columns, transpose
from gaussian_renderer.cpu.simd import (
    LANES,
    absolute,
    bits_above,
    bits_at_least,
    larger,
    load,
    negate,
    root,
    round_up,
    smaller,
    splat,
    store,
    where_at_least,
)

ALPHA_THRESHOLD = np.float32(1.0 / 255.0)
# Beyond this many deviations even an opaque Gaussian is fainter than ALPHA_THRESHOLD (gsplat's constant).
EXTENT_LIMIT = np.float32(3.33)
LARGEST_RADIUS = np.float32(2.0**30)
FLOAT_MAX = np.finfo(np.float32).max
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
LN_4 = np.float32(2.0 * math.log(2.0))
GUARD = np.float32(1e-6)
# Rows of the workspace, one lane a Gaussian: what is read, then what is written.
MEAN, QUAT, SCALE, OPACITY = 0, 3, 7, 10
G_MEAN2D, G_DEPTH, G_CONIC, G_COMPENSATION = 10, 12, 13, 16
RESULT = 17
RADIUS, MEAN2D, DEPTH, CONIC, COMPENSATION = RESULT, RESULT + 2, RESULT + 4, RESULT + 5, RESULT + 8
G_MEAN, G_QUAT, G_SCALE, G_POINT, OWN, G_SHAPE = (RESULT + k for k in (0, 3, 7, 10, 13, 22))
ROWS = RESULT + 31


@device_function
def read(array, first, size, work, row):
    """Copies `size` rows of an (N, D) array into the workspace, where each column becomes a row of lanes."""
    for k in range(array.shape[1]):
        for i in range(size):
            work[(row + k) * LANES + i] = array[first + i, k]


@device_function
def _three(work, row):
    """Three rows of the workspace."""
    return load(work, row * LANES), load(work, (row + 1) * LANES), load(work, (row + 2) * LANES)


@device_function
def _put_three(work, row, values):
    """Fills three rows of the workspace."""
    store(work, row * LANES, values[0])
    store(work, (row + 1) * LANES, values[1])
    store(work, (row + 2) * LANES, values[2])


@device_function
def _rotation(work):
    """The rotation matrix of a quaternion w, x, y, z (rows); the unit quaternion; one over its length."""
    w = load(work, QUAT * LANES)
    x, y, z = _three(work, QUAT + 1)
    # First by the largest entry, so that no square leaves float32's range.
    scale = ONE / larger(larger(absolute(w), absolute(x)), larger(absolute(y), absolute(z)))
    w, x, y, z = w * scale, x * scale, y * scale, z * scale
    inverse = ONE / root(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    rotation = (
        (ONE - TWO * (y * y + z * z), TWO * (x * y - w * z), TWO * (x * z + w * y)),
        (TWO * (x * y + w * z), ONE - TWO * (x * x + z * z), TWO * (y * z - w * x)),
        (TWO * (x * z - w * y), TWO * (y * z + w * x), ONE - TWO * (x * x + y * y)),
    )
    return rotation, (w, x, y, z), scale * inverse


@device_function
def pose(viewmat):
    """Rotation (rows) and translation of a world-to-camera matrix."""
    rotation = (
        (viewmat[0, 0], viewmat[0, 1], viewmat[0, 2]),
        (viewmat[1, 0], viewmat[1, 1], viewmat[1, 2]),
        (viewmat[2, 0], viewmat[2, 1], viewmat[2, 2]),
    )
    return rotation, (viewmat[0, 3], viewmat[1, 3], viewmat[2, 3])


@device_function
def _to_camera(rotation, translation, mean):
    """World points in camera coordinates."""
    return (
        dot(rotation[0], mean) + translation[0],
        dot(rotation[1], mean) + translation[1],
        dot(rotation[2], mean) + translation[2],
    )


@device_function
def limits(intrinsics, width, height):
    """Focal lengths, principal point, and how far x/z and y/z may go inside the Jacobian.

    0.15 image sizes beyond each border: further out the linearisation of the projection is worthless.
    """
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    lower = np.float32(-cx / fx - margin_x), np.float32(-cy / fy - margin_y)
    upper = np.float32((width - cx) / fx + margin_x), np.float32((height - cy) / fy + margin_y)
    return fx, fy, cx, cy, lower, upper


@device_function
def _slopes(point, lower, upper):
    """One over z; x/z and y/z; and both within the limits."""
    inverse_z = ONE / point[2]
    x, y = point[0] * inverse_z, point[1] * inverse_z
    limited_x = smaller(larger(x, lower[0]), upper[0])
    limited_y = smaller(larger(y, lower[1]), upper[1])
    return inverse_z, (x, y), (limited_x, limited_y)


@device_function
def _footprint(fx, fy, inverse_z, slopes, shape):
    """Rows of the 2x3 matrix whose product with its own transpose is the 2D covariance.

    `shape` is the camera-frame square root of the covariance: view rotation x rotation x scales.
    """
    jx, jy = fx * inverse_z, fy * inverse_z
    px = (
        jx * (shape[0][0] - slopes[0] * shape[2][0]),
        jx * (shape[0][1] - slopes[0] * shape[2][1]),
        jx * (shape[0][2] - slopes[0] * shape[2][2]),
    )
    py = (
        jy * (shape[1][0] - slopes[1] * shape[2][0]),
        jy * (shape[1][1] - slopes[1] * shape[2][1]),
        jy * (shape[1][2] - slopes[1] * shape[2][2]),
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


@device_function
def project(work, pose, limits, width, height, eps2d, near, far, clip, antialiased):
    """Projects the Gaussians of the workspace; returns bits of those that are drawn."""
    fx, fy, cx, cy, lower, upper = limits
    point = _to_camera(pose[0], pose[1], _three(work, MEAN))
    opacity = load(work, OPACITY * LANES)
    # A NaN is never at least or above anything.
    drawn = bits_at_least(point[2], near) & bits_at_least(far, point[2]) & bits_at_least(FLOAT_MAX, opacity)
    inverse_z, slopes, limited = _slopes(point, lower, upper)
    rotation, _, _ = _rotation(work)
    shape = multiply(pose[0], scale_columns(rotation, _three(work, SCALE)))
    px, py = _footprint(fx, fy, inverse_z, limited, shape)
    xx, xy, yy, determinant, sharp = _covariance(px, py, eps2d)
    drawn &= bits_above(determinant, ZERO) & bits_at_least(FLOAT_MAX, determinant)
    compensation = splat(ONE)
    if antialiased:
        compensation = root(sharp / determinant)
    opacity = opacity * compensation
    drawn &= bits_at_least(opacity, ALPHA_THRESHOLD)
    extent = smaller(root(LN_4 * log_of_two(opacity / ALPHA_THRESHOLD)), EXTENT_LIMIT)
    radius_x, radius_y = round_up(extent * root(xx)), round_up(extent * root(yy))
    u, v = fx * slopes[0] + cx, fy * slopes[1] + cy
    drawn &= bits_above(larger(radius_x, radius_y), clip)
    drawn &= bits_above(u + radius_x, ZERO) & bits_above(width, u - radius_x)
    drawn &= bits_above(v + radius_y, ZERO) & bits_above(height, v - radius_y)
    inverse = ONE / determinant
    store(work, RADIUS * LANES, smaller(radius_x, LARGEST_RADIUS))
    store(work, (RADIUS + 1) * LANES, smaller(radius_y, LARGEST_RADIUS))
    store(work, MEAN2D * LANES, u)
    store(work, (MEAN2D + 1) * LANES, v)
    store(work, DEPTH * LANES, point[2])
    _put_three(work, CONIC, (yy * inverse, negate(xy) * inverse, xx * inverse))
    store(work, COMPENSATION * LANES, compensation)
    return drawn


@device_function
def _rotation_backward(quat, inverse_length, g):
    """Gradient to an unnormalised quaternion, from gradient `g` to its rotation matrix (rows)."""
    w, x, y, z = quat
    gw = TWO * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1]))
    gx = TWO * (
        y * (g[0][1] + g[1][0])
        + z * (g[0][2] + g[2][0])
        + w * (g[2][1] - g[1][2])
        - TWO * x * (g[1][1] + g[2][2])
    )
    gy = TWO * (
        x * (g[0][1] + g[1][0])
        + z * (g[1][2] + g[2][1])
        + w * (g[0][2] - g[2][0])
        - TWO * y * (g[0][0] + g[2][2])
    )
    gz = TWO * (
        x * (g[0][2] + g[2][0])
        + y * (g[1][2] + g[2][1])
        + w * (g[1][0] - g[0][1])
        - TWO * z * (g[0][0] + g[1][1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    return (
        (gw - along * w) * inverse_length,
        (gx - along * x) * inverse_length,
        (gy - along * y) * inverse_length,
        (gz - along * z) * inverse_length,
    )


@device_function
def _covariance_backward(covariance, eps2d, work):
    """Gradient to the 2D covariance: xx, xy (half of what both its equal entries get), yy."""
    xx, xy, yy, determinant, sharp = covariance
    inverse = ONE / determinant
    a, b, c = yy * inverse, negate(xy) * inverse, xx * inverse
    ga, gb, gc = _three(work, G_CONIC)
    gb = HALF * gb
    # Inverse of a matrix: -X G X.
    left_xx, left_xy = a * ga + b * gb, a * gb + b * gc
    left_yx, left_yy = b * ga + c * gb, b * gb + c * gc
    ratio = sharp * inverse
    # gsplat's guard for a Gaussian without area.
    g_ratio = load(work, G_COMPENSATION * LANES) * HALF / (root(ratio) + GUARD)
    gxx = g_ratio * ((ONE - ratio) * a - eps2d * inverse) - (left_xx * a + left_xy * b)
    gxy = g_ratio * (ONE - ratio) * b - (left_xx * b + left_xy * c)
    gyy = g_ratio * ((ONE - ratio) * c - eps2d * inverse) - (left_yx * b + left_yy * c)
    return gxx, gxy, gyy


@device_function
def _footprint_backward(fx, fy, inverse_z, slopes, limited, shape, px, py, g_covariance, work):
    """Gradients to the camera-frame centre and (rows) to the camera-frame square root of the covariance."""
    gxx, gxy, gyy = g_covariance
    jx, jy = fx * inverse_z, fy * inverse_z
    gpx = (
        TWO * (gxx * px[0] + gxy * py[0]),
        TWO * (gxx * px[1] + gxy * py[1]),
        TWO * (gxx * px[2] + gxy * py[2]),
    )
    gpy = (
        TWO * (gxy * px[0] + gyy * py[0]),
        TWO * (gxy * px[1] + gyy * py[1]),
        TWO * (gxy * px[2] + gyy * py[2]),
    )
    # A limited slope is a constant of the Jacobian.
    off_x, off_y = absolute(slopes[0] - limited[0]), absolute(slopes[1] - limited[1])
    g_slope_x = where_at_least(ZERO, off_x, negate(jx) * dot(gpx, shape[2]), ZERO)
    g_slope_y = where_at_least(ZERO, off_y, negate(jy) * dot(gpy, shape[2]), ZERO)
    g_slope_x = g_slope_x + fx * load(work, G_MEAN2D * LANES)
    g_slope_y = g_slope_y + fy * load(work, (G_MEAN2D + 1) * LANES)
    along = dot(gpx, px) + dot(gpy, py) + g_slope_x * slopes[0] + g_slope_y * slopes[1]
    g_depth = load(work, G_DEPTH * LANES)
    g_point = (g_slope_x * inverse_z, g_slope_y * inverse_z, g_depth - along * inverse_z)
    lean_x, lean_y = jx * limited[0], jy * limited[1]
    g_shape = (
        (jx * gpx[0], jx * gpx[1], jx * gpx[2]),
        (jy * gpy[0], jy * gpy[1], jy * gpy[2]),
        (
            negate(lean_x * gpx[0] + lean_y * gpy[0]),
            negate(lean_x * gpx[1] + lean_y * gpy[1]),
            negate(lean_x * gpx[2] + lean_y * gpy[2]),
        ),
    )
    return g_point, g_shape


@device_function
def project_back(work, pose, limits, eps2d):
    """Fills the workspace's gradients from those of what was projected."""
    fx, fy, _, _, lower, upper = limits
    point = _to_camera(pose[0], pose[1], _three(work, MEAN))
    inverse_z, slopes, limited = _slopes(point, lower, upper)
    rotation, quat, inverse_length = _rotation(work)
    scales = _three(work, SCALE)
    own = scale_columns(rotation, scales)
    shape = multiply(pose[0], own)
    px, py = _footprint(fx, fy, inverse_z, limited, shape)
    g_covariance = _covariance_backward(_covariance(px, py, eps2d), eps2d, work)
    g_point, g_shape = _footprint_backward(
        fx, fy, inverse_z, slopes, limited, shape, px, py, g_covariance, work
    )
    back = transpose(pose[0])
    g_own = multiply(back, g_shape)
    columns, g_columns = transpose(rotation), transpose(g_own)
    g_quat = _rotation_backward(quat, inverse_length, scale_columns(g_own, scales))
    _put_three(work, G_MEAN, (dot(back[0], g_point), dot(back[1], g_point), dot(back[2], g_point)))
    store(work, G_QUAT * LANES, g_quat[0])
    _put_three(work, G_QUAT + 1, (g_quat[1], g_quat[2], g_quat[3]))
    g_scales = dot(columns[0], g_columns[0]), dot(columns[1], g_columns[1]), dot(columns[2], g_columns[2])
    _put_three(work, G_SCALE, g_scales)
    _put_three(work, G_POINT, g_point)
    _put_three(work, OWN, own[0])
    _put_three(work, OWN + 3, own[1])
    _put_three(work, OWN + 6, own[2])
    _put_three(work, G_SHAPE, g_shape[0])
    _put_three(work, G_SHAPE + 3, g_shape[1])
    _put_three(work, G_SHAPE + 6, g_shape[2])
