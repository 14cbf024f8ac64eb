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
from gaussian_renderer.cpu.lane_functions import log_of_two
from gaussian_renderer.cpu.simd import (
    LANES,
    aligned,
    aligned_rows,
    bits_at_least,
    larger,
    load,
    multiply_add,
    negate,
    root,
    store,
)

# A row of a tile is one value of `lanes`, and so is a column.
TILE = LANES
TILES_A_PIXEL = np.float32(1 / TILE)
# Pieces into which the sorted Gaussians are cut for parallel work.
PIECES = 16
# log2 of the least alpha that is drawn.
LEVEL_MIN = np.float32(-math.log2(255.0))
# Tests of what is met are this much too generous (log2 of alpha), so that rounding never loses a pixel.
SLACK = np.float32(1e-3)
CENTRES = np.arange(TILE, dtype=np.float32) + np.float32(0.5)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
ROOT_HALF_LOG2_E = np.float32(math.sqrt(0.5 * math.log2(math.e)))
SMALLEST = np.float32(1e-37)
# Gaussians per piece of parallel work.
PIECE = 512
# A record, what the image plane knows of one drawn Gaussian; in one piece, since memory comes by lines.
# log2 alpha = PEAK - (LX dx + LY dy)^2 - (MY dy)^2, dx and dy from (X, Y); then the box's half sides in
# pixels, the inverse covariance, and the colour from COLOUR on.
X, Y, LX, LY, MY, PEAK, RADIUS_X, RADIUS_Y, CONIC, COLOUR = (*range(9), 11)


class TileLists(NamedTuple):
    """Pairs of a tile and a Gaussian, by tile (camera, row, column), front to back in a tile.

    Args:
        offsets: (C tiles + 1,) int32, where each tile's pairs begin.
        ranks: (P,) int32, the pair's Gaussian: its position in `order`.
        slots: (P,) int32, the pair's place when pairs are ordered by Gaussian instead.
        order: (V,) int32, the Gaussians that are drawn, camera x N + n, front to back.
        slot_offsets: (C N + 1,) int32, where the slots of each Gaussian begin.
        records: (V, R) float32, see X ... COLOUR; R is a multiple of 16.
    """

    offsets: np.ndarray
    ranks: np.ndarray
    slots: np.ndarray
    order: np.ndarray
    slot_offsets: np.ndarray
    records: np.ndarray


@kernel
def _find_visible(radii, colours, visible):
    """Says which Gaussians are drawn: both radii positive, the colour finite."""
    for n in prange(len(radii)):
        drawn = radii[n, 0] > 0 and radii[n, 1] > 0
        for channel in range(colours.shape[1]):
            drawn = drawn and np.isfinite(colours[n, channel])
        visible[n] = drawn


@serial_kernel
def _depth_order(keys, visible):
    """Positions of visible Gaussians by rising uint32 key (stable), and all ranks, -1 for what is not drawn.

    A radix sort, eleven bits a pass, of one number for each Gaussian: its key above its position.
    """
    total = 0
    for n in range(len(visible)):
        total += visible[n]
    numbers, sorted_numbers = np.empty(total, np.uint64), np.empty(total, np.uint64)
    counts = np.zeros((3, 2048), np.int64)
    i = 0
    for n in range(len(keys)):
        if visible[n]:
            key = keys[n]
            numbers[i] = np.uint64(key) << np.uint64(32) | np.uint64(n)
            counts[0, key & 2047] += 1
            counts[1, key >> 11 & 2047] += 1
            counts[2, key >> 22] += 1
            i += 1
    for digit in range(3):
        start = 0
        for bucket in range(2048):
            start, counts[digit, bucket] = start + counts[digit, bucket], start
        shift = np.uint64(32 + 11 * digit)
        for i in range(total):
            bucket = numbers[i] >> shift & np.uint64(2047)
            place = counts[digit, bucket]
            counts[digit, bucket] = place + 1
            sorted_numbers[place] = numbers[i]
        numbers, sorted_numbers = sorted_numbers, numbers
    order, rank_of = np.empty(total, np.int32), np.full(len(keys), -1, np.int32)
    for i in range(total):
        order[i] = np.int32(numbers[i])
        rank_of[order[i]] = i
    return order, rank_of


@device_function
def _cholesky(work):
    """Replaces rows of the workspace, conic and opacity by LX, LY, MY and PEAK, one lane a Gaussian.

    A Cholesky factor of the inverse covariance: its squares cannot turn negative by rounding.
    """
    a, b, c = load(work, 0), load(work, LANES), load(work, 2 * LANES)
    a = larger(a, SMALLEST)
    # a c - b b without cancellation, where multiply_add is fused (Kahan's way).
    square = b * b
    lost = multiply_add(b, b, negate(square))
    determinant = larger(multiply_add(a, c, negate(square)) - lost, ZERO)
    inverse = ONE / root(a)
    store(work, 0, ROOT_HALF_LOG2_E * a * inverse)
    store(work, LANES, ROOT_HALF_LOG2_E * b * inverse)
    store(work, 2 * LANES, ROOT_HALF_LOG2_E * root(determinant) * inverse)
    store(work, 3 * LANES, log_of_two(load(work, 3 * LANES)))


