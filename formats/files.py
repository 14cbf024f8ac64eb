"""Any file of Gaussians by what it begins with, and the formats by name."""

from pathlib import Path

from formats.compressed_ply import is_compressed, unpack_compressed
from formats.ply import GAUSSIAN_COLUMNS, read_ply, unpack_ply, vertices_of
from formats.splat import unpack_splat
from formats.splats import Splats
from formats.spz import GZIP_MAGIC, MAGIC, unpack_spz
from utils.errors import UserError

SUFFIXES = {
    "ply": ".ply",
    "compressed_ply": ".compressed.ply",
    "splat": ".splat",
    "spz": ".spz",
    "html": ".html",
}
"""What the names of exported files end with."""


def format_of(path: Path) -> str:
    """The format that a file's name ends with; a `UserError` when there is none."""
    for name, suffix in sorted(SUFFIXES.items(), key=lambda item: -len(item[1])):
        if path.name.lower().endswith(suffix):
            return name
    raise UserError(
        f"{path}: its name says no format; give --format, or one of {', '.join(SUFFIXES.values())}"
    )


def read_splats(path: Path) -> Splats:
    """The Gaussians of a PLY, a compressed PLY, a `.splat` or an `.spz` file; values need not be finite.

    Raises:
        UserError: there is no such file, it is of another format, or not whole.
    """
    start = _start(path)
    if _is_ply(path, start):
        ply = read_ply(path)
        return unpack_compressed(ply, path) if is_compressed(ply) else unpack_ply(ply, path)
    if start == MAGIC or start[:2] == GZIP_MAGIC:
        return unpack_spz(path.read_bytes(), str(path))
    if path.suffix.lower() == ".splat":  # it has no header to be known by
        return unpack_splat(path.read_bytes(), str(path))
    raise UserError(
        f"{path} is no file of Gaussians that is read here: it begins with {start!r}; read are .ply, "
        ".compressed.ply, .splat and .spz. For .ksplat and .sog: https://github.com/playcanvas/splat-transform"
    )


def holds_splats(path: Path) -> bool:
    """Whether a file is one for `read_splats`: all but a PLY of points, of a mesh or of something else.

    Raises:
        UserError: there is no such file, or it is a PLY that is not whole.
    """
    if not _is_ply(path, _start(path)):
        return True
    ply = read_ply(path)
    names = {each.name for each in vertices_of(ply, path).properties}
    return is_compressed(ply) or names >= GAUSSIAN_COLUMNS


def _start(path: Path) -> bytes:
    """The file's first four bytes."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file of Gaussians, or a model's folder with -m")
    try:
        with path.open("rb") as file:
            return file.read(4)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None


def _is_ply(path: Path, start: bytes) -> bool:
    return start[:3] == b"ply" or path.suffix.lower() == ".ply"
