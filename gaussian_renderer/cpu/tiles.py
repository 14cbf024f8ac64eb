"""Which Gaussians meet which tile, in order of depth.

All cameras' Gaussians are sorted by depth once; a counting sort by tile that keeps this order then gives
every tile its list, so no large keys are sorted. A tile is met only if the ellipse on which alpha falls to
1/255 reaches one of its rows of pixels.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from gaussian_renderer.cpu.compilation import device_function, kernel, serial_kernel
from gaussian_renderer.cpu.simd import LANES, bits_at_least, larger, load, multiply_add, negate

# A row of a tile is one value of `lanes`, and so is a column.
TILE = LANES
# Pieces into which the sorted Gaussians are cut for parallel work.
PIECES = 16
# log2 of the least alpha that is drawn.
LEVEL_MIN = np.float32(-math.log2(255.0))
# Tests of what is met are this much too generous (log2 of alpha), so that rounding never loses a pixel.
SLACK = np.float32(1e-3)
CENTRES = np.arange(TILE, dtype=np.float32) + np.float32(0.5)
HALF, ZERO = np.float32(0.5), np.float32(0)
# Columns of an array of shapes: log2 alpha = PEAK - (LX dx + LY dy)^2 - (MY dy)^2, dx and dy from (X, Y).
X, Y, LX, LY, MY, PEAK = range(6)


class TileLists(NamedTuple):
    """Pairs of a tile and a Gaussian, by tile (camera, row, column), front to back in a tile.

    Args:
        offsets: (C tiles + 1,) int32, where each tile's pairs begin.
        gaussians: (P,) int32, the pair's Gaussian: camera x N + n.
        slots: (P,) int32, the pair's place when pairs are ordered by Gaussian instead.
        keys: (P,) int64, gsplat's sorting key: camera, tile and the bits of the depth, from the top.
        order: (V,) int32, the Gaussians that are drawn, front to back.
        slot_offsets: (V + 1,) int32, where the slots of each Gaussian of `order` begin.
        shapes: (C N, 6) float32, log2 of alpha in factors (see X ... PEAK); defined for `order` only.
    """

    offsets: np.ndarray
    gaussians: np.ndarray
    slots: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    slot_offsets: np.ndarray
    shapes: np.ndarray


@kernel
def _describe(means2d, radii, conics, opacities, colours, shapes, visible):
    """Fills shapes, and says which Gaussians are drawn: both radii positive, the colour finite.

    The shape is a Cholesky factor of the inverse covariance: its squares cannot turn negative by rounding.
    """
    half_log2_e = 0.5 * math.log2(math.e)
    for n in prange(len(radii)):
        drawn = radii[n, 0] > 0 and radii[n, 1] > 0
        for channel in range(colours.shape[1]):
            drawn = drawn and np.isfinite(colours[n, channel])
        visible[n] = drawn
        if drawn:
            a, b, c = np.float64(conics[n, 0]), np.float64(conics[n, 1]), np.float64(conics[n, 2])
            lx = math.sqrt(half_log2_e * max(a, 1e-37))
            ly = half_log2_e * b / lx
            shapes[n, X] = means2d[n, 0]
            shapes[n, Y] = means2d[n, 1]
            shapes[n, LX] = lx
            shapes[n, LY] = ly
            shapes[n, MY] = math.sqrt(max(half_log2_e * c - ly * ly, 0.0))
            shapes[n, PEAK] = math.log2(opacities[n])


@serial_kernel
def _depth_order(keys, visible):
    """Positions of visible Gaussians by rising key (stable): a radix sort, 11 bits a pass."""
    total = 0
    for n in range(len(visible)):
        total += visible[n]
    order, other = np.empty(total, np.int32), np.empty(total, np.int32)
    i = 0
    for n in range(len(keys)):
        if visible[n]:
            order[i] = n
            i += 1
    for shift in (0, 11, 22):
        counts = np.zeros(2049, np.int64)
        for i in range(total):
            counts[((keys[order[i]] >> shift) & 2047) + 1] += 1
        for bucket in range(2048):
            counts[bucket + 1] += counts[bucket]
        for i in range(total):
            bucket = (keys[order[i]] >> shift) & 2047
            other[counts[bucket]] = order[i]
            counts[bucket] += 1
        order, other = other, order
    return order


@device_function
def reach(shape, corner_x, corner_y):
    """How a Gaussian meets the tile with this corner, one lane for each of its rows of pixels.

    Returns:
        lean: LX dx + LY dy where the row meets the tile's left edge.
        level: log2 of the row's largest alpha anywhere on it.
        bits: an integer, bit i set where alpha reaches 1/255 between the row's first and last pixel.
    """
    dy = load(CENTRES, 0) - (shape[Y] - corner_y)
    lean = multiply_add(dy, shape[LY], shape[LX] * (corner_x - shape[X]))
    sink = dy * shape[MY]
    level = shape[PEAK] - sink * sink
    low, high = lean + HALF * shape[LX], lean + np.float32(TILE - 0.5) * shape[LX]
    nearest = larger(larger(low, negate(high)), ZERO)
    return lean, level, bits_at_least(level - nearest * nearest, LEVEL_MIN - SLACK)


@device_function
def _box(centre, radius, tiles):
    """First and one past the last of `tiles` tiles in one direction that a box around `centre` meets."""
    first = min(max((centre - radius) / TILE, 0.0), tiles)
    last = min(max((centre + radius) / TILE, 0.0), tiles)
    return math.floor(first), math.ceil(last)


@kernel
def _count_candidates(order, shapes, radii, columns, rows, counts):
    """Fills the number of tiles in the box of every Gaussian of `order`."""
    for i in prange(len(order)):
        n = order[i]
        left, right = _box(shapes[n, X], radii[n, 0], columns)
        top, bottom = _box(shapes[n, Y], radii[n, 1], rows)
        counts[i] = (right - left) * (bottom - top)


@kernel
def _find_tiles(order, shapes, radii, per_camera, columns, rows, starts, tiles, counts, tile_counts):
    """Fills each Gaussian's tiles from its start on, their count, and the pairs per piece and tile."""
    for piece in prange(PIECES):
        for i in range(len(order) * piece // PIECES, len(order) * (piece + 1) // PIECES):
            n = order[i]
            first, place = n // per_camera * (columns * rows), starts[i]
            left, right = _box(shapes[n, X], radii[n, 0], columns)
            top, bottom = _box(shapes[n, Y], radii[n, 1], rows)
            for row in range(top, bottom):
                for column in range(left, right):
                    _, _, bits = reach(shapes[n], np.float32(column * TILE), np.float32(row * TILE))
                    if bits:
                        tile = first + row * columns + column
                        tile_counts[piece, tile] += 1
                        tiles[place] = tile
                        place += 1
            counts[i] = place - starts[i]


@kernel
def _fill_pairs(order, depth_bits, starts, tiles, slot_offsets, heads, places, gaussians, slots, keys):
    """Puts each pair where its piece's count for its tile says; `places` moves on with every pair."""
    for piece in prange(PIECES):
        for i in range(len(order) * piece // PIECES, len(order) * (piece + 1) // PIECES):
            n = order[i]
            for k in range(slot_offsets[i + 1] - slot_offsets[i]):
                tile = tiles[starts[i] + k]
                place = places[piece, tile]
                places[piece, tile] = place + 1
                gaussians[place] = n
                slots[place] = slot_offsets[i] + k
                keys[place] = heads[tile] | depth_bits[n]


def tile_lists(
    columns: int, rows: int, means2d: np.ndarray, radii: np.ndarray, depths: np.ndarray, conics: np.ndarray,
    opacities: np.ndarray, colours: np.ndarray,
) -> TileLists:  # fmt: skip
    """Every tile's Gaussians from front to back; equal depths stay in the order of the Gaussians.

    Args:
        columns, rows: tiles of an image.
        means2d: (C, N, 2) float32, pixels.
        radii: (C, N, 2) int32, pixels.
        depths: (C, N) float32, positive.
        conics: (C, N, 3) float32, px^-2.
        opacities: (C, N) float32.
        colours: (C, N, D) float32; a Gaussian with a colour that is not finite is left out.
    """
    cameras, per_camera = depths.shape
    radii = radii.reshape(-1, 2)
    shapes, visible = np.empty((len(radii), 6), np.float32), np.empty(len(radii), np.bool_)
    arrays = means2d.reshape(-1, 2), radii, conics.reshape(-1, 3), opacities.reshape(-1)
    _describe(*arrays, colours.reshape(-1, colours.shape[-1]), shapes, visible)
    depth_bits = depths.reshape(-1).view(np.int32)
    order = _depth_order(depth_bits, visible)

    count = len(order)
    candidates, counts = np.empty(count, np.int64), np.empty(count, np.int32)
    _count_candidates(order, shapes, radii, columns, rows, candidates)
    starts = np.cumsum(candidates) - candidates
    tiles = np.empty(candidates.sum(), np.int32)
    tile_counts = np.zeros((PIECES, cameras * rows * columns), np.int64)
    _find_tiles(order, shapes, radii, per_camera, columns, rows, starts, tiles, counts, tile_counts)

    offsets = np.concatenate([[0], tile_counts.sum(axis=0).cumsum()])
    total = offsets[-1]
    if total >= 2**31:
        raise ValueError(f"means: {total} pairs of tile and Gaussian; at most 2^31 - 1 can be drawn")
    places = offsets[:-1] + tile_counts.cumsum(axis=0) - tile_counts
    slot_offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
    gaussians, slots, keys = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.int64)
    heads = _key_heads(cameras, columns * rows)
    _fill_pairs(order, depth_bits, starts, tiles, slot_offsets, heads, places, gaussians, slots, keys)
    return TileLists(offsets.astype(np.int32), gaussians, slots, keys, order, slot_offsets, shapes)


def _key_heads(cameras: int, tiles: int) -> np.ndarray:
    """The upper part of the keys of every camera's tiles, as gsplat packs them above 32 bits of depth."""
    camera, tile = np.divmod(np.arange(cameras * tiles), tiles)
    return (camera << tiles.bit_length() | tile) << 32
