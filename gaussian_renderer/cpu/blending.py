"""Gaussians on the image plane become pixels, front to back, and gradients come back.

Per pixel as gsplat's CUDA kernels: alpha = min(0.999, opacity exp(-sigma)); alpha below 1/255 is skipped; the
first Gaussian that would bring the transmittance to 1e-4 or less ends the pixel and is not drawn itself.

A tile's row of sixteen pixels is one value of `lanes`, without a branch in it. What a tile knows of its
pixels lies in planes of sixteen rows. An ended pixel has a negative transmittance.
"""

import numpy as np
import torch
from numba import get_num_threads, prange
from torch import Tensor

from gaussian_renderer.cpu.compilation import device_function, kernel
from gaussian_renderer.cpu.lane_functions import power_of_two
from gaussian_renderer.cpu.simd import (
    LANES,
    absolute,
    aligned,
    aligned_rows,
    bits_at_least,
    first_bit,
    last_bit,
    load,
    multiply_add,
    negate,
    pick,
    prefetch,
    smaller,
    splat,
    store,
    store_sums,
    take_number,
    where_at_least,
)
from gaussian_renderer.cpu.tiles import (
    CENTRES,
    COLOUR,
    CONIC,
    LEVEL_MIN,
    LX,
    TILE,
    TileLists,
    X,
    Y,
    reach,
)

ALPHA_MAX = np.float32(0.999)
# The smallest float32 above 1e-4: "larger than" becomes "at least".
TRANSMITTANCE_MIN = np.nextafter(np.float32(1e-4), np.float32(1))
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
PLANE = TILE * TILE
# Gaussians per piece of parallel work.
PIECE = 512
# After so many Gaussians a tile looks which of its rows have pixels that have not ended.
PATIENCE = 16
# A record is asked for so many pairs before it is used: about the time that memory takes.
AHEAD = 8
# Sums over the pixels of a pair of tile and Gaussian that come before those of the colours:
# g, g dx, g dx^2, g dy, g dx dy, g dy^2, |gradient to the mean| (2), where g is the gradient to log alpha and
# (dx, dy) the pixel's offset from the Gaussian's centre.
MOMENTS = 8


@device_function
def _living_rows(state, stride):
    """First and last row with a pixel that has not ended; the last is -1 without any."""
    first, last = TILE, -1
    for row in range(TILE):
        if bits_at_least(load(state, row * stride), ZERO):
            first, last = min(first, row), row
    return first, last


@device_function
def _fetch(ranks, pair, records):
    """Asks for the record of a pair that comes soon."""
    prefetch(records[ranks[pair]], 0)


@device_function
def _draw(begin, end, corner_x, corner_y, ranks, records, channels, work, state):
    """Blends a tile's pairs into its state: each row's transmittance, number of the last pair, colours."""
    stride = (2 + len(channels)) * TILE
    top, bottom = _living_rows(state, stride)
    for pair in range(begin, end):
        if (pair - begin) % PATIENCE == PATIENCE - 1:
            top, bottom = _living_rows(state, stride)
            if bottom < 0:
                break
        _fetch(ranks, min(pair + AHEAD, end - 1), records)
        record = records[ranks[pair]]
        lean, level, bits = reach(record, corner_x, corner_y)
        store(work, 0, lean)
        store(work, TILE, level)
        slope = record[LX] * load(CENTRES, 0)
        number = splat(np.float32(pair - begin))
        for row in range(max(top, first_bit(bits)), min(bottom, last_bit(bits)) + 1):
            at = row * stride
            u = slope + pick(work, row)
            exponent = multiply_add(negate(u), u, pick(work, TILE + row))
            alpha = smaller(power_of_two(exponent), ALPHA_MAX)
            alpha = where_at_least(exponent, LEVEL_MIN, alpha, ZERO)
            before = load(state, at)
            after = multiply_add(negate(before), alpha, before)
            weight = where_at_least(after, TRANSMITTANCE_MIN, alpha * before, ZERO)
            ended = negate(absolute(before))
            store(state, at, where_at_least(after, TRANSMITTANCE_MIN, after, ended))
            at += TILE
            store(state, at, where_at_least(after, TRANSMITTANCE_MIN, number, load(state, at)))
            for channel in range(len(channels)):
                at += TILE
                store(state, at, multiply_add(weight, pick(record, COLOUR + channel), load(state, at)))


