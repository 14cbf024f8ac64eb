"""Niantic's SPZ format, versions 2 to 4: about a tenth of the PLY's size.

Attribute after attribute: positions (24-bit fixed point), opacities, colours, log scales (bytes), rotations
and SH coefficients. Versions 2 and 3 are one gzip stream that begins with the header; version 4 has the
header and a table of sizes in the clear, then a zstd stream for each attribute. Version 2 stores x y z of the
rotation in a byte each, later ones the smallest three components in ten bits each.
The format's axes are right, up, back; a PLY's are right, down, forward: y and z change their signs.
Specification: https://github.com/nianticlabs/spz.
"""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from formats.splats import (
    HIGHER_COEFFICIENTS,
    MOST_GAUSSIANS,
    Splats,
    from_smallest_three,
    opacity_bytes,
    opacity_logits,
    smallest_three,
    to_bytes,
    unit_quaternions,
)
from utils.errors import UserError
from utils.optional_modules import optional_module

MAGIC, GZIP_MAGIC = b"NGSP", b"\x1f\x8b"
HEADER = struct.Struct("<4sIIBBBB")
"""Magic, version, Gaussians, SH degree, fraction bits of the positions, flags, streams (version 4)."""
TABLE_OFFSET, TABLE_ROW = struct.Struct("<I12x"), struct.Struct("<QQ")
"""What follows the header in version 4: where the table is; and its rows: compressed and whole size."""
ANTIALIASED = 1  # the flag's bit
GZIP_LIMIT = 1032  # deflate cannot squeeze more bytes than this into one
COLOUR_SCALE = 0.15  # of the SH coefficient of degree 0, in a byte's range
FEWEST_FRACTION_BITS, MOST_FRACTION_BITS = 0, 20
LARGEST_POSITION = 2**23 - 1  # of a signed 24-bit number
LEVELS = 511  # of a rotation's component, beside its sign
READ_AT_ONCE = 1 << 20  # bytes

TURN = np.array([1, -1, -1], np.float32)
"""From a PLY's axes to those of the format, and back."""
# Spherical harmonics of odd order in y and z together change their sign with these axes.
SH_SIGNS = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)[:, None]


def turned(splats: Splats) -> Splats:
    """The same Gaussians in axes of which y and z point the other way; twice is the identity."""
    return replace(
        splats,
        means=splats.means * TURN,
        quats=splats.quats * np.concatenate([[1], TURN], dtype=np.float32),
        shN=splats.shN * SH_SIGNS[: splats.shN.shape[1]],
    )


def pack_spz(splats: Splats, *, version: int = 3, sh_bits: tuple[int, int] = (5, 4)) -> bytes:
    """The file's bytes.

    Args:
        splats: in the axes of a PLY.
        version: 3, or 4, which takes zstandard.
        sh_bits: how many bits of the SH coefficients of degree 1, and of the higher ones, are not zero; fewer
            compress better. 5 and 4 are those of the format's own library.

    Raises:
        UserError: a position is too far out for the format, or zstandard is missing.
    """
    splats = turned(splats)
    farthest = float(np.abs(splats.means).max())
    bits = MOST_FRACTION_BITS
    while farthest * 2**bits > LARGEST_POSITION:
        bits -= 1
    if bits < FEWEST_FRACTION_BITS:
        raise UserError(
            f".spz holds positions up to {LARGEST_POSITION:,} units from the origin, this model has "
            f"{farthest:,.0f}; crop or rescale it, or export a .ply"
        )
    streams = [
        _pack_positions(splats.means, bits),
        opacity_bytes(splats.opacities),
        to_bytes(255 * (0.5 + COLOUR_SCALE * splats.sh0)),
        to_bytes(16 * (splats.scales + 10)),
        _pack_rotations(unit_quaternions(splats.quats)),
        _pack_harmonics(splats.shN, sh_bits),
    ]
    contents = [stream.tobytes() for stream in streams if stream.size]
    flags, count = ANTIALIASED * splats.antialiased, len(contents) if version == 4 else 0
    header = HEADER.pack(MAGIC, version, len(splats), splats.sh_degree, bits, flags, count)
    if version == 4:
        zstandard = optional_module("zstandard", "SPZ version 4 is packed by zstandard")
        compressed = [zstandard.ZstdCompressor(level=12).compress(content) for content in contents]
        table = [TABLE_ROW.pack(len(a), len(b)) for a, b in zip(compressed, contents, strict=True)]
        offset = TABLE_OFFSET.pack(HEADER.size + TABLE_OFFSET.size)
        return b"".join([header, offset, *table, *compressed])
    packer = zlib.compressobj(9, wbits=31)  # a gzip header without a time: the same model, the same bytes
    return packer.compress(b"".join([header, *contents])) + packer.flush()


