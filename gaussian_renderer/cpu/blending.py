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
from gaussian_renderer.cpu.simd import (
    absolute,
    aligned,
    bits_at_least,
    first_bit,
    last_bit,
    load,
    multiply_add,
    negate,
    power_of_two,
    smaller,
    splat,
    store,
    store_sums,
    take_number,
    where_at_least,
)
from gaussian_renderer.cpu.tiles import CENTRES, LEVEL_MIN, LX, TILE, TileLists, X, Y, reach

ALPHA_MAX = np.float32(0.999)
# The smallest float32 above 1e-4: "larger than" becomes "at least".
TRANSMITTANCE_MIN = np.nextafter(np.float32(1e-4), np.float32(1))
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
PLANE = TILE * TILE
# After so many Gaussians a tile looks which of its rows have pixels that have not ended.
PATIENCE = 16
# Sums over the pixels of a pair of tile and Gaussian that come before those of the colours:
# g, g dx, g dx^2, g dy, g dx dy, g dy^2, |gradient to the mean| (2), where g is the gradient to log alpha and
# (dx, dy) the pixel's offset from the Gaussian's centre.
MOMENTS = 8


@device_function
def _living_rows(transmittance):
    """First and last row with a pixel that has not ended; the last is -1 without any."""
    first, last = TILE, -1
    for row in range(TILE):
        if bits_at_least(load(transmittance, row * TILE), ZERO):
            first, last = min(first, row), row
    return first, last


@device_function
def _draw(
    begin, end, corner_x, corner_y, gaussians, shapes, colours, lean, level, transmittance, last, colour
):
    """Blends a tile's pairs into its planes."""
    top, bottom = _living_rows(transmittance)
    for pair in range(begin, end):
        if (pair - begin) % PATIENCE == PATIENCE - 1:
            top, bottom = _living_rows(transmittance)
            if bottom < 0:
                break
        n = gaussians[pair]
        lean_rows, level_rows, bits = reach(shapes[n], corner_x, corner_y)
        store(lean, 0, lean_rows)
        store(level, 0, level_rows)
        slope = shapes[n, LX] * load(CENTRES, 0)
        number = splat(np.float32(pair - begin))
        for row in range(max(top, first_bit(bits)), min(bottom, last_bit(bits)) + 1):
            at = row * TILE
            u = slope + lean[row]
            exponent = multiply_add(negate(u), u, level[row])
            alpha = smaller(power_of_two(exponent), ALPHA_MAX)
            alpha = where_at_least(exponent, LEVEL_MIN, alpha, ZERO)
            before = load(transmittance, at)
            after = multiply_add(negate(before), alpha, before)
            weight = where_at_least(after, TRANSMITTANCE_MIN, alpha * before, ZERO)
            ended = negate(absolute(before))
            store(transmittance, at, where_at_least(after, TRANSMITTANCE_MIN, after, ended))
            store(last, at, where_at_least(after, TRANSMITTANCE_MIN, number, load(last, at)))
            for channel in range(colours.shape[1]):
                place = channel * PLANE + at
                store(colour, place, multiply_add(weight, colours[n, channel], load(colour, place)))


@device_function
def _put(image, start, stride, height, width, plane):
    """Copies the part of a plane that lies on the image, whose row has `stride` pixels, from `start` on."""
    for row in range(height):
        if width == TILE:
            store(image, start + row * stride, load(plane, row * TILE))
        else:
            for x in range(width):
                image[start + row * stride + x] = plane[row * TILE + x]


@device_function
def _get(image, start, stride, height, width, plane):
    """Fills a plane from the image, with zeros outside it."""
    for row in range(TILE):
        if row < height and width == TILE:
            store(plane, row * TILE, load(image, start + row * stride))
        else:
            for x in range(TILE):
                inside = row < height and x < width
                plane[row * TILE + x] = image[start + row * stride + x] if inside else ZERO