@device_function
def _put(image, start, width, size_x, size_y, state, plane, stride):
    """Copies the part of a tile's plane that lies on the image, a row of which has `width` pixels."""
    for row in range(size_y):
        if size_x == TILE:
            store(image, start + row * width, load(state, row * stride + plane * TILE))
        else:
            for x in range(size_x):
                image[start + row * width + x] = state[row * stride + plane * TILE + x]


@device_function
def _get(image, start, width, size_x, size_y, state, plane, stride):
    """Fills a tile's plane from the image, with zeros outside it."""
    for row in range(TILE):
        if row < size_y and size_x == TILE:
            store(state, row * stride + plane * TILE, load(image, start + row * width))
        else:
            for x in range(TILE):
                inside = row < size_y and x < size_x
                state[row * stride + plane * TILE + x] = image[start + row * width + x] if inside else ZERO


@device_function
def _place(tile, columns, rows, width, height):
    """Where a tile lies: camera, the corner's x and y, and the size in x and y of its part on the image."""
    x, y = tile % columns * TILE, tile // columns % rows * TILE
    return tile // (columns * rows), x, y, min(TILE, width - x), min(TILE, height - y)


@kernel
def _blend_forward(
    workers, offsets, ranks, records, channels, width, height, columns, rows,
    image, alphas, transmittances, lasts,
):  # fmt: skip
    """Fills image (C D H W) and alphas (C H W), and for `_blend_backward` a plane a tile of what is left
    and of the number, in the tile, of the last pair drawn. All flat."""
    counter = np.zeros(1, np.int64)
    tiles, stride = len(offsets) - 1, (2 + len(channels)) * TILE
    for _ in prange(workers):
        work, state = aligned(2), aligned((2 + len(channels)) * TILE)
        tile = take_number(counter)
        while tile < tiles:
            camera, x, y, size_x, size_y = _place(tile, columns, rows, width, height)
            state[:] = ZERO
            for row in range(TILE):
                for column in range(TILE):
                    state[row * stride + column] = ONE if row < size_y and column < size_x else -ONE
                store(state, row * stride + TILE, splat(-ONE))
            begin, end = offsets[tile], offsets[tile + 1]
            _draw(begin, end, np.float32(x), np.float32(y), ranks, records, channels, work, state)
            for channel in range(len(channels)):
                start = ((camera * len(channels) + channel) * height + y) * width + x
                _put(image, start, width, size_x, size_y, state, 2 + channel, stride)
            for row in range(TILE):
                left = absolute(load(state, row * stride))
                store(transmittances, tile * PLANE + row * TILE, left)
                store(lasts, tile * PLANE + row * TILE, load(state, row * stride + TILE))
                store(state, row * stride, splat(ONE) - left)
            _put(alphas, (camera * height + y) * width + x, width, size_x, size_y, state, 0, stride)
            tile = take_number(counter)


@device_function
def _channel_back(channel, channels, state, at, record, weight, ahead, total):
    """Adds one channel's part to the gradient-weighted colour and to the sum of the colour's gradients."""
    if channel >= len(channels):
        return ahead, total
    g = load(state, at + (3 + channel) * TILE)
    return multiply_add(g, pick(record, COLOUR + channel), ahead), multiply_add(weight, g, total)