def _pack_positions(means: NDArray, bits: int) -> NDArray[np.uint8]:
    fixed = np.rint(means.astype(np.float64) * 2**bits).astype("<i4")
    return fixed.view(np.uint8).reshape(-1, 3, 4)[:, :, :3]


def _pack_rotations(quats: NDArray) -> NDArray:
    """Two bits for the index of the largest of x y z w, then sign and nine bits for each of the others."""
    largest, others = smallest_three(quats[:, [1, 2, 3, 0]])
    levels = np.minimum(np.rint(np.abs(others) * (LEVELS * 2**0.5)), LEVELS).astype(np.uint32)
    levels |= (others < 0).astype(np.uint32) << np.uint32(9)
    word = largest.astype(np.uint32)
    for component in range(3):
        word = word << np.uint32(10) | levels[:, component]
    return word.astype("<u4")


def _pack_harmonics(higher: NDArray, sh_bits: tuple[int, int]) -> NDArray[np.uint8]:
    """128ths above 128, rounded to a multiple that depends on the degree."""
    step = np.where(np.arange(higher.shape[1]) < 3, 2 ** (8 - sh_bits[0]), 2 ** (8 - sh_bits[1]))[:, None]
    return np.clip(np.rint((128 * higher + 128) / step) * step, 0, 255).astype(np.uint8)


def unpack_spz(content: bytes, name: str) -> Splats:
    """The Gaussians of a file's bytes, in the axes of a PLY.

    Raises:
        UserError: these bytes are no SPZ file, not a whole one, or of a version or degree that is not read
            here; or zstandard is missing.
    """
    if content[:2] == GZIP_MAGIC:
        unpacker = zlib.decompressobj(wbits=31)
        header = _gunzip(unpacker, content, HEADER.size, name)
    else:
        unpacker, header = None, content[: HEADER.size]
    if len(header) < HEADER.size or header[:4] != MAGIC:
        raise UserError(
            f"{name} is no SPZ file: it does not begin with {MAGIC.decode()}, gzipped or in the clear"
        )
    _, version, count, degree, bits, flags, streams = HEADER.unpack(header)
    if version not in (2, 3, 4):
        raise UserError(f"{name} is SPZ version {version}; 2, 3 and 4 are read here")
    if degree >= len(HIGHER_COEFFICIENTS) or bits > 23:
        raise UserError(
            f"{name} has SH degree {degree} and {bits} fraction bits; 3 and 23 are the most that is read"
        )
    if not 0 < count <= MOST_GAUSSIANS:
        raise UserError(f"{name} claims {count:,} Gaussians; allowed are 1 to {MOST_GAUSSIANS:,}")
    higher = HIGHER_COEFFICIENTS[degree]
    sizes = [count * each for each in (9, 1, 3, 3, 3 if version == 2 else 4, 3 * higher)]
    if version == 4:
        parts = _unpack_streams(content, streams, [size for size in sizes if size], name)
    else:
        body = _body(unpacker, content, sum(sizes), name)
        parts = [body[sum(sizes[:index]) :][:size] for index, size in enumerate(sizes)]
    positions, opacities, colours, scales, rotations, *rest = (
        np.frombuffer(part, np.uint8) for part in parts
    )
    harmonics = rest[0] if rest else np.zeros(0, np.uint8)
    splats = Splats(
        means=_unpack_positions(positions.reshape(-1, 3, 3), bits),
        scales=(scales.reshape(-1, 3) / 16 - 10).astype(np.float32),
        quats=_unpack_first_three(rotations) if version == 2 else _unpack_rotations(rotations.view("<u4")),
        opacities=opacity_logits(opacities),
        sh0=((colours.reshape(-1, 3) / 255 - 0.5) / COLOUR_SCALE).astype(np.float32),
        shN=((harmonics.reshape(count, higher, 3) - 128.0) / 128).astype(np.float32),
        antialiased=bool(flags & ANTIALIASED),
    )
    return turned(splats)


