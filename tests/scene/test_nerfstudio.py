"""Nerfstudio datasets: names, lenses, distortion, masks, splits, points, and every mistake in the file."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scene import transforms
from scene.dataset import SceneOptions, load_scene, posed_photographs
from scene.nerfstudio import read_nerfstudio
from scene.points import PointCloud, save_point_cloud
from tests.scene.test_blender import ALONG_Y, frame, pixel, scaled
from utils.errors import UserError, Warnings

BLACK = torch.zeros(3)
LENS = {"fl_x": 40, "fl_y": 42, "cx": 18, "cy": 16, "w": 40, "h": 30}


def write(folder, frames, *, size=(40, 30), **top):
    """A transforms.json and its photographs; `top` holds top-level values, `LENS` by default."""
    top = top or LENS
    (folder / "transforms.json").write_text(json.dumps({**top, "frames": frames}))
    for each in frames:
        path = folder / each["file_path"].replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 100, 50)).save(path)
    return folder


def frames_of(*names):
    return [frame(f"images/{name}") for name in names]


def load(folder, **options):
    return load_scene(SceneOptions(source_path=str(folder), init_random=500, **options), seed=0)


def names_of(cameras):
    return [camera.name for camera in cameras]


def test_poses_and_an_off_centre_principal_point(tmp_path):
    aside = np.array(ALONG_Y, float)
    aside[0, 3] = 3
    frames = [frame("images/b.png", aside.tolist()), frame("images/a.png")]
    scene = load(write(tmp_path, frames))
    assert scene.kind == "nerfstudio"
    assert names_of(scene.train_cameras) == ["a.png", "b.png"]  # by name, however they are listed
    camera = scene.train_cameras[0]
    torch.testing.assert_close(camera.position, torch.tensor([0.0, -4, 1]))
    assert pixel(camera, (0.0, 0.0, 1.0)) == pytest.approx((18, 16, 4))
    assert pixel(camera, (1.0, 0.0, 2.0)) == pytest.approx((18 + 40 / 4, 16 - 42 / 4, 4))
    assert scene.warnings.lines() == []


def test_a_frames_lens_wins_over_the_files(tmp_path):
    frames = [frame("images/a.png"), frame("images/b.png", fl_x=60, cx=20.5)]
    first, second = load(write(tmp_path, frames)).train_cameras
    assert [float(each.intrinsics[0, 0]) for each in (first, second)] == [40, 60]
    assert [float(each.intrinsics[0, 2]) for each in (first, second)] == [18, 20.5]


def test_points_and_poses_are_taken_as_they_stand_whatever_was_applied(tmp_path):
    applied = {"applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]], "applied_scale": 3.0}
    folder = write(tmp_path, frames_of("a.png", "b.png"), **LENS, **applied, ply_file_path="sparse_pc.ply")
    given = PointCloud(np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.full((2, 3), 9, np.uint8))
    save_point_cloud(folder / "sparse_pc.ply", given)
    scene = load(folder)
    np.testing.assert_array_equal(scene.points.positions, given.positions)
    torch.testing.assert_close(scene.train_cameras[0].position, torch.tensor([0.0, -4, 1]))
    assert scene.points_source == "2 points of sparse_pc.ply"
    assert any("does not say which photographs" in line for line in load(folder, n_views=1).warnings.lines())
    (folder / "sparse_pc.ply").unlink()
    with pytest.raises(UserError, match=r"no such file: .*sparse_pc\.ply"):
        load(folder)


def test_without_points_random_ones_start_in_the_cameras_view(tmp_path):
    moved = np.array(ALONG_Y, float)
    moved[0, 3] = 0.5
    folder = write(tmp_path, [frame("images/a.png"), frame("images/b.png", moved.tolist())])
    scene = load(folder)
    assert (
        scene.points_source == "500 random points in the training cameras' view" and len(scene.points) == 500
    )
    assert scene.warnings.lines() == []


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["images/a.png", "./images/b.png"], ["a.png", "b.png"]),
        (["images/left/a.png", "images/right/a.png"], ["left/a.png", "right/a.png"]),
        (["images\\a.png", "images\\b.png"], ["a.png", "b.png"]),
        (["scene/../images/a.png", "images/b.png"], ["a.png", "b.png"]),
        (["a.png", "more/b.png"], ["a.png", "more/b.png"]),
    ],
)
def test_names_are_paths_below_the_folder_of_all_photographs(tmp_path, paths, names):
    (tmp_path / "scene").mkdir()
    assert names_of(load(write(tmp_path, [frame(path) for path in paths])).train_cameras) == names


def test_photographs_outside_the_dataset_and_paths_without_endings(tmp_path):
    folder = tmp_path / "poses"
    folder.mkdir()
    outside = [frame("../photographs/a.png"), frame("b.png")]
    outside[1]["file_path"] = str(tmp_path / "photographs/b.png")
    assert names_of(load(write(folder, outside)).train_cameras) == ["a.png", "b.png"]
    bare = [{**each, "file_path": each["file_path"].removesuffix(".png")} for each in outside]
    (folder / "transforms.json").write_text(json.dumps({**LENS, "frames": bare}))
    assert names_of(load(folder).train_cameras) == ["a.png", "b.png"]


def test_another_folder_of_photographs_scales_the_lens(tmp_path):
    folder = write(tmp_path, frames_of("a.png", "b.png"))
    (folder / "images_2").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 15), (1, 2, 3)).save(folder / "images_2" / name)
    camera = load(folder, images="images_2").train_cameras[0]
    assert (camera.width, camera.height) == (20, 15) and camera.photograph.path.parent.name == "images_2"
    assert pixel(camera, (1.0, 0.0, 2.0)) == pytest.approx((9 + 20 / 4, 8 - 21 / 4, 4))
    with pytest.raises(UserError, match=r"2 photographs are missing in .*images_4.*--images"):
        load(folder, images="images_4")


def brown(x, y, k1, k2, p1, p2, k3):
    """OpenCV's perspective distortion, as its documentation has it."""
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def equidistant(x, y, k1, k2, k3, k4):
    """OpenCV's fisheye distortion, as its documentation has it."""
    r = np.hypot(x, y)
    angle = np.arctan(r)
    bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    return x * bent / r, y * bent / r


