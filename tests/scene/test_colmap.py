"""COLMAP models: both forms, names, missing files, damage, principal points and distortion."""

import shutil

import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scene.dataset import SceneOptions, load_scene
from tests.scene.models import POINTS, flat, observed, pinhole, pose, write_dataset
from utils.errors import UserError

BLACK = torch.zeros(3)
NAMES = [f"{number}.png" for number in range(5)]


def load(folder, **options):
    return load_scene(SceneOptions(source_path=str(folder), **options), seed=0)


def projected(camera, points):
    """(N, 2) pixels of world points in one of our cameras."""
    matrix = camera.world_to_camera.double().numpy()
    local = points @ matrix[:3, :3].T + matrix[:3, 3]
    pixels = local @ camera.intrinsics.double().numpy().T
    return pixels[:, :2] / pixels[:, 2:]


def test_binary_text_and_a_model_directly_in_sparse_are_one_scene(tmp_path):
    scenes = [
        load(write_dataset(tmp_path / "binary", NAMES)),
        load(write_dataset(tmp_path / "text", NAMES, text=True)),
        load(write_dataset(tmp_path / "direct", NAMES, model="sparse")),
    ]
    first = scenes[0]
    assert [camera.name for camera in first.train_cameras] == NAMES
    np.testing.assert_allclose(first.points.positions, POINTS, atol=1e-6)
    assert (first.points.colours[7] == [7, 2, 248]).all()
    for other in scenes[1:]:
        for one, two in zip(first.train_cameras, other.train_cameras, strict=True):
            assert one.name == two.name
            torch.testing.assert_close(one.world_to_camera, two.world_to_camera, rtol=0, atol=1e-6)
            torch.testing.assert_close(one.intrinsics, two.intrinsics, rtol=0, atol=0)
        np.testing.assert_allclose(first.points.positions, other.points.positions, atol=1e-6)
        np.testing.assert_array_equal(first.points.colours, other.points.colours)
        assert first.extent == pytest.approx(other.extent, rel=1e-6)


@pytest.mark.parametrize("text", [False, True])
def test_photographs_are_found_by_name_and_never_by_order(tmp_path, text):
    # the order of ids, of names and of places differ, there are folders, blanks, and a file of no view
    names = ["left/7.png", "b c.png", "left/10.png", "Z.png", "a.png"]
    folder = write_dataset(tmp_path / "scene", names, text=text)
    Image.new("RGB", (64, 48)).save(folder / "images" / "0_not_in_the_model.png")
    scene = load(folder)
    assert [camera.name for camera in scene.train_cameras] == sorted(names)
    for camera in scene.train_cameras:
        number = names.index(camera.name)
        image, weight = camera.photograph.target(BLACK)
        expected = torch.tensor([10 * number, 250 - 10 * number, 77]) / 255
        torch.testing.assert_close(image, expected[:, None, None].expand(3, 48, 64), rtol=0, atol=1e-6)
        assert weight is None
        expected_pose = torch.from_numpy(pose(number, 5)).float()
        torch.testing.assert_close(camera.world_to_camera[:3], expected_pose, rtol=0, atol=1e-6)


