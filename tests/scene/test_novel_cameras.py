"""Novel cameras: identities at their ends, rigid poses, where they look, and how far they go."""

import math

import numpy as np
import pytest
import torch

from scene.camera_paths import look_at
from scene.cameras import NEAR_PLANE, Camera
from scene.novel_cameras import (
    ANGLE_JITTER,
    ARC,
    POSITION_JITTER,
    GuidanceViews,
    NovelCameras,
    between,
    jittered,
)

UP = torch.tensor([0.0, -1.0, 0.0])
INTRINSICS = torch.tensor([[60.0, 0.0, 33.0], [0.0, 62.0, 22.0], [0.0, 0.0, 1.0]])


def camera_at(position, target=(0.0, 0.0, 0.0), intrinsics=INTRINSICS, width=64, height=48) -> Camera:
    pose = look_at(torch.tensor(position), torch.tensor(target), UP)
    return Camera("photo", pose, intrinsics, width, height)


def ring(count: int = 8, radius: float = 4.0) -> list[Camera]:
    """Cameras on a circle that look at the origin."""
    angles = [2 * math.pi * i / count for i in range(count)]
    return [camera_at((radius * math.sin(a), 0.0, -radius * math.cos(a))) for a in angles]


def grid() -> list[Camera]:
    """Cameras side by side that look the same way, as in LLFF."""
    return [camera_at((0.5 * x, 0.4 * y, -5.0), (0.5 * x, 0.4 * y, 0.0)) for x in range(4) for y in range(3)]


@pytest.fixture
def cloud() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.5, size=(400, 3))


def draw(sampler: NovelCameras, count: int, progress: float) -> list[Camera]:
    generator = torch.Generator().manual_seed(1)
    return [sampler(generator, progress) for _ in range(count)]


def angle_between(first: Camera, second: Camera) -> float:
    """The angle of the rotation from one camera to the other, radians."""
    relative = first.world_to_camera[:3, :3].double() @ second.world_to_camera[:3, :3].double().T
    return math.acos(min(1.0, max(-1.0, (float(relative.trace()) - 1) / 2)))


def test_between_is_each_camera_at_its_end():
    other = torch.tensor([[90.0, 0.0, 50.0], [0.0, 91.0, 40.0], [0.0, 0.0, 1.0]])
    first = camera_at((1.0, 0.3, -4.0))
    second = camera_at((-2.0, 0.1, -3.0), intrinsics=other, width=96, height=72)
    for weight, end in ((0.0, first), (1.0, second.resized(64, 48))):
        camera = between(first, second, weight)
        torch.testing.assert_close(camera.world_to_camera, end.world_to_camera, atol=1e-6, rtol=0)
        torch.testing.assert_close(camera.intrinsics, end.intrinsics)
        assert (camera.width, camera.height) == (64, 48)


def test_between_turns_evenly_and_walks_straight():
    first, second = camera_at((1.0, 0.3, -4.0)), camera_at((-2.0, 0.1, -3.0))
    quarter = between(first, second, 0.25)
    assert angle_between(first, quarter) == pytest.approx(angle_between(first, second) / 4, rel=1e-4)
    torch.testing.assert_close(quarter.position, 0.75 * first.position + 0.25 * second.position)


def test_no_jitter_leaves_the_camera_where_it_is():
    camera = camera_at((1.0, 0.3, -4.0))
    same = jittered(camera, 0.0, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same.world_to_camera, camera.world_to_camera, atol=1e-6, rtol=0)


def test_jitter_stays_within_its_bounds_and_uses_them():
    camera, generator = camera_at((1.0, 0.3, -4.0)), torch.Generator().manual_seed(0)
    moved = [jittered(camera, 0.2, 0.1, generator) for _ in range(200)]
    shifts = [float((it.position - camera.position).norm()) for it in moved]
    turns = [angle_between(it, camera) for it in moved]
    assert 0.18 < max(shifts) <= 0.2 + 1e-5
    assert 0.09 < max(turns) <= 0.1 + 1e-5
    middle = 0.5 ** (1 / 3)  # of a ball's points half lie within so much of its radius
    assert np.median(shifts) == pytest.approx(0.2 * middle, rel=0.05)
    assert np.median(turns) == pytest.approx(0.1 * middle, rel=0.05)