@pytest.mark.parametrize(
    ("values", "model", "bend"),
    [
        ({"k1": 0.1, "k2": -0.05, "p1": 0.01, "p2": -0.02}, "OPENCV", brown),
        ({"k1": 0.1, "k2": -0.05, "p1": 0.01, "p2": -0.02, "k3": 0.03}, "FULL_OPENCV", brown),
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.02, "k3": 0.01, "k4": -0.01},
            "OPENCV_FISHEYE",
            None,
        ),
        ({"is_fisheye": True, "k1": 0.1}, "OPENCV_FISHEYE", None),
        ({"camera_model": "SIMPLE_PINHOLE"}, "PINHOLE", brown),
    ],
)
def test_lenses_bend_as_opencv_says(tmp_path, values, model, bend):
    folder = write(tmp_path, frames_of("a.png"), **LENS, **values)
    lens = read_nerfstudio(folder, "images", Warnings()).photographs[0].lens
    assert lens.model_name == model
    for x, y in ((0.3, -0.2), (-0.1, 0.25)):
        if bend:
            bent = bend(x, y, *(values.get(name, 0.0) for name in ("k1", "k2", "p1", "p2", "k3")))
        else:
            bent = equidistant(x, y, *(values.get(name, 0.0) for name in ("k1", "k2", "k3", "k4")))
        expected = (40 * bent[0] + 18, 42 * bent[1] + 16)
        np.testing.assert_allclose(lens.img_from_cam(np.array([[x, y, 1.0]]))[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [{"k1": -0.2, "p2": 0.01}, {"k1": -0.1, "k3": 0.02}, {"camera_model": "OPENCV_FISHEYE", "k1": 0.05}],
)
def test_distorted_photographs_and_their_masks_are_undistorted_alike(tmp_path, values):
    """A disc, painted where the lens sees a place, lies where the pinhole camera sees that place."""
    top = {"fl_x": 110, "w": 120, "h": 90, **values}
    folder = write(tmp_path, [frame("images/a.png", mask_path="masks/a.png")], size=(120, 90), **top)
    (folder / "masks").mkdir()
    Image.new("L", (120, 90)).save(folder / "masks/a.png")
    lens = read_nerfstudio(folder, "images", Warnings()).photographs[0].lens
    column, row = lens.img_from_cam(np.array([[0.28, -0.2, 1.0]]))[0]
    rows, columns = np.mgrid[:90, :120] + 0.5
    disc = ((np.hypot(rows - row, columns - column) < 6) * 255).astype(np.uint8)
    Image.fromarray(np.dstack([disc] * 3)).save(folder / "images/a.png")
    Image.fromarray(disc).save(folder / "masks/a.png")
    scene = load(folder)
    (camera,) = scene.train_cameras
    assert any("are undistorted on load" in line for line in scene.warnings.lines())
    image, weight = camera.photograph.target(BLACK)
    place = camera.intrinsics @ torch.tensor([0.28, -0.2, 1.0])
    for picture in (image[0], weight):
        total = picture.sum()
        middle = [
            float((picture.sum(dim=0) * (torch.arange(camera.width) + 0.5)).sum() / total),
            float((picture.sum(dim=1) * (torch.arange(camera.height) + 0.5)).sum() / total),
        ]
        assert middle == pytest.approx(place[:2].tolist(), abs=0.3)


def test_masks_of_the_file_win_and_can_be_switched_off(tmp_path):
    frames = [frame("images/a.png", mask_path="seg/a.png"), frame("images/b.png")]
    folder = write(tmp_path, frames)
    for name, column in (("seg/a.png", 10), ("masks/a.png", 20), ("masks/b.png", 30)):
        mask = np.zeros((30, 40), np.uint8)
        mask[:, :column] = 255
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / name)

    def columns(**options):
        targets = [camera.photograph.target(BLACK)[1] for camera in load(folder, **options).train_cameras]
        return [None if weight is None else int(weight[0].sum()) for weight in targets]

    assert columns() == [10, 30]
    assert columns(masks="") == [None, None]
    assert columns(mask_mode="score") == [None, None]
    assert columns(masks="seg") == [10, None]