@kernel
def _describe(rank_of, means2d, radii, conics, opacities, colours, columns, rows, records, candidates):
    """Fills the records, and the number of tiles in the box of every Gaussian."""
    count = len(rank_of)
    for piece in prange((count + PIECE - 1) // PIECE):
        work = aligned(4)
        work[:] = ONE
        for first in range(piece * PIECE, min(count, (piece + 1) * PIECE), LANES):
            size = min(LANES, count - first)
            for i in range(size):
                for k in range(3):
                    work[k * LANES + i] = conics[first + i, k]
                work[3 * LANES + i] = opacities[first + i]
            _cholesky(work)
            for i in range(size):
                n = first + i
                rank = rank_of[n]
                if rank < 0:
                    continue
                record = records[rank]
                for k in range(2):
                    record[X + k] = means2d[n, k]
                    record[RADIUS_X + k] = radii[n, k]
                for k in range(4):
                    record[LX + k] = work[k * LANES + i]
                for k in range(3):
                    record[CONIC + k] = conics[n, k]
                for channel in range(colours.shape[1]):
                    record[COLOUR + channel] = colours[n, channel]
                left, right = _box(means2d[n, 0], radii[n, 0], columns)
                top, bottom = _box(means2d[n, 1], radii[n, 1], rows)
                candidates[rank] = (right - left) * (bottom - top)


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
    radius, most = np.float32(radius), np.float32(tiles)
    first = min(max((centre - radius) * TILES_A_PIXEL, ZERO), most)
    last = min(max((centre + radius) * TILES_A_PIXEL, ZERO), most)
    whole = int(last)
    return int(first), whole + (np.float32(whole) < last)


@kernel
def _find_tiles(order, records, per_camera, columns, rows, starts, tiles, counts, tile_counts):
    """Fills each rank's tiles from its start on, each Gaussian's count, and the pairs per piece and tile."""
    for piece in prange(PIECES):
        for i in range(len(order) * piece // PIECES, len(order) * (piece + 1) // PIECES):
            record = records[i]
            first, place = order[i] // per_camera * (columns * rows), starts[i]
            left, right = _box(record[X], record[RADIUS_X], columns)
            top, bottom = _box(record[Y], record[RADIUS_Y], rows)
            for row in range(top, bottom):
                for column in range(left, right):
                    _, _, bits = reach(record, np.float32(column * TILE), np.float32(row * TILE))
                    if bits:
                        tile = first + row * columns + column
                        tile_counts[piece, tile] += 1
                        tiles[place] = tile
                        place += 1
            counts[order[i]] = place - starts[i]


@kernel
def _fill_pairs(order, starts, tiles, slot_offsets, places, ranks, slots):
    """Puts each pair where its piece's count for its tile says; `places` moves on with every pair."""
    total = len(starts)
    for piece in prange(PIECES):
        for i in range(total * piece // PIECES, total * (piece + 1) // PIECES):
            first = slot_offsets[order[i]]
            for k in range(slot_offsets[order[i] + 1] - first):
                tile = tiles[starts[i] + k]
                place = places[piece, tile]
                places[piece, tile] = place + 1
                ranks[place] = i
                slots[place] = first + k


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
    radii, colours = radii.reshape(-1, 2), colours.reshape(-1, colours.shape[-1])
    visible = np.empty(len(radii), np.bool_)
    _find_visible(radii, colours, visible)
    order, rank_of = _depth_order(depths.reshape(-1).view(np.uint32), visible)

    count = len(order)
    records = aligned_rows(count, -(-(COLOUR + colours.shape[1]) // LANES))
    candidates, counts = np.empty(count, np.int64), np.zeros(len(radii), np.int32)
    arrays = means2d.reshape(-1, 2), radii, conics.reshape(-1, 3), opacities.reshape(-1), colours
    _describe(rank_of, *arrays, columns, rows, records, candidates)
    starts = np.cumsum(candidates) - candidates
    tiles = np.empty(candidates.sum(), np.int32)
    tile_counts = np.zeros((PIECES, cameras * rows * columns), np.int64)
    _find_tiles(order, records, per_camera, columns, rows, starts, tiles, counts, tile_counts)

    offsets = np.concatenate([[0], tile_counts.sum(axis=0).cumsum()])
    total = offsets[-1]
    if total >= 2**31:
        raise ValueError(f"means: {total} pairs of tile and Gaussian; at most 2^31 - 1 can be drawn")
    places = offsets[:-1] + tile_counts.cumsum(axis=0) - tile_counts
    slot_offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
    ranks, slots = np.empty(total, np.int32), np.empty(total, np.int32)
    _fill_pairs(order, starts, tiles, slot_offsets, places, ranks, slots)
    return TileLists(offsets.astype(np.int32), ranks, slots, order, slot_offsets, records)


@kernel
def _fill_keys(offsets, ranks, order, depth_bits, heads, gaussians, keys):
    """Fills every pair's Gaussian and gsplat's sorting key; `heads` has the upper part for every tile."""
    for tile in prange(len(heads)):
        for pair in range(offsets[tile], offsets[tile + 1]):
            n = order[ranks[pair]]
            gaussians[pair] = n
            keys[pair] = heads[tile] | depth_bits[n]


def sorting_keys(lists: TileLists, depths: np.ndarray, tiles: int) -> tuple[np.ndarray, np.ndarray]:
    """What gsplat sorts by: camera, tile and the bits of the depth from the top, with `tiles` an image.

    Returns:
        gaussians: (P,) int32, every pair's Gaussian, camera x N + n.
        keys: (P,) int64.
    """
    camera, tile = np.divmod(np.arange(len(lists.offsets) - 1), tiles)
    heads = (camera << tiles.bit_length() | tile) << 32
    gaussians, keys = np.empty(len(lists.ranks), np.int32), np.empty(len(lists.ranks), np.int64)
    depth_bits = depths.reshape(-1).view(np.int32)
    _fill_keys(lists.offsets, lists.ranks, lists.order, depth_bits, heads, gaussians, keys)
    return gaussians, keys
