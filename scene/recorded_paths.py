"""Recorded camera paths: the JSON files that view.py writes and render.py follows."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scene.cameras import Camera, camera_of_view, demand_rigid
from utils.errors import UserError

FRAMES_PER_SECOND = 30
MOST_BYTES = 100_000_000  # some hundred thousand frames

FORMAT = '{"fps": 30, "frames": [{"camera_to_world": 4 x 4 numbers, "fov_y_degrees": 50}, ...]}'


class RecordedPath(NamedTuple):
    """A path as someone went it.

    Attributes:
        cameras: one a picture, at least one; square pixels, the principal point in the middle.
        frames_per_second: of a video.
    """

    cameras: list[Camera]
    frames_per_second: float


def read_path(path: Path, width: int, height: int) -> RecordedPath:
    """The cameras of a recorded path.

    Poses are camera to world in OpenCV axes (x right, y down, z forward), rigid motions; `fov_y_degrees` is
    the whole picture's height as an angle. `fps` may be missing (30).

    Args:
        path: the JSON file.
        width, height: pixels of the pictures.

    Raises:
        UserError: no such file, or something in it is not as described; the frame is named.
    """
    content = _read(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f'{path} has no list "frames" with a frame in it; wanted is {FORMAT}')
    rate = _number(content.get("fps", FRAMES_PER_SECOND))
    if not 0 < rate <= 1000:
        raise UserError(f'{path}: "fps" is {content["fps"]!r}; wanted are pictures a second, up to 1000')
    return RecordedPath(
        [_camera(path, index, frame, width, height) for index, frame in enumerate(frames)], rate
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"--path: {path} has {path.stat().st_size / 1e6:.0f} MB, more than any path; at most "
                f"{MOST_BYTES / 1e6:.0f} MB are read"
            )
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"--path: no file {path}; give `interpolate`, or a path that view.py recorded"
        ) from None
    except IsADirectoryError:
        raise UserError(f"--path: {path} is a folder; wanted is a file {FORMAT}") from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"--path: {path} is not valid JSON ({problem}); wanted is {FORMAT}") from None
    if not isinstance(content, dict):
        raise UserError(f"--path: {path} holds a {type(content).__name__}; wanted is {FORMAT}")
    return content


def _camera(path: Path, index: int, frame: Any, width: int, height: int) -> Camera:
    """The camera of a frame; a `UserError` names the frame and what is wrong with it."""
    where = f"{path}, frame {index}"
    if not isinstance(frame, dict) or not {"camera_to_world", "fov_y_degrees"} <= frame.keys():
        raise UserError(f'{where}: "camera_to_world" or "fov_y_degrees" is missing; wanted is {FORMAT}')
    angle = _number(frame["fov_y_degrees"])
    if not 0.1 <= angle <= 179:
        raise UserError(f'{where}: "fov_y_degrees" is {frame["fov_y_degrees"]!r}; wanted are 0.1 to 179')
    try:
        pose = _matrix(frame["camera_to_world"])
        demand_rigid(pose, "it")
    except ValueError as failure:
        raise UserError(
            f'{where}: "camera_to_world" is no rigid motion ({failure}): wanted are 4 rows of 4 numbers, a '
            "rotation (right-handed, no scale), the position in the last column, and 0 0 0 1 below"
        ) from None
    return camera_of_view(f"{path.stem} {index:05d}", pose, angle, width, height)


def _number(value: Any) -> float:
    """The number; not a number for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _matrix(value: Any) -> NDArray[np.float64]:
    """(4, 4) of lists of numbers; a ValueError for anything else."""
    rows = value if isinstance(value, list) else []
    if [len(row) if isinstance(row, list) else 0 for row in rows] != [4] * 4:
        raise ValueError("it is not 4 lists of 4")
    return np.array([[_number(entry) for entry in row] for row in rows])
