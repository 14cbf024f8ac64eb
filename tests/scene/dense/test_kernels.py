"""The cost against plain numpy and the cameras themselves; what a plane is at the next size; hashes."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from scene.dense.kernels import NOTHING, RADIUS, STEP, TAPS, fill_window, random_number, source_cost
from scene.dense.stereo import doubled
from scene.dense.views import View, projection, view_of
from tests.scene.dense.world import world


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> list[View]:
    return [view_of(camera) for camera in world(tmp_path_factory.mktemp("world"))]


def cost_in_numpy(one: View, two: View, x: int, y: int, point: np.ndarray, normal: np.ndarray) -> float:
    """1 - weighted correlation of a window with what the other picture shows of a plane of the world."""
    offsets = range(-RADIUS, RADIUS + 1, STEP)
    pixels = np.array([(x + dx, y + dy) for dy in offsets for dx in offsets])
    to_world = one.camera.camera_to_world.double().numpy()
    rays = np.c_[pixels, np.ones(len(pixels))] @ np.linalg.inv(one.intrinsics).T @ to_world[:3, :3].T
    along = ((point - to_world[:3, 3]) @ normal) / (rays @ normal)
    surface = to_world[:3, 3] + along[:, None] * rays
    local = (surface @ two.world_to_camera[:3, :3].T + two.world_to_camera[:3, 3]) @ two.intrinsics.T
    b = map_coordinates(two.grey.astype(float), (local[:, :2] / local[:, 2:]).T[::-1], order=1)
    a = one.grey[pixels[:, 1], pixels[:, 0]].astype(float)
    far = ((pixels - (x, y)) ** 2).sum(axis=1)
    weights = np.exp(-((a - one.grey[y, x]) ** 2) / (2 * 0.2**2) - far / (2 * 5.0**2))
    covariance = np.cov(np.stack([a, b]), aweights=weights, bias=True)
    return 1 - covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


def cost_of_kernel(one: View, two: View, x: int, y: int, plane: tuple[float, ...]) -> float:
    values, weights = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
    fill_window(one.grey, x, y, values, weights)
    place = np.float32(x), np.float32(y)
    path = projection(one, two).astype(np.float32)
    return float(
        source_cost(one.grey[y, x], values, weights, *place, tuple(map(np.float32, plane)), two.grey, path)
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_cost_is_that_of_a_plane_of_the_world(views, seed):
    generator = np.random.default_rng(seed)
    one, two = views[0], views[1 + seed % 2]
    x, y, depth = (
        int(generator.integers(90, 150)),
        int(generator.integers(80, 120)),
        generator.uniform(2.5, 5),
    )
    tilt = np.array([*generator.uniform(-0.5, 0.5, 2), -1.0])  # of the plane, in the camera's frame
    to_world = one.camera.camera_to_world.double().numpy()
    local = depth * np.linalg.inv(one.intrinsics) @ [x, y, 1]
    point, normal = to_world[:3, :3] @ local + to_world[:3, 3], to_world[:3, :3] @ tilt
    # the plane tilt . (ray / w) = tilt . local: w is linear in the ray, and so in the pixel
    slope = (tilt / (tilt @ local)) @ np.linalg.inv(one.intrinsics)
    kernel = cost_of_kernel(one, two, x, y, (1 / depth, slope[0], slope[1]))
    assert kernel == pytest.approx(cost_in_numpy(one, two, x, y, point, normal), abs=2e-4)
    assert 0 < kernel < 2


def test_what_cannot_be_compared_costs_most(views):
    one, two = views[0], views[1]
    good = (1 / 3.5, 0.0, 0.0)
    assert cost_of_kernel(one, two, 120, 100, good) < NOTHING
    masked = View(two.camera, two.rgb, np.full_like(two.grey, np.nan))
    assert cost_of_kernel(one, masked, 120, 100, good) == NOTHING
    flat = View(two.camera, two.rgb, np.full_like(two.grey, 0.5))
    assert cost_of_kernel(one, flat, 120, 100, good) == 1
    assert cost_of_kernel(one, two, 120, 100, (1 / 0.3, 0.0, 0.0)) == NOTHING  # far outside the other picture


def test_a_plane_stays_the_same_plane_at_twice_the_size(views):
    small = views[0].halved()
    height, width = small.grey.shape
    w, gx, gy = 0.3, 2e-4, -3e-4
    planes = np.empty((height, width, 3), np.float32)
    planes[..., 0] = w + gx * np.arange(width) + gy * np.arange(height)[:, None]
    planes[..., 1:] = gx, gy
    large = doubled(planes, (2 * height + 1, 2 * width))
    # the same ray through both, by the cameras' matrices
    rows, columns = np.mgrid[: 2 * height + 1, : 2 * width]
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    there = pixels @ np.linalg.inv(views[0].intrinsics).T @ small.intrinsics.T
    np.testing.assert_allclose(large[..., 0], w + gx * there[..., 0] + gy * there[..., 1], atol=1e-6)
    np.testing.assert_allclose(large[..., 1:], np.broadcast_to([gx / 2, gy / 2], large[..., 1:].shape))


def test_random_numbers_look_random():
    numbers = np.array([random_number(x, y, 3) for x in range(60) for y in range(60)]).reshape(60, 60)
    assert numbers.min() >= -1 and numbers.max() < 1 and len(np.unique(numbers)) > 3590
    assert abs(numbers.mean()) < 0.03 and numbers.std() == pytest.approx(1 / np.sqrt(3), abs=0.02)
    for shifted in (numbers[1:, :], numbers[:, 1:].T):
        assert abs(np.corrcoef(shifted.ravel(), numbers[: len(shifted)].ravel()[: shifted.size])[0, 1]) < 0.05
