"""SuperSplat's compressed PLY: 16 bytes a Gaussian and a byte an SH coefficient.

256 neighbours at a time share a chunk, which holds the ranges of their positions, log scales and colours;
the Gaussians are fractions of these in 11, 10 and 11 bits (positions, log scales) or 8 bits (colours).
Rotations are the smallest three components in ten bits each. gsplat 1.5.3 writes the format too, but divides
by a range that may be zero, loses all Gaussians by the NaN of one, and leaves the faintest out.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from formats.ply import RENDER_MODES, columns, is_antialiased
from formats.splats import (
    HIGHER_COEFFICIENTS,
    SH_C0,
    Splats,
    from_smallest_three,
    opacity_bytes,
    opacity_logits,
    smallest_three,
    to_bytes,
    unit_quaternions,
)
from utils.errors import UserError

CHUNK = 256  # Gaussians
LARGEST_LOG_SCALE = 20.0  # of a chunk's range, either way, as SuperSplat has it
SH_RANGE = 8.0  # SH coefficients lie in -4 to 4
SH_STEP = SH_RANGE / 256  # between two levels; there is one half a step above 0 and one below, none at 0

_POSITION = ("x", "y", "z")
_COLOUR = ("r", "g", "b")
_SCALE = ("scale_x", "scale_y", "scale_z")
RANGES = [
    f"{end}_{name}" for group in (_POSITION, _SCALE, _COLOUR) for end in ("min", "max") for name in group
]
WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def is_compressed(ply: PlyData) -> bool:
    """Whether a PLY is of this kind."""
    return "chunk" in ply and "vertex" in ply and WORDS[0] in ply["vertex"].data.dtype.names


def pack_compressed(splats: Splats) -> bytes:
    """The file's bytes, the Gaussians ordered along a curve that keeps neighbours together.

    SH degrees above `degree_in_use` are left out.
    """
    splats = splats[morton_order(splats.means)].of_degree(degree_in_use(splats))
    scales = np.clip(splats.scales, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)
    colours = 0.5 + SH_C0 * splats.sh0
    first = np.arange(0, len(splats), CHUNK)
    ranges, fractions = [], []
    for values in (splats.means, scales, colours):
        low, high = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
        ranges += [low, high]
        low, high = (np.repeat(each, CHUNK, axis=0)[: len(splats)].astype(np.float64) for each in (low, high))
        fractions.append((values - low) / np.where(high > low, high - low, 1))
    chunks = np.concatenate(ranges, axis=1, dtype=np.float32)
    words = np.empty((len(splats), 4), "<u4")
    words[:, 0] = _pack_fractions(fractions[0])
    words[:, 1] = _pack_rotations(unit_quaternions(splats.quats))
    words[:, 2] = _pack_fractions(fractions[1])
    bytes_ = np.concatenate([to_bytes(255 * fractions[2]), opacity_bytes(splats.opacities)[:, None]], axis=1)
    words[:, 3] = np.ascontiguousarray(bytes_).view(">u4")[:, 0]
    mode = f"SplatRenderMode: {RENDER_MODES[splats.antialiased]}"
    elements = [
        _element("chunk", chunks, RANGES, "<f4"),
        _element("vertex", words, WORDS, "<u4", comments=[mode]),
    ]
    if splats.sh_degree:
        table = splats.shN.transpose(0, 2, 1).reshape(len(splats), -1)
        levels = np.stack([_harmonic_levels(column) for column in table.T], axis=1)
        names = [f"f_rest_{index}" for index in range(levels.shape[1])]
        elements.append(_element("sh", levels, names, "u1"))
    file = io.BytesIO()
    PlyData(elements, byte_order="<").write(file)
    return file.getvalue()


def _element(name: str, rows: NDArray, names, kind: str, **more) -> PlyElement:
    table = np.ascontiguousarray(rows).view([(each, kind) for each in names]).reshape(len(rows))
    return PlyElement.describe(table, name, **more)


def morton_order(means: NDArray[np.float32]) -> NDArray[np.intp]:
    """(N,) indices along a Z-order curve, which keeps neighbours together at every scale.

    2^21 cells a side, so that a few Gaussians far out do not leave all others in a few cells.
    """
    low = means.min(axis=0).astype(np.float64)
    cells = ((means - low) / np.maximum(np.ptp(means, axis=0), 1e-30) * (2**21 - 1)).astype(np.uint64)
    code = np.zeros(len(means), np.uint64)
    for bit in range(21):
        for axis in range(3):
            code |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def _pack_fractions(fractions: NDArray) -> NDArray[np.uint32]:
    """x, y, z in 11, 10 and 11 bits, from the top down."""
    x, y, z = np.rint(fractions * [2047, 1023, 2047]).astype(np.uint32).T
    return x << np.uint32(21) | y << np.uint32(11) | z


def degree_in_use(splats: Splats) -> int:
    """The highest SH degree that has a coefficient as large as the format's smallest; 0 where none has.

    All that is smaller, as what a short training has not reached, is better left out: see `_harmonic_levels`.
    """
    large = np.flatnonzero((np.abs(splats.shN) >= SH_STEP / 2).any(axis=(0, 2)))
    used = large.max(initial=-1) + 1
    return next(degree for degree, count in enumerate(HIGHER_COEFFICIENTS) if count >= used)


def _harmonic_levels(coefficients: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Levels of one SH coefficient, (N,) in the file's order: the nearest, 128 being half a step above 0.

    Below half a step 127 and 128 take turns along the file, so that the mean is right. The nearest alone
    would shift many small coefficients the same way, and with them the colour of whole surfaces.
    """
    steps = coefficients.astype(np.float64) / SH_STEP
    small = np.abs(steps) < 0.5
    upper = np.floor(np.cumsum(np.where(small, steps + 0.5, 0)))
    turns = 127 + np.diff(upper, prepend=0)
    return np.where(small, turns, np.clip(np.floor(steps + 128), 0, 255)).astype(np.uint8)