@device_function
def _draw_back(
    begin, end, corner_x, corner_y, ranks, slots, records, channels, absgrad,
    work, state, pairs,
):  # fmt: skip
    """Goes through a tile's pairs from the back and writes each pair's sums to its slot.

    A row of the state: transmittance, number of the last pair, gradient-weighted colour of all that lies
    behind, gradients to the colours.
    """
    stride = (3 + len(channels)) * TILE
    zero = splat(ZERO)
    for pair in range(end - 1, begin - 1, -1):
        soon = max(pair - AHEAD, begin)
        _fetch(ranks, soon, records)
        prefetch(pairs[slots[soon]], 0)
        record = records[ranks[pair]]
        lean, level, bits = reach(record, corner_x, corner_y)
        store(work, 0, lean)
        store(work, TILE, level)
        slope = record[LX] * load(CENTRES, 0)
        dx = load(CENTRES, 0) - (record[X] - corner_x)
        offset_y = HALF - (record[Y] - corner_y)
        number = splat(np.float32(pair - begin))
        g_0, g_y, g_yy, abs_x, abs_y = zero, zero, zero, zero, zero
        # Sums that stay in registers; those of further channels lie in `work`.
        sum_0, sum_1, sum_2, sum_3 = zero, zero, zero, zero
        for channel in range(4, len(channels)):
            store(work, (2 + channel) * TILE, zero)
        for row in range(first_bit(bits), last_bit(bits) + 1):
            at = row * stride
            u = slope + pick(work, row)
            exponent = multiply_add(negate(u), u, pick(work, TILE + row))
            value = power_of_two(exponent)
            alpha = where_at_least(exponent, LEVEL_MIN, smaller(value, ALPHA_MAX), ZERO)
            alpha = where_at_least(load(state, at + TILE), number, alpha, ZERO)
            before = load(state, at) / (ONE - alpha)
            store(state, at, before)
            weight = alpha * before
            behind = load(state, at + 2 * TILE)
            ahead = negate(behind)
            ahead, sum_0 = _channel_back(0, channels, state, at, record, weight, ahead, sum_0)
            ahead, sum_1 = _channel_back(1, channels, state, at, record, weight, ahead, sum_1)
            ahead, sum_2 = _channel_back(2, channels, state, at, record, weight, ahead, sum_2)
            ahead, sum_3 = _channel_back(3, channels, state, at, record, weight, ahead, sum_3)
            for channel in range(4, len(channels)):
                total = load(work, (2 + channel) * TILE)
                ahead, total = _channel_back(channel, channels, state, at, record, weight, ahead, total)
                store(work, (2 + channel) * TILE, total)
            store(state, at + 2 * TILE, multiply_add(alpha, ahead, behind))
            g = where_at_least(ALPHA_MAX, value, weight * ahead, ZERO)
            dy = np.float32(row) + offset_y
            g_0 = g_0 + g
            g_y = multiply_add(g, dy, g_y)
            g_yy = multiply_add(g, dy * dy, g_yy)
            if absgrad:
                abs_x = abs_x + absolute(g * multiply_add(dx, record[CONIC], splat(record[CONIC + 1] * dy)))
                abs_y = abs_y + absolute(
                    g * multiply_add(dx, record[CONIC + 1], splat(record[CONIC + 2] * dy))
                )
        g_x = g_0 * dx
        own = pairs[slots[pair]]
        store_sums(own, 0, g_0, g_x, g_x * dx, g_y, g_y * dx, g_yy, abs_x, abs_y)
        store_sums(own, MOMENTS, sum_0, sum_1, sum_2, sum_3, zero, zero, zero, zero)
        for first in range(4, len(channels), 8):
            eight = work[(2 + first) * TILE :]
            store_sums(
                own, MOMENTS + first,
                load(eight, 0), load(eight, TILE), load(eight, 2 * TILE), load(eight, 3 * TILE),
                load(eight, 4 * TILE), load(eight, 5 * TILE), load(eight, 6 * TILE), load(eight, 7 * TILE),
            )  # fmt: skip


@kernel
def _blend_backward(
    workers, offsets, ranks, slots, records, channels, width, height, columns, rows,
    absgrad, transmittances, lasts, g_image, g_alphas, pairs,
):  # fmt: skip
    """Fills a row of `pairs` (P, MOMENTS + D or more) for every slot."""
    counter = np.zeros(1, np.int64)
    tiles, stride = len(offsets) - 1, (3 + len(channels)) * TILE
    for _ in prange(workers):
        work = aligned(2 + 7 + len(channels))
        state = aligned((3 + len(channels)) * TILE)
        work[:] = ZERO
        tile = take_number(counter)
        while tile < tiles:
            camera, x, y, size_x, size_y = _place(tile, columns, rows, width, height)
            _get(g_alphas, (camera * height + y) * width + x, width, size_x, size_y, state, 2, stride)
            for channel in range(len(channels)):
                start = ((camera * len(channels) + channel) * height + y) * width + x
                _get(g_image, start, width, size_x, size_y, state, 3 + channel, stride)
            drawn = offsets[tile]
            for row in range(TILE):
                store(state, row * stride, load(transmittances, tile * PLANE + row * TILE))
                last = load(lasts, tile * PLANE + row * TILE)
                store(state, row * stride + TILE, last)
                while bits_at_least(last, np.float32(drawn - offsets[tile])):
                    drawn += 1
                # At the very back lies the loss of alpha.
                store(state, row * stride + 2 * TILE, negate(load(state, row * stride + 2 * TILE)))
            for pair in range(drawn, offsets[tile + 1]):
                pairs[slots[pair]] = ZERO
            _draw_back(
                offsets[tile], drawn, np.float32(x), np.float32(y),
                ranks, slots, records, channels, absgrad, work, state, pairs,
            )  # fmt: skip
            tile = take_number(counter)


