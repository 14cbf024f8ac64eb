"""The orbit: a circle of cameras gives the circle, cameras on one side a small loop on their side.

And paths through cameras: they pass by each of them, evenly and smoothly, in an order that is a short way.
"""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from scene.camera_paths import framed, look_at, orbit, through, walk
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


def same_view(one: Camera, other: Camera) -> bool:
    return torch.allclose(one.world_to_camera, other.world_to_camera, atol=1e-5)


def test_a_path_passes_through_its_cameras():
    cameras = circle_of_cameras(5, 150.0)
    path = through(cameras, 41, "walk")
    assert [it.name for it in path[:2]] == ["walk 00000", "walk 00001"] and path[0].photograph is None
    for index, camera in enumerate(cameras):  # evenly spaced: every tenth
        assert same_view(path[10 * index], camera)
    for camera in path:
        offset = camera.position.double() - CENTRE
        assert float(offset.norm()) == pytest.approx(math.hypot(3, 0.5), rel=0.02)  # it stays on the circle
        assert angle_off_axis(camera, CENTRE) < 1
        turn = camera.world_to_camera[:3, :3]
        assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-5)
    moves = steps(path)[:-1]
    assert float(moves.max()) < 1.15 * float(moves.min())


def test_a_path_has_no_corners():
    """The direction hardly changes from step to step, where straight lines would have corners of degrees."""
    zigzag = [camera_at(CENTRE + 3 * AWAY + x * ACROSS + (x % 2) * UP) for x in range(5)]
    path = through(zigzag, 400, "walk")
    positions = torch.stack([it.position for it in path]).double()
    moves = positions.diff(dim=0)
    moves = moves / moves.norm(dim=1, keepdim=True)
    bend = (moves[1:] * moves[:-1]).sum(dim=1).clamp(-1, 1).acos().rad2deg()
    assert float(bend.max()) < 5  # a corner here has 90
    turns = [Rotation.from_matrix(it.world_to_camera[:3, :3].double().numpy()) for it in path]
    speeds = torch.tensor([(b * a.inv()).magnitude() for a, b in itertools.pairwise(turns)])
    assert float(speeds.diff().abs().max()) < 0.1 * float(speeds.max())


def test_a_path_mixes_lenses_of_one_size():
    first, last = camera_at(CENTRE + 3 * AWAY), camera_at(CENTRE + 3 * AWAY + UP)
    longer = LENS * torch.tensor([[4.0], [4.0], [1.0]])  # twice the focal length in a picture twice as large
    path = through([first, replace(last, intrinsics=longer, width=160, height=120)], 3, "zoom")
    assert [(it.width, it.height) for it in path] == [(80, 60)] * 3
    assert [float(it.intrinsics[0, 0]) for it in path] == pytest.approx([100, 150, 200])
    assert all(
        torch.allclose(it.intrinsics[:2, 2], torch.tensor([40.0 * k, 30.0 * k]))
        for it, k in zip(path, (1, 1.5, 2), strict=True)
    )


def test_cameras_that_stand_still_are_passed_over():
    a, b = camera_at(CENTRE + 3 * AWAY), camera_at(CENTRE + 3 * AWAY + UP)
    path = through([a, a, b, b], 5, "walk")
    assert same_view(path[0], a) and same_view(path[-1], b)
    assert torch.isfinite(torch.stack([it.world_to_camera for it in path])).all()
    with pytest.raises(ValueError, match="differ"):
        through([a, a], 5, "walk")
    with pytest.raises(ValueError, match="differ"):
        through([a], 5, "walk")


def test_a_turn_on_the_spot_is_a_path():
    where = CENTRE + 3 * AWAY
    path = through([camera_at(where), camera_at(where, where + ACROSS)], 3, "turn")
    assert float(steps(path).max()) < 1e-5
    middle = path[1].world_to_camera[2, :3].double()
    assert float(middle @ ACROSS) == pytest.approx(math.sqrt(0.5), abs=1e-4)
    assert float(middle @ -AWAY) == pytest.approx(math.sqrt(0.5), abs=1e-4)


def test_a_walk_keeps_a_good_order_and_mends_a_bad_one():
    cameras = circle_of_cameras(9, 200.0)
    assert walk(cameras) == cameras
    shuffled = [cameras[index] for index in (4, 7, 0, 2, 8, 5, 1, 3, 6)]
    assert walk(shuffled) in (cameras, cameras[::-1])
    assert walk(cameras[:1]) == cameras[:1]


def test_framed_pictures_show_the_same_from_top_to_bottom():
    camera = camera_at(CENTRE + 3 * AWAY)
    assert torch.equal(framed(camera, 160, 120).intrinsics, camera.resized(160, 120).intrinsics)
    wide = framed(camera, 320, 120)
    assert wide.field_of_view[1] == pytest.approx(camera.field_of_view[1])
    assert float(wide.intrinsics[0, 0]) == float(wide.intrinsics[1, 1]) == 200  # pixels stay square
    assert wide.intrinsics[:2, 2].tolist() == [160, 60]
    off = replace(camera, intrinsics=LENS + torch.tensor([[0.0, 0, 7], [0, 0, 0], [0, 0, 0]]))
    assert framed(off, 40, 60).intrinsics[0, 2] == 27  # 20 from the middle to each side, and the 7
