"""Triangulation gives back depths; matches of pictures lie on the surface, and none on a mask."""

import numpy as np

from scene.dense.matches import matched_points, triangulate
from scene.dense.views import View, projection, view_of
from tests.scene.dense.world import distance_to_surface, world


def test_triangulation_gives_back_the_depth(tmp_path):
    one, two = (view_of(camera) for camera in world(tmp_path)[:2])
    generator = np.random.default_rng(0)
    pixels, depths = generator.uniform(20, 180, (50, 2)), generator.uniform(2, 6, 50)
    path = projection(one, two)
    local = one.points_at(pixels, 1 / depths) @ two.world_to_camera[:3, :3].T + two.world_to_camera[:3, 3]
    seen = local @ two.intrinsics.T
    seen = seen[:, :2] / seen[:, 2:]
    inverse, good = triangulate(pixels, seen, path)
    np.testing.assert_allclose(1 / inverse, depths, rtol=1e-6)
    assert good.all()

    across = np.array([path[9], path[10]]) - seen * path[11]  # along the epipolar line, then off it
    across = np.c_[-across[:, 1], across[:, 0]] / np.linalg.norm(across, axis=1, keepdims=True)
    assert triangulate(pixels, seen + 1.9 * across, path)[1].all()
    assert not triangulate(pixels, seen + 2.1 * across, path)[1].any()
    infinite = np.c_[pixels, np.ones(50)] @ path[:9].reshape(3, 3).T
    infinite = infinite[:, :2] / infinite[:, 2:]
    assert not triangulate(pixels, infinite, path)[1].any()
    assert not triangulate(pixels, 2 * infinite - seen, path)[1].any()  # behind


def test_matches_lie_on_the_surface(tmp_path):
    views = [view_of(camera) for camera in world(tmp_path)]
    points = matched_points(views)
    assert len(points) > 500
    assert np.quantile(distance_to_surface(points) / 3.5, 0.85) < 0.01
    masked = [View(view.camera, view.rgb, np.full_like(view.grey, np.nan)) for view in views]
    assert len(matched_points([views[0], masked[1], masked[2]])) == 0
