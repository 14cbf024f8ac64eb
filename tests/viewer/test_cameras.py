"""Cameras between the browser and our renderer."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scene.camera_paths import look_at
from scene.cameras import Camera
from tests.small_scene import FIELD_OF_VIEW, arc_of_cameras, some_gaussians
from viewer.cameras import OPENCV_UP, facing, key_frame_of, pinhole, reach_of, upright


def test_a_camera_comes_back_from_its_key_frame():
    for camera in arc_of_cameras(4):
        back = pinhole(key_frame_of(camera), camera.width, camera.height)
        assert torch.allclose(back.world_to_camera, camera.world_to_camera, atol=1e-6)
        assert torch.allclose(back.intrinsics, camera.intrinsics, atol=1e-4)


def test_the_field_of_view_is_the_vertical_one():
    (camera,) = arc_of_cameras(1, width=200, height=100)
    wanted = 2 * math.atan(math.tan(FIELD_OF_VIEW / 2) / 2)
    assert key_frame_of(camera).fov_y_degrees == pytest.approx(math.degrees(wanted))


def test_up_is_the_cameras_up():
    assert upright(arc_of_cameras(5)) == pytest.approx((0, -1, 0), abs=0.3)
    tilted = [turned(camera, (0.0, 0.0, 1.0)) for camera in arc_of_cameras(5)]
    assert upright(tilted) == pytest.approx((0, -0.64, 0.77), abs=0.05)  # they look up to the origin
    assert upright([]) == OPENCV_UP
    opposite = [turned(camera, (0.0, sign, 0.0)) for sign in (-1, 1) for camera in arc_of_cameras(1)]
    assert upright(opposite) == OPENCV_UP


def turned(camera: Camera, up: tuple[float, float, float]) -> Camera:
    pose = look_at(camera.position, torch.zeros(3), torch.tensor(up))
    return replace(camera, world_to_camera=pose)


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_cameras_look_as_far_as_the_model_is(scale):
    cameras = []
    for camera in arc_of_cameras(5):
        pose = camera.world_to_camera.clone()
        pose[:3, 3] *= scale
        cameras.append(replace(camera, world_to_camera=pose))
    means = some_gaussians(400)["means"].detach() * scale
    assert reach_of(cameras, means) == pytest.approx(3.04 * scale, rel=0.1)


def test_a_model_without_cameras_is_seen_whole():
    means = some_gaussians(200)["means"].detach() + torch.tensor([5.0, -7.0, 2.0])
    frame, distance = facing(means)
    camera = pinhole(frame, 100, 100)
    seen = means @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pixels = (seen @ camera.intrinsics.T)[:, :2] / seen[:, 2:]
    inside = ((pixels > 0) & (pixels < 100)).all(dim=1) & (seen[:, 2] > 0)
    assert inside.float().mean() > 0.85
    assert float(seen[:, 2].median()) == pytest.approx(distance, rel=0.1)
    lone, far = facing(means[:1])
    assert far > 0 and np.isfinite(lone.camera_to_world).all()