@kernel
def _gather(
    channels, slot_offsets, pairs, conics, opacities, absgrad,
    g_means2d, g_absolute, g_conics, g_opacities, g_colours,
):  # fmt: skip
    """Adds up each Gaussian's pairs, always in the same order, and turns the sums into its gradients."""
    count = len(conics)
    for piece in prange((count + PIECE - 1) // PIECE):
        total = np.empty(MOMENTS + len(channels), np.float32)
        for n in range(piece * PIECE, min(count, (piece + 1) * PIECE)):
            total[:] = ZERO
            for slot in range(slot_offsets[n], slot_offsets[n + 1]):
                for k in range(MOMENTS + len(channels)):
                    total[k] += pairs[slot, k]
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            g_means2d[n, 0] = a * total[1] + b * total[3]
            g_means2d[n, 1] = b * total[1] + c * total[3]
            g_conics[n, 0] = -HALF * total[2]
            g_conics[n, 1] = -total[4]
            g_conics[n, 2] = -HALF * total[5]
            # What is not drawn may have an opacity of 0, or none.
            g_opacities[n] = total[0] / opacities[n] if slot_offsets[n] < slot_offsets[n + 1] else ZERO
            for channel in range(len(channels)):
                g_colours[n, channel] = total[MOMENTS + channel]
            if absgrad:
                g_absolute[n, 0] = total[6]
                g_absolute[n, 1] = total[7]


class _Blend(torch.autograd.Function):
    """The kernels as one differentiable function; see `blend`."""

    @staticmethod
    def forward(ctx, means2d, conics, colours, opacities, lists, width, height, absgrad):
        cameras, columns, rows = len(means2d), -(-width // TILE), -(-height // TILE)
        image = torch.empty(cameras, colours.shape[-1], height, width)
        alphas = torch.empty(cameras, height, width)
        transmittances = np.empty((len(lists.offsets) - 1) * PLANE, np.float32)
        lasts = np.empty_like(transmittances)
        ctx.sizes = width, height, columns, rows
        _blend_forward(
            get_num_threads(), lists.offsets, lists.ranks, lists.records, _channels(colours), *ctx.sizes,
            image.view(-1).numpy(), alphas.view(-1).numpy(), transmittances, lasts,
        )  # fmt: skip
        ctx.save_for_backward(means2d, conics, colours, opacities)
        ctx.lists, ctx.planes, ctx.absgrad = lists, (transmittances, lasts), absgrad
        return image, alphas

    @staticmethod
    def backward(ctx, g_image, g_alphas):
        lists, (means2d, conics, colours, opacities) = ctx.lists, ctx.saved_tensors
        channels = _channels(colours)
        # Whole lines of memory, since they are written in no order; colours' sums come by eight, but for
        # the first four, which come with four zeros.
        further = -(-max(len(channels) - 4, 0) // 8) * 8
        pairs = aligned_rows(len(lists.slots), -(-(MOMENTS + max(8, 4 + further)) // LANES))
        incoming = [gradient.contiguous().view(-1).numpy() for gradient in (g_image, g_alphas)]
        _blend_backward(
            get_num_threads(), lists.offsets, lists.ranks, lists.slots, lists.records, channels,
            *ctx.sizes, ctx.absgrad, *ctx.planes, *incoming, pairs,
        )  # fmt: skip
        g_means2d, g_conics, g_colours, g_opacities = (
            torch.empty(tensor.shape) for tensor in (means2d, conics, colours, opacities)
        )
        g_absolute = torch.empty(means2d.shape if ctx.absgrad else (0, 0, 2))
        results = [_flat(tensor) for tensor in (g_means2d, g_absolute, g_conics, g_opacities, g_colours)]
        own = _flat(conics), _flat(opacities)
        _gather(channels, lists.slot_offsets, pairs, *own, ctx.absgrad, *results)
        if ctx.absgrad:
            means2d.absgrad = g_absolute
        return g_means2d, g_conics, g_colours, g_opacities, None, None, None, None


def _channels(colours: Tensor | np.ndarray) -> tuple[int, ...] | np.ndarray:
    """The numbers of the channels, as a tuple for counts worth kernels of their own with unrolled loops."""
    count = colours.shape[-1]
    return tuple(range(count)) if count in (3, 4) else np.arange(count)


def _flat(tensor: Tensor) -> np.ndarray:
    """The tensor's array with cameras and Gaussians as one axis."""
    return tensor.detach().contiguous().flatten(0, 1).numpy()


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
        lists: every tile's Gaussians, from `tile_lists` with the same four tensors.
        width, height: of the image, pixels.
    """
    return _Blend.apply(means2d, conics, colours, opacities, lists, width, height, absgrad)
