"""Recorded paths: smooth, through the key frames, and read by render.py as they were written."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scene.recorded_paths import FRAMES_PER_SECOND, read_path
from utils.errors import UserError
from viewer.paths import KeyFrame, save_path, smooth_path


def some_keys(count: int = 4) -> list[KeyFrame]:
    random = np.random.default_rng(3)
    keys = []
    for number in range(count):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(0.6 * number * random.normal(size=3)).as_matrix()
        pose[:3, 3] = random.normal(size=3)
        keys.append(KeyFrame(pose, 40.0 + 5 * number))
    return keys


def test_the_path_goes_through_its_key_frames():
    keys = some_keys()
    frames = smooth_path(keys, seconds=2.0)
    assert len(frames) == 3 * 2 * FRAMES_PER_SECOND + 1
    for number, key in enumerate(keys):
        frame = frames[number * 2 * FRAMES_PER_SECOND]
        assert np.allclose(frame.camera_to_world, key.camera_to_world, atol=1e-9)
        assert frame.fov_y_degrees == pytest.approx(key.fov_y_degrees)


def test_the_path_has_no_jerk_and_stays_rigid():
    poses = np.stack([frame.camera_to_world for frame in smooth_path(some_keys(), seconds=1.0)])
    speeds = np.diff(poses[:, :3], axis=0)
    assert np.abs(np.diff(speeds, axis=0)).max() < 0.2 * np.abs(speeds).max()
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations @ np.swapaxes(rotations, 1, 2), np.eye(3), atol=1e-9)


def test_what_is_saved_is_what_render_follows(tmp_path):
    frames = smooth_path(some_keys(), seconds=0.5)
    save_path(tmp_path / "path.json", frames)
    cameras, rate = read_path(tmp_path / "path.json", 64, 48)
    assert rate == FRAMES_PER_SECOND and len(cameras) == len(frames)
    for camera, frame in zip(cameras, frames, strict=True):
        assert np.allclose(camera.camera_to_world, frame.camera_to_world, atol=1e-5)
        assert np.degrees(camera.field_of_view[1]) == pytest.approx(frame.fov_y_degrees, rel=1e-5)


def test_one_key_frame_is_no_path():
    with pytest.raises(UserError, match="two key frames"):
        smooth_path(some_keys(1), seconds=1.0)
