"""Poses read from files: rigid motions pass, whatever else they hold is said, by every reader."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from scene.cameras import FARTHEST, OFF_RIGID, demand_rigid
from scene.model_folder import read_cameras
from utils.errors import UserError


def motion(seed=0):
    """(4, 4) a rotation about any axis and a shift."""
    result = np.eye(4)
    result[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    result[:3, 3] = np.random.default_rng(seed).uniform(-5, 5, 3)
    return result


def changed(row, column, value):
    result = motion()
    result[row, column] = value
    return result


@pytest.mark.parametrize("seed", range(5))
def test_rotations_and_shifts_pass_rounded_or_inverted(seed):
    for pose in (motion(seed), np.linalg.inv(motion(seed)), motion(seed).round(4)):
        demand_rigid(pose, "it")


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (changed(1, 3, np.nan), "it has a number that is not finite"),
        (changed(0, 0, -np.inf), "it has a number that is not finite"),
        (changed(1, 3, 2 * FARTHEST), "it has a number .* above 1e9"),
        (changed(3, 3, 0), "it is not a 4x4 rigid motion"),
        (changed(3, 0, 0.1), "it is not a 4x4 rigid motion"),
        (motion() @ np.diag([1 + OFF_RIGID, 1, 1, 1]), "it is not a 4x4 rigid motion"),
        (motion() @ np.diag([1, 1, -1, 1]), "it mirrors the world"),
    ],
)
def test_everything_else_is_told_apart(pose, message):
    with pytest.raises(ValueError, match=message):
        demand_rigid(pose, "it")


def test_the_cameras_of_a_model_are_read_and_held_to_the_same(tmp_path):
    def write(pose):
        row = {"img_name": "a", "width": 48, "height": 40, "fx": 50.0, "fy": 50.0}
        row |= {"position": pose[:3, 3].tolist(), "rotation": pose[:3, :3].tolist()}
        (tmp_path / "cameras.json").write_text(json.dumps([row]))
        return tmp_path / "cameras.json"

    (camera,) = read_cameras(write(motion()))
    torch.testing.assert_close(camera.camera_to_world.double(), torch.from_numpy(motion()), atol=1e-6, rtol=0)
    with pytest.raises(UserError, match=r"cameras\.json is not .*mirrors the world"):
        read_cameras(write(motion() @ np.diag([1, 1, -1, 1])))
