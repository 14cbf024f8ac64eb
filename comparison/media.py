"""Pictures and videos for a page: encoded, and written into it as data addresses."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

AMPLIFIED = 4
"""Factor by which differences are shown; what is 64 of 255 grey levels or more looks alike."""
JPEG_QUALITY = 90
# Of a page (pictures) and of the files (videos, a third more on the page): together they stay below 15 MB.
PICTURE_BYTES, VIDEO_BYTES = 8_000_000, 5_000_000

# Colours of the differences at equal steps of level, dark to light so that they read in grey as well.
RAMP = ((6, 6, 12), (52, 24, 92), (138, 36, 106), (218, 78, 62), (248, 164, 54), (255, 250, 200))


@dataclass(frozen=True)
class View:
    """The pictures of one held-out view as data addresses; one rendering and one error for each model.

    Attributes:
        name: the view's file name.
        width, height: of each picture, pixels.
        photograph, renderings: JPEG.
        errors: levels of rendering against photograph, PNG.
        difference: levels of the second rendering against the first, PNG; None with one model.
    """

    name: str
    width: int
    height: int
    photograph: str
    renderings: list[str]
    errors: list[str]
    difference: str | None

    @property
    def size(self) -> int:
        """How many bytes of the page its pictures take."""
        return sum(map(len, (self.photograph, *self.renderings, *self.errors, self.difference or "")))


def picture_view(name: str, photograph: NDArray[np.uint8], renderings: Sequence[NDArray[np.uint8]]) -> View:
    """A view's pictures, encoded.

    Args:
        name: the view's file name.
        photograph: (H, W, 3) uint8.
        renderings: the same shape; the first model's, the second's, ...
    """
    height, width = photograph.shape[:2]
    return View(
        name,
        width,
        height,
        jpeg_address(photograph),
        [jpeg_address(rendering) for rendering in renderings],
        [level_address(levels(rendering, photograph)) for rendering in renderings],
        level_address(levels(renderings[1], renderings[0])) if len(renderings) > 1 else None,
    )


def views_that_fit(views: Sequence[View], limit: int) -> list[View]:
    """The most views, evenly spaced from first to last, that take at most `limit` bytes; at least one."""
    for count in range(len(views), 1, -1):
        chosen = [views[round(number)] for number in np.linspace(0, len(views) - 1, count)]
        if sum(view.size for view in chosen) <= limit:
            return chosen
    return list(views[:1])


def levels(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8: mean absolute difference of the three colours, times `AMPLIFIED`, rounded, at most 255.

    Args:
        image, other: (H, W, 3) uint8.
    """
    total = np.abs(image.astype(np.int32) - other).sum(axis=2)
    return np.minimum((total * AMPLIFIED + 1) // 3, 255).astype(np.uint8)  # + 1: to the nearest third


def ramp_colours() -> NDArray[np.uint8]:
    """(256, 3) uint8: the colour of each level."""
    stops = np.linspace(0, 255, len(RAMP))
    channels = [np.interp(np.arange(256), stops, channel) for channel in zip(*RAMP, strict=True)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def jpeg_address(pixels: NDArray[np.uint8]) -> str:
    """A picture, (H, W, 3) uint8, as the data address of a JPEG with colours at full resolution."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data_address(buffer.getvalue(), "image/jpeg")


def level_address(values: NDArray[np.uint8]) -> str:
    """Levels, (H, W) uint8, as the data address of a PNG whose palette is the ramp: lossless."""
    image = Image.fromarray(values).convert("P")
    image.putpalette(ramp_colours().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_address(buffer.getvalue(), "image/png")


def video_sources(videos: Sequence[Path | None], folder: Path) -> list[str | None]:
    """For each video its address on a page in `folder`; None where there is no video.

    All are written into the page if they have at most `VIDEO_BYTES` together; else all are links, relative
    to `folder`, and the page needs the files where they are.
    """
    small = sum(video.stat().st_size for video in videos if video) <= VIDEO_BYTES

    def source(video: Path) -> str:
        if small:
            return data_address(video.read_bytes(), "video/mp4")
        return quote(Path(os.path.relpath(video.resolve(), folder.resolve())).as_posix())

    return [source(video) if video else None for video in videos]


def data_address(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