@kernel
def _blend_forward(
    workers, offsets, gaussians, shapes, colours, width, height, columns, rows,
    image, alphas, transmittances, lasts,
):  # fmt: skip
    """Fills image (C D H W) and alphas (C H W), and for `_blend_backward` a plane a tile of what is left
    and of the number, in the tile, of the last pair drawn. All flat."""
    counter = np.zeros(1, np.int64)
    channels, tiles = colours.shape[1], len(offsets) - 1
    for _ in prange(workers):
        lean, level, colour = aligned(1), aligned(1), aligned(TILE * channels)
        transmittance, last = aligned(TILE), aligned(TILE)
        tile = take_number(counter)
        while tile < tiles:
            camera, row, column = tile // (columns * rows), tile // columns % rows, tile % columns
            x, y = column * TILE, row * TILE
            size_x, size_y = min(TILE, width - x), min(TILE, height - y)
            colour[:] = ZERO
            last[:] = -ONE
            for i in range(PLANE):
                transmittance[i] = ONE if i // TILE < size_y and i % TILE < size_x else -ONE
            _draw(
                offsets[tile], offsets[tile + 1], np.float32(x), np.float32(y),
                gaussians, shapes, colours, lean, level, transmittance, last, colour,
            )  # fmt: skip
            start = (camera * height + y) * width + x
            for channel in range(channels):
                place = ((camera * channels + channel) * height + y) * width + x
                _put(image, place, width, size_y, size_x, colour[channel * PLANE :])
            for i in range(TILE):
                left = absolute(load(transmittance, i * TILE))
                store(transmittances, tile * PLANE + i * TILE, left)
                store(lasts, tile * PLANE + i * TILE, load(last, i * TILE))
                store(transmittance, i * TILE, splat(ONE) - left)
            _put(alphas, start, width, size_y, size_x, transmittance)
            tile = take_number(counter)


@device_function
def _draw_back(
    begin, end, corner_x, corner_y, gaussians, slots, shapes, conics, colours, absgrad,
    lean, level, transmittance, last, behind, g_colour, sums, pairs,
):  # fmt: skip
    """Goes through a tile's pairs from the back and writes each pair's sums to its slot."""
    channels = colours.shape[1]
    zero = splat(ZERO)
    for pair in range(end - 1, begin - 1, -1):
        n = gaussians[pair]
        lean_rows, level_rows, bits = reach(shapes[n], corner_x, corner_y)
        store(lean, 0, lean_rows)
        store(level, 0, level_rows)
        slope = shapes[n, LX] * load(CENTRES, 0)
        dx = load(CENTRES, 0) - (shapes[n, X] - corner_x)
        number = np.float32(pair - begin)
        g_0, g_y, g_yy, abs_x, abs_y = zero, zero, zero, zero, zero
        for channel in range(channels):
            store(sums, channel * TILE, zero)
        for row in range(first_bit(bits), last_bit(bits) + 1):
            at = row * TILE
            u = slope + lean[row]
            exponent = multiply_add(negate(u), u, level[row])
            value = power_of_two(exponent)
            alpha = where_at_least(exponent, LEVEL_MIN, smaller(value, ALPHA_MAX), ZERO)
            alpha = where_at_least(load(last, at), number, alpha, ZERO)
            before = load(transmittance, at) / (ONE - alpha)
            store(transmittance, at, before)
            weight = alpha * before
            own = zero
            for channel in range(channels):
                g = load(g_colour, channel * PLANE + at)
                own = multiply_add(g, colours[n, channel], own)
                store(sums, channel * TILE, multiply_add(weight, g, load(sums, channel * TILE)))
            rest = load(behind, at)
            ahead = own - rest
            store(behind, at, multiply_add(alpha, ahead, rest))
            g = where_at_least(ALPHA_MAX, value, weight * ahead, ZERO)
            dy = np.float32(row) + HALF - (shapes[n, Y] - corner_y)
            g_0 = g_0 + g
            g_y = multiply_add(g, dy, g_y)
            g_yy = multiply_add(g, dy * dy, g_yy)
            if absgrad:
                abs_x = abs_x + absolute(g * multiply_add(dx, conics[n, 0], splat(conics[n, 1] * dy)))
                abs_y = abs_y + absolute(g * multiply_add(dx, conics[n, 1], splat(conics[n, 2] * dy)))
        g_x = g_0 * dx
        own_sums = pairs[slots[pair]]
        store_sums(own_sums, 0, g_0, g_x, g_x * dx, g_y, g_y * dx, g_yy, abs_x, abs_y)
        for channel in range(channels):
            total = ZERO
            for lane in range(TILE):
                total += sums[channel * TILE + lane]
            own_sums[MOMENTS + channel] = total


