"""The cameras of a path, as --orbit and --path name it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rendering.model import file_label
from scene.camera_paths import framed, orbit, through, walk
from scene.cameras import Camera
from scene.dataset import Scene
from scene.recorded_paths import FRAMES_PER_SECOND, read_path
from utils.errors import UserError

FRAMES = 240
INTERPOLATE = "interpolate"


class CameraPath(NamedTuple):
    """A path.

    Attributes:
        folder: where its results lie inside the model's folder.
        cameras: one a frame, all of one size.
        frames_per_second: of a video.
    """

    folder: Path
    cameras: list[Camera]
    frames_per_second: float


def orbit_path(scene: Scene, size: tuple[int, int], frames: int) -> CameraPath:
    """A path round the scene; see `camera_path`."""
    path = orbit(scene.train_cameras, torch.from_numpy(scene.points.positions), frames or FRAMES)
    return CameraPath(Path("orbit"), [framed(camera, *size) for camera in path], FRAMES_PER_SECOND)


def camera_path(path: str, train_cameras: Sequence[Camera], size: tuple[int, int], frames: int) -> CameraPath:
    """The path that `--path` names.

    Args:
        path: "interpolate" (through the training cameras) or a file that view.py recorded.
        train_cameras: may be none for a recorded path.
        size: width and height of the pictures, pixels.
        frames: how many; 0: 240, and those of a recorded path as they are. Otherwise a recorded path is a
            smooth one through its frames.

    Raises:
        UserError: the file is not usable, or there is nothing to interpolate between.
    """
    if path == INTERPOLATE:
        cameras = smooth(walk(train_cameras), frames or FRAMES, path)
        return CameraPath(
            Path("paths") / path, [framed(camera, *size) for camera in cameras], FRAMES_PER_SECOND
        )
    file = Path(path)
    recorded = read_path(file, *size)
    label = file_label(file)
    cameras = smooth(recorded.cameras, frames, label) if frames else recorded.cameras
    return CameraPath(Path("paths") / label, cameras, recorded.frames_per_second)


def smooth(cameras: Sequence[Camera], frames: int, label: str) -> list[Camera]:
    """`through`, its error in the words of the flags."""
    try:
        return through(cameras, frames, label)
    except ValueError:
        raise UserError(
            f"--path: there are no two different cameras among {len(cameras)} to interpolate between; "
            "--orbit needs one only"
        ) from None
