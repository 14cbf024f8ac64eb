"""convert.py: poses found are the true ones, what is missing is told why, and every mistake of the user."""

import errno
import shutil

import numpy as np
import pycolmap
import pytest
from PIL import Image, ImageFilter

import convert
from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from scene.photographs import read_image
from tests.scene.models import pose
from tests.scene.test_photographs import png_of_16_bits
from utils.errors import UserError
from utils.options import parse
from utils.video import write_video

FOCAL = 300.0
SIZE = (320, 240)


def textures(seed):
    """Three (256, 256, 3) pictures of noise, coarse to fine."""
    generator = np.random.default_rng(seed)
    layers = []
    for cells, strength in ((8, 0.4), (32, 0.35), (128, 0.25)):
        noise = generator.integers(0, 256, (3, cells, cells, 3), dtype=np.uint8)
        grown = [
            np.asarray(Image.fromarray(each).resize((256, 256), Image.Resampling.BICUBIC)) for each in noise
        ]
        layers.append(strength * np.stack(grown))
    return np.clip(sum(layers), 0, 255)


def photograph_of_a_corner(matrix, seed=4):
    """What a pinhole camera sees of three textured walls that meet at (1.5, 1.5, 1.5)."""
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays = np.stack([(x - 160) / FOCAL, (y - 120) / FOCAL, np.ones_like(x)], axis=-1) @ matrix[:, :3]
    centre = -matrix[:, :3].T @ matrix[:, 3]
    with np.errstate(divide="ignore"):
        distance = np.where(rays > 0, (1.5 - centre) / rays, np.inf)
    wall = distance.argmin(axis=-1)
    hits = centre + rays * distance.min(axis=-1)[..., None]
    walls = textures(seed)
    picture = np.zeros((SIZE[1], SIZE[0], 3))
    for number in range(3):
        u, v = np.moveaxis(hits[..., [axis for axis in range(3) if axis != number]] * 60 % 255, -1, 0)
        column, row = u.astype(int), v.astype(int)
        a, b = (u - column)[..., None], (v - row)[..., None]
        texture = walls[number]
        above = texture[row, column] * (1 - a) + texture[row, column + 1] * a
        below = texture[row + 1, column] * (1 - a) + texture[row + 1, column + 1] * a
        picture = np.where(wall[..., None] == number, above * (1 - b) + below * b, picture)
    return Image.fromarray(np.uint8(np.rint(picture)))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Seven photographs of the corner, one of something else, in two folders, two of the same name."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for number in range(7):
        name = {5: "more/0.png", 6: "more/#6 Größe.PNG"}.get(number, f"{number}.png")
        photograph_of_a_corner(pose(number, 7)).save(folder / name)
    noise = np.random.default_rng(9).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "stray.png")
    return folder


def convert_folder(folder, **options):
    convert.main(convert.Options(source_path=str(folder), **options))


def assert_true_poses(cameras: list[Camera], numbers: list[int], count: int, degrees: float = 2) -> None:
    """Compares angles between cameras and ratios of distances: the world frame and its scale are free."""
    rotations = [camera.world_to_camera[:3, :3].double().numpy() for camera in cameras]
    centres = np.stack([camera.position.double().numpy() for camera in cameras])
    true = [pose(number, count) for number in numbers]
    true_centres = np.stack([-matrix[:, :3].T @ matrix[:, 3] for matrix in true])
    for rotation, matrix in zip(rotations[1:], true[1:], strict=True):
        expected = matrix[:, :3] @ true[0][:, :3].T
        trace = np.trace(rotation @ rotations[0].T @ expected.T)
        assert (
            np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))) < degrees
        )  # the focal length was found too
    distances = np.linalg.norm(centres[1:] - centres[0], axis=1)
    expected = np.linalg.norm(true_centres[1:] - true_centres[0], axis=1)
    np.testing.assert_allclose(distances / distances[-1], expected / expected[-1], atol=0.03)


