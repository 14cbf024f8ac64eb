"""Points far away: where they lie, what they look like, and where there are none."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scene.far_points import far_points
from scene.photographs import Photograph, PixelCache
from scene.points import depth_range
from tests.scene.models import pose
from tests.scene.test_points import NONE, camera, cloud

SPACING = 64 / 21


def photographed(tmp_path, matrix, rgba):
    path = tmp_path / f"{abs(hash(matrix.tobytes()))}.png"
    Image.fromarray(rgba).save(path)
    return replace(camera(matrix), photograph=Photograph(path, 64, 48, cache=PixelCache(1 << 20)))


@pytest.fixture
def rgba():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    return pixels


def seen_by(camera, points):
    """Pixels (N, 2) and depths (N,) of points in a camera."""
    to_camera, lens = camera.world_to_camera.numpy(), camera.intrinsics.numpy()
    local = points.positions @ to_camera[:3, :3].T + to_camera[:3, 3]
    return (local @ lens.T)[:, :2] / local[:, 2:], local[:, 2]


def test_the_whole_picture_lies_behind_where_nothing_is_known(tmp_path, rgba):
    seen = photographed(tmp_path, pose(2, 7), rgba)
    points = far_points([seen], NONE, 3)
    pixels, depths = seen_by(seen, points)
    assert len(points) == 21 * 16
    np.testing.assert_allclose(depths, 3 * depth_range([seen], NONE)[1], rtol=1e-5)
    np.testing.assert_allclose(pixels[:21, 0], SPACING * (np.arange(21) + 0.5), atol=1e-3)
    columns, rows = np.floor(pixels + 1e-4).astype(int).T
    np.testing.assert_array_equal(points.colours, rgba[rows, columns, :3])


def test_none_lie_behind_what_is_known_nor_where_a_photograph_shows_nothing(tmp_path, rgba):
    """Known is a ring of points; what it encloses may be an even surface and counts as known."""
    rgba[:, 50:, 3] = 0
    seen = photographed(tmp_path, pose(0, 7), rgba)
    to_world = np.linalg.inv(seen.world_to_camera.numpy().astype(np.float64))
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.c_[30 + 12 * np.cos(angles), 26 + 12 * np.sin(angles), np.ones(60)]
    local = 4 * ring @ np.linalg.inv(seen.intrinsics.numpy().astype(np.float64)).T
    known = cloud(local @ to_world[:3, :3].T + to_world[:3, 3])
    points = far_points([seen], known, 2)
    pixels, depths = seen_by(seen, points)
    np.testing.assert_allclose(depths, 2 * depth_range([seen], known)[1], rtol=1e-4)
    grid = SPACING * (np.mgrid[:21, :16].reshape(2, -1).T + 0.5)
    apart = np.linalg.norm(grid - (30, 26), axis=1)
    assert np.linalg.norm(pixels - (30, 26), axis=1).min() > 12 + 0.9 * SPACING and pixels[:, 0].max() < 50
    expected = np.count_nonzero((apart > 12 + SPACING) & (grid[:, 0] < 50))
    assert expected <= len(points) <= expected + 4  # between two of the ring it is a little farther to one


def test_each_photograph_adds_its_own(tmp_path, rgba):
    cameras = [photographed(tmp_path, pose(number, 7), rgba) for number in (0, 2)]
    known = cloud(np.random.default_rng(1).normal(0, 0.1, (300, 3)))
    points = far_points(cameras, known, 2)
    farthest = depth_range(cameras, known)[1]
    _, first = seen_by(cameras[0], points)
    _, second = seen_by(cameras[1], points)
    count = int(np.count_nonzero(np.isclose(first, 2 * farthest, rtol=1e-4)))
    assert np.isclose(first[:count], 2 * farthest, rtol=1e-4).all() and count < len(points)
    assert np.isclose(second[count:], 2 * farthest, rtol=1e-4).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_points_without_a_hull_are_left_room_round_them(tmp_path, rgba, count):
    """One, two, three in a line."""
    seen = photographed(tmp_path, np.eye(3, 4), rgba)
    known = cloud([[0.2 * number, 0, 2] for number in range(count)])
    pixels, _ = seen_by(seen, far_points([seen], known, 2))
    surfaces, _ = seen_by(seen, known)
    apart = np.linalg.norm(pixels[:, None] - surfaces[None], axis=-1)
    assert 21 * 16 - 12 * count < len(pixels) < 21 * 16 and apart.min() >= SPACING - 1e-3


def test_none_where_none_were_asked_for():
    assert not len(far_points([camera(pose(0, 7))], NONE, 0))