@pytest.mark.parametrize("cameras", [ring(), grid(), ring()[:2], ring()[:1]], ids=["ring", "grid", "2", "1"])
def test_drawn_cameras_are_rigid_and_look_at_the_scene(cameras, cloud):
    sampler = NovelCameras(cameras, cloud)
    for camera in draw(sampler, 60, progress=1.0):
        rotation = camera.world_to_camera[:3, :3].double()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert float(torch.det(rotation)) == pytest.approx(1.0, abs=1e-6)
        assert camera.photograph is None
        assert camera.world_to_camera.dtype == torch.float32
        assert (camera.width, camera.height) == (64, 48)
        middle = camera.world_to_camera[:3, 3].double()  # the origin, seen by the camera
        if len(cameras) == 12:  # the grid's cameras look past one another: the plane z = 0 is in front
            assert float(middle[2]) > 3.0
        else:
            pixel = camera.intrinsics.double() @ middle
            assert float(middle[2]) > 0
            assert 0 < float(pixel[0] / pixel[2]) < 64
            assert 0 < float(pixel[1] / pixel[2]) < 48


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_every_camera_stays_near_a_photograph(progress, cloud):
    cameras = grid()
    sampler = NovelCameras(cameras, cloud)
    longest = torch.cdist(sampler.positions, sampler.positions)[
        torch.arange(len(cameras))[:, None], torch.tensor(sampler.partners)
    ].max()
    bound = max(
        (ARC[0] + progress * (ARC[1] - ARC[0])) * sampler.radius,
        float(longest) * (0.5 + POSITION_JITTER),
    )
    for camera in draw(sampler, 100, progress):
        assert float((sampler.positions - camera.position).norm(dim=1).min()) <= bound + 1e-5


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_the_arc_leaves_the_hull_by_the_stated_distance(share, cloud):
    sampler = NovelCameras(grid(), cloud)
    distance = share * sampler.radius
    for step in range(16):
        angle = 2 * math.pi * step / 16
        right, down = sampler.cameras[0].world_to_camera[:2, :3].double()
        direction = math.cos(angle) * right + math.sin(angle) * down
        position = sampler.outside(0, angle, distance).position.double()
        beyond = float(position @ direction - (sampler.positions @ direction).max())
        focus = float(sampler.focus[0])
        assert beyond == pytest.approx(focus * distance / math.hypot(focus, distance), rel=1e-2)


def test_the_arc_keeps_the_subject_centred_and_as_far_away(cloud):
    sampler = NovelCameras(ring(), cloud)
    start = sampler.cameras[0]
    above = sampler.outside(0, -math.pi / 2, 1.5)  # up in the image
    seen = above.world_to_camera[:3, 3].double()
    focus = float(sampler.focus[0])
    assert float(above.position[1]) < -1.0
    subject = start.position.double() + focus * sampler.axes[0]
    torch.testing.assert_close(
        above.world_to_camera[:3, :3].double() @ subject + seen,
        torch.tensor([0.0, 0.0, focus]).double(),
        atol=1e-5,
        rtol=0,
    )


def test_without_distance_the_arc_starts_at_a_photograph(cloud):
    sampler = NovelCameras(ring()[:1], cloud)
    same = sampler.outside(0, 0.3, 0.0)
    torch.testing.assert_close(same.world_to_camera, sampler.cameras[0].world_to_camera, atol=1e-6, rtol=0)


def test_one_camera_gets_a_radius_from_the_subject(cloud):
    sampler = NovelCameras(ring()[:1], cloud)
    assert sampler.radius == pytest.approx(0.1 * float(sampler.focus[0]))
    assert float(sampler.focus[0]) == pytest.approx(4.0, abs=0.2)


def test_without_points_the_subject_is_guessed():
    assert NovelCameras(ring()[:1], np.zeros((0, 3))).focus.tolist() == [1.0]
    assert NovelCameras(ring(), np.zeros((0, 3))).focus.tolist() == pytest.approx([8.0] * 8)


def test_partners_are_the_neighbours_on_the_ring(cloud):
    partners = NovelCameras(ring(8), cloud).partners
    for index, others in enumerate(partners):
        assert {(index + 1) % 8, (index - 1) % 8} <= set(others) and len(others) == 3 and index not in others
    assert NovelCameras(ring(8)[:2], cloud).partners == [[1], [0]]


def test_a_camera_that_looks_the_other_way_is_no_partner_and_no_start_of_the_arc(cloud):
    row = [camera_at((x, 0.0, -4.0), (x, 0.0, 0.0)) for x in (0.0, 0.5, 0.6, 0.7)]
    sampler = NovelCameras([*row, camera_at((0.1, 0.0, -4.0), (0.1, 0.0, -9.0))], cloud)
    assert sorted(sampler.partners[0]) == [1, 2, 3]
    sampler = NovelCameras([row[0], camera_at((3.0, 0.0, 4.0))], cloud)
    same = sampler.outside(0, 0.0, 0.0)  # to its right, where the other one stands too
    torch.testing.assert_close(same.world_to_camera, row[0].world_to_camera, atol=1e-6, rtol=0)


