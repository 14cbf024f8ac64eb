"""Videos: frames to an MP4 file that browsers and players open."""

from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.files import whole_file


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], frames_per_second: int = 30) -> None:
    """Writes H.264 in an MP4 file, whole.

    The format that every player opens, 4:2:0, has one colour for two by two pixels; an odd last row or column
    is left out.

    Args:
        path: the file.
        frames: (H, W, 3) uint8 each, all of one size; taken one at a time. At least one.
        frames_per_second: of the video.

    Raises:
        UserError: the video encoder failed.
    """
    with whole_file(path) as file:
        encoder = None
        try:
            for frame in frames:
                height, width = (side - side % 2 for side in frame.shape[:2])
                if encoder is None:
                    encoder = imageio_ffmpeg.write_frames(
                        file.name,
                        (width, height),
                        fps=frames_per_second,
                        codec="libx264",
                        macro_block_size=2,
                        quality=None,
                        ffmpeg_log_level="error",
                        output_params=["-crf", "18", "-f", "mp4", "-movflags", "+faststart"],
                    )
                    encoder.send(None)
                encoder.send(np.ascontiguousarray(frame[:height, :width]))
        except OSError as failure:
            raise UserError(f"{path}: the video encoder (ffmpeg) failed: {failure}") from None
        finally:
            if encoder is not None:
                encoder.close()
