"""What Blender's and Nerfstudio's `transforms*.json` share: frames with a picture, a pose and a lens."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from scene.cameras import demand_rigid
from scene.photographs import stored_size
from utils.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
MOST_FRAMES = 50_000  # beyond them nothing can be trained, and reading alone would take minutes
MOST_BYTES = 64_000_000  # of a file; so many frames, written with indents, need half of it
LARGEST = 1e9  # pixels, or whatever a lens's number is in
PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
FISHEYE = "OPENCV_FISHEYE"


def read_transforms(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The file's values and its frames, at least one, of which nothing is checked yet.

    Raises:
        UserError: the file is damaged, has no frames, or more than can be trained on.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(
            f"{path} has {size / 1e6:.0f} MB, which is more than {MOST_FRAMES} frames need; read are at most "
            f"{MOST_BYTES / 1e6:.0f} MB. Leave frames out"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        frames = values["frames"]
        if not isinstance(frames, list) or not frames:
            raise ValueError("`frames` is not a list with an entry")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as failure:
        raise UserError(
            f"{path} cannot be read ({_reason(failure)}); it needs JSON with a list `frames`"
        ) from failure
    if len(frames) > MOST_FRAMES:
        raise UserError(
            f"{path} lists {len(frames)} frames; read are at most {MOST_FRAMES}. Leave frames out"
        )
    return values, frames


def _reason(failure: Exception) -> str:
    return f"no {failure}" if isinstance(failure, KeyError) else str(failure)


def path_in(frame: dict[str, Any], key: str) -> str:
    """The frame's path of that key, with / between its parts.

    Raises:
        KeyError, TypeError, ValueError: there is none, or it cannot be that of a file.
    """
    text = frame[key]
    if not isinstance(text, str):
        raise TypeError(f"`{key}` is no text")
    text = text.replace("\\", "/")
    parts = Path(text).parts
    if not parts or len(text.encode()) > 2000 or max(len(part.encode()) for part in parts) > 240:
        raise ValueError(f"`{key}` is empty or too long")
    return text


def frame_pose(frame: Any, where: str) -> NDArray[np.float64]:
    """(4, 4) float64 world to camera, OpenCV axes, of a frame's camera to world with y up and z backward.

    Raises:
        UserError: the frame has no `file_path`, or its `transform_matrix` is no rigid motion.
    """
    try:
        path_in(frame, "file_path")
        to_world = np.array(frame["transform_matrix"])
        if to_world.dtype.kind not in "if":
            raise TypeError("`transform_matrix` is not made of numbers")
        to_world = to_world.astype(np.float64)
        if to_world.shape == (3, 4):
            to_world = np.vstack([to_world, [0, 0, 0, 1]])
        if to_world.shape != (4, 4):
            raise ValueError(f"`transform_matrix` has the shape {to_world.shape}")
        demand_rigid(to_world, "`transform_matrix`")
    except (KeyError, TypeError, ValueError, OverflowError) as failure:
        raise UserError(
            f"{where} cannot be used ({_reason(failure)}); it needs `file_path` and `transform_matrix` "
            "(4x4, camera to world)"
        ) from failure
    to_world[:3, 1:3] *= -1
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = to_world[:3, :3].T
    world_to_camera[:3, 3] = -to_world[:3, :3].T @ to_world[:3, 3]
    return world_to_camera


def picture_of(folder: Path, file_path: str) -> Path:
    """The picture's file: `file_path` as it stands, or with an ending added."""
    candidates = [folder / f"{file_path}{ending}" for ending in ("", *ENDINGS)]
    missing = candidates[0 if candidates[0].suffix in ENDINGS else 1]
    return next((path for path in candidates if path.is_file()), missing)


def frame_lens(values: dict[str, Any], picture: Path, where: str) -> pycolmap.Camera:
    """The lens of a frame, at the size `w` x `h` or else its picture's.

    `fl_x`, `fl_y`, `cx`, `cy` (pixels of a picture `w` x `h`) win over `camera_angle_x` (radians), with which
    pixels are square and the principal point is in the middle. Perspective cameras have OpenCV's distortion
    `k1`, `k2`, `p1`, `p2`, `k3`; the `camera_model` OPENCV_FISHEYE (or `is_fisheye`) has `k1` to `k4`.

    Args:
        values: the file's and the frame's, which win.
        picture: its file.
        where: the frame, for messages.

    Raises:
        UserError: there is no focal length, a value is not a number, or the camera model has no pinhole
            equivalent.
    """
    width, height, _ = stored_size(picture)
    try:
        size = tuple(round(_number(values, *side)) for side in (("w", width), ("h", height)))
        if not all(1 <= side <= 1_000_000 for side in size):
            raise ValueError(f"`w` x `h` is {size[0]} x {size[1]}")
        if "fl_x" in values:
            focal_x = _number(values, "fl_x")
        else:
            focal_x = size[0] / (2 * math.tan(_number(values, "camera_angle_x") / 2))
        focal_y = _number(values, "fl_y", focal_x)
        if not (0 < focal_x < LARGEST and 0 < focal_y < LARGEST):
            raise ValueError(f"focal length {focal_x:g}, {focal_y:g}")
        middle = [_number(values, name, side / 2) for name, side in zip(("cx", "cy"), size, strict=True)]
        model, bending = _distortion(values)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as failure:
        raise UserError(
            f"{where}: the camera cannot be used ({_reason(failure)}); "
            "it needs `camera_angle_x`, or `fl_x` and what goes with it, in numbers"
        ) from failure
    parameters = [focal_x, focal_y, *middle, *bending]
    return pycolmap.Camera(camera_id=1, model=model, width=size[0], height=size[1], params=parameters)


def _distortion(values: dict[str, Any]) -> tuple[str, list[float]]:
    """COLMAP's model and its numbers after focal length and principal point."""
    k1, k2, k3, k4, p1, p2 = (_number(values, name, 0) for name in ("k1", "k2", "k3", "k4", "p1", "p2"))
    model = FISHEYE if values.get("is_fisheye") else values.get("camera_model", PERSPECTIVE[0])
    if model == FISHEYE:
        return model, [k1, k2, k3, k4]
    if model not in PERSPECTIVE:
        raise ValueError(f"`camera_model` {model!r} is none of {', '.join((*PERSPECTIVE, FISHEYE))}")
    if k4:
        raise ValueError("the distortion term k4 is for OPENCV_FISHEYE alone")
    if k3:
        return "FULL_OPENCV", [k1, k2, p1, p2, k3, 0, 0, 0]
    bending = [k1, k2, p1, p2]
    return ("OPENCV", bending) if any(bending) else ("PINHOLE", [])


def _number(values: dict[str, Any], name: str, default: float | None = None) -> float:
    """The number of that name; a KeyError, TypeError, ValueError or OverflowError where there is none."""
    value = values[name] if default is None else values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{name}` is no number")
    if not abs(float(value)) < LARGEST:
        raise ValueError(f"`{name}` is {value}")
    return float(value)
