"""Points far away: where they lie, what they look like, and where there are none."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scene.far_points import far_points
from scene.photographs import Photograph, PixelCache
from scene.points import depth_range, visible
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
    rgba[:, 40:, 3] = 0
    cameras = [photographed(tmp_path, pose(number, 7), rgba) for number in (0, 2)]
    known = cloud(np.random.default_rng(1).normal(0, 0.15, (300, 3)))
    points = far_points(cameras, known, 2)
    for number, seen in enumerate(cameras):
        alone = far_points([seen], known, 2 * depth_range(cameras, known)[1] / depth_range([seen], known)[1])
        pixels, _ = seen_by(seen, alone)
        inside, _ = visible(seen, known.positions)
        on_surface, _ = seen_by(seen, cloud(known.positions[inside]))
        apart = np.linalg.norm(pixels[:, None] - on_surface[None], axis=-1).min(axis=1)
        assert apart.min() >= SPACING - 1e-3 and pixels[:, 0].max() < 40
        assert 50 < len(alone) < 13 * 16
        start = 0 if number == 0 else len(points) - len(alone)
        np.testing.assert_allclose(points.positions[start:][: len(alone)], alone.positions, rtol=1e-4)


def test_none_where_none_were_asked_for():
    assert not len(far_points([camera(pose(0, 7))], NONE, 0))