@pytest.mark.slow
def test_poses_are_found_and_an_interrupted_run_ends_as_the_unbroken_one(
    photographs, tmp_path, capsys, monkeypatch
):
    output = tmp_path / "posed"
    convert_folder(photographs, output_path=str(output), copies=(2,))
    said = capsys.readouterr().out
    assert "registered 7 of 8\n" in said
    assert "not registered: stray.png: 196 features, where the others have" in said
    scene = load_scene(SceneOptions(source_path=str(output)), seed=0)
    assert scene.warnings.lines() == []  # PINHOLE, and of the right size
    names = [f"{number}.png" for number in range(5)] + ["more/0.png", "more/_6_Größe.PNG"]
    assert [camera.name for camera in scene.train_cameras] == sorted(names)
    assert len(scene.points) > 300
    found = [next(c for c in scene.train_cameras if c.name == name) for name in names]
    assert_true_poses(found, list(range(7)), 7)
    assert float(found[0].intrinsics[0, 0]) == pytest.approx(FOCAL, rel=0.05)
    halved = load_scene(SceneOptions(source_path=str(output), images="images_2"), seed=0).train_cameras[0]
    assert abs(halved.width - found[0].width / 2) <= 0.5 and halved.name == "0.png"

    again = tmp_path / "again"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert, "find_models", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        convert_folder(photographs, output_path=str(again), copies=(2,))
    assert not again.exists() and (tmp_path / "again.work").is_dir()
    monkeypatch.setattr(convert, "take_in", lambda *_: pytest.fail("they are taken in"))
    convert_folder(photographs, output_path=str(again), copies=(2,))
    assert "going on with" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "posed"]
    second = load_scene(SceneOptions(source_path=str(again)), seed=0)
    # not to the bit: Ceres orders its unknowns by their addresses
    assert len(second.points) == pytest.approx(len(scene.points), rel=0.02)
    for one, two in zip(scene.train_cameras, second.train_cameras, strict=True):
        assert one.name == two.name
        np.testing.assert_allclose(two.world_to_camera, one.world_to_camera, atol=0.01)
        np.testing.assert_allclose(two.intrinsics, one.intrinsics, rtol=1e-3)


def save_as_a_telephone_does(picture, number, folder):
    """Turned JPEG, HEIC, PNG of 16 bits, PNG cut out, in turn; returns the name in the dataset."""
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0xA405] = round(FOCAL / 400 * 43.27)  # the diagonal has 400 pixels
    if number % 4 == 0:
        tags[0x0112] = 6
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        turned.save(folder / f"{number}.jpg", exif=tags, quality=97, subsampling=0)
        return f"{number}.jpg"
    if number % 4 == 1:
        picture.save(folder / f"{number}.heic", exif=tags.tobytes(), quality=97)
        return f"{number}.jpg"
    if number % 4 == 2:
        content = png_of_16_bits(np.asarray(picture).astype(np.uint16) * 257)
        (folder / f"{number}.png").write_bytes(content)
        return f"{number}.png"
    cut_out = picture.copy()
    cut_out.putalpha(
        Image.fromarray(np.where(np.arange(320) < np.full((240, 1), 60), 0, 255).astype(np.uint8))
    )
    cut_out.save(folder / f"{number}.png", exif=tags)
    return f"{number}.png"


