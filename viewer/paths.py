"""Camera paths that a person records: key frames, the smooth path through them, and its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from scene.camera_paths import spline_poses
from scene.recorded_paths import FRAMES_PER_SECOND
from utils.errors import UserError
from utils.files import write_json


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """Where a camera stood and how much it saw.

    Attributes:
        camera_to_world: (4, 4) float64, a rigid motion, OpenCV axes (x right, y down, z forward).
        fov_y_degrees: the image's full height as an angle.
    """

    camera_to_world: NDArray[np.float64]
    fov_y_degrees: float

    @property
    def position(self) -> NDArray[np.float64]:
        """(3,) float64, world frame, scene units."""
        return self.camera_to_world[:3, 3]

    @property
    def wxyz(self) -> NDArray[np.float64]:
        """(4,) float64, the unit quaternion of the rotation from the camera to the world."""
        return Rotation.from_matrix(self.camera_to_world[:3, :3]).as_quat(scalar_first=True)


def smooth_path(keys: Sequence[KeyFrame], seconds: float) -> list[KeyFrame]:
    """Frames along a path with continuous velocity through the key frames, 30 a second.

    Positions follow a cubic spline, rotations a spline of their own (continuous angular velocity), fields of
    view a monotone one, which does not overshoot.

    Args:
        keys: at least two.
        seconds: from one key frame to the next, above 0.

    Returns:
        The frames; the first and the last are the first and the last key frame.

    Raises:
        UserError: there are fewer than two key frames.
    """
    if len(keys) < 2:
        raise UserError(f"a path needs two key frames or more; there are {len(keys)}: add another one")
    times = np.linspace(0, seconds * (len(keys) - 1), len(keys))
    moments = np.linspace(0, times[-1], round(times[-1] * FRAMES_PER_SECOND) + 1)
    poses = spline_poses(times, np.stack([key.camera_to_world for key in keys]), moments)
    angles = PchipInterpolator(times, [key.fov_y_degrees for key in keys])(moments)
    return [KeyFrame(pose, float(angle)) for pose, angle in zip(poses, angles, strict=True)]


def save_path(path: Path, frames: Sequence[KeyFrame]) -> None:
    """Writes the frames, one a picture, as `scene.recorded_paths` reads them for `render.py --path`."""
    rows = [
        {"camera_to_world": frame.camera_to_world.tolist(), "fov_y_degrees": frame.fov_y_degrees}
        for frame in frames
    ]
    write_json(path, {"fps": FRAMES_PER_SECOND, "frames": rows})
