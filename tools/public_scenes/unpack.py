"""Unpacking scenes from a zip archive: whole, only inside their folder, each once."""

import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from utils.errors import UserError


def unpack(archive: Path, folders: Mapping[str, Path]) -> None:
    """Unpacks folders of the archive; one whose target is there is left as it is.

    A folder appears under its name when all of it is there.

    Args:
        folders: folder inside the archive, with / between its parts, and where it goes.

    Raises:
        UserError: the archive is damaged, lacks a folder, holds a name that leads out of it or a link, or
            needs more space than there is. Folders unpacked before that are kept.
    """
    missing = {inside: target for inside, target in folders.items() if not target.is_dir()}
    try:
        with zipfile.ZipFile(archive) as file:
            members = {inside: _members(file, inside, archive) for inside in missing}
            for inside, target in missing.items():
                _demand_space(members[inside], target)
                _unpack_folder(file, members[inside], inside, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as failure:
        raise UserError(f"{archive} cannot be unpacked ({failure}); delete it to fetch it anew") from failure


def _members(file: zipfile.ZipFile, inside: str, archive: Path) -> list[zipfile.ZipInfo]:
    """The files of a folder in the archive."""
    chosen = [
        info for info in file.infolist() if info.filename.startswith(f"{inside}/") and not info.is_dir()
    ]
    if not chosen:
        raise UserError(f"{archive} has no folder {inside}; the archive was changed where it is published")
    for info in chosen:
        parts = PureWindowsPath(info.filename.removeprefix(f"{inside}/"))  # \ and C: are refused as well as /
        mode = info.external_attr >> 16
        if ".." in parts.parts or parts.anchor or stat.S_ISLNK(mode):
            raise UserError(
                f"{archive} holds {info.filename!r}, which leads out of its folder; nothing was unpacked"
            )
    return chosen


def _unpack_folder(file: zipfile.ZipFile, members: list[zipfile.ZipInfo], inside: str, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        for info in tqdm(members, unit="file", desc=target.name):
            path = temporary / PurePosixPath(info.filename).relative_to(inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            with file.open(info) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _demand_space(members: list[zipfile.ZipInfo], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(info.file_size for info in members), shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(f"{target} needs {needed:,} bytes and {free:,} are free; choose another --output")