@pytest.mark.slow
def test_photographs_of_two_places_in_a_telephones_formats(tmp_path, capsys):
    pytest.importorskip("pillow_heif").register_heif_opener()
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = [
        save_as_a_telephone_does(photograph_of_a_corner(pose(number, 9)), number, folder)
        for number in range(5)
    ]
    for number in range(4):  # another place, of which less was seen
        photograph_of_a_corner(pose(number, 9), seed=5).save(folder / f"other {number}.png")
    convert_folder(folder, single_camera=True, camera_model="SIMPLE_RADIAL")
    said = capsys.readouterr().out
    assert "registered 5 of 9\n" in said
    others = ", ".join(f"other_{number}.png" for number in range(4))
    assert f"not registered: {others}: of another model, with 4 photographs" in said
    output = tmp_path / "photographs-posed"
    scene = load_scene(SceneOptions(source_path=str(output)), seed=0)
    assert [camera.name for camera in scene.train_cameras] == names
    assert_true_poses(scene.train_cameras, list(range(5)), 9)
    assert len({float(camera.intrinsics[0, 0]) for camera in scene.train_cameras}) == 1
    cut_out = read_image(output / "images/3.png")  # undistorted by us, as COLMAP did the others
    assert cut_out.size == read_image(output / "images/2.png").size
    alpha = np.asarray(cut_out)[..., 3]
    assert (alpha[:, :55] == 0).all() and (alpha[:, 65:] == 255).all()
    whole = np.asarray(photograph_of_a_corner(pose(3, 9))).astype(int)
    height, width = alpha.shape
    shown = np.asarray(cut_out)[:, 65:, :3].astype(int)
    assert abs(shown - whole[(240 - height) // 2 :, (320 - width) // 2 :][:height, 65:width]).mean() < 12


@pytest.mark.slow
def test_a_video_becomes_a_dataset_of_its_sharpest_frames(tmp_path, capsys):
    def frames():
        for number in range(25):
            picture = photograph_of_a_corner(pose(number, 25))
            yield np.asarray(picture if number % 3 == 1 else picture.filter(ImageFilter.GaussianBlur(2)))

    write_video(tmp_path / "walk.mp4", frames())
    convert_folder(tmp_path / "walk.mp4", frames=8, matching="sequential", overlap=2)
    assert "registered 8 of 8\n" in capsys.readouterr().out
    output = tmp_path / "walk-posed"
    scene = load_scene(SceneOptions(source_path=str(output)), seed=0)
    numbers = [int(camera.name[6:12]) for camera in scene.train_cameras]
    assert len(numbers) == 8 and all(number % 3 == 1 for number in numbers)
    assert_true_poses(scene.train_cameras, numbers, 25, degrees=4)  # compressed, and without EXIF
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk-posed", "walk.mp4"]


@pytest.mark.slow
@pytest.mark.data
def test_photographs_as_they_came_from_a_camera(data_root, tmp_path):
    folder = tmp_path / "chateau" / "input"  # as the reference lays it out
    folder.mkdir(parents=True)
    for path in (data_root / "raw/sceaux").glob("*.JPG"):
        with Image.open(path) as picture:
            picture.resize((picture.width // 4, picture.height // 4)).save(folder / path.name, quality=95)
    convert.main(convert.Options(source_path=str(tmp_path / "chateau")))
    scene = load_scene(SceneOptions(source_path=str(tmp_path / "chateau-posed"), eval=True), seed=0)
    assert (len(scene.train_cameras), len(scene.test_cameras)) == (9, 2)
    assert len(scene.points) > 2000
    # K.txt says 2905.88 at full size
    assert float(scene.train_cameras[0].intrinsics[0, 0]) == pytest.approx(2905.88 / 4, rel=0.05)


def test_photographs_that_share_nothing_are_an_error_and_leave_nothing(tmp_path, capfd):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    with pytest.raises(UserError, match=r"none of the 3 photographs .* could be registered"):
        convert_folder(folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert "sparse model" not in capfd.readouterr().err  # COLMAP says it, too, in its own words


def test_the_same_picture_in_several_files_is_no_scene(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    picture = photograph_of_a_corner(pose(1, 7)).resize((160, 120))
    for quality in (90, 92, 94):  # not the same bytes
        picture.save(folder / f"{quality}.jpg", quality=quality)
    with pytest.raises(UserError, match=r"3 pairs match\): .*do not give the same picture several times"):
        convert_folder(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"source_path": ""}, r"--source_path \(empty\): allowed is a folder of photographs, or a video"),
        ({"seed": -1}, "--seed -1: allowed is 0"),
        ({"seed": 2**31}, "--seed 2147483648: allowed is 0 to 2147483647"),
        ({"frames": 2}, "--frames 2: allowed is 3"),
        ({"overlap": 0}, "--overlap 0: allowed is 1"),
        ({"copies": (2, 1)}, r"--copies \(2, 1\): allowed is whole numbers from 2"),
        (
            {"camera_model": "EQUIRECTANGULAR"},
            "--camera_model EQUIRECTANGULAR: allowed is SIMPLE_PINHOLE, .*no pin",
        ),
        ({"camera_model": "opencv"}, "--camera_model opencv: allowed is"),
    ],
)
def test_values_that_are_not_allowed(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        convert.main(convert.Options(**{"source_path": str(tmp_path), **flags}))


def test_every_camera_model_has_a_pinhole_equivalent():
    for name in convert.CAMERA_MODELS:
        lens = pycolmap.Camera.create_from_model_name(1, name, 100.0, 160, 120)
        assert pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), lens).model_name == "PINHOLE"


def test_the_references_camera_flag_names_the_model():
    assert parse(convert.Options, ["-s", "x", "--camera", "PINHOLE"]).camera_model == "PINHOLE"


def test_what_is_no_source_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder or video .*/gone"):
        convert_folder(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt is no video"):
        convert_folder(tmp_path / "notes.txt")
    (tmp_path / "walk.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"walk\.mp4 cannot be read as a video"):
        convert_folder(tmp_path / "walk.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "walk.mp4"]


def test_photographs_of_several_sizes_have_no_single_camera(tmp_path):
    for number in range(3):
        Image.new("RGB", (64 + number, 48)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"--single_camera: .*64x48 \(0\.png\).*66x48 \(2\.png\)"):
        convert_folder(tmp_path, single_camera=True)


@pytest.mark.parametrize("taken", ["images", "sparse", "images_4"])
def test_an_output_that_is_there_is_not_touched(tmp_path, taken):
    (tmp_path / "out" / taken).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"out/{taken} .*--output_path"):
        convert_folder(tmp_path, output_path=str(tmp_path / "out"), copies=(4,))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output_path"):
        convert_folder(tmp_path, output_path=str(tmp_path / "file"))


def test_an_output_among_the_photographs_is_refused(tmp_path):
    for number in range(3):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"out is among the photographs in"):
        convert_folder(tmp_path, output_path=str(tmp_path / "out"))


def test_the_dataset_goes_beside_the_source_however_that_is_written(tmp_path, monkeypatch):
    (tmp_path / "my.photographs/more").mkdir(parents=True)
    (tmp_path / "walk.mp4").touch()
    monkeypatch.chdir(tmp_path / "my.photographs/more")
    for given in ("..", "../.", "../../my.photographs/", str(tmp_path / "my.photographs")):
        assert convert.beside(convert.absolute(given)) == str(tmp_path / "my.photographs-posed")
    assert convert.beside(convert.absolute("../../walk.mp4")) == str(tmp_path / "walk-posed")


@pytest.mark.parametrize("another_disk", [False, True])
def test_a_dataset_is_put_into_a_folder_that_is_there_with_its_model_last(
    tmp_path, monkeypatch, another_disk
):
    for part in ("images", "images_2", "sparse"):
        (tmp_path / "posed" / part).mkdir(parents=True)
        (tmp_path / "posed" / part / "it").touch()
    (tmp_path / "scene/input").mkdir(parents=True)

    def refused(*_):
        raise OSError(errno.EXDEV, "another disk")

    if another_disk:
        monkeypatch.setattr("os.rename", refused)
    moved, move = [], shutil.move

    def noted(one, two):
        moved.append(one.name)
        move(one, two)

    monkeypatch.setattr(shutil, "move", noted)
    convert.put_in_place(tmp_path / "posed", tmp_path / "scene")
    assert moved == ["images", "images_2", "sparse"] and not any((tmp_path / "posed").iterdir())
    assert all((tmp_path / "scene" / part / "it").is_file() for part in moved)
    assert {path.name for path in (tmp_path / "scene").iterdir()} == {"images", "images_2", "input", "sparse"}


def test_an_interrupted_copy_from_another_disk_is_no_dataset_and_is_made_again(tmp_path, monkeypatch):
    (tmp_path / "posed/sparse/0").mkdir(parents=True)
    for name in ("cameras.bin", "images.bin"):
        (tmp_path / "posed/sparse/0" / name).write_text(name)
    (tmp_path / "scene").mkdir()
    move = shutil.move

    def stopped(one, two):
        shutil.copytree(one, two, ignore=shutil.ignore_patterns("images.bin"))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "move", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert.put_in_place(tmp_path / "posed", tmp_path / "scene")
    assert not (tmp_path / "scene/sparse").exists()
    monkeypatch.setattr(shutil, "move", move)
    convert.put_in_place(tmp_path / "posed", tmp_path / "scene")
    assert [path.name for path in (tmp_path / "scene").iterdir()] == ["sparse"]
    assert {path.name for path in (tmp_path / "scene/sparse/0").iterdir()} == {"cameras.bin", "images.bin"}
