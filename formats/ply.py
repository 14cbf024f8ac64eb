"""The reference's PLY of Gaussians, read from others without trust and written in its exact order."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError

from formats.splats import HIGHER_COEFFICIENTS, Splats
from utils.errors import UserError
from utils.files import whole_file

Number = TypeVar("Number", bound=np.generic)

RENDER_MODES = {False: "default", True: "mip"}
"""What the PLY's comment `SplatRenderMode` says of a model trained without and with antialiasing."""

HEADER_LIMIT = 1 << 16  # bytes; a header with 45 SH coefficients takes 1500
TYPE_SIZES = {
    **{"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8},
    **{"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "float64": 8},
}
GAUSSIAN_COLUMNS = frozenset({"opacity", "scale_0", "rot_0", "f_dc_0"})


def read_ply(path: Path) -> PlyData:
    """Any PLY file, once its size has been found to allow what its header claims.

    Raises:
        UserError: no such file, no PLY, or not a whole one.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(HEADER_LIMIT)
            _demand_claims_fit(path, start, file.seek(0, 2))
        return PlyData.read(path)
    except FileNotFoundError:
        raise UserError(f"no such PLY file: {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; expected a PLY file") from None
    except (PlyParseError, ValueError, TypeError, OverflowError) as problem:
        raise UserError(f"{path} is not a whole PLY file: {problem}") from None


def _demand_claims_fit(path: Path, start: bytes, size: int) -> None:
    """Raises a UserError if the header has no end, or claims elements that need more than the file has.

    Args:
        path: for the message.
        start: the file's first bytes.
        size: of the whole file, bytes.
    """
    newline = b"\r\n" if start[3:5] == b"\r\n" else start[3:4] or b"\n"  # the first decides, as in plyfile
    header, end, _ = start.partition(newline + b"end_header" + newline)
    if not start.startswith(b"ply") or not end:
        reason = (
            "no end of a header was found" if start.startswith(b"ply") else "it does not begin with 'ply'"
        )
        raise UserError(f"{path} is not a whole PLY file: {reason}")
    ascii_text = b"format ascii" in header
    elements: list[tuple[str, int, list[int]]] = []
    for line in header.decode("latin-1").split(newline.decode("latin-1")):
        match line.split():
            case ["element", name, number]:
                elements.append((name, int(number), []))
            case ["property", "list", length, _, _] if elements:
                elements[-1][2].append(TYPE_SIZES.get(length, 1))
            case ["property", kind, _] if elements:
                elements[-1][2].append(TYPE_SIZES.get(kind, 1))
    left = size - len(header) - len(end)
    for name, count, sizes in elements:
        each = max(1, 2 * len(sizes) - 1 if ascii_text else sum(sizes))
        if count < 0 or count * each > left:
            raise UserError(
                f"{path} is not a whole PLY file: its header claims {count:,} of '{name}', at least "
                f"{each} bytes each, and {max(left, 0):,} bytes are left for them; copy or "
                "export it again"
            )
        left -= count * each


def vertices_of(ply: PlyData, path: Path) -> PlyElement:
    """The element `vertex`; a `UserError` when there is none."""
    if "vertex" not in ply:
        found = ", ".join(element.name for element in ply.elements) or "none"
        raise UserError(f"{path} holds no element 'vertex' (elements found: {found})")
    return ply["vertex"]


def is_antialiased(vertices: PlyElement) -> bool:
    """Whether a comment says that the model was trained with antialiasing."""
    return any(line.replace(" ", "") == "SplatRenderMode:mip" for line in vertices.comments)


def unpack_ply(ply: PlyData, path: Path) -> Splats:
    """Gaussians in the reference's naming; columns are found by name, normals are not needed.

    Raises:
        UserError: these are no Gaussians, or columns are missing.
    """
    vertices = vertices_of(ply, path)
    present = {item.name for item in vertices.properties}
    if not present & GAUSSIAN_COLUMNS:
        raise UserError(_other_kind(ply, path, present))
    rest = len([name for name in present if name.startswith("f_rest_")])
    higher = rest // 3
    if higher not in HIGHER_COEFFICIENTS or rest % 3:
        raise UserError(
            f"{path} has {rest} columns f_rest_*; expected 0, 9, 24 or 45 (SH degree 0 to 3); export it "
            "again with all of them or none"
        )
    needed = [name for name in _property_names(higher) if name not in ("nx", "ny", "nz")]
    missing = [name for name in needed if name not in present]
    if missing:
        raise UserError(
            f"{path} is no 3D Gaussian PLY: columns missing: {', '.join(missing[:6])}"
            f"{', ...' if len(missing) > 6 else ''}; found: {', '.join(sorted(present)[:12])}"
        )
    table = columns(vertices.data, needed, np.float32, path)
    means, sh0, shn, opacities, scales, quats = np.split(table, np.cumsum([3, 3, rest, 1, 3]), axis=1)
    return Splats(
        means=means,
        scales=scales,
        quats=quats,
        opacities=opacities.reshape(-1),
        sh0=sh0,
        shN=shn.reshape(len(table), 3, higher).transpose(0, 2, 1),
        antialiased=is_antialiased(vertices),
    )


def columns(table: NDArray, names: Sequence[str], kind: type[Number], path: Path) -> NDArray[Number]:
    """(N, len(names)) the columns of those names as numbers; a `UserError` when one holds lists."""
    try:
        with np.errstate(all="ignore"):  # a float64 beyond float32 becomes infinite, and is left out as such
            return np.stack([table[name].astype(kind) for name in names], axis=1)
    except (TypeError, ValueError):
        raise UserError(f"{path} is no PLY of Gaussians: it has lists in a column of numbers") from None


def _other_kind(ply: PlyData, path: Path, present: set[str]) -> str:
    """What a PLY without any column of Gaussians is, and what can be done with it."""
    count = f"{len(ply['vertex']):,}"
    found = f"columns found: {', '.join(sorted(present)[:12]) or 'none'}"
    kind = f"an unknown kind of {count} vertices"
    if "face" in ply and len(ply["face"]):
        kind = f"a mesh of {count} vertices and {len(ply['face']):,} faces"
    elif {"x", "y", "z"} <= present:
        kind = f"a point cloud of {count} points"
    advice = (
        f"; a training can start from its points: train.py --init_ply {path}"
        if {"x", "y", "z"} <= present
        else ""
    )
    return f"{path} is no 3D Gaussian PLY but {kind} ({found}){advice}"


def _property_names(higher_coefficients: int) -> list[str]:
    """The reference's order; old viewers read the file as a packed struct and never look at the names."""
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(3 * higher_coefficients)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def write_ply(path: Path, splats: Splats) -> None:
    """Writes the reference's PLY: little-endian float32, stored (not activated) values, SH channel-major.

    How the model was trained stands in a comment after the line `element vertex` (an old viewer expects that
    line third).
    """
    count, higher = splats.shN.shape[:2]
    columns = np.concatenate(
        [
            splats.means,
            np.zeros((count, 3), np.float32),
            splats.sh0,
            splats.shN.transpose(0, 2, 1).reshape(count, 3 * higher),
            splats.opacities.reshape(count, 1),
            splats.scales,
            splats.quats,
        ],
        axis=1,
        dtype=np.float32,
    )
    names = _property_names(higher)
    vertices = np.ascontiguousarray(columns).view([(name, "<f4") for name in names]).reshape(count)
    element = PlyElement.describe(
        vertices, "vertex", comments=[f"SplatRenderMode: {RENDER_MODES[splats.antialiased]}"]
    )
    with whole_file(path) as file:
        PlyData([element], byte_order="<").write(file)
