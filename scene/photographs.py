"""Photographs: read from any common format, brought to the camera's size, kept as bytes within a budget."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pycolmap
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from torch import Tensor

from scene.colours import in_srgb
from scene.undistort import undistorted
from utils.errors import UserError
from utils.optional_modules import optional_module

HEIC = (".heic", ".heif")
PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", *HEIC)  # what convert.py takes in
VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv")
ORIENTATION = 0x0112  # the EXIF tag
EXIF_PART = 0x8769  # where EXIF keeps what photographs alone have
LENS_TAGS = (0x920A, 0xA405)  # focal length in mm, and what it would be on 35 mm film
CAMERA_TAGS = (0x010F, 0x0110)  # make and model, by which COLMAP knows the sensor's width
TURNED_BACK = {  # what undoes the turn that Pillow, unasked, gives to a TIFF file with this orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNED_UPRIGHT = TURNED_BACK | {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}


@dataclass(frozen=True, eq=False)
class Pixels:
    """A photograph's bytes at its camera's size.

    Attributes:
        rgb: (H, W, 3) uint8, not multiplied by alpha.
        alpha: (H, W) uint8, 255 opaque; None where all of it is opaque.
        mask: (H, W) uint8, 255 counts in the loss, 0 does not; None where all of it counts.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    mask: NDArray[np.uint8] | None

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes."""
        return sum(part.nbytes for part in (self.rgb, self.alpha, self.mask) if part is not None)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(H, W) bool: which pixels are neither masked nor transparent, by more than half."""
        result = np.ones(self.rgb.shape[:2], bool)
        for channel in (self.alpha, self.mask):
            if channel is not None:
                result &= channel > 127
        return result