def test_half_of_the_views_lie_between_photographs(cloud):
    sampler = NovelCameras(grid(), cloud)
    axis = sampler.axes[0]
    tilted = [
        angle_between(camera, sampler.cameras[0]) > ANGLE_JITTER + 1e-3 for camera in draw(sampler, 300, 1.0)
    ]
    assert float(axis.norm()) == pytest.approx(1.0)
    assert 100 < sum(tilted) < 200  # only the arc tilts by more than the jitter here


def test_same_generator_same_cameras_and_the_global_one_untouched(cloud):
    before = torch.get_rng_state()
    first, second = (draw(NovelCameras(ring(), cloud), 5, 0.5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.world_to_camera, other.world_to_camera)


def test_a_views_weight_rises_with_its_distance_to_the_middle_of_the_largest_gap(cloud):
    """Three cameras on a line, 1 and 3 apart: the largest gap to a nearest neighbour is 3."""
    cameras = [camera_at((x, 0.0, -5.0)) for x in (0.0, 1.0, 4.0)]
    sampler = NovelCameras(cameras, cloud)
    assert sampler.largest_gap == pytest.approx(3.0)
    weights = [sampler.distance_weight(camera_at((x, 0.0, -5.0)), 0.5) for x in (1.3, 1.75, 2.5, 3.7, 9.0)]
    assert weights == pytest.approx([0.2, 0.5, 1.0, 0.2, 1.0], abs=1e-5)
    assert sampler.distance_weight(camera_at((1.3, 0.0, -5.0)), 1.0) == pytest.approx(0.1, abs=1e-5)
    assert sampler.distance_weight(camera_at((1.3, 0.0, -5.0)), 0.0) == 1.0


def test_a_photographs_own_camera_and_a_lone_photographs_views_count_whole(cloud):
    sampler = NovelCameras(ring(), cloud)
    assert [sampler.distance_weight(camera, 0.5) for camera in sampler.cameras] == [1.0] * 8
    assert NovelCameras(ring()[:1], cloud).distance_weight(camera_at((0.1, 0.0, -3.9)), 0.5) == 1.0
    turned = NovelCameras([ring()[0]] * 2, cloud)  # a panorama: no gap between the centres
    assert turned.distance_weight(camera_at((0.1, 0.0, -3.9)), 0.5) == 1.0


def test_looking_at_novel_views_draws_what_the_sampler_draws(cloud):
    """So that adding the choice of views changed no run; the weights are the sampler's."""
    novel = NovelCameras(ring(), cloud)
    first, second = (torch.Generator().manual_seed(5) for _ in range(2))
    views = GuidanceViews(novel, "novel", 0.5)
    for _ in range(10):
        camera, same = views(first, 0.3), novel(second, 0.3)
        assert torch.equal(camera.world_to_camera, same.world_to_camera)
        assert views.weight(camera) == novel.distance_weight(camera, 0.5)
    assert torch.equal(first.get_state(), second.get_state())


def test_training_views_are_the_photographs_own_and_mixed_ones_half_of_each(cloud):
    cameras = ring()
    sampler, generator = NovelCameras(cameras, cloud), torch.Generator().manual_seed(0)
    drawn = [GuidanceViews(sampler, "train", 0.5)(generator, 0.5) for _ in range(200)]
    assert {id(camera) for camera in drawn} == {id(camera) for camera in cameras}
    drawn = [GuidanceViews(sampler, "mixed", 0.5)(generator, 0.5) for _ in range(200)]
    assert 70 < sum(any(camera is photo for photo in cameras) for camera in drawn) < 130


def test_guidance_sees_nothing_close_before_novel_cameras(cloud):
    """The share is of the least distance of a subject; photographs' own cameras, and 0, stay as they are."""
    sampler, generator = NovelCameras(ring(), cloud), torch.Generator().manual_seed(0)
    nearest = float(sampler.focus.min())
    for share in (0.0, 0.4):
        views = GuidanceViews(sampler, "mixed", 0.5, share)
        for camera in (views(generator, 0.5) for _ in range(20)):
            expected = NEAR_PLANE if camera in sampler.cameras else max(share * nearest, NEAR_PLANE)
            assert camera.near_plane == expected
    assert 0.4 * nearest > NEAR_PLANE
