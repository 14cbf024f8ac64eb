"""The compiled part of the dense start: PatchMatch stereo, its cost, and depth maps that check each other.

A pixel's surface is a plane, whose inverse depth is linear in pixels: w(x + dx, y + dy) = w + gx dx + gy dy.
What pixel q = (x, y, 1) of one picture with inverse depth w shows lies, in another picture, at the
homogeneous pixel M q + w m; `projection` rows hold M (row by row), then m. Pixels count from the first one's
centre, (0, 0). A masked pixel's grey value is NaN.
"""

from pathlib import Path

import numpy as np
from numba import prange

from utils.kernels import Compiler

RADIUS = 5  # of the window, pixels
STEP = 2  # every second pixel of the window is compared, in x and y
TAPS = ((2 * RADIUS) // STEP + 1) ** 2
SIGMA_GREY = 0.2  # bilateral weights: standard deviations of grey values in [0, 1] and of pixels
SIGMA_PIXELS = 5.0
LEAST_VARIANCE = 4e-6  # of grey values, weighted: half a step of 8 bits; below, a window has no texture
NOTHING = np.float32(2)  # the cost where pictures cannot be compared, that of opposites
# where planes come from: an odd number of steps away, so that red pixels read only black ones
NEIGHBOURS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (5, 0), (-5, 0), (0, 5), (0, -5)])
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)

_compiler = Compiler(
    [Path(__file__)],
    "compiling the dense start (once per machine, about 30 s) ...",
    fastmath={"contract", "nsz", "arcp"},
)
device_function = _compiler.device_function
kernel = _compiler.kernel


@device_function
def fill_window(grey, x, y, values, weights):
    """Fills grey values less the middle one's, and bilateral weights (0 outside and where masked)."""
    height, width = grey.shape
    centre = grey[y, x]
    tap = 0
    for dy in range(-RADIUS, RADIUS + 1, STEP):
        for dx in range(-RADIUS, RADIUS + 1, STEP):
            values[tap], weights[tap] = ZERO, ZERO
            if 0 <= y + dy < height and 0 <= x + dx < width:
                value = grey[y + dy, x + dx] - centre
                if not np.isnan(value):
                    likeness = value * value / np.float32(2 * SIGMA_GREY**2)
                    nearness = np.float32((dx * dx + dy * dy) / (2 * SIGMA_PIXELS**2))
                    values[tap], weights[tap] = value, np.exp(-likeness - nearness)
            tap += 1


@device_function
def source_cost(centre, values, weights, x, y, plane, source, projection):
    """1 - normalised cross-correlation of the window and its image by the plane, in [0, 2].

    It does not change with the exposure of either picture. `NOTHING` where less than three quarters of the
    window's weight can be compared, 1 where a side has no texture.
    """
    height, width = source.shape
    w, gx, gy = plane
    h0 = projection[0] * x + projection[1] * y + projection[2] + w * projection[9]
    h1 = projection[3] * x + projection[4] * y + projection[5] + w * projection[10]
    h2 = projection[6] * x + projection[7] * y + projection[8] + w * projection[11]
    x0, y0 = projection[0] + gx * projection[9], projection[1] + gy * projection[9]
    x1, y1 = projection[3] + gx * projection[10], projection[4] + gy * projection[10]
    x2, y2 = projection[6] + gx * projection[11], projection[7] + gy * projection[11]
    everything = total = a1 = b1 = aa = bb = ab = ZERO
    tap = 0
    for step_y in range(-RADIUS, RADIUS + 1, STEP):
        dy = np.float32(step_y)
        for step_x in range(-RADIUS, RADIUS + 1, STEP):
            dx = np.float32(step_x)
            weight = weights[tap]
            everything += weight
            depth = h2 + dx * x2 + dy * y2
            if weight > ZERO and depth > ZERO:
                u = (h0 + dx * x0 + dy * y0) / depth
                v = (h1 + dx * x1 + dy * y1) / depth
                if u >= ZERO and v >= ZERO and u < width - 1 and v < height - 1:
                    column, row = int(u), int(v)
                    right, down = u - np.float32(column), v - np.float32(row)
                    top = source[row, column] * (ONE - right) + source[row, column + 1] * right
                    bottom = source[row + 1, column] * (ONE - right) + source[row + 1, column + 1] * right
                    b = top * (ONE - down) + bottom * down - centre
                    if not np.isnan(b):
                        a = values[tap]
                        total += weight
                        a1 += weight * a
                        b1 += weight * b
                        aa += weight * a * a
                        bb += weight * b * b
                        ab += weight * a * b
            tap += 1
    if total <= np.float32(0.75) * everything:
        return NOTHING
    spread_a = aa / total - (a1 / total) * (a1 / total)
    spread_b = bb / total - (b1 / total) * (b1 / total)
    if min(spread_a, spread_b) < np.float32(LEAST_VARIANCE):
        return ONE
    return ONE - (ab / total - (a1 / total) * (b1 / total)) / np.sqrt(spread_a * spread_b)


