"""Depth maps check each other; voxels keep one point each, wherever the cameras are."""

import numpy as np
import pytest

from scene.dense.fusion import confirmed, thinned
from scene.dense.views import view_of
from tests.scene.dense.world import depths_along, distance_to_surface, world


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Three views and their true depth maps, as planes."""
    cameras = world(tmp_path_factory.mktemp("world"))
    maps = []
    for camera in cameras:
        inverse = 1 / depths_along(camera)
        gy, gx = np.gradient(inverse)
        edge = np.abs(gx) + np.abs(gy) > 0.003  # no plane spans the ball's outline
        maps.append(np.where(edge[..., None], 0, np.stack([inverse, gx, gy], axis=-1)).astype(np.float32))
    return [view_of(camera) for camera in cameras], maps


def test_true_depth_maps_confirm_each_other(exact):
    views, maps = exact
    for number, view in enumerate(views):
        positions, colours, footprints = confirmed(views, maps, number)
        assert len(positions) > 0.7 * view.grey.size
        assert distance_to_surface(positions).max() < 2e-3
        assert len(colours) == len(footprints) == len(positions)
        depth = (positions - view.camera.position.numpy()) @ view.world_to_camera[2, :3]
        np.testing.assert_allclose(footprints, depth / view.intrinsics[0, 0], rtol=1e-4)


@pytest.mark.parametrize("factor", [0.8, 1.03, 1.25])
def test_a_false_match_is_not_confirmed(exact, factor):
    """A patch of one map that claims another depth gives nothing, and takes no point from the rest."""
    views, maps = exact
    patch = np.zeros(views[0].grey.shape, bool)
    patch[140:170, 130:170] = True
    wrong = [maps[0].copy(), *maps[1:]]
    wrong[0][patch] *= factor
    before, after = confirmed(views, maps, 0)[0], confirmed(views, wrong, 0)[0]

    def pixels(positions):
        local = positions @ views[0].world_to_camera[:3, :3].T + views[0].world_to_camera[:3, 3]
        places = local @ views[0].intrinsics.T
        columns, rows = np.rint(places[:, :2] / places[:, 2:]).astype(int).T
        return patch[rows, columns]

    assert pixels(before).sum() > 1000 and pixels(after).sum() == 0
    np.testing.assert_array_equal(after, before[~pixels(before)])


def test_what_others_see_through_is_dropped(exact):
    """Two maps with the same false depth before the wall agree, but two others see the wall behind."""
    views, maps = exact
    views, maps = [*views, views[2]], [*maps, maps[2]]
    everywhere = [maps[0].copy(), maps[1].copy(), *maps[2:]]
    for number in range(2):  # a pane of glass, parallel to the image plane of neither
        view = views[number]
        ray = np.linalg.inv(view.intrinsics).T @ view.world_to_camera[:3, :3]
        # the plane z = -1 of the world: centre_z + (1 / w) ray_z = -1
        gx, gy, constant = ray[:, 2] / (-1 - view.camera.position.numpy()[2])
        rows, columns = np.mgrid[: view.grey.shape[0], : view.grey.shape[1]]
        pane = np.stack(
            [gx * columns + gy * rows + constant, *(np.full(rows.shape, g) for g in (gx, gy))], -1
        )
        everywhere[number] = pane.astype(np.float32)
    alone = confirmed(views[:2], everywhere[:2], 0)[0]
    assert len(alone) > 10000
    np.testing.assert_allclose(alone[:, 2], -1, atol=1e-3)
    kept = confirmed(views, everywhere, 0)[0]
    seen_by_both = views[2].sees(alone)
    assert seen_by_both.mean() > 0.5 and len(kept) <= len(alone) - 0.9 * seen_by_both.sum()


def test_a_voxel_keeps_the_mean_of_its_points():
    xs = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 1.1, 1.2, 0.1, 0.1, 0.1]
    positions = np.array([[x, 0.1, 0.1] for x in xs])
    colours = np.array([[10 * row, row, 255 - row] for row in range(11)], np.uint8)
    footprints = np.array([0.125] * 8 + [2.0] * 3)  # voxels of half a unit, but for the last ones' of eight
    points = thinned(positions, colours, footprints)  # the third voxel, with two points, is dropped
    expected = np.array([[0.2, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.1]], np.float32)
    np.testing.assert_allclose(points.positions, expected, rtol=1e-6)
    np.testing.assert_array_equal(points.colours, [[10, 1, 254], [40, 4, 251], [90, 9, 246]])
    assert len(thinned(positions[:0], colours[:0], footprints[:0])) == 0
