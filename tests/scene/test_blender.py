"""Blender datasets: axes, lenses, splits, names, transparency and damage."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from scene.dataset import SceneOptions, load_scene
from scene.points import PointCloud, save_point_cloud
from utils.errors import UserError

BLACK = torch.zeros(3)
# a camera at (0, -4, 1) that looks along +y, with z up, as Blender writes it: columns right, up, backward
ALONG_Y = [[1, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 1], [0, 0, 0, 1]]


def frame(name, matrix=ALONG_Y, **values):
    return {"file_path": f"./{name}", "transform_matrix": matrix, **values}


def write(folder, train, test=None, *, mode="RGBA", size=(40, 30), **top):
    """Transforms and their pictures; `top` holds top-level values, a field of view by default."""
    top = top or {"camera_angle_x": 0.8}
    for split, frames in (("train", train), ("test", test)):
        if frames is None:
            continue
        (folder / f"transforms_{split}.json").write_text(json.dumps({**top, "frames": frames}))
        for each in frames:
            path = folder / each["file_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = (200, 100, 50, 128) if mode == "RGBA" else (200, 100, 50)
            Image.new(mode, size, colour).save(path if path.suffix else path.with_suffix(".png"))
    return folder


def load(folder, **options):
    return load_scene(SceneOptions(source_path=str(folder), init_random=500, **options), seed=0)


def pixel(camera, point):
    local = camera.world_to_camera @ torch.tensor([*point, 1.0])
    x, y, depth = camera.intrinsics @ local[:3]
    return float(x / depth), float(y / depth), float(depth)


def test_axes_and_field_of_view(tmp_path):
    (camera,) = load(write(tmp_path, [frame("train/r_0")])).train_cameras
    assert camera.name == "train/r_0" and (camera.width, camera.height) == (40, 30)
    focal = 20 / np.tan(0.4)
    torch.testing.assert_close(camera.position, torch.tensor([0.0, -4, 1]))
    assert pixel(camera, (0.0, 0.0, 1.0)) == pytest.approx((20, 15, 4))  # straight ahead
    assert pixel(camera, (1.0, 0.0, 1.0)) == pytest.approx((20 + focal / 4, 15, 4))  # right stays right
    assert pixel(camera, (0.0, 0.0, 2.0)) == pytest.approx((20, 15 - focal / 4, 4))  # up is a smaller y


def test_intrinsics_win_over_the_angle_and_frames_over_the_file(tmp_path):
    own = frame("train/b", fl_x=70, fl_y=71, cx=22, cy=11)
    top = {"camera_angle_x": 0.8, "fl_x": 60, "fl_y": 61, "cx": 18, "cy": 16, "w": 40, "h": 30}
    first, second = load(write(tmp_path, [frame("train/a"), own], **top)).train_cameras
    assert pixel(first, (1.0, 0.0, 2.0)) == pytest.approx((18 + 60 / 4, 16 - 61 / 4, 4))
    assert pixel(second, (1.0, 0.0, 2.0)) == pytest.approx((22 + 70 / 4, 11 - 71 / 4, 4))


def test_intrinsics_of_another_size_are_scaled_to_the_picture(tmp_path):
    top = {"fl_x": 60, "fl_y": 61, "cx": 18, "cy": 16, "w": 80, "h": 60}
    (camera,) = load(write(tmp_path, [frame("train/a")], **top)).train_cameras
    assert pixel(camera, (1.0, 0.0, 2.0)) == pytest.approx((9 + 30 / 4, 8 - 30.5 / 4, 4))


def test_distorted_pictures_are_undistorted(tmp_path):
    folder = write(tmp_path, [frame("a")], mode="RGB", fl_x=40, cx=21, k1=-0.2, p2=0.01)
    scene = load(folder)
    assert any("OPENCV camera are undistorted" in line for line in scene.warnings.lines())
    (camera,) = scene.train_cameras
    assert camera.photograph.target(BLACK)[0].shape == (3, camera.height, camera.width)


def test_test_frames_train_too_unless_eval_holds_them_out(tmp_path):
    folder = write(tmp_path, [frame("train/r_1"), frame("train/r_0")], [frame("test/r_0")])
    scene = load(folder)
    # in the order of the files, and equal numbers do not collide
    assert [camera.name for camera in scene.train_cameras] == ["train/r_1", "train/r_0", "test/r_0"]
    assert scene.test_cameras == []
    scene = load(folder, eval=True)
    assert [camera.name for camera in scene.train_cameras] == ["train/r_1", "train/r_0"]
    assert [camera.name for camera in scene.test_cameras] == ["test/r_0"]
    (folder / "transforms_test.json").unlink()
    assert len(load(folder).train_cameras) == 2
    with pytest.raises(UserError, match=r"transforms_test\.json; --eval needs it"):
        load(folder, eval=True)


def test_a_frame_of_both_files_is_trained_once_and_warned_of(tmp_path):
    scene = load(write(tmp_path, [frame("a"), frame("b")], [frame("b")]))
    assert [camera.name for camera in scene.train_cameras] == ["a", "b"]
    assert any("listed in transforms_train.json and in" in line for line in scene.warnings.lines())


def test_few_views_are_spaced_over_the_frames(tmp_path):
    folder = write(tmp_path, [frame(f"train/r_{number}") for number in range(11)], [frame("test/r_0")])
    names = [camera.name for camera in load(folder, eval=True, n_views=3).train_cameras]
    assert names == ["train/r_0", "train/r_5", "train/r_10"]


def test_names_with_and_without_endings_and_with_dots(tmp_path):
    frames = [frame("a.jpg"), frame("v0.5"), frame("v0.6")]
    write(tmp_path, frames[:1], mode="RGB")
    for name in ("v0.5", "v0.6"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
    (tmp_path / "transforms_train.json").write_text(json.dumps({"camera_angle_x": 1, "frames": frames}))
    assert [camera.name for camera in load(tmp_path).train_cameras] == ["a", "v0.5", "v0.6"]


def test_transparent_parts_show_the_iterations_background(tmp_path):
    (camera,) = load(write(tmp_path, [frame("a")])).train_cameras
    for background in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.6, 0.1]):
        image, weight = camera.photograph.target(torch.tensor(background))
        expected = np.array([200, 100, 50]) / 255 * 128 / 255 + np.array(background) * (127 / 255)
        np.testing.assert_allclose(image[:, 3, 4].numpy(), expected, atol=1e-6)
        assert weight is None


def test_start_points_of_a_blender_dataset(tmp_path):
    folder = write(tmp_path, [frame("a")])
    scene = load(folder)
    assert len(scene.points) == 500 and abs(scene.points.positions).max() <= 1.3
    assert scene.points_source == "500 random points in the cube [-1.3, 1.3]^3"
    assert not (folder / "points3d.ply").exists()
    given = PointCloud(np.ones((3, 3), np.float32), np.full((3, 3), 9, np.uint8))
    save_point_cloud(folder / "points3d.ply", given)
    assert load(folder).points_source == "3 points of points3d.ply"


def test_points_that_do_not_say_who_saw_them_are_warned_about(tmp_path):
    """Points that other photographs saw would tell what the chosen ones do not show."""
    folder = write(tmp_path, [frame("a"), frame("b")])
    given = PointCloud(np.ones((3, 3), np.float32), np.full((3, 3), 9, np.uint8))
    save_point_cloud(folder / "points3d.ply", given)

    def doubts(**options):
        lines = load(folder, **options).warnings.lines()
        return [line for line in lines if "does not say which photographs" in line]

    (warning,) = doubts(n_views=1)
    assert "points3d.ply" in warning and "1 of --n_views" in warning
    assert not doubts() and not doubts(n_views=1, init_ply=str(folder / "points3d.ply"))


def test_missing_pictures_are_an_error_that_names_them(tmp_path):
    folder = write(tmp_path, [frame("a"), frame("b")])
    (folder / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 of the dataset's 2 photographs are missing in .*: b;"):
        load(folder)


def scaled(factor):
    return (np.array(ALONG_Y) * [[factor] * 3 + [1]]).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"transforms_train\.json cannot be read"),
        ("[]", r"transforms_train\.json cannot be read"),
        ({}, "needs JSON with a list `frames`"),
        ({"frames": []}, "needs JSON with a list `frames`"),
        ({"frames": [frame("a")]}, r"\(no 'camera_angle_x'\); it needs `camera_angle_x`"),
        ({"camera_angle_x": "wide", "frames": [frame("a")]}, "needs `camera_angle_x`"),
        ({"camera_angle_x": 0, "frames": [frame("a")]}, "needs `camera_angle_x`"),
        ({"fl_x": -3, "frames": [frame("a")]}, "focal length -3"),
        ({"fl_x": 30, "k4": 0.1, "frames": [frame("a")]}, "k4 is for OPENCV_FISHEYE alone"),
        (
            {"camera_angle_x": 1, "frames": [{"file_path": "a"}]},
            r"frame 0 .*\(no 'transform_matrix'\); it needs",
        ),
        ({"camera_angle_x": 1, "frames": [{"transform_matrix": ALONG_Y}]}, "frame 0 .*needs `file_path`"),
        ({"camera_angle_x": 1, "frames": [frame("a"), 5]}, "frame 1 cannot be used"),
        ({"camera_angle_x": 1, "frames": [frame("a", scaled(2))]}, "not a 4x4 rigid motion"),
        ({"camera_angle_x": 1, "frames": [frame("a", scaled(-1))]}, "mirrors the world"),
        ({"camera_angle_x": 1, "frames": [frame("a", [[1, 2], [3, 4]])]}, "frame 0 cannot be used"),
        (
            {"camera_angle_x": 1, "frames": [frame("a", np.full((4, 4), np.nan).tolist())]},
            "frame 0 cannot be",
        ),
        ({"camera_angle_x": 1, "frames": [frame("a"), frame("a.png")]}, "lists a more than once"),
    ],
)
def test_damaged_transforms_are_explained(tmp_path, content, message):
    write(tmp_path, [frame("a")])
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "transforms_train.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load(tmp_path)
