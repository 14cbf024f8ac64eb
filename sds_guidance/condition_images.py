"""The user's pictures beside the photographs: found by file or folder, read one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from sds_guidance.finetune.captioned import SUFFIXES
from sds_guidance.finetune.pictures import UnreadablePicture, read_picture
from utils.errors import UserError


def find_pictures(names: Sequence[str], flag: str) -> list[Path]:
    """The files that are named, and those of the folders that are named and of all below, by name.

    Args:
        names: files and folders.
        flag: that names them, for a message.

    Raises:
        UserError: there is no such file or folder, or a folder without pictures.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_file():
            files.append(path)
            continue
        found = sorted(below for below in path.rglob("*") if below.suffix.lower() in SUFFIXES)
        if not found:
            what = "holds no pictures" if path.is_dir() else "is no file or folder"
            raise UserError(f"--{flag} {path} {what}; looked for {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def read_condition_image(path: Path) -> Tensor:
    """(3, H, W) float32 in [0, 1]; what is transparent becomes white.

    Raises:
        UserError: there is no such file, or it is no picture of eight bits a channel.
    """
    try:
        return read_picture(path, None)
    except (UnreadablePicture, UserError) as problem:  # the latter of scans, whose grey has no stated range
        raise UserError(
            f"--condition_images: {path} cannot be read as a picture of eight bits a channel ({problem}); "
            "convert, replace or remove it"
        ) from problem
