"""Any file of Gaussians by what it begins with, and the formats by name."""

from pathlib import Path

from formats.compressed_ply import is_compressed, unpack_compressed
from formats.ply import read_ply, unpack_ply
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
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file of Gaussians, or a model's folder with -m")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise UserError(f"no such file of Gaussians: {path}") from None
    if start[:3] == b"ply" or path.suffix.lower() == ".ply":
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