def test_missing_photographs_are_an_error_that_names_them(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    (folder / "images/1.png").unlink()
    (folder / "images/3.png").unlink()
    with pytest.raises(UserError, match=r"2 of the dataset's 5 photographs .* in .*/images: 1\.png, 3\.png;"):
        load(folder)


def test_no_photograph_at_all_is_an_error_that_names_the_folder(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    with pytest.raises(UserError, match=r"5 of the dataset's 5 photographs .*images_8: 0\.png, .*--images"):
        load(folder, images="images_8")


def test_an_empty_sparse_folder_is_an_error(tmp_path):
    (tmp_path / "sparse").mkdir()
    with pytest.raises(UserError, match=r"no COLMAP model .*sparse/0.*found nothing"):
        load(tmp_path)


def test_a_model_without_posed_photographs_is_an_error(tmp_path):
    folder = write_dataset(tmp_path / "scene", [], points=np.zeros((0, 3)))
    with pytest.raises(UserError, match="no photograph with a pose"):
        load(folder)


@pytest.mark.parametrize("file", ["cameras", "rigs", "frames", "images", "points3D"])
def test_a_binary_file_that_is_cut_off_anywhere_is_named(file, tmp_path):
    """pycolmap alone goes on with what it makes up, for ever."""
    path = write_dataset(tmp_path / "scene", NAMES) / f"sparse/0/{file}.bin"
    whole = path.read_bytes()
    whole_cuts = {"rigs": [8, 15]}
    for end in [0, 7, *whole_cuts.get(file, [*range(8, len(whole), len(whole) // 25 + 1), len(whole) - 1])]:
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=rf"{file}\.bin ends within a record, at {end} bytes"):
            load(tmp_path / "scene")
    path.write_bytes(b"\xff" * 7 + whole[7:])  # says that there are more records than a disk holds
    with pytest.raises(UserError, match=rf"{file}\.bin ends within a record"):
        load(tmp_path / "scene")
    path.write_bytes(whole)
    assert len(load(tmp_path / "scene").train_cameras) == len(NAMES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["cameras", "images", "points3D"]),
    place=st.floats(0, 1),
    replaced=st.integers(0, 4),
    by=st.one_of(
        st.binary(max_size=4), st.sampled_from([b" ", b"\n", b"-1", b"1e999", b"nan", b"#", b"\xff", b"\v"])
    ),
)
def test_any_text_model_ends_in_a_scene_or_in_one_message(tmp_path, file, place, replaced, by):
    if not (tmp_path / "scene").is_dir():
        write_dataset(tmp_path / "scene", NAMES[:2], points=POINTS[:9], text=True)
    path = tmp_path / f"scene/sparse/0/{file}.txt"
    content = path.read_bytes()
    start = int(place * len(content))
    path.write_bytes(content[:start] + by + content[start + replaced :])
    try:
        scene = load(tmp_path / "scene", init_random=10)
    except UserError:
        return
    finally:
        path.write_bytes(content)
    for camera in scene.train_cameras:
        assert camera.world_to_camera.isfinite().all() and camera.intrinsics.isfinite().all()


@pytest.mark.parametrize("damage", ["points3D.bin", "images.bin", "cameras.bin"])
@pytest.mark.parametrize("how", ["cut", "missing", "garbage"])
def test_a_damaged_model_is_an_error_that_names_its_folder(tmp_path, damage, how):
    folder = write_dataset(tmp_path / "scene", NAMES)
    file = folder / "sparse/0" / damage
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-40] if how == "cut" else b"no model at all, only words\n" * 9)
    with pytest.raises(UserError, match="scene/sparse"):
        load(folder)


def test_a_damaged_text_model_is_an_error(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES, text=True)
    (folder / "sparse/0/images.txt").write_text("1 nonsense\n\n")
    with pytest.raises(UserError, match="sparse/0"):
        load(folder)


def test_further_models_are_named_in_a_warning(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    shutil.copytree(folder / "sparse/0", folder / "sparse/1")
    (line,) = load(folder).warnings.lines()
    assert "several models" in line and line.endswith(": 1")


@pytest.mark.parametrize("resolution", [1, 2, 4, 50])
def test_the_principal_point_is_honoured_at_every_size(tmp_path, resolution):
    folder = write_dataset(tmp_path / "scene", NAMES)
    for number, camera in enumerate(load(folder, resolution=resolution).train_cameras):
        scale = np.array([camera.width / 64, camera.height / 48])
        assert scale[0] == (1 / resolution if resolution < 9 else resolution / 64)
        expected = observed(pinhole(), pose(number, 5), POINTS) * scale
        np.testing.assert_allclose(projected(camera, POINTS), expected, atol=1e-4)


def test_simple_pinhole_and_distortion_of_zero_are_used_as_they_are(tmp_path):
    for model, params in (("SIMPLE_PINHOLE", [70, 30, 26]), ("OPENCV", [70, 72, 30, 26, 0, 0, 0, 0])):
        lens = pycolmap.Camera(camera_id=1, model=model, width=64, height=48, params=params)
        scene = load(write_dataset(tmp_path / model, NAMES, lens=lens))
        camera = scene.train_cameras[0]
        assert (camera.width, camera.height) == (64, 48)
        np.testing.assert_allclose(projected(camera, POINTS), observed(lens, pose(0, 5), POINTS), atol=1e-4)
        assert scene.warnings.lines() == []


def test_photographs_of_another_scale_scale_the_intrinsics(tmp_path):
    # 4946 / 4 is rounded one way or the other, as in the images_4 folders that circulate
    def smaller(number, lens, matrix):
        return flat(number, lens, matrix).resize((26, 17))

    lens = pinhole(102, 69, 90.0, 91.0, 55.0, 30.0)
    scene = load(write_dataset(tmp_path / "scene", NAMES, lens=lens, paint=smaller))
    camera = scene.train_cameras[1]
    assert (camera.width, camera.height) == (26, 17)
    expected = observed(lens, pose(1, 5), POINTS) * [26 / 102, 17 / 69]
    np.testing.assert_allclose(projected(camera, POINTS), expected, atol=1e-4)
    assert scene.original_sizes["1.png"] == (102, 69)


def dots(points):
    """Paints a soft white dot at the (distorted) place of each point."""

    def paint(number, lens, matrix):
        y, x = np.mgrid[: lens.height, : lens.width] + 0.5
        picture = np.zeros((lens.height, lens.width))
        for px, py in observed(lens, matrix, points):
            picture += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.0**2))
        grey = np.uint8(np.rint(255 * np.clip(picture, 0, 1)))
        return Image.fromarray(np.dstack([grey] * 3))

    return paint


DISTORTED = {
    "SIMPLE_RADIAL": [240, 160, 120, -0.25],
    "OPENCV": [240, 235, 170, 112, -0.3, 0.1, 0.01, -0.008],
    "OPENCV_FISHEYE": [240, 240, 165, 118, 0.05, 0.02, 0, 0],
    "FULL_OPENCV": [240, 235, 155, 125, 0.2, 0.02, 0.005, 0.001, 0.01, 0, 0, 0],
}


@pytest.mark.parametrize("model", DISTORTED)
@pytest.mark.parametrize("resolution", [1, 2])
def test_distorted_photographs_are_undistorted(tmp_path, model, resolution):
    points = np.array([[x, y, 0.1 * x] for x in (-1.6, -0.5, 0.6, 1.5) for y in (-1.0, 0.0, 1.1)])
    lens = pycolmap.Camera(camera_id=1, model=model, width=320, height=240, params=DISTORTED[model])
    poses = [np.c_[np.eye(3), [0, 0, 3.3]], np.c_[np.eye(3), [0.1, 0, 3.3]]]
    folder = write_dataset(
        tmp_path / "scene", ["a.png", "b.png"], lens=lens, paint=dots(points), points=points, poses=poses
    )
    scene = load(folder, resolution=resolution)
    assert any("undistorted on load" in line and model in line for line in scene.warnings.lines())
    checked = 0
    for camera in scene.train_cameras:
        image = camera.photograph.target(BLACK)[0][0].double().numpy()
        assert image.shape == (camera.height, camera.width)
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        for px, py in projected(camera, points):
            margin = 8 / resolution
            if not (margin < px < camera.width - margin and margin < py < camera.height - margin):
                continue
            near = image * ((x - px) ** 2 + (y - py) ** 2 < margin**2)
            centre = (near * x).sum() / near.sum(), (near * y).sum() / near.sum()
            # uncorrected, the outer dots are 3 to 20 pixels away
            assert np.hypot(centre[0] - px, centre[1] - py) < 0.3 / resolution
            checked += 1
    assert checked >= 16


def test_transparent_distorted_photographs_keep_clean_edges(tmp_path):
    def half(number, lens, matrix):
        pixels = np.zeros((240, 320, 4), np.uint8)
        pixels[..., :3] = (0, 255, 0)  # the hidden colour
        pixels[:, :160] = (255, 0, 0, 255)
        return Image.fromarray(pixels)

    lens = pycolmap.Camera(camera_id=1, model="OPENCV", width=320, height=240, params=DISTORTED["OPENCV"])
    scene = load(write_dataset(tmp_path / "scene", ["a.png"], lens=lens, paint=half), init_random=10)
    image, _ = scene.train_cameras[0].photograph.target(torch.tensor([0.0, 0.0, 1.0]))
    assert image[1].max() < 0.01  # nothing of the hidden green
    torch.testing.assert_close(image[0] + image[2], torch.ones_like(image[0]), rtol=0, atol=0.01)
    assert (image[0] > 0.99).any() and (image[2] > 0.99).any()


def test_masks_are_undistorted_with_their_photographs(tmp_path):
    points = np.array([[1.2, 0.9, 0.0]])
    lens = pycolmap.Camera(camera_id=1, model="OPENCV", width=320, height=240, params=DISTORTED["OPENCV"])
    matrix = np.c_[np.eye(3), [0, 0, 3.3]]
    folder = write_dataset(
        tmp_path / "scene", ["a.png"], lens=lens, paint=dots(points), points=points, poses=[matrix]
    )
    (folder / "masks").mkdir()
    dots(points)(0, lens, matrix).save(folder / "masks/a.png")
    image, weight = load(folder, init_random=10).train_cameras[0].photograph.target(BLACK)
    torch.testing.assert_close(weight, image[0], rtol=0, atol=0.01)
    assert weight.max() > 0.9


def test_a_model_with_no_pinhole_equivalent_is_refused_by_name(tmp_path):
    lens = pycolmap.Camera(camera_id=1, model="EQUIRECTANGULAR", width=64, height=32, params=[64, 32])
    folder = write_dataset(tmp_path / "scene", ["a.png"], lens=lens, points=np.zeros((0, 3)))
    with pytest.raises(UserError, match="EQUIRECTANGULAR"):
        load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_pose_that_is_none_leaves_its_view_out(value, tmp_path):
    poses = [pose(number, 5) for number in range(5)]
    poses[2][1, 3] = value
    scene = load(write_dataset(tmp_path / "scene", NAMES[:5], poses=poses))
    assert [camera.name for camera in scene.train_cameras] == [*NAMES[:2], *NAMES[3:5]]
    (line,) = scene.warnings.lines()
    assert "pose has a number that is not finite" in line and line.endswith(f"left out: {NAMES[2]}")


@pytest.mark.parametrize("params", [(70, np.nan, 30, 26), (0, 72, 30, 26), (70, 72, -np.inf, 26)])
def test_a_lens_that_is_none_is_named(params, tmp_path):
    lens = pycolmap.Camera(camera_id=1, model="PINHOLE", width=64, height=48, params=params)
    folder = write_dataset(tmp_path / "scene", NAMES[:2], lens=lens)
    with pytest.raises(UserError, match=r"camera 1 of the COLMAP model in .* is none \(PINHOLE, 64x48, "):
        load(folder)


def exif_orientation(number):
    tags = Image.Exif()
    tags[0x0112] = number
    return tags


def test_a_turned_photograph_is_explained(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.jpg"])
    Image.new("RGB", (48, 64)).save(folder / "images/a.jpg")
    with pytest.raises(UserError, match=r"a.jpg has 48x64 pixels, its camera 64x48: one of them is turned"):
        load(folder)
    Image.new("RGB", (24, 32)).save(folder / "images/a.jpg", exif=exif_orientation(6))
    with pytest.raises(UserError, match=r"24x32 .*turned by 90 degrees \(its EXIF orientation 6\).*COLMAP"):
        load(folder)


def test_an_orientation_tag_on_a_fitting_photograph_is_a_warning_and_nothing_turns(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.jpg", "b.jpg"])
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24] = 200  # bright above
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(stored).save(folder / "images" / name, quality=95, exif=exif_orientation(3))
    scene = load(folder)
    image, _ = scene.train_cameras[0].photograph.target(BLACK)
    assert image[:, :20].min() > 0.7 and image[:, 28:].max() < 0.1
    (line,) = [line for line in scene.warnings.lines() if "EXIF" in line]
    assert "EXIF orientation 3" in line and "used as stored" in line and "a.jpg, b.jpg" in line


def test_a_photograph_of_another_shape_is_an_error_that_names_both_sizes(tmp_path):
    folder = write_dataset(tmp_path / "scene", ["a.png"])
    Image.new("RGB", (64, 64)).save(folder / "images/a.png")
    with pytest.raises(UserError, match=r"a.png has 64x64 pixels, its camera 64x48: not the same picture"):
        load(folder)


def test_a_corrupt_photograph_is_an_error_that_names_the_file(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    file = folder / "images/3.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=r"images/3\.png cannot be read as a picture"):
        load(folder)
    file.write_text("not a picture")
    with pytest.raises(UserError, match=r"images/3\.png cannot be read as a picture"):
        load(folder)
