"""convert.py: poses found are the true ones, what is missing is named, and every mistake of the user."""

import numpy as np
import pytest
from PIL import Image

import convert
from scene.dataset import SceneOptions, load_scene
from tests.scene.models import pose
from utils.errors import UserError

FOCAL = 300.0
SIZE = (320, 240)


def textures():
    """Three (256, 256, 3) pictures of noise, coarse to fine."""
    generator = np.random.default_rng(4)
    layers = []
    for cells, strength in ((8, 0.4), (32, 0.35), (128, 0.25)):
        noise = generator.integers(0, 256, (3, cells, cells, 3), dtype=np.uint8)
        grown = [
            np.asarray(Image.fromarray(each).resize((256, 256), Image.Resampling.BICUBIC)) for each in noise
        ]
        layers.append(strength * np.stack(grown))
    return np.clip(sum(layers), 0, 255)


def photograph_of_a_corner(matrix):
    """What a pinhole camera sees of three textured walls that meet at (1.5, 1.5, 1.5)."""
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays = np.stack([(x - 160) / FOCAL, (y - 120) / FOCAL, np.ones_like(x)], axis=-1) @ matrix[:, :3]
    centre = -matrix[:, :3].T @ matrix[:, 3]
    with np.errstate(divide="ignore"):
        distance = np.where(rays > 0, (1.5 - centre) / rays, np.inf)
    wall = distance.argmin(axis=-1)
    hits = centre + rays * distance.min(axis=-1)[..., None]
    walls = textures()
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
    """Seven photographs of the corner, one of something else, in two folders."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for number in range(7):
        name = f"more/{number}.png" if number > 4 else f"{number}.png"
        photograph_of_a_corner(pose(number, 7)).save(folder / name)
    noise = np.random.default_rng(9).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "stray.png")
    return folder


@pytest.mark.slow
def test_poses_are_found_and_the_stray_photograph_is_named(photographs, tmp_path, capsys):
    output = tmp_path / "posed"
    convert.main(convert.Options(source_path=str(photographs), output_path=str(output)))
    said = capsys.readouterr().out
    assert "registered 7 of 8\n" in said and "not registered: stray.png\n" in said
    scene = load_scene(SceneOptions(source_path=str(output)), seed=0)
    assert scene.warnings.lines() == []  # PINHOLE, and of the right size
    names = [f"{number}.png" for number in range(5)] + ["more/5.png", "more/6.png"]
    assert [camera.name for camera in scene.train_cameras] == sorted(names)
    assert len(scene.points) > 300

    # the world frame and its scale are free: compare angles between cameras and ratios of distances
    found = [next(c for c in scene.train_cameras if c.name == name) for name in names]
    rotations = [camera.world_to_camera[:3, :3].double().numpy() for camera in found]
    centres = np.stack([camera.position.double().numpy() for camera in found])
    true_centres = np.stack([-pose(n, 7)[:, :3].T @ pose(n, 7)[:, 3] for n in range(7)])
    for number in range(1, 7):
        relative = rotations[number] @ rotations[0].T
        expected = pose(number, 7)[:, :3] @ pose(0, 7)[:, :3].T
        angle = np.degrees(np.arccos(np.clip((np.trace(relative @ expected.T) - 1) / 2, -1, 1)))
        assert angle < 2  # the focal length was found too
    distances = np.linalg.norm(centres[1:] - centres[0], axis=1)
    expected = np.linalg.norm(true_centres[1:] - true_centres[0], axis=1)
    np.testing.assert_allclose(distances / distances[-1], expected / expected[-1], atol=0.03)
    assert float(found[0].intrinsics[0, 0]) == pytest.approx(FOCAL, rel=0.05)

    again = tmp_path / "again"
    convert.main(convert.Options(source_path=str(photographs), output_path=str(again)))
    second = load_scene(SceneOptions(source_path=str(again)), seed=0)
    # not to the bit: Ceres orders its unknowns by their addresses
    assert len(second.points) == pytest.approx(len(scene.points), rel=0.02)
    for one, two in zip(scene.train_cameras, second.train_cameras, strict=True):
        assert one.name == two.name
        np.testing.assert_allclose(two.world_to_camera, one.world_to_camera, atol=0.01)
        np.testing.assert_allclose(two.intrinsics, one.intrinsics, rtol=1e-3)


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


def convert_folder(folder, **options):
    convert.main(convert.Options(source_path=str(folder), **options))


def test_photographs_that_share_nothing_are_an_error_and_leave_nothing(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    with pytest.raises(UserError, match=r"none of the 3 photographs .* could be registered"):
        convert_folder(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_folders_without_enough_photographs(tmp_path):
    with pytest.raises(UserError, match=r"--source_path \(empty\)"):
        convert.main(convert.Options())
    with pytest.raises(UserError, match=r"no folder .*/gone"):
        convert_folder(tmp_path / "gone")
    with pytest.raises(UserError, match=r"has 0 photographs .*found: nothing"):
        convert_folder(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.JPG", "JPEG")
    (tmp_path / "b.heic").touch()
    with pytest.raises(UserError, match=r"has 1 photographs .*found: \.JPG, \.heic\); at least 3"):
        convert_folder(tmp_path)


def test_a_damaged_photograph_is_named(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(UserError, match=r"c\.png cannot be read"):
        convert_folder(tmp_path)


@pytest.mark.parametrize("taken", ["images", "sparse"])
def test_an_output_that_is_there_is_not_touched(tmp_path, taken):
    (tmp_path / "out" / taken).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"out/{taken} .*--output_path"):
        convert_folder(tmp_path, output_path=str(tmp_path / "out"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output_path"):
        convert_folder(tmp_path, output_path=str(tmp_path / "file"))


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="--seed -1: allowed is 0"):
        convert_folder(tmp_path, seed=-1)


def test_photographs_are_looked_for_in_input_then_images_then_the_folder(tmp_path):
    for part in (".", "images", "input"):
        (tmp_path / part).mkdir(exist_ok=True)
        for name in "abc":
            Image.new("RGB", (8, 8)).save(tmp_path / part / f"{name}.png")
        assert convert.find_photographs(tmp_path) == (tmp_path / part, ["a.png", "b.png", "c.png"])
