"""Blender (NeRF-synthetic) datasets: `transforms_train.json`, `transforms_test.json` and their pictures."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from scene.photographs import stored_size
from scene.source import PosedPhotograph, demand_photographs
from utils.errors import UserError, Warnings

ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
DISTORTION = ("k1", "k2", "p1", "p2")


def read_blender(
    source: Path, hold_out: bool, warnings: Warnings
) -> tuple[list[PosedPhotograph], list[PosedPhotograph]]:
    """Training and test photographs, in the order of the files.

    Without `hold_out` the test frames are appended to the training frames, as the reference does; a missing
    `transforms_test.json` is then no mistake.

    Raises:
        UserError: a file is missing or damaged, pictures included.
    """
    train = _frames(source, "transforms_train.json")
    if not hold_out and not (source / "transforms_test.json").is_file():
        return train, []
    test = _frames(source, "transforms_test.json")
    names = {photograph.name for photograph in train}
    for photograph in test:
        if photograph.name in names:
            warnings.add("listed in transforms_train.json and in transforms_test.json", photograph.name)
    if hold_out:
        return train, test
    return train + [photograph for photograph in test if photograph.name not in names], []


def _frames(source: Path, file: str) -> list[PosedPhotograph]:
    path = source / file
    try:
        transforms = json.loads(path.read_text(encoding="utf-8"))
        frames = transforms["frames"]
        if not isinstance(frames, list) or not frames:
            raise ValueError("`frames` is not a list with an entry")
    except FileNotFoundError as failure:
        raise UserError(f"no file {path}; --eval needs it, without --eval all is trained on") from failure
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UserError(
            f"{path} cannot be read ({failure!r}); it needs JSON with a list `frames`"
        ) from failure
    poses = [_pose(frame, f"{path}, frame {number}") for number, frame in enumerate(frames)]
    names = [_name(frame["file_path"]) for frame in frames]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(
            f"{path} lists {', '.join(twice[:3])} more than once; every frame needs its own picture"
        )
    pictures = {name: _picture(source, frame["file_path"]) for name, frame in zip(names, frames, strict=True)}
    demand_photographs(pictures, str(source))
    return [
        PosedPhotograph(name, pictures[name], _lens(transforms | frame, pictures[name], path), pose)
        for name, frame, pose in zip(names, frames, poses, strict=True)
    ]


def _pose(frame: Any, where: str) -> NDArray[np.float64]:
    """(4, 4) float64 world to camera, OpenCV axes, of a frame's camera to world with y up and z backward."""
    try:
        if not isinstance(frame["file_path"], str):
            raise TypeError("`file_path` is no text")
        to_world = np.array(frame["transform_matrix"], np.float64)
        if to_world.shape == (3, 4):
            to_world = np.vstack([to_world, [0, 0, 0, 1]])
        rotation = to_world[:3, :3]
        if to_world.shape != (4, 4) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError("`transform_matrix` is not a 4x4 rigid motion")
        if np.linalg.det(rotation) < 0:
            raise ValueError("`transform_matrix` mirrors the world")
    except (KeyError, TypeError, ValueError) as failure:
        raise UserError(
            f"{where} cannot be used ({failure!r}); it needs `file_path` and `transform_matrix` "
            "(4x4, camera to world)"
        ) from failure
    to_world[:3, 1:3] *= -1
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = to_world[:3, :3].T
    world_to_camera[:3, 3] = -to_world[:3, :3].T @ to_world[:3, 3]
    return world_to_camera


def _name(file_path: str) -> str:
    """`./train/r_0.png` and `train/r_0` are both called `train/r_0`."""
    path = Path(file_path)
    return (path.with_suffix("") if path.suffix in ENDINGS else path).as_posix()


def _picture(source: Path, file_path: str) -> Path:
    """The picture's file: `file_path` as it stands, or with an ending added."""
    candidates = [source / f"{file_path}{ending}" for ending in ("", *ENDINGS)]
    return next((path for path in candidates if path.is_file()), candidates[1])


def _lens(values: dict[str, Any], picture: Path, where: Path) -> pycolmap.Camera:
    """The lens of a frame at its picture's size.

    `fl_x`, `fl_y`, `cx`, `cy` (pixels of a picture `w` x `h`) and `k1`, `k2`, `p1`, `p2` win over
    `camera_angle_x` (radians), with which pixels are square and the principal point is in the middle.

    Raises:
        UserError: there is no focal length, or a value is not a number.
    """
    width, height, _ = stored_size(picture)
    try:
        size = int(values.get("w", width)), int(values.get("h", height))
        if "fl_x" in values:
            focal = float(values["fl_x"])
        else:
            focal = size[0] / (2 * math.tan(float(values["camera_angle_x"]) / 2))
        parameters = [
            focal,
            float(values.get("fl_y", focal)),
            float(values.get("cx", size[0] / 2)),
            float(values.get("cy", size[1] / 2)),
        ]
        bending = [float(values.get(name, 0)) for name in DISTORTION]
        if not (focal > 0 and np.isfinite(parameters + bending).all()):
            raise ValueError(f"focal length {focal}, principal point {parameters[2:]}, distortion {bending}")
        if any(values.get(name) for name in ("k3", "k4")):
            raise ValueError("distortion terms k3 or k4")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as failure:
        raise UserError(
            f"{where}: the camera cannot be used ({failure!r}); "
            "it needs `camera_angle_x`, or `fl_x` and what goes with it, in numbers"
        ) from failure
    model = "OPENCV" if any(bending) else "PINHOLE"
    return pycolmap.Camera(
        camera_id=1,
        model=model,
        width=size[0],
        height=size[1],
        params=parameters + bending * (model == "OPENCV"),
    )
