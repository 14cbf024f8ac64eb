"""Videos: frames to an MP4 file that browsers and players open."""

import itertools
import subprocess
from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.files import whole_file


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], frames_per_second: float = 30) -> None:
    """Writes H.264 in an MP4 file, whole.

    The format that every player opens, 4:2:0, has one colour for two by two pixels; an odd last row or column
    is left out. The encoder is run here and not by `imageio_ffmpeg.write_frames`, which takes a file that was
    cut off by a full disk for a good one.

    Args:
        path: the file.
        frames: (H, W, 3) uint8 each, all of one size; taken one at a time. At least one.
        frames_per_second: of the video.

    Raises:
        UserError: the video encoder failed.
    """
    frames = iter(frames)
    first = next(frames)
    height, width = (side - side % 2 for side in first.shape[:2])
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second)),
        *("-i", "-", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"),
        *("-f", "mp4", "-movflags", "+faststart"),
    ]
    with (
        whole_file(path) as file,
        subprocess.Popen([*command, file.name], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder,
    ):
        assert encoder.stdin is not None
        try:
            for frame in itertools.chain([first], frames):
                encoder.stdin.write(frame[:height, :width].tobytes())
        except BrokenPipeError:
            pass  # it ended early; its exit code and its words say why
        _, said = encoder.communicate()
        if encoder.returncode:
            words = said.decode(errors="replace").strip().splitlines() or [f"exit code {encoder.returncode}"]
            raise UserError(f"{path}: the video encoder (ffmpeg) failed: {words[-1]}; is the disk full?")