class PixelCache:
    """Decoded photographs, as many as fit into a budget of bytes.

    What came first stays; what does not fit is decoded again at every use. Training visits the views in
    shuffled rounds, each once a round, where evicting the least recently used would throw out the very
    pictures that come next.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._kept: dict[Photograph, Pixels] = {}
        self._lock = threading.Lock()

    def get(self, photograph: Photograph, decode: Callable[[], Pixels]) -> Pixels:
        """The photograph's pixels, kept from an earlier call or from `decode()`."""
        with self._lock:
            kept = self._kept.get(photograph)
        if kept is not None:
            return kept
        pixels = decode()
        with self._lock:
            if photograph not in self._kept and self.used + pixels.nbytes <= self.budget:
                self._kept[photograph] = pixels
                self.used += pixels.nbytes
        return pixels

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph at its camera's size, decoded when asked for.

    Attributes:
        path: the image file.
        width, height: pixels, the camera's; the file may be larger or smaller.
        cache: shared by the photographs of a scene.
        lens: the distorted camera that took the file, at the file's size; None for a pinhole.
        mask_path: a picture whose white part counts; None for no mask.
        mask_is_alpha: the mask makes the photograph transparent, instead of taking pixels out of the loss.
        half: the only half that counts; None: both do. The left one ends before column W // 2.
    """

    path: Path
    width: int
    height: int
    cache: PixelCache
    lens: pycolmap.Camera | None = None
    mask_path: Path | None = None
    mask_is_alpha: bool = False
    half: Literal["left", "right"] | None = None

    def pixels(self) -> Pixels:
        """The bytes at the camera's size, from the cache where they fit.

        Raises:
            UserError: a file is damaged or of an unusable kind; it is named.
        """
        return self.cache.get(self, self._decoded)

    def target(self, background: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor | None]:
        """What a rendering over `background` should look like, and how much each pixel counts.

        Args:
            background: (3,) float32 in [0, 1]; shows where the photograph is transparent.
            device: where the results go.

        Returns:
            image: (3, H, W) float32 in [0, 1].
            weight: (H, W) float32 in [0, 1]; None where every pixel counts in full.
        """
        pixels = self.pixels()
        image = torch.from_numpy(pixels.rgb).to(device).permute(2, 0, 1).contiguous().float() / 255
        if pixels.alpha is not None:
            alpha = torch.from_numpy(pixels.alpha).to(device).float() / 255
            image = image * alpha + background.to(device)[:, None, None] * (1 - alpha)
        weight = None
        if pixels.mask is not None:
            weight = torch.from_numpy(pixels.mask).to(device).float() / 255
        return image, weight

    def _decoded(self) -> Pixels:
        picture = read_image(self.path)
        stored_size = picture.size
        size = (self.width, self.height)
        if self.lens is not None:
            picture = undistorted(picture, self.lens)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        channels = np.array(picture)
        rgb = np.ascontiguousarray(channels[..., :3])
        alpha = np.ascontiguousarray(channels[..., 3]) if picture.mode == "RGBA" else None
        mask = self._decoded_mask(stored_size)
        if mask is not None and self.mask_is_alpha:
            product = mask.astype(np.uint16) * (255 if alpha is None else alpha)
            alpha, mask = ((product + 127) // 255).astype(np.uint8), None
        if self.half:
            middle = self.width // 2
            mask = np.full(rgb.shape[:2], 255, np.uint8) if mask is None else mask
            mask[:, slice(middle, None) if self.half == "left" else slice(middle)] = 0
        return Pixels(rgb, _unless_full(alpha), _unless_full(mask))

    def _decoded_mask(self, stored_size: tuple[int, int]) -> NDArray[np.uint8] | None:
        if self.mask_path is None:
            return None
        values = np.asarray(read_image(self.mask_path).convert("L"))
        if values.max() == 1:  # a map of labels 0 and 1, not a picture
            values = values * np.uint8(255)
        mask = Image.fromarray(values)
        if self.lens is not None:
            mask = undistorted(mask.resize(stored_size, Image.Resampling.NEAREST), self.lens)
        return np.array(mask.resize((self.width, self.height), Image.Resampling.BOX))


def decode_all(photographs: Sequence[Photograph]) -> None:
    """Fills the cache, several photographs at a time, first ones first.

    Those beyond the budget are decoded too and thrown away: a damaged file is found now, not after an hour.

    Raises:
        UserError: a file is damaged or of an unusable kind; it is named.
    """

    def decode(photograph: Photograph) -> None:
        photograph.pixels()

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        jobs = [pool.submit(decode, photograph) for photograph in photographs]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def read_image(path: Path) -> Image.Image:
    """The file's picture as it is stored, 8 bits a channel, mode RGB or RGBA, never turned by its EXIF tag.

    Grey, palette, CMYK and 16-bit files are converted; 16-bit values are scaled to 8, not cut off.

    Raises:
        UserError: the file is damaged, no picture, or holds floating-point values.
    """
    with _opened(path) as (picture, orientation):
        picture.load()
        if picture.mode == "F":
            raise UserError(
                f"{path} holds floating-point values, whose white is not defined; "
                "convert it to a picture of 8 or 16 bits"
            )
        if picture.mode.startswith("I"):
            # 16 bits of grey, which Pillow's own conversion would cut at 255
            values = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
            result = Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
        else:
            result = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        if isinstance(picture, TiffImageFile) and orientation in TURNED_BACK:
            result = result.transpose(TURNED_BACK[orientation])
        return result


def read_upright(path: Path) -> Image.Image:
    """As `read_image`, but turned as the EXIF orientation asks, and in sRGB whatever the embedded profile.

    For photographs that have no poses yet.
    """
    header = read_header(path)
    picture = in_srgb(read_image(path), header.profile)
    turn = TURNED_UPRIGHT.get(header.orientation)
    return picture if turn is None else picture.transpose(turn)


@dataclass(frozen=True, eq=False)
class Header:
    """What a photograph's file says of itself, read without decoding it.

    Attributes:
        format: Pillow's name of it, "JPEG" say.
        mode: Pillow's, of the stored picture.
        orientation: the EXIF tag; 1: upright.
        deep: a channel has more than 8 bits.
        transparent: there is an alpha channel, or a transparent colour.
        profile: the embedded ICC profile of its colours; empty where there is none.
        lens: the EXIF tags of which the focal length in pixels follows, and no others.
    """

    format: str
    mode: str
    orientation: int
    deep: bool
    transparent: bool
    profile: bytes
    lens: Image.Exif


def read_header(path: Path) -> Header:
    """What the photograph's file says of itself.

    Raises:
        UserError: the file is damaged or no picture.
    """
    with _opened(path) as (picture, orientation):
        lens = Image.Exif()
        if "exif" in picture.info or isinstance(picture, TiffImageFile):
            tags = picture.getexif()
            lens.update({tag: tags[tag] for tag in CAMERA_TAGS if tag in tags})
            photographic = tags.get_ifd(EXIF_PART)
            lens.get_ifd(EXIF_PART).update(
                {tag: photographic[tag] for tag in LENS_TAGS if tag in photographic}
            )
        tiles = getattr(picture, "tile", ())
        stored = f"{picture.mode} {tiles[0].args if tiles else ''}"  # "RGB RGB;16B" say
        return Header(
            format=picture.format or "",
            mode=picture.mode,
            orientation=orientation,
            deep="16" in stored or picture.mode == "I",
            transparent=picture.has_transparency_data,
            profile=picture.info.get("icc_profile") or b"",
            lens=lens,
        )


def save_picture(picture: Image.Image, path: Path, exif: Image.Exif | None = None) -> None:
    """Writes what the name's ending says: PNG, or JPEG of quality 97 without colour subsampling; sRGB.

    The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # without a profile, which means sRGB; a PNG would get that of the file from which the picture was read
    picture.save(path, quality=97, subsampling=0, exif=exif or Image.Exif(), icc_profile=None)


def stored_size(path: Path) -> tuple[int, int, int]:
    """Width and height in pixels as stored, and the EXIF orientation (1: upright), from the file's header.

    Raises:
        UserError: the file is damaged or no picture.
    """
    with _opened(path) as (picture, orientation):
        if isinstance(picture, TiffImageFile):
            return picture.tag_v2[IMAGEWIDTH], picture.tag_v2[IMAGELENGTH], orientation
        return picture.width, picture.height, orientation


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, int]]:
    """The file's picture, not yet decoded, and its EXIF orientation; damage becomes a UserError."""
    if path.suffix.lower() in HEIC:
        optional_module("pillow_heif", f"{path} is read by pillow_heif").register_heif_opener()
    try:
        with Image.open(path) as picture:
            # asking a PNG without the tag would decode all of it
            tagged = "exif" in picture.info or isinstance(picture, TiffImageFile)
            yield picture, int(picture.getexif().get(ORIENTATION, 1)) if tagged else 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise UserError(
            f"{path} cannot be read as a picture ({failure}); replace or remove the file"
        ) from failure


def find_mask(folder: Path, name: str) -> Path | None:
    """The mask of the photograph `name`: `a/b.jpg.png`, `a/b.png`, `a/b.jpg`, the first that exists."""
    for candidate in (folder / f"{name}.png", (folder / name).with_suffix(".png"), folder / name):
        if candidate.is_file():
            return candidate
    return None


def _unless_full(channel: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """The channel, or None where all of it is 255."""
    return None if channel is None or channel.min() == 255 else channel
