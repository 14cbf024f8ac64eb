"""Posed pictures of one object on disk, in the Blender layout that `train.py -s` reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scene.cameras import Camera
from utils.files import write_json


def write_transforms(folder: Path, split: str, cameras: Sequence[Camera]) -> None:
    """Writes `transforms_<split>.json`, whole: the lens and the poses of the pictures `<camera.name>.png`.

    Args:
        split: "train" or "test".
        cameras: of one lens; a name is the picture's path below `folder`, without its ending.
    """
    frames: list[dict[str, Any]] = []
    for camera in cameras:
        to_world = camera.camera_to_world.double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"./{camera.name}", "transform_matrix": to_world.tolist()})
    angle = cameras[0].field_of_view[0]
    write_json(folder / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})