def test_eval_keeps_every_eighth_where_no_list_says_otherwise(tmp_path):
    folder = write(tmp_path, frames_of(*(f"{number:02}.png" for number in range(10))))
    scene = load(folder, eval=True)
    assert names_of(scene.test_cameras) == ["00.png", "08.png"] and len(scene.train_cameras) == 8


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"train": "ab", "val": "c", "test": "de"}, "ab", "de"),
        ({"train": "ab", "val": "c"}, "ab", "c"),
        ({"train": "dba"}, "abd", "ce"),
        ({"test": "ea"}, "bcd", "ae"),
        ({"val": "b", "test": "a"}, "cde", "a"),
        ({"train": "abc", "test": "cd"}, "abc", "cd"),
    ],
)
def test_eval_follows_the_files_lists(tmp_path, lists, train, test):
    top = {f"{part}_filenames": [f"./images/{name}.png" for name in names] for part, names in lists.items()}
    folder = write(tmp_path, frames_of(*(f"{name}.png" for name in "ecabd")), **LENS, **top)
    scene = load(folder, eval=True)
    assert "".join(name[0] for name in names_of(scene.train_cameras)) == train
    assert "".join(name[0] for name in names_of(scene.test_cameras)) == test
    both = any("listed for training and for the test: c.png" in line for line in scene.warnings.lines())
    assert both == bool(set(train) & set(test))
    assert len(load(folder).train_cameras) == 5  # without --eval all train
    exposed = load(folder, eval=True, train_test_exp=True)  # of a photograph in both lists one half, once
    assert sorted(names_of(exposed.train_cameras)) == [f"{name}.png" for name in sorted({*train, *test})]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["a.png"], "test": ["b.png"]}))
    assert names_of(load(folder, eval=True, split=str(split)).train_cameras) == ["a.png"]


def test_missing_files_are_named(tmp_path):
    folder = write(tmp_path, [frame("images/a.png"), frame("images/b.png", mask_path="masks/b.png")])
    with pytest.raises(UserError, match=r"frame 1: no file .*masks/b\.png for its `mask_path`"):
        load(folder)
    (folder / "images/b.png").unlink()
    with pytest.raises(UserError, match=r"1 of the dataset's 2 photographs are missing in .*images: b\.png;"):
        load(folder)


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "transforms.json"
    path.write_bytes(b"")
    os.truncate(path, 400_000_000)  # a million frames; a hole, which takes no space
    monkeypatch.setattr(transforms.json, "loads", None)
    with pytest.raises(UserError, match=r"has 400 MB, .*at most 64 MB"):
        load(tmp_path)


def test_a_million_frames_are_refused_before_they_are_looked_at(tmp_path):
    (tmp_path / "transforms.json").write_text('{"frames": [' + "0," * 999_999 + "0]}")
    with pytest.raises(UserError, match="lists 1000000 frames; read are at most 50000"):
        load(tmp_path)


NAN = np.array(ALONG_Y, float)
NAN[1, 3] = np.nan
HUGE = np.array(ALONG_Y, float)
HUGE[1, 3] = 1e300