@kernel
def _blend_backward(
    workers, offsets, gaussians, slots, shapes, conics, colours, width, height, columns, rows, absgrad,
    transmittances, lasts, g_image, g_alphas, pairs,
):  # fmt: skip
    """Fills a row of `pairs` (P, MOMENTS + D) for every slot."""
    counter = np.zeros(1, np.int64)
    channels, tiles = colours.shape[1], len(offsets) - 1
    for _ in prange(workers):
        lean, level, sums = aligned(1), aligned(1), aligned(channels)
        behind, g_colour = aligned(TILE), aligned(TILE * channels)
        tile = take_number(counter)
        while tile < tiles:
            camera, row, column = tile // (columns * rows), tile // columns % rows, tile % columns
            x, y = column * TILE, row * TILE
            size_x, size_y = min(TILE, width - x), min(TILE, height - y)
            # What lies behind counts as colour times its gradient; at the very back it is the loss of alpha.
            _get(g_alphas, (camera * height + y) * width + x, width, size_y, size_x, behind)
            for i in range(TILE):
                store(behind, i * TILE, negate(load(behind, i * TILE)))
            for channel in range(channels):
                place = ((camera * channels + channel) * height + y) * width + x
                _get(g_image, place, width, size_y, size_x, g_colour[channel * PLANE :])
            transmittance = transmittances[tile * PLANE : (tile + 1) * PLANE].copy()
            last = lasts[tile * PLANE : (tile + 1) * PLANE]
            drawn = offsets[tile] + int(last.max()) + 1
            for pair in range(drawn, offsets[tile + 1]):
                pairs[slots[pair]] = ZERO
            _draw_back(
                offsets[tile], drawn, np.float32(x), np.float32(y),
                gaussians, slots, shapes, conics, colours, absgrad,
                lean, level, transmittance, last, behind, g_colour, sums, pairs,
            )  # fmt: skip
            tile = take_number(counter)


@kernel
def _gather(
    order, slot_offsets, pairs, conics, opacities, g_means2d, g_absolute, g_conics, g_opacities, g_colours
):
    """Adds up each Gaussian's pairs, always in the same order, and turns the sums into its gradients."""
    for i in prange(len(order)):
        n = order[i]
        total = np.zeros(pairs.shape[1], np.float32)
        for slot in range(slot_offsets[i], slot_offsets[i + 1]):
            for k in range(len(total)):
                total[k] += pairs[slot, k]
        a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
        g_means2d[n, 0] = a * total[1] + b * total[3]
        g_means2d[n, 1] = b * total[1] + c * total[3]
        g_absolute[n, 0] = total[6]
        g_absolute[n, 1] = total[7]
        g_conics[n, 0] = -HALF * total[2]
        g_conics[n, 1] = -total[4]
        g_conics[n, 2] = -HALF * total[5]
        g_opacities[n] = total[0] / opacities[n]
        for channel in range(g_colours.shape[1]):
            g_colours[n, channel] = total[MOMENTS + channel]


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
            get_num_threads(), lists.offsets, lists.gaussians, lists.shapes, _flat(colours), *ctx.sizes,
            image.view(-1).numpy(), alphas.view(-1).numpy(), transmittances, lasts,
        )  # fmt: skip
        ctx.save_for_backward(means2d, conics, colours, opacities)
        ctx.lists, ctx.planes, ctx.absgrad = lists, (transmittances, lasts), absgrad
        return image, alphas

    @staticmethod
    def backward(ctx, g_image, g_alphas):
        lists, (means2d, *others) = ctx.lists, ctx.saved_tensors
        conics, colours, opacities = map(_flat, others)
        pairs = np.empty((len(lists.slots), MOMENTS + colours.shape[-1]), np.float32)
        incoming = [gradient.contiguous().view(-1).numpy() for gradient in (g_image, g_alphas)]
        _blend_backward(
            get_num_threads(), lists.offsets, lists.gaussians, lists.slots, lists.shapes, conics, colours,
            *ctx.sizes, ctx.absgrad, *ctx.planes, *incoming, pairs,
        )  # fmt: skip
        g_means2d, g_absolute = torch.zeros_like(means2d), torch.zeros_like(means2d)
        g_conics, g_colours, g_opacities = (torch.zeros(tensor.shape) for tensor in others)
        results = [_flat(tensor) for tensor in (g_means2d, g_absolute, g_conics, g_opacities, g_colours)]
        _gather(lists.order, lists.slot_offsets, pairs, conics, opacities, *results)
        if ctx.absgrad:
            means2d.absgrad = g_absolute
        return g_means2d, g_conics, g_colours, g_opacities, None, None, None, None


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
