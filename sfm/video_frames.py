"""Videos become photographs: of each of so many equal stretches the sharpest frame."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from scene.photographs import VIDEOS, save_picture
from sfm.reconstruction import FEWEST
from utils.errors import UserError
from utils.images import laplacian

EVERY_FRAME_ONCE = ["-fps_mode", "passthrough"]
JUDGED_WIDTH = 960  # pixels, about; see `sharpness`


def write_sharpest_frames(video: Path, count: int, folder: Path) -> list[str]:
    """Writes the sharpest frame of each of `count` equal stretches of a video as JPEG; returns their names.

    Frames are upright, as players show them. A video of fewer frames gives all it has. Names tell the frame's
    number, counted from 0.

    Args:
        video: any file that ffmpeg reads.
        count: how many frames, at least 3.
        folder: gets the pictures; is there.

    Raises:
        UserError: the file is no video, or has fewer than three frames.
    """
    total = count_frames(video)
    stretches = min(count, total)

    def stretch_of(numbered: tuple[int, Image.Image]) -> int:
        return min(numbered[0] * stretches // total, stretches - 1)

    names = []
    for _, stretch in itertools.groupby(enumerate(read_frames(video)), stretch_of):
        number, frame = max(stretch, key=lambda numbered: sharpness(numbered[1]))
        names.append(f"frame_{number:06d}.jpg")
        save_picture(frame, folder / names[-1])
    return names


def count_frames(video: Path) -> int:
    """How many frames a video has, by decoding it.

    Raises:
        UserError: no video, or fewer than three frames.
    """
    if video.suffix.lower() not in VIDEOS:
        raise UserError(
            f"{video} is no video ({', '.join(VIDEOS)}); give a video, or the folder of your photographs"
        )
    try:
        total = imageio_ffmpeg.count_frames_and_secs(str(video))[0]
    except (RuntimeError, ValueError) as failure:  # of a time that ffmpeg does not know, a ValueError
        raise UserError(
            f"{video} cannot be read as a video ({_said(str(failure))}); check that it plays, or give the "
            "folder of your photographs"
        ) from None
    if total is None or total < FEWEST:
        raise UserError(f"{video} has {total or 0} frames; at least {FEWEST} are needed, better 50 or more")
    return total


def _said(words: str) -> str:
    """What ffmpeg said last, without what it says of every file (indented, or of itself) and who said it."""
    lines = [line for line in words.splitlines() if re.match(r"(?!FFMPEG|ffmpeg version|.*Error)\S", line)]
    return re.sub(r"^\[.*?\] ", "", lines[-1]).strip() if lines else "it holds no whole picture"


def read_frames(video: Path) -> Iterator[Image.Image]:
    """The frames of a video one after another, upright, mode RGB."""
    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of videos that are turned
    frames = imageio_ffmpeg.read_frames(str(video), output_params=EVERY_FRAME_ONCE)
    size = next(frames)["size"]
    for frame in frames:
        yield Image.frombytes("RGB", size, frame)


def sharpness(frame: Image.Image) -> float:
    """Variance of the Laplacian of a picture's grey values (Pech-Pacheco et al. 2000): blur lowers it.

    Large pictures are reduced to about 960 pixels first: averaging takes the sensor's noise out, which would
    count as sharpness, and blur that does not show there does no harm.
    """
    grey = frame.convert("L").reduce(max(frame.width // JUDGED_WIDTH, 1))
    return float(laplacian(np.asarray(grey)).var()) if min(grey.size) > 2 else 0.0