@pytest.mark.parametrize(
    ("top", "each", "message"),
    [
        ({"fl_x": None}, {}, "`fl_x` is no number"),
        ({"fl_x": True}, {}, "`fl_x` is no number"),
        ({"fl_x": "40"}, {}, "`fl_x` is no number"),
        ({"fl_x": 10**400}, {}, "the camera cannot be used"),
        ({"fl_x": float("nan")}, {}, "`fl_x` is nan"),
        ({"fl_y": -1}, {}, "focal length 40, -1"),
        ({"w": 0}, {}, "`w` x `h` is 0 x 30"),
        ({"w": -40}, {}, "`w` x `h` is -40 x 30"),
        ({"k4": 0.1}, {}, "k4 is for OPENCV_FISHEYE alone"),
        ({"camera_model": "EQUIRECTANGULAR"}, {}, "'EQUIRECTANGULAR' is none of OPENCV, .*OPENCV_FISHEYE"),
        ({"camera_model": []}, {}, r"\[\] is none of"),
        (
            {"train_filenames": ["images/z.png"]},
            {},
            "`train_filenames` lists images/z.png, which no frame has",
        ),
        ({"test_filenames": "images/a.png"}, {}, "`test_filenames` is no list of paths"),
        ({"ply_file_path": 3}, {}, "`ply_file_path` is no text"),
        ({}, {"transform_matrix": NAN.tolist()}, "frame 0 cannot be used .*not finite"),
        ({}, {"transform_matrix": HUGE.tolist()}, "frame 0 cannot be used .*above 1e9"),
        ({}, {"transform_matrix": scaled(2)}, "not a 4x4 rigid motion"),
        ({}, {"transform_matrix": scaled(-1)}, "mirrors the world"),
        ({}, {"transform_matrix": [["1", "0"]] * 4}, "not made of numbers"),
        ({}, {"transform_matrix": [[10**400] * 4] * 4}, "frame 0 cannot be used"),
        ({}, {"transform_matrix": [[1, 0], [0]]}, "frame 0 cannot be used"),
        ({}, {"transform_matrix": 5}, "has the shape"),
        ({}, {"file_path": 7}, "`file_path` is no text"),
        ({}, {"file_path": ""}, "`file_path` is empty or too long"),
        ({}, {"file_path": "a" * 5000}, "`file_path` is empty or too long"),
        ({}, {"file_path": "\ud800"}, "frame 0 cannot be used"),
        ({}, {"file_path": "images/\0.png"}, "photographs are missing"),
        ({}, {"mask_path": ["a"]}, "frame 0: `mask_path` is no text"),
    ],
)
def test_mistakes_in_the_file_are_explained(tmp_path, top, each, message):
    write(tmp_path, frames_of("a.png"))
    content = {**LENS, **top, "frames": [{**frame("images/a.png"), **each}]}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        posed_photographs(SceneOptions(source_path=str(tmp_path), eval=True), Warnings())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"frames": {}}', '{"frames": []}', "[" * 100_000, "\x00"]
)
def test_files_that_are_no_transforms_are_explained(tmp_path, text):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(UserError, match=r"transforms\.json cannot be read .*a list `frames`"):
        load(tmp_path)


def test_a_frame_that_is_listed_twice_is_an_error(tmp_path):
    write(tmp_path, [frame("images/a.png"), frame("./images/a.png")])
    with pytest.raises(UserError, match=r"lists a\.png more than once"):
        load(tmp_path)


NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 40, 1e300, 10**400]))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.lists(NUMBERS, max_size=4))
MATRICES = st.one_of(VALUES, st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=4, max_size=4))
LENS_KEYS = ["fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x"]
OTHER_KEYS = ["camera_model", "is_fisheye", "train_filenames", "test_filenames", "ply_file_path", "frames"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lens=st.dictionaries(st.sampled_from(LENS_KEYS), st.one_of(NUMBERS, VALUES)),
    other=st.dictionaries(st.sampled_from(OTHER_KEYS), VALUES, max_size=1),
    changed=st.dictionaries(st.sampled_from(["file_path", "mask_path", *LENS_KEYS]), VALUES, max_size=2),
    matrix=st.one_of(st.just(ALONG_Y), MATRICES),
    model=st.sampled_from(["OPENCV", "OPENCV_FISHEYE"]),
)
def test_any_content_ends_in_a_scene_or_in_one_message(tmp_path, lens, other, changed, matrix, model):
    frames = [{**frame("images/a.png", matrix), **changed}, frame("images/b.png")]
    content = {**LENS, "camera_model": model, **lens, "frames": frames, **other}
    if not (tmp_path / "images").is_dir():
        write(tmp_path, frames_of("a.png", "b.png"))
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    (tmp_path / "transforms_train.json").unlink(missing_ok=True)
    for kind in ("nerfstudio", "blender"):
        try:
            scene = load(tmp_path, eval=kind == "nerfstudio")
        except UserError:
            pass
        else:
            assert scene.kind == kind
            for camera in scene.train_cameras + scene.test_cameras:
                assert (
                    torch.isfinite(camera.world_to_camera).all() and torch.isfinite(camera.intrinsics).all()
                )
                assert max(camera.width, camera.height) <= 100
        (tmp_path / "transforms_train.json").write_text(json.dumps(content))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.binary(max_size=60), st.recursive(VALUES, st.lists, max_leaves=5).map(json.dumps)))
@pytest.mark.parametrize("file", ["transforms.json", "transforms_train.json"])
def test_any_text_ends_in_one_message(tmp_path, file, text):
    raw = text if isinstance(text, bytes) else text.encode()
    (tmp_path / file).write_bytes(raw)
    with pytest.raises(UserError):
        load(tmp_path)
