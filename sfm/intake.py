"""Photographs as they come from cameras and phones, made ready: upright, sRGB, 8 bits, with unique names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from scene.colours import to_srgb
from scene.photographs import (
    PHOTOGRAPHS,
    read_header,
    read_image,
    read_upright,
    save_picture,
    stored_size,
)
from sfm.reconstruction import FEWEST
from utils.errors import UserError, Warnings

LOSSY = ("JPEG", "MPO", "HEIF", "WEBP")  # written again as JPEG; the other formats as PNG
SUFFIXES = {".jpg": (".jpg", ".jpeg"), ".png": (".png",)}
RIM = 9  # pixels: where a photograph is cut out, features less than half of this inside are left out too


@dataclass(frozen=True)
class Incoming:
    """A photograph to take in.

    Attributes:
        file: as it came.
        name: in the dataset, with "/" between folders; without white space, #, and bytes that are not UTF-8,
            which COLMAP's lists cannot have.
        work: what has to be done, each a sentence; nothing: the file is used as it is.
        transparent: has an alpha channel, which the dataset keeps.
    """

    file: Path
    name: str
    work: tuple[str, ...]
    transparent: bool


def find_photographs(source: Path) -> tuple[Path, list[Path]]:
    """Folder and files of the photographs: in `input/`, in `images/`, or in the folder itself.

    Hidden files, and those of the same bytes as an earlier one, are left out. Sorted as people count: 9
    before 10.

    Raises:
        UserError: no such folder, or fewer than three different photographs.
    """
    if not source.is_dir():
        raise UserError(
            f"--source_path: no folder or video {source}; give the folder of your photographs, or a video"
        )
    folder = next((source / part for part in ("input", "images") if (source / part).is_dir()), source)
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTOGRAPHS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if len(files) < FEWEST:
        endings = sorted({path.suffix or path.name for path in folder.iterdir()})
        alone = "; a photograph by itself needs no pose: give train.py its folder" * (len(files) == 1)
        raise UserError(
            f"{folder} has {len(files)} photographs ({', '.join(PHOTOGRAPHS)}; found: "
            f"{', '.join(endings[:8]) or 'nothing'}); at least {FEWEST} are needed, better 20 or "
            f"more; of a video give the file itself{alone}"
        )
    files.sort(key=lambda path: counted(path.relative_to(folder).as_posix()))
    different = without_copies(files)
    if len(different) < FEWEST:
        raise UserError(
            f"the {len(files)} photographs in {folder} are {len(different)} different ones, copied; at least "
            f"{FEWEST} are needed, each from another place"
        )
    return folder, different


def counted(name: str) -> list[str | int]:
    """A key that sorts names as people count: 9 before 10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", name))]


def without_copies(files: Sequence[Path]) -> list[Path]:
    """The files without those whose bytes equal an earlier one's."""
    sizes = [file.stat().st_size for file in files]
    seen: set[tuple[int, bytes]] = set()
    different = []
    for file, size in zip(files, sizes, strict=True):
        content = b""
        if sizes.count(size) > 1:
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").digest()
        if (size, content) not in seen:
            seen.add((size, content))
            different.append(file)
    return different


def look_at(folder: Path, files: Iterable[Path]) -> list[Incoming]:
    """What each photograph is and what has to be done to it, from the files' headers.

    Args:
        folder: from which names count.
        files: in it or below it.

    Raises:
        UserError: a file is damaged, no picture, or two would get one name.
    """
    photographs = [_incoming(folder, file) for file in files]
    first: dict[str, Path] = {}
    for each in photographs:
        other = first.setdefault(each.name.lower(), each.file)
        if other != each.file:
            raise UserError(
                f"{other} and {each.file} would both become {each.name}; if they show the same, remove one, "
                "else rename one"
            )
    return photographs


def _incoming(folder: Path, file: Path) -> Incoming:
    header = read_header(file)
    lossy = header.format in LOSSY and not header.transparent
    suffix = ".jpg" if lossy else ".png"
    named = file if file.suffix.lower() in SUFFIXES[suffix] else file.with_suffix(suffix)
    work = []
    if header.orientation > 1:
        work.append("turned upright, as their EXIF orientation asks")
    if header.deep:
        work.append("scaled from 16 bits to 8")
    if header.transparent:
        work.append("cut out: their transparency is kept, and no features are taken from it")
    colours = to_srgb(header.profile)
    if colours:
        work.append(f"converted from {colours.name} to sRGB")
    if header.mode not in ("RGB", "RGBA") and not header.deep:
        work.append("converted to RGB")
    if header.format not in ("JPEG", "MPO", "PNG") or named != file:
        work.append(f"written as {suffix} ({header.format})")
    name = re.sub(r"[\s#\ud800-\udfff]", "_", named.relative_to(folder).as_posix())
    return Incoming(file, name, tuple(work), header.transparent)


def said_of(photographs: Iterable[Incoming]) -> list[str]:
    """What is done to photographs: a line for each kind of work, with a count."""
    kinds = Warnings()
    for each in photographs:
        for kind in each.work:
            kinds.add(kind, each.name)
    return [f"{len(names)} photographs are {kind}" for kind, names in kinds.kinds.items()]


def take_in(photographs: Sequence[Incoming], into: Path) -> None:
    """Writes `into/images`, and `into/masks` if a photograph is transparent: NAME.png, black is left out.

    What COLMAP reads as it is becomes a link, once it was decoded: damage that COLMAP passes over in silence
    is found now. What has to be written again is an upright sRGB picture of 8 bits with the EXIF tags of the
    focal length and no others: JPEG of quality 97 without colour subsampling where it was lossy before, else
    PNG. Transparent parts are grey.

    Raises:
        UserError: a file is damaged.
    """
    masked = any(each.transparent for each in photographs)

    def one(each: Incoming) -> None:
        target = into / "images" / each.name
        mask = None
        if each.work:
            picture = read_upright(each.file)
            if picture.mode == "RGBA":
                mask = picture.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0)
                mask = mask.filter(ImageFilter.MinFilter(RIM))
                grey = Image.new("RGBA", picture.size, (127, 127, 127, 255))
                picture = Image.alpha_composite(grey, picture).convert("RGB")
            save_picture(picture, target, read_header(each.file).lens)
        else:
            read_image(each.file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(each.file)
        if masked:
            mask = mask or Image.new("L", stored_size(target)[:2], 255)
            save_picture(mask, into / "masks" / f"{each.name}.png")

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        list(pool.map(one, photographs))
