"""Scenes: kinds, splits, sizes, start points, extent, cameras.json and every mistake of the user."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from scene.dataset import (
    SceneOptions,
    evenly_spaced,
    held_out,
    load_scene,
    mask_folder,
    scene_extent,
    scene_kind,
)
from scene.fitting import training_size
from scene.model_folder import write_cameras_json
from scene.points import PointCloud, save_point_cloud
from tests.scene.models import POINTS, pinhole, pose, write_dataset
from utils.errors import UserError, Warnings


def load(folder, seed=0, **options):
    return load_scene(SceneOptions(source_path=str(folder), **options), seed)


def names_of(cameras):
    return [camera.name for camera in cameras]


def test_every_eighth_is_for_the_test():
    train, test = held_out(list(range(18)))
    assert test == [0, 8, 16]
    assert train == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17]
    assert held_out(["only"]) == ([], ["only"])


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (1, [0]),
        (2, [0, 16]),
        (3, [0, 8, 16]),
        (6, [0, 3, 6, 10, 13, 16]),  # 0 3.2 6.4 9.6 12.8 16
        (9, [0, 2, 4, 6, 8, 10, 12, 14, 16]),
        (17, list(range(17))),
        (0, list(range(17))),
    ],
)
def test_views_are_spaced_by_the_llff_rule(count, chosen):
    assert evenly_spaced(list(range(17)), count) == chosen


@pytest.mark.parametrize("total", range(1, 30))
def test_no_view_is_chosen_twice(total):
    for count in range(1, total + 1):
        assert len(set(evenly_spaced(list(range(total)), count))) == count


def test_the_split_of_a_scene(tmp_path):
    names = [f"{number:02}.png" for number in range(10)]
    folder = write_dataset(tmp_path / "scene", names[::-1])
    scene = load(folder)
    assert names_of(scene.train_cameras) == names and scene.test_cameras == []
    scene = load(folder, eval=True)
    assert names_of(scene.test_cameras) == ["00.png", "08.png"]
    assert names_of(scene.train_cameras) == [*names[1:8], "09.png"]
    scene = load(folder, eval=True, n_views=3)  # of the eight training ones numbers 0, 3.5 rounded to 4, 7
    assert names_of(scene.train_cameras) == ["01.png", "05.png", "09.png"]
    assert names_of(scene.test_cameras) == ["00.png", "08.png"]
    assert names_of(load(folder, n_views=4).train_cameras) == ["00.png", "03.png", "06.png", "09.png"]
    with pytest.raises(UserError, match=r"--n_views 9: there are 8 training photographs"):
        load(folder, eval=True, n_views=9)


def test_one_photograph_with_eval_leaves_nothing_to_train_from(tmp_path):
    with pytest.raises(UserError, match="--eval"):
        load(write_dataset(tmp_path / "scene", ["a.png"]), eval=True)


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((697, 521), 1, (697, 521)),
        ((697, 521), 2, (348, 260)),  # 348.5 and 260.5 go to the even neighbour
        ((699, 523), 2, (350, 262)),
        ((697, 521), 8, (87, 65)),
        ((697, 521), -1, (697, 521)),
        ((1600, 1200), -1, (1600, 1200)),
        ((1000, 4000), -1, (1000, 4000)),  # only the width counts
        ((4000, 3001), -1, (1600, 1200)),
        ((697, 521), 3, (3, 2)),  # any other number is a width
        ((697, 521), 500, (500, 373)),
        ((697, 521), 1000, (1000, 747)),
        ((4000, 2), 8, (500, 1)),  # never nothing
    ],
)
def test_sizes_follow_the_references_rule(size, resolution, expected):
    assert training_size(size[0], size[1], resolution) == expected


def test_wide_photographs_are_shrunk_with_one_notice(tmp_path):
    def wide(number, lens, matrix):
        return Image.new("RGB", (lens.width, lens.height), (9, 8, 7))

    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png"], lens=pinhole(2000, 30), paint=wide)
    scene = load(folder)
    assert [(camera.width, camera.height) for camera in scene.train_cameras] == [(1600, 24)] * 2
    (line,) = [line for line in scene.warnings.lines() if "1600" in line]
    assert "--resolution 1" in line and "(2 times)" in line
    scene = load(folder, resolution=1)
    assert scene.train_cameras[0].width == 2000 and not scene.warnings.lines()


def test_with_few_views_only_points_that_two_of_them_saw_are_kept(tmp_path):
    names = [f"{number}.png" for number in range(9)]
    views = {0: [0, 4], 1: [0, 1, 2, 3], 2: [4, 8], 3: [8], 4: [0, 4, 8]}  # by the row's remainder of 5
    points = np.random.default_rng(1).uniform(-1, 1, (250, 3))
    folder = write_dataset(tmp_path / "scene", names, points=points, seen_by=lambda row: views[row % 5])
    scene = load(folder, n_views=3)
    assert names_of(scene.train_cameras) == ["0.png", "4.png", "8.png"]
    kept = [row for row in range(250) if row % 5 in (0, 2, 4)]
    np.testing.assert_array_equal(scene.points.positions, points[kept].astype(np.float32))
    assert scene.points_source == "150 SfM points seen in at least two of the 3 training photographs"
    for options in ({"n_views": 3, "points": "all"}, {}, {"points": "seen"}):
        scene = load(folder, **options)
        assert len(scene.points) == 250 and scene.points_source == "250 SfM points"
    assert load(folder, n_views=3).summary()["points"].startswith("150 SfM points seen")


def test_too_few_points_are_joined_by_random_ones(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png", "c.png"], points=POINTS[:99])
    scene = load(folder, init_random=400)
    assert len(scene.points) == 499
    np.testing.assert_allclose(scene.points.positions[:99], POINTS[:99], atol=1e-6)
    assert (scene.points.colours[5] == [5, 2, 250]).all() and (scene.points.colours[99:] == 128).all()
    assert scene.points_source == "99 SfM points and 400 random points in the training cameras' view"
    assert any("only 99 SfM points" in line for line in scene.warnings.lines())
    same, other = load(folder, init_random=400), load(folder, seed=1, init_random=400)
    np.testing.assert_array_equal(scene.points.positions, same.points.positions)
    assert not np.array_equal(scene.points.positions, other.points.positions)
    enough = load(write_dataset(tmp_path / "enough", ["a.png", "b.png"], points=POINTS[:100]))
    assert enough.points_source == "100 SfM points"


def test_points_that_are_not_finite_are_dropped(tmp_path):
    points = POINTS.copy()
    points[3, 1] = np.nan
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png"], points=points, seen_by=lambda row: [])
    scene = load(folder)
    assert len(scene.points) == 149 and np.isfinite(scene.points.positions).all()
    assert any("1 of 150" in line for line in scene.warnings.lines())


def test_a_ply_replaces_the_points(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png"])
    given = PointCloud(
        np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    )
    save_point_cloud(tmp_path / "start.ply", given)
    scene = load(folder, init_ply=str(tmp_path / "start.ply"))
    np.testing.assert_array_equal(scene.points.positions, given.positions)
    np.testing.assert_array_equal(scene.points.colours, given.colours)
    assert scene.points_source == "2 points of start.ply"
    save_point_cloud(tmp_path / "none.ply", PointCloud(given.positions[:0], given.colours[:0]))
    with pytest.raises(UserError, match=r"none\.ply has no point"):
        load(folder, init_ply=str(tmp_path / "none.ply"))
    with pytest.raises(UserError, match=r"gone\.ply"):
        load(folder, init_ply=str(tmp_path / "gone.ply"))


def camera_at(x, y, z):
    matrix = torch.eye(4)
    matrix[:3, 3] = -torch.tensor([x, y, z])
    return Camera("a", matrix, torch.eye(3), 2, 2)


def test_the_extent_is_that_of_the_training_cameras():
    points = PointCloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8))
    warnings = Warnings()
    # the mean is (1, 0, 0); the farthest camera is 5 away
    cameras = [camera_at(-2.0, 4, 0), camera_at(4.0, -4, 0), camera_at(1.0, 0, 0)]
    assert scene_extent(cameras, points, warnings) == pytest.approx(5.5)
    assert warnings.lines() == []


@pytest.mark.parametrize("count", [1, 3])
def test_cameras_at_one_place_take_the_extent_from_the_points(count):
    positions = np.array([[1, 0, 0], [1, 0, 3], [1, 7, 0]], np.float32)
    warnings = Warnings()
    cameras = [camera_at(1.0, 0, 0)] * count
    extent = scene_extent(cameras, PointCloud(positions, np.zeros((3, 3), np.uint8)), warnings)
    assert extent == pytest.approx(3.3)
    assert "at one place" in warnings.lines()[0]
    at_the_camera = PointCloud(positions[:1], np.zeros((1, 3), np.uint8))
    assert scene_extent(cameras, at_the_camera, warnings) > 0


@pytest.mark.parametrize(("apart", "extent"), [(0.5, 3.3), (0.9, 0.495)])
def test_two_cameras_like_a_pair_of_eyes_take_the_extent_from_the_points(apart, extent):
    """Half their distance, 3.0 away from the points, says nothing below a tenth of that."""
    cameras = [camera_at(-apart / 2, 0, 0), camera_at(apart / 2, 0, 0)]
    points = PointCloud(np.array([[0, 0, 3]], np.float32), np.zeros((1, 3), np.uint8))
    assert scene_extent(cameras, points, Warnings()) == pytest.approx(extent)
    three = [*cameras, camera_at(0.0, 0, 0)]
    assert scene_extent(three, points, Warnings()) == pytest.approx(1.1 * apart / 2)  # as the reference


def test_one_photograph_starts_from_the_points_seen_in_it(tmp_path):
    names = [f"{number}.png" for number in range(3)]
    folder = write_dataset(tmp_path / "scene", names, seen_by=lambda row: [0, 1] if row < 110 else [1, 2])
    scene = load(folder, n_views=1)
    assert names_of(scene.train_cameras) == names[:1]
    np.testing.assert_allclose(scene.points.positions, POINTS[:110], atol=1e-6)
    assert "110 SfM points seen in the training photograph" in scene.points_source
    middle = scene.train_cameras[0].position.numpy()
    distance = np.median(np.linalg.norm(POINTS[:110] - middle, axis=1))
    assert scene.extent == pytest.approx(1.1 * distance, rel=1e-5)


def test_halves_of_test_photographs_train_and_the_others_test(tmp_path):
    folder = write_dataset(tmp_path / "scene", [f"{number:02}.png" for number in range(9)])
    scene = load(folder, eval=True, train_test_exp=True)
    black = torch.zeros(3)
    assert names_of(scene.train_cameras) == [f"{number:02}.png" for number in (*range(1, 8), 0, 8)]
    assert names_of(scene.test_cameras) == ["00.png", "08.png"]
    for camera in scene.train_cameras[:7]:
        assert camera.own_photograph.target(black)[1] is None
    left = torch.zeros(48, 64)
    left[:, :32] = 1
    for trains, tests in zip(scene.train_cameras[7:], scene.test_cameras, strict=True):
        assert torch.equal(trains.own_photograph.target(black)[1], left)
        assert torch.equal(tests.own_photograph.target(black)[1], 1 - left)


def test_a_single_photograph_without_points_loads(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png"], points=POINTS[:0])
    scene = load(folder, init_random=200)
    assert len(scene.points) == 200 and scene.extent > 0


def test_cameras_json_is_the_references(tmp_path):
    names = [f"{number}.png" for number in range(9)]
    folder = write_dataset(tmp_path / "scene", names)
    write_cameras_json(tmp_path / "cameras.json", load(folder, eval=True, resolution=2))
    rows = json.loads((tmp_path / "cameras.json").read_text())
    assert [row["img_name"] for row in rows] == ["0.png", "8.png", *names[1:8]]  # test first, then training
    assert [row["id"] for row in rows] == list(range(9))
    assert list(rows[0]) == ["id", "img_name", "width", "height", "position", "rotation", "fy", "fx"]
    for row in rows:
        assert (row["width"], row["height"]) == (64, 48)  # the original size, though trained at half
        assert (row["fx"], row["fy"]) == pytest.approx((70, 72), rel=1e-6)
        matrix = pose(names.index(row["img_name"]), 9)
        np.testing.assert_allclose(row["rotation"], matrix[:, :3].T, atol=1e-6)
        np.testing.assert_allclose(row["position"], -matrix[:, :3].T @ matrix[:, 3], atol=1e-5)


def test_masks_of_a_scene(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png"])
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 255
    (folder / "masks").mkdir()
    Image.fromarray(left).save(folder / "masks/a.png")
    scene = load(folder)
    weights = [camera.photograph.target(torch.zeros(3))[1] for camera in scene.train_cameras]
    np.testing.assert_array_equal(weights[0].numpy(), left / 255)
    assert weights[1] is None
    (line,) = scene.warnings.lines()
    assert "no mask" in line and line.endswith(": b.png")

    scene = load(folder, masks="")
    assert scene.train_cameras[0].photograph.target(torch.zeros(3))[1] is None and not scene.warnings.lines()
    image, weight = load(folder, mask_mode="transparent").train_cameras[0].photograph.target(torch.ones(3))
    assert weight is None and (image[:, :, 32:] == 1).all() and (image[2, :, :32] < 0.5).all()
    with pytest.raises(UserError, match=r"--masks: no folder .*scene/other"):
        load(folder, masks="other")
    assert mask_folder(tmp_path, "masks") is None


def test_the_cache_has_the_budget_of_the_flag(tmp_path):
    names = [f"{number}.png" for number in range(5)]
    folder = write_dataset(tmp_path / "scene", names)
    one = 64 * 48 * 3
    scene = load(folder, image_memory=3.5 * one / 1e9)
    cache = scene.train_cameras[0].photograph.cache
    assert len(cache) == 3 and cache.used == 3 * one
    assert all(camera.photograph.cache is cache for camera in scene.train_cameras)


def test_paths_are_absolute_and_the_rest_has_the_references_defaults(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = SceneOptions(source_path="a/b", init_ply="c.ply")
    assert options.source_path == str(tmp_path / "a/b") and options.init_ply == str(tmp_path / "c.ply")
    assert (options.images, options.resolution, options.eval, options.white_background) == (
        "images",
        -1,
        False,
        False,
    )
    assert SceneOptions().source_path == "" and SceneOptions().init_ply == ""


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("resolution", 0),
        ("resolution", -2),
        ("n_views", -1),
        ("points", "some"),
        ("mask_mode", "black"),
        ("image_memory", -1.0),
        ("image_memory", float("nan")),
        ("init_random", 0),
        ("images", ""),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(tmp_path, flag, value):
    with pytest.raises(UserError, match=rf"--{flag} {re.escape(str(value)) or '.empty.'}: allowed is [-\w]+"):
        load(tmp_path, **{flag: value})


def test_no_source_path_is_named():
    with pytest.raises(UserError, match=r"--source_path \(empty\)"):
        load("")


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*/gone"):
        scene_kind(tmp_path / "gone")
    with pytest.raises(UserError, match=r"neither .*sparse/.* nor transforms_train.json.*found nothing"):
        scene_kind(tmp_path)
    for name in ("IMG_1.JPG", "IMG_2.JPG"):  # one alone can be trained on
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"found IMG_1.JPG.*convert.py -s"):
        scene_kind(tmp_path)
    (tmp_path / "transforms_train.json").touch()
    assert scene_kind(tmp_path) == "blender"
    (tmp_path / "sparse").mkdir()
    assert scene_kind(tmp_path) == "colmap"


def test_loading_writes_nothing_into_the_dataset(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png"], points=POINTS[:5])
    before = sorted(folder.rglob("*"))
    load(folder, init_random=10)
    assert sorted(folder.rglob("*")) == before
