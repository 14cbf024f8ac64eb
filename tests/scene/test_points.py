"""The points to start from: files, random ones in the cameras' view, and what is dropped."""

from dataclasses import replace

import numpy as np
import plyfile
import pytest
import torch
from PIL import Image

from formats.compressed_ply import pack_compressed
from formats.ply import write_ply
from formats.splat import pack_splat
from formats.splats import SH_C0
from formats.spz import pack_spz
from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from scene.points import (
    COLOURS,
    PointCloud,
    depth_range,
    finite_points,
    random_in_cube,
    random_in_view,
    read_points,
    save_point_cloud,
    unprojected,
    visible,
)
from tests.formats.models import some_splats
from tests.scene.models import pose
from utils.errors import UserError, Warnings

NONE = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


def camera(matrix, *, width=64, height=48, focal=70.0) -> Camera:
    world_to_camera = torch.eye(4)
    world_to_camera[:3] = torch.from_numpy(matrix).float()
    intrinsics = torch.tensor([[focal, 0, 30], [0, focal, 26], [0, 0, 1]])
    return Camera("a", world_to_camera, intrinsics, width, height)


def ring(count=7):
    return [camera(pose(number, count)) for number in range(count)]


def shifted(*offsets):
    """Cameras side by side that all look along z."""
    return [camera(np.c_[np.eye(3), [-offset, 0.0, 0.0]]) for offset in offsets]


def cloud(positions):
    positions = np.asarray(positions, np.float32)
    return PointCloud(positions, np.zeros((len(positions), 3), np.uint8))


def test_points_are_visible_inside_the_picture_and_in_front():
    inside, depths = visible(
        camera(np.eye(3, 4)),
        # the picture of 64x48 pixels ends at x = 34/70, y = 22/70 of the depth, and at -30/70, -26/70
        np.array([[0, 0, 2], [0, 0, -2], [0.48, 0, 1], [0.49, 0, 1], [-0.43, 0, 1], [0, 0.32, 1], [0, 0, 0]]),
    )
    assert inside.tolist() == [True, False, True, False, False, False, False]
    assert depths.tolist() == [2, 1]


def test_random_points_are_seen_by_two_cameras_and_fill_the_depth():
    cameras = ring()
    points = random_in_view(cameras, 3000, NONE, seed=1)
    assert points.positions.shape == (3000, 3) and points.positions.dtype == np.float32
    assert points.colours.shape == (3000, 3) and (points.colours == 128).all()
    seen = sum(visible(each, points.positions)[0].astype(int) for each in cameras)
    # float32 may push a point over the edge of a picture
    assert np.count_nonzero(seen < 2) <= 2
    depths = np.concatenate([visible(each, points.positions)[1] for each in cameras])
    # the cameras look at the origin from a distance of 4.02: half to twice that, from the drawing camera
    assert depths.min() < 2.2 and depths.max() > 7.5