@device_function
def plane_cost(centre, values, weights, x, y, plane, sources, projections, costs):
    """The mean cost over the better half of the sources: the others may not see the pixel. Fills `costs`."""
    count = len(sources)
    for number in range(count):
        cost = source_cost(centre, values, weights, x, y, plane, sources[number], projections[number])
        place = number
        while place > 0 and costs[place - 1] > cost:
            costs[place] = costs[place - 1]
            place -= 1
        costs[place] = cost
    best = (count + 1) // 2
    total = ZERO
    for number in range(best):
        total += costs[number]
    return total / np.float32(best)


@device_function
def random_number(x, y, number):
    """In [-1, 1), by a hash (SplitMix64) of its arguments: the same for any order of pixels."""
    bits = np.uint64(x) + np.uint64(y) * np.uint64(1 << 20) + np.uint64(number) * np.uint64(1 << 40)
    bits = bits * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return np.float32(np.float64(bits >> np.uint64(40)) / 2.0**23 - 1.0)


@kernel
def improve_planes(grey, sources, projections, planes, costs, first, spread, seed, limits):
    """One half-round of PatchMatch on the red or black pixels: neighbours' planes, then random changes.

    After Bleyer et al. 2011 (slanted support) and Galliani et al. 2015 (red and black). A pixel writes only
    its own plane and reads only those of the other colour, so threads change no bits.

    Args:
        grey: (H, W) float32 in [0, 1].
        sources: (S, H', W') float32, smaller ones padded with NaN.
        projections: (S, 12) float32, from this picture into the sources.
        planes: (H, W, 3) float32, w, gx, gy; improved in place.
        costs: (H, W) float32, theirs, or negative where not known; brought up to date.
        first: 0 or 1, the colour.
        spread: largest random change, a part of the range of w and of the slopes.
        seed: of the random numbers.
        limits: (3,) float32, smallest and largest w, largest |gx| and |gy| as a part of w.
    """
    height, width = grey.shape
    smallest, largest, steepest = limits
    for y in prange(height):
        values, weights = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
        each = np.empty(len(sources), np.float32)
        for x in range((y + first) % 2, width, 2):
            centre = grey[y, x]
            if np.isnan(centre):
                continue
            fill_window(grey, x, y, values, weights)
            column, row = np.float32(x), np.float32(y)
            w, gx, gy = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
            cost = costs[y, x]
            if cost < ZERO:
                cost = plane_cost(
                    centre, values, weights, column, row, (w, gx, gy), sources, projections, each
                )
            for trial in range(len(NEIGHBOURS) + 3):
                if trial < len(NEIGHBOURS):
                    dx, dy = NEIGHBOURS[trial]
                    if not (0 <= x + dx < width and 0 <= y + dy < height) or costs[y + dy, x + dx] < ZERO:
                        continue
                    new_gx, new_gy = planes[y + dy, x + dx, 1], planes[y + dy, x + dx, 2]
                    new_w = planes[y + dy, x + dx, 0] - new_gx * np.float32(dx) - new_gy * np.float32(dy)
                else:
                    which = trial - len(NEIGHBOURS)  # change w, the slopes, or both
                    new_w, new_gx, new_gy = w, gx, gy
                    number = 4 * (4 * seed + which)
                    if which != 1:
                        new_w += random_number(x, y, number) * spread * (largest - smallest)
                    if which != 0:
                        new_gx += random_number(x, y, number + 1) * spread * steepest * w
                        new_gy += random_number(x, y, number + 2) * spread * steepest * w
                slope = max(abs(new_gx), abs(new_gy))
                if new_w < smallest or new_w > largest or slope > steepest * new_w:
                    continue
                new_cost = plane_cost(
                    centre, values, weights, column, row, (new_w, new_gx, new_gy), sources, projections, each
                )
                if new_cost < cost:
                    w, gx, gy, cost = new_w, new_gx, new_gy, new_cost
            planes[y, x, 0], planes[y, x, 1], planes[y, x, 2] = w, gx, gy
            costs[y, x] = cost