def _pack_rotations(quats: NDArray) -> NDArray[np.uint32]:
    """Two bits for the index of the largest of w x y z, ten bits for each of the others."""
    largest, others = smallest_three(quats)
    a, b, c = np.clip(np.rint((others / 2**0.5 + 0.5) * 1023), 0, 1023).astype(np.uint32).T
    return largest.astype(np.uint32) << np.uint32(30) | a << np.uint32(20) | b << np.uint32(10) | c


def unpack_compressed(ply: PlyData, path: Path) -> Splats:
    """The Gaussians of a compressed PLY, as SuperSplat, splat-transform and gsplat write it.

    Raises:
        UserError: columns are missing, or the numbers of chunks and SH coefficients do not fit.
    """
    vertices = ply["vertex"].data
    chunk_columns = ply["chunk"].data.dtype.names
    ranges = [name for name in RANGES if name[4:] not in _COLOUR or "min_r" in chunk_columns]
    missing = [name for name in ranges if name not in chunk_columns]
    missing += [name for name in WORDS if name not in vertices.dtype.names]
    if missing:
        raise UserError(
            f"{path} is no compressed PLY of SuperSplat: columns missing: {', '.join(missing[:6])}"
        )
    count = len(vertices)
    if len(ply["chunk"]) * CHUNK < count:
        raise UserError(
            f"{path} is not a whole compressed PLY: {len(ply['chunk']):,} chunks hold at most "
            f"{len(ply['chunk']) * CHUNK:,} Gaussians, its header claims {count:,}; export it again"
        )
    chunks = dict(zip(ranges, columns(ply["chunk"].data, ranges, np.float32, path).T, strict=True))
    position, rotation, scale, colour = columns(vertices, WORDS, np.uint32, path).T
    which = np.arange(count) // CHUNK

    def within(fractions: NDArray, names: tuple[str, ...]) -> NDArray[np.float32]:
        low, high = (
            np.stack([chunks[f"{end}_{name}"][which] for name in names], axis=1) for end in ("min", "max")
        )
        return low + fractions.astype(np.float32) * (high - low)

    with np.errstate(invalid="ignore", over="ignore"):  # ranges that are not finite: left out later
        colours = (colour[:, None] >> np.array([24, 16, 8], np.uint32) & 255) / 255
        if "min_r" in chunks:
            colours = within(colours, _COLOUR)
        return Splats(
            means=within(_unpack_fractions(position), _POSITION),
            scales=within(_unpack_fractions(scale), _SCALE),
            quats=_unpack_rotations(rotation),
            opacities=opacity_logits((colour & 255).astype(np.uint8)),
            sh0=((colours - 0.5) / SH_C0).astype(np.float32),
            shN=_higher_coefficients(ply, count, path),
            antialiased=is_antialiased(ply["vertex"]),
        )


def _unpack_fractions(words: NDArray[np.uint32]) -> NDArray:
    fields = words[:, None] >> np.array([21, 11, 0], np.uint32) & np.array([2047, 1023, 2047], np.uint32)
    return fields / [2047, 1023, 2047]


def _unpack_rotations(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    fields = words[:, None] >> np.array([20, 10, 0], np.uint32) & 1023
    return from_smallest_three(words >> 30, (fields / 1023 - 0.5) * 2**0.5)


def _higher_coefficients(ply: PlyData, count: int, path: Path) -> NDArray[np.float32]:
    """(N, K - 1, 3), each in the middle of its 256th; the lowest and the highest are the range's ends."""
    names = (
        [] if "sh" not in ply else [each for each in ply["sh"].data.dtype.names if each.startswith("f_rest_")]
    )
    if not names:
        return np.zeros((count, 0, 3), np.float32)
    table, higher = ply["sh"].data, len(names) // 3
    numbered = [f"f_rest_{index}" for index in range(3 * higher)]
    if len(table) != count or set(names) != set(numbered) or higher not in HIGHER_COEFFICIENTS:
        raise UserError(
            f"{path} has {len(names)} SH coefficients for {len(table):,} of {count:,} Gaussians; "
            "expected f_rest_* from 0 to 8, 23 or 44, or none, for all of them; export it again"
        )
    levels = columns(table, numbered, np.float32, path)
    fractions = np.where(levels == 0, 0, np.where(levels == 255, 1, (levels + 0.5) / 256))
    return (SH_RANGE * (fractions.reshape(count, 3, higher).transpose(0, 2, 1) - 0.5)).astype(np.float32)
