"""The orbit: a circle of cameras gives the circle, cameras on one side a small loop on their side."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from scene.camera_paths import look_at, orbit
from scene.cameras import Camera

LENS = torch.tensor([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
CENTRE = torch.tensor([2.0, -1.0, 5.0], dtype=torch.float64)
UP = torch.tensor([0.0, 0.6, -0.8], dtype=torch.float64)
ACROSS = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
AWAY = torch.linalg.cross(UP, ACROSS)


def camera_at(position: torch.Tensor, target: torch.Tensor = CENTRE) -> Camera:
    return Camera("photograph", look_at(position, target, UP).float(), LENS, 80, 60)


def circle_of_cameras(count: int, degrees: float = 360.0) -> list[Camera]:
    """Cameras on a circle of radius 3, half a unit above its centre, which they look at."""
    angles = [math.radians(degrees) * index / count for index in range(count)]
    return [
        camera_at(CENTRE + 3 * (math.cos(angle) * ACROSS + math.sin(angle) * AWAY) + 0.5 * UP)
        for angle in angles
    ]


def points_about(centre: torch.Tensor, count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return centre + 0.3 * torch.randn((count, 3), generator=generator, dtype=torch.float64)


def angle_off_axis(camera: Camera, point: torch.Tensor) -> float:
    """Degrees between the camera's axis and the direction to a point."""
    seen = camera.world_to_camera[:3, :3] @ point.float() + camera.world_to_camera[:3, 3]
    return math.degrees(math.acos(min(1.0, float(seen[2] / seen.norm()))))


def steps(path: list[Camera]) -> torch.Tensor:
    """Distances from each camera to the next, the last to the first."""
    positions = torch.stack([camera.position for camera in path])
    return (positions.roll(-1, 0) - positions).norm(dim=1)


def test_a_circle_of_cameras_gives_the_circle():
    path = orbit(circle_of_cameras(12), points_about(CENTRE), 30)
    assert len(path) == 30
    for camera in path:
        offset = camera.position.double() - CENTRE
        assert float(offset @ UP) == pytest.approx(0.5, abs=1e-3)
        assert float((offset - (offset @ UP) * UP).norm()) == pytest.approx(3, abs=1e-3)
        assert angle_off_axis(camera, CENTRE) < 0.5
        assert float(camera.world_to_camera[0, :3].double() @ UP) == pytest.approx(0, abs=1e-5)  # level
        assert float(camera.world_to_camera[1, :3].double() @ UP) < -0.9  # and not upside down
    assert float(steps(path).max()) == pytest.approx(2 * 3 * math.sin(math.pi / 30), abs=1e-3)


@pytest.mark.parametrize("degrees", [30.0, 170.0])
def test_cameras_on_one_side_stay_on_their_side(degrees):
    cameras = circle_of_cameras(9, degrees)
    path = orbit(cameras, points_about(CENTRE), 40)
    middle = math.radians(degrees) * 4 / 9
    towards = math.cos(middle) * ACROSS + math.sin(middle) * AWAY
    for camera in path:
        offset = camera.position.double() - CENTRE
        assert float(offset.norm()) == pytest.approx(math.hypot(3, 0.5), rel=0.02)
        azimuth = math.degrees(math.acos(float((offset - (offset @ UP) * UP) @ towards / offset.norm())))
        assert azimuth < 0.55 * degrees + 10
        assert angle_off_axis(camera, CENTRE) < 1
    assert float(steps(path).max()) < 3 * float(steps(path).mean())


def test_parallel_cameras_look_at_the_points_depth():
    subject = CENTRE - 10 * AWAY
    cameras = [
        camera_at(CENTRE + x * ACROSS + y * UP, CENTRE + x * ACROSS + y * UP - AWAY)
        for x in (-1.0, 0.0, 1.0)
        for y in (-0.5, 0.5)
    ]
    path = orbit(cameras, points_about(subject), 16)
    for camera in path:
        assert angle_off_axis(camera, subject) < 2
        assert float((camera.position.double() - CENTRE).norm()) < 2
    assert float(steps(path).min()) > 0


def test_one_camera_is_enough():
    camera = camera_at(CENTRE + 3 * AWAY)
    path = orbit([camera], points_about(CENTRE), 8)
    for each in path:
        assert 0.05 < float((each.position - camera.position).norm()) < 0.4
        assert angle_off_axis(each, CENTRE) < 2


def test_cameras_rolled_all_ways_still_have_an_orbit():
    cameras = []
    for index, camera in enumerate(circle_of_cameras(8)):
        roll = torch.eye(4)
        turn = Rotation.from_rotvec([0, 0, index * math.pi / 4])
        roll[:3, :3] = torch.from_numpy(turn.as_matrix()).float()
        cameras.append(replace(camera, world_to_camera=roll @ camera.world_to_camera))
    for each in orbit(cameras, points_about(CENTRE), 12):
        assert torch.isfinite(each.world_to_camera).all()
        assert angle_off_axis(each, CENTRE) < 2