def test_random_points_depend_on_the_seed_alone():
    first, again, other = (random_in_view(ring(), 200, NONE, seed=seed).positions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_camera_sees_all_its_random_points():
    (single,) = ring(1)
    points = random_in_view([single], 500, NONE, seed=0)
    assert np.count_nonzero(~visible(single, points.positions)[0]) <= 2


def test_cameras_that_share_no_picture_still_get_their_points():
    back_to_back = [camera(np.eye(3, 4)), camera(np.c_[np.diag([-1.0, 1, -1]), [0, 0, -50]])]
    points = random_in_view(back_to_back, 300, NONE, seed=0)
    assert len(points) == 300 and np.isfinite(points.positions).all()
    seen = np.any([visible(each, points.positions)[0] for each in back_to_back], axis=0)
    assert seen.mean() > 0.99


def test_a_depth_maps_points_are_seen_where_the_map_has_them(tmp_path):
    """Each with its pixel's colour; none of masked or transparent pixels, nor more than asked for."""
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (48, 64, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    rgba[:10, :, 3] = 100
    Image.fromarray(rgba).save(tmp_path / "a.png")
    mask = np.full((48, 64), 255, np.uint8)
    mask[:, :20] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    shot = Photograph(tmp_path / "a.png", 64, 48, PixelCache(10**6), mask_path=tmp_path / "mask.png")
    seen = replace(ring()[1], photograph=shot)
    depth = random.uniform(1, 5, (48, 64)).astype(np.float32)
    points = unprojected(seen, depth, 10**6)
    assert len(points) == 38 * 44
    to_camera, lens = seen.world_to_camera.numpy(), seen.intrinsics.numpy()
    local = points.positions @ to_camera[:3, :3].T + to_camera[:3, 3]
    pixels = (local @ lens.T)[:, :2] / local[:, 2:]
    np.testing.assert_allclose(pixels % 1, 0.5, atol=1e-3)
    columns, rows = np.floor(pixels).astype(int).T
    assert rows.min() == 10 and columns.min() == 20 and len(set(zip(rows, columns, strict=True))) == 38 * 44
    np.testing.assert_allclose(local[:, 2], depth[rows, columns], rtol=1e-5)
    np.testing.assert_array_equal(points.colours, rgba[rows, columns, :3])
    assert 300 < len(unprojected(seen, depth, 600)) <= 600


def test_known_points_tell_the_depth():
    rows = [[0, 0, 3 + 0.01 * number] for number in range(101)]
    near, far = depth_range([camera(np.eye(3, 4))], cloud(rows))
    assert (near, far) == pytest.approx((3.01, 3.99), abs=1e-5)


def test_without_points_the_depth_is_that_of_what_the_cameras_look_at():
    near, far = depth_range(ring(), NONE)
    distance = np.hypot(4, 0.4)
    assert (near, far) == pytest.approx((distance / 2, distance * 2), rel=1e-4)


def test_parallel_cameras_take_their_distance_as_the_scale():
    assert depth_range(shifted(0, 1, 2), NONE) == pytest.approx((1, 10))
    assert depth_range(shifted(5, 5), NONE) == pytest.approx((1, 10))


def test_cameras_that_look_away_from_each_other_do_not_put_points_behind_themselves():
    outward = []
    for angle in np.radians([0, 90, 180, 270]):
        forward = np.array([np.sin(angle), 0, np.cos(angle)])
        rotation = np.stack([np.cross([0, 1, 0], forward), [0, 1, 0], forward])
        outward.append(camera(np.c_[rotation, -rotation @ (3 * forward)]))
    assert depth_range(outward, NONE) == pytest.approx((3, 30), rel=1e-5)


def test_random_points_in_a_cube_fill_it():
    points = random_in_cube(4000, 1.3, seed=0)
    assert abs(points.positions).max() <= 1.3
    np.testing.assert_allclose(points.positions.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(points.positions.std(axis=0), 1.3 / np.sqrt(3), rtol=0.03)


def test_points_without_a_finite_position_are_dropped_with_a_warning():
    warnings = Warnings()
    positions = np.array([[1, 2, 3], [np.nan, 0, 0], [0, np.inf, 0], [1e300, 0, 0], [4, 5, 6]])
    colours = np.arange(15, dtype=np.uint8).reshape(5, 3)
    points = finite_points(positions, colours, "SfM points", warnings)
    assert points.positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert points.colours.tolist() == [[0, 1, 2], [12, 13, 14]]
    assert warnings.lines() == ["warning: SfM points: 3 of 5 have no finite position, dropped"]


def test_a_saved_point_cloud_reads_back_equal_and_has_the_references_columns(tmp_path):
    generator = np.random.default_rng(0)
    points = PointCloud(
        generator.normal(size=(50, 3)).astype(np.float32), generator.integers(0, 256, (50, 3), dtype=np.uint8)
    )
    save_point_cloud(tmp_path / "input.ply", points)
    vertices = plyfile.PlyData.read(tmp_path / "input.ply")["vertex"]
    assert [each.name for each in vertices.properties] == ["x", "y", "z", "nx", "ny", "nz", *COLOURS]
    back = read_points(tmp_path / "input.ply", Warnings())
    np.testing.assert_array_equal(back.positions, points.positions)
    np.testing.assert_array_equal(back.colours, points.colours)


def write_vertices(path, **columns):
    rows = np.zeros(2, [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], text=True).write(path)


XYZ = {axis: np.array([1.5, -2.0]) for axis in "xyz"}


def test_colours_come_as_bytes_fractions_or_not_at_all(tmp_path):
    path = tmp_path / "a.ply"
    expected = [[0, 51, 255], [255, 255, 128]]
    fractions = np.array(expected) / 255
    for values in (np.array(expected, np.uint8), fractions.astype(np.float32)):
        write_vertices(path, **XYZ, **dict(zip(("red", "green", "blue"), values.T, strict=True)))
        points = read_points(path, Warnings())
        assert points.colours.tolist() == expected and points.colours.dtype == np.uint8
        assert points.positions.tolist() == [[1.5] * 3, [-2.0] * 3]
    write_vertices(path, **XYZ)
    assert (read_points(path, Warnings()).colours == 128).all()


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".splat", ".spz"])
def test_gaussians_of_any_format_give_their_centres_and_base_colours(tmp_path, suffix):
    splats = some_splats(20)
    packers = {".compressed.ply": pack_compressed, ".splat": pack_splat, ".spz": pack_spz}
    path = tmp_path / f"model{suffix}"
    write_ply(path, splats) if suffix == ".ply" else path.write_bytes(packers[suffix](splats))
    points = read_points(path, Warnings())
    nearest = np.linalg.norm(points.positions[:, None] - splats.means, axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(20))
    np.testing.assert_allclose(points.positions, splats.means[nearest], atol=5e-3)
    wanted = 255 * np.clip(0.5 + SH_C0 * splats.sh0, 0, 1)[nearest]
    assert np.abs(points.colours - wanted).max() < 2


def test_files_that_hold_no_points_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.ply"):
        read_points(tmp_path / "gone.ply", Warnings())
    (tmp_path / "words.ply").write_text("no points")
    with pytest.raises(UserError, match=r"words\.ply"):
        read_points(tmp_path / "words.ply", Warnings())
    (tmp_path / "scene.sog").write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(UserError, match=r"scene\.sog is no file of Gaussians that is read here"):
        read_points(tmp_path / "scene.sog", Warnings())
    write_vertices(tmp_path / "flat.ply", x=XYZ["x"], y=XYZ["y"])
    with pytest.raises(UserError, match=r"flat\.ply has no properties x, y, z .*found x, y"):
        read_points(tmp_path / "flat.ply", Warnings())