def _gunzip(unpacker: "zlib._Decompress", content: bytes, size: int, name: str) -> bytes:
    """At most the next `size` bytes of a gzip stream."""
    try:
        return unpacker.decompress(content, size)
    except zlib.error as problem:
        raise UserError(f"{name} is not a whole SPZ file: {problem}; copy or download it again") from None


def _body(unpacker: "zlib._Decompress | None", content: bytes, size: int, name: str) -> bytes:
    """The bytes behind the header; what vendors append behind these is left alone."""
    body = b""
    if unpacker is None:
        body = content[HEADER.size :][:size]
    elif size <= GZIP_LIMIT * len(content):
        body = _gunzip(unpacker, unpacker.unconsumed_tail, size, name)
    if len(body) < size:
        raise UserError(
            f"{name} is not a whole SPZ file: its header claims {size:,} bytes of Gaussians, and there are "
            f"fewer in its {len(content):,}; copy or download it again"
        )
    return body


def _unpack_streams(content: bytes, streams: int, sizes: list[int], name: str) -> list[bytes]:
    """The attributes of version 4, each at the size that the header's count of Gaussians asks for."""
    broken = f"{name} is not a whole SPZ file"
    if len(content) < HEADER.size + TABLE_OFFSET.size or streams != len(sizes):
        raise UserError(f"{broken}: {streams} streams, expected {len(sizes)}")
    offset = TABLE_OFFSET.unpack_from(content, HEADER.size)[0]
    start = offset + streams * TABLE_ROW.size
    if start > len(content):
        raise UserError(f"{broken}: its table of streams lies beyond its end")
    zstandard = optional_module("zstandard", f"{name} is SPZ version 4, which is unpacked by zstandard")
    parts = []
    for row, size in enumerate(sizes):
        compressed, whole = TABLE_ROW.unpack_from(content, offset + row * TABLE_ROW.size)
        if whole != size or start + compressed > len(content):
            raise UserError(
                f"{broken}: stream {row} of {whole:,} bytes in {compressed:,}, expected {size:,} in at most "
                f"{len(content) - start:,}"
            )
        parts.append(_unzstd(zstandard, content[start : start + compressed], size, broken))
        start += compressed
    return parts


def _unzstd(zstandard, content: bytes, size: int, broken: str) -> bytes:
    """A stream of that size, unpacked piece by piece: memory grows with what there is, not with claims."""
    result = bytearray()
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(content))
        while len(result) <= size and (piece := reader.read(READ_AT_ONCE)):
            result += piece
    except zstandard.ZstdError as problem:
        raise UserError(f"{broken}: {problem}; copy or download it again") from None
    if len(result) != size:
        raise UserError(f"{broken}: a stream does not have its {size:,} bytes; copy or download it again")
    return bytes(result)


def _unpack_positions(fixed: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    """From three bytes each, the lowest first, in two's complement."""
    words = np.zeros((*fixed.shape[:2], 4), np.uint8)
    words[:, :, 1:] = fixed
    return ((words.view("<i4")[:, :, 0] >> 8) / 2**bits).astype(np.float32)


def _unpack_first_three(rotations: NDArray[np.uint8]) -> NDArray[np.float32]:
    xyz = rotations.reshape(-1, 3).astype(np.float32) / 127.5 - 1
    w = np.sqrt(np.maximum(1 - (xyz**2).sum(axis=1, keepdims=True), 0))
    return np.concatenate([w, xyz], axis=1)


def _unpack_rotations(words: NDArray) -> NDArray[np.float32]:
    fields = words[:, None] >> np.array([20, 10, 0], np.uint32)
    magnitude = (fields & LEVELS) / (LEVELS * 2**0.5)
    others = np.where(fields >> 9 & 1, -magnitude, magnitude)
    return from_smallest_three(words >> 30, others)[:, [3, 0, 1, 2]]