@kernel
def refine_planes(grey, sources, projections, planes, costs, sharpness, motion):
    """Moves each w to the lowest point of the parabola through the costs half a pixel away.

    Args:
        grey, sources, projections, planes, costs: see `improve_planes`.
        sharpness: (H, W) float32, filled: the cost two pixels away, on the better side, less the best cost.
        motion: (H, W) float32, filled: how many pixels from that of infinity the pixel lies, in the source
            where it is most.
    """
    height, width = grey.shape
    for y in prange(height):
        values, weights = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
        each = np.empty(len(sources), np.float32)
        around = np.empty(4, np.float32)
        for x in range(width):
            centre, column, row = grey[y, x], np.float32(x), np.float32(y)
            sharpness[y, x] = motion[y, x] = ZERO
            if np.isnan(centre) or costs[y, x] >= ONE:
                continue
            w, gx, gy = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
            rate = ZERO  # pixels per unit of w
            for number in range(len(sources)):
                p = projections[number]
                depth = p[6] * column + p[7] * row + p[8] + w * p[11]
                if depth > ZERO:
                    u = (p[0] * column + p[1] * row + p[2] + w * p[9]) / depth
                    v = (p[3] * column + p[4] * row + p[5] + w * p[10]) / depth
                    rate = max(rate, np.sqrt((p[9] - u * p[11]) ** 2 + (p[10] - v * p[11]) ** 2) / depth)
            if rate <= ZERO:
                continue
            fill_window(grey, x, y, values, weights)
            half = HALF / rate
            for number in range(4):
                pixels = (np.float32(-4), np.float32(-1), np.float32(1), np.float32(4))[number]
                around[number] = plane_cost(
                    centre,
                    values,
                    weights,
                    column,
                    row,
                    (w + pixels * half, gx, gy),
                    sources,
                    projections,
                    each,
                )
            sharpness[y, x] = min(around[0], around[3]) - costs[y, x]
            bend = around[1] - costs[y, x] + around[2] - costs[y, x]
            if bend > ZERO:
                w += half * min(max(HALF * (around[1] - around[2]) / bend, -ONE), ONE)
            planes[y, x, 0] = w
            motion[y, x] = rate * w


@kernel
def compare_depths(planes, others, there, back, tolerance, fused, agreeing, opposed):
    """How many other depth maps say what this one says, how many say that they see through it.

    Args:
        planes: (H, W, 3) float32, this map; w is 0 where nothing is known.
        others: (V, H', W', 3) float32, the other maps, smaller ones padded with zeros.
        there, back: (V, 12) float32, projections into the others and from them.
        tolerance: (3,) float32: largest difference in depth, a part of it; largest distance between a pixel
            and what the other map makes of it, pixels; how much farther, a part of the depth, a map must
            see to oppose.
        fused: (H, W) float32, filled: the mean w of this map and those that agree.
        agreeing, opposed: (H, W) int64, filled.
    """
    height, width = planes.shape[:2]
    far_height, far_width = others.shape[1:3]
    for y in prange(height):
        for x in range(width):
            w, column, row = planes[y, x, 0], np.float32(x), np.float32(y)
            agreeing[y, x] = opposed[y, x] = 0
            total = w
            for number in range(len(others)):
                p, q = there[number], back[number]
                depth = p[6] * column + p[7] * row + p[8] + w * p[11]
                if w <= ZERO or depth <= ZERO:
                    continue
                u = (p[0] * column + p[1] * row + p[2] + w * p[9]) / depth
                v = (p[3] * column + p[4] * row + p[5] + w * p[10]) / depth
                if not (-HALF < u < far_width - HALF and -HALF < v < far_height - HALF):
                    continue
                near_u, near_v = int(u + HALF), int(v + HALF)
                other = others[number, near_v, near_u]
                if other[0] <= ZERO:
                    continue
                seen = other[0] + other[1] * (u - np.float32(near_u)) + other[2] * (v - np.float32(near_v))
                expected = w / depth
                if seen * (ONE + tolerance[2]) < expected:
                    opposed[y, x] += 1
                if abs(seen - expected) > tolerance[0] * expected:
                    continue
                home = q[6] * u + q[7] * v + q[8] + seen * q[11]
                home_u = (q[0] * u + q[1] * v + q[2] + seen * q[9]) / home
                home_v = (q[3] * u + q[4] * v + q[5] + seen * q[10]) / home
                if (home_u - column) ** 2 + (home_v - row) ** 2 <= tolerance[1] ** 2:
                    agreeing[y, x] += 1
                    total += seen / home
            fused[y, x] = total / np.float32(1 + agreeing[y, x])
