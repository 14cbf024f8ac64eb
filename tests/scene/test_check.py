"""The health report: its measures against known answers, its words, its picture, and its exit codes."""

import math
import shlex

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from scene.camera_paths import look_at
from scene.cameras import Camera
from scene.check.__main__ import Options, main
from scene.check.arrangement import arrange
from scene.check.health import examine, seen_points
from scene.check.looks import LUMINANCE, Look, exposures, look, sharpness
from scene.check.picture import DOUBTFUL, HEAD, SIDE, save_picture
from scene.check.report import command, suggestions
from scene.dataset import Posed, SceneOptions, load_scene
from scene.photographs import Photograph, PixelCache
from scene.source import ObservedPoints
from scene.split import read_split
from tests.scene.models import observed, pinhole, pose, write_dataset
from tests.scene.test_nerfstudio import frames_of, write
from training.options import Options as TrainOptions
from utils.errors import UserError, run_program
from utils.options import parse

NAMES = [f"{number}.png" for number in range(7)]
POINTS = np.random.default_rng(3).uniform(-0.8, 0.8, (250, 3))


def cloudy(height, width, seed, slope=1.0):
    """(H, W) values of 20 to 230 with detail at all scales, as pictures of the world have it."""
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    values = np.fft.ifft2(noise / np.maximum(frequency, 1 / width) ** slope).real
    values = (values - values.min()) / np.ptp(values)
    return 20 + 210 * values


def paint(*, blurred=(), dark=(), twice=()):
    """Draws every view's points as spots of their own brightness over a cloudy ground."""
    brightness = np.random.default_rng(7).uniform(60, 200, len(POINTS))

    def draw(number, lens, matrix):
        ground = cloudy(lens.height, lens.width, 0 if number in twice else number)
        if number not in twice:
            for (x, y), value in zip(observed(lens, matrix, POINTS), brightness, strict=True):
                ground[int(y) : int(y) + 1, int(x) : int(x) + 1] = value
        picture = Image.fromarray(np.dstack([ground] * 3).astype(np.uint8))
        if number in blurred:
            picture = picture.filter(ImageFilter.GaussianBlur(2))
        if number in dark:
            linear = np.array([((each / 255 + 0.055) / 1.055) ** 2.4 / 2 for each in range(256)])
            table = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
            picture = picture.point([round(255 * each) for each in table] * 3)
        return picture

    return draw


def dataset(folder, names=NAMES, **options):
    poses = options.pop("poses", None)
    return write_dataset(
        folder,
        names,
        lens=pinhole(160, 120, 175, 180, 80, 60),
        paint=paint(**options),
        points=POINTS,
        poses=poses,
    )


def run(*words):
    with pytest.raises(SystemExit) as ended:
        run_program(lambda: main(parse(Options, [str(word) for word in words])))
    return ended.value.code


@pytest.mark.parametrize("slope", [0.8, 1.0, 1.2])
def test_sharpness_falls_with_blur_and_not_with_exposure(slope):
    grey = cloudy(120, 160, 1, slope).astype(np.float32)
    counts = np.ones(grey.shape, bool)
    own = sharpness(grey, counts)
    assert sharpness(0.3 * grey + 5, counts) == pytest.approx(own, rel=1e-3)
    assert sharpness(cloudy(120, 160, 2, slope).astype(np.float32), counts) == pytest.approx(own, rel=0.1)
    blurred = Image.fromarray(grey.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    assert sharpness(np.asarray(blurred).astype(np.float32), counts) < 0.5 * own


def test_sharpness_is_that_of_what_counts():
    grey = cloudy(120, 160, 1).astype(np.float32)
    counts = np.ones(grey.shape, bool)
    counts[:, 80:] = False
    broken = grey.copy()
    broken[:, 80:] = np.random.default_rng(0).uniform(0, 255, (120, 80))
    assert sharpness(broken, counts) == sharpness(grey, counts)
    assert math.isnan(sharpness(grey, np.zeros_like(counts)))
    assert math.isnan(sharpness(grey[:1, :1], counts[:1, :1]))


def test_known_exposures_are_found_though_some_points_shine():
    random = np.random.default_rng(4)
    stops = np.array([0.0, 0.7, -0.4, 0.1, -1.2])
    points = random.normal(size=300)
    seen = [np.sort(random.choice(300, size, replace=False)) for size in (250, 120, 90, 200, 60)]
    looks = []
    for rows, own in zip(seen, stops, strict=True):
        values = points[rows] + own + 0.01 * random.normal(size=len(rows))
        values[random.random(len(rows)) < 0.1] += 2  # highlights
        values[random.random(len(rows)) < 0.1] = np.nan
        looks.append(Look(1.0, 0.0, values.astype(np.float32), b"", False, 0))
    found = exposures(looks, seen, 300)
    np.testing.assert_allclose(found, stops - np.median(stops), atol=0.1)
    few = [rows[:10] for rows in seen]
    short = [Look(1.0, 0.0, each.at_points[:10], b"", False, 0) for each in looks]
    assert np.isnan(exposures(short, few, 300)).all()


def test_a_photograph_is_looked_at_where_its_points_are(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1, 4] = (100, 150, 200)
    pixels[3, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    intrinsics = torch.tensor([[2.0, 0, 3], [0, 2, 2], [0, 0, 1]])
    own = Photograph(tmp_path / "a.png", 6, 4, PixelCache(0))
    camera = Camera("a", torch.eye(4), intrinsics, 6, 4, own)
    at = np.array([[4.5, 1.5], [0.5, 3.5], [1.5, 1.5], [7.0, 1.0]])  # told, too bright, too dark, outside
    local = np.c_[(at - [3, 2]) / 2, np.ones(4)]
    result = look(camera, np.vstack([5 * local, -local[:1]]))  # the last is behind the camera
    linear = ((pixels[1, 4] / 255 + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(result.at_points, [np.log2(linear @ LUMINANCE), *[np.nan] * 4], rtol=1e-5)


def ring(count):
    """Cameras on a circle of radius 4, 2 above the origin (y points down), at which they look."""
    cameras = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        place = torch.tensor([4 * math.cos(angle), -2.0, 4 * math.sin(angle)])
        matrix = look_at(place, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
        intrinsics = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
        cameras.append(Camera(str(number), matrix, intrinsics, 64, 48))
    return cameras


def arranged(cameras, seen=None, points=POINTS):
    seen = seen or [np.arange(len(points))] * len(cameras)
    return arrange(cameras, np.ones(len(cameras), bool), points, seen)


def test_cameras_on_a_circle():
    cameras = ring(12)
    its = arranged(cameras, points=np.zeros((1, 3)))
    np.testing.assert_allclose(its.up, [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(its.focus, 0, atol=0.05)
    assert its.round_about == pytest.approx(330)
    first, second = (each.position.numpy() for each in cameras[:2])
    angle = math.degrees(math.acos(first @ second / 20))
    np.testing.assert_allclose(its.nearest, angle, atol=1e-3)
    assert not its.apart.any()
    # up is square to the pictures' rows: three cameras of one side that look down agree
    np.testing.assert_allclose(arranged(cameras[:3]).up, [0, -1, 0], atol=1e-5)


def test_a_camera_far_off_stands_apart():
    far = torch.eye(4)
    far[:3, 3] = torch.tensor([0.0, 0, 300])
    its = arranged([*ring(9), Camera("far", far, torch.eye(3), 2, 2)])
    assert its.apart.tolist() == [False] * 9 + [True]
    assert not arranged([*ring(2), Camera("far", far, torch.eye(3), 2, 2)]).apart.any()  # of three, none


def test_overlap_is_the_share_that_the_best_other_camera_sees():
    seen = [np.array(rows, np.int64) for rows in ([0, 1, 2, 3], [2, 3, 4], [3, 9], [])]
    its = arranged(ring(4), seen)
    expected = [
        max(len({*rows} & {*others}) for b, others in enumerate(seen) if b != a) / max(len(rows), 1)
        for a, rows in enumerate(seen)
    ]
    np.testing.assert_allclose(its.overlap, expected)
    trains = np.array([True, False, True, True])  # the second one's points are of no help
    assert arrange(ring(4), trains, POINTS, seen).overlap[0] == 0.25


def test_one_camera_has_no_neighbours():
    its = arranged(ring(1))
    assert its.nearest.tolist() == [0] and its.overlap.tolist() == [0] and its.round_about == 0


def test_a_sound_scene_can_be_trained(tmp_path, capsys):
    folder = dataset(tmp_path / "scene")
    assert run("-s", folder) == 0
    said = capsys.readouterr().out
    assert "COLMAP, photographs: 7 to train from, 0 for the test; 160 x 120 pixels" in said
    assert "nothing is doubtful" in said and said.count("\n  --") == 1
    assert f"\n  python train.py -s {folder} -m output/scene --lambda_sds 0\n" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene"]  # nothing is written unasked


def test_what_is_wrong_is_named_and_can_be_left_out(tmp_path, capsys):
    poses = [pose(number, 7) for number in range(7)]
    poses[6] = poses[6].copy()
    poses[6][2, 3] += 60
    folder = dataset(tmp_path / "scene", blurred=[1], dark=[2], twice=[3, 4], poses=poses)
    assert run("-s", folder, "--output", tmp_path / "report") == 0
    said = capsys.readouterr().out
    assert "  1.png: blurred: 0." in said and "  4.png: the same picture as 3.png" in said
    assert "  6.png: stands apart" in said and "\n  0.png" not in said and "\n  5.png" not in said
    assert "exposed 0.5 stops or more unlike the others: 2.png" in said
    assert "  --exposure: the same points differ by 1." in said
    split = tmp_path / "report/split.json"
    assert read_split(split) == (["0.png", "2.png", "3.png", "5.png"], [])
    assert f"--split {split}: leaves" in said
    text = (tmp_path / "report/report.md").read_text()
    assert "# scene: it can be trained" in text and "| 4.png " in text and "(cameras.png)" in text
    with Image.open(tmp_path / "report/cameras.png") as picture:
        assert picture.size == (2 * SIDE, SIDE + HEAD)
        body = np.asarray(picture)[HEAD:]
    assert (body == DOUBTFUL).all(axis=-1).any()
    health = examine(SceneOptions(source_path=str(folder)))
    for view in health.views:
        view.doubts.clear()
    save_picture(tmp_path / "clean.png", health)
    assert not (np.asarray(Image.open(tmp_path / "clean.png"))[HEAD:] == DOUBTFUL).all(axis=-1).any()


def test_the_suggested_command_is_one_that_train_takes(tmp_path):
    folder = dataset(tmp_path / "a scene", [f"{number:02}.png" for number in range(18)], dark=[2])
    options = SceneOptions(source_path=str(folder), resolution=2, white_background=True, masks="")
    health = examine(options)
    flags = [flag for flag, _ in suggestions(health, None)]
    assert flags == ["--lambda_sds 0", "--exposure", "--eval"]
    words = shlex.split(command(options, flags))
    assert words[:2] == ["python", "train.py"]
    read = parse(TrainOptions, words[2:])
    assert read.exposure.exposure and read.model_path == "output/a scene" and read.guidance.lambda_sds == 0
    expected = SceneOptions(source_path=str(folder), resolution=2, white_background=True, masks="", eval=True)
    assert read.scene == expected


def test_points_far_from_the_cameras_are_in_the_picture(tmp_path):
    """As in forward-facing scenes: cameras side by side, what they look at many times their spread away."""
    poses = [np.eye(3, 4) for _ in range(7)]
    for number, matrix in enumerate(poses):
        matrix[0, 3] = -0.3 * number
    points = POINTS + np.array([0.9, 0, 8])

    def draw(number, lens, matrix):
        return Image.fromarray(np.dstack([cloudy(lens.height, lens.width, number)] * 3).astype(np.uint8))

    folder = write_dataset(
        tmp_path / "scene", NAMES, lens=pinhole(160, 120), paint=draw, points=points, poses=poses
    )
    health = examine(SceneOptions(source_path=str(folder)))
    assert not any(view.doubts for view in health.views)  # which would be drawn red
    save_picture(tmp_path / "with.png", health)
    with Image.open(tmp_path / "with.png") as picture:
        colours = np.asarray(picture)[HEAD:].astype(int)
    reddish = colours[..., 0] - colours[..., 1] > 0  # the points' colours go from blue to red
    middle = np.ptp(np.flatnonzero(reddish[:, :SIDE].any(axis=1)))
    assert middle > 30  # pixels: of the panel from above, along which the points are spread


def test_memory_is_suggested_where_photographs_do_not_fit(tmp_path):
    options = SceneOptions(source_path=str(dataset(tmp_path / "scene")), image_memory=1e-4)
    assert suggestions(examine(options), None)[1][0] == "--image_memory 1"


def test_a_scene_without_points(tmp_path, capsys):
    assert run("-s", write(tmp_path, frames_of("a.png")), "--init_random", 300) == 0
    said = capsys.readouterr().out
    assert "Nerfstudio, photographs: 1 to train from" in said and "start: 300 random points" in said
    assert "--points dense: there are no points" in said and "points in each" not in said


def test_points_that_are_not_finite_are_seen_by_nobody(tmp_path):
    scene = load_scene(SceneOptions(source_path=str(dataset(tmp_path / "scene"))), seed=0)
    positions = np.zeros((4, 3))
    positions[2, 1] = np.nan
    told = ObservedPoints(positions, np.zeros((4, 3), np.uint8), {"1.png": np.array([0, 2, 3])})
    _, seen = seen_points(Posed("colmap", [], [], told, None), scene)
    assert [rows.tolist() for rows in seen] == [[], [0, 3], [], [], [], [], []]


def test_all_missing_photographs_are_named(tmp_path, capsys):
    folder = dataset(tmp_path / "scene")
    for name in NAMES[1:6]:
        (folder / "images" / name).unlink()
    assert run("-s", folder, "--output", tmp_path / "report") == 2
    said = capsys.readouterr().err
    assert (
        "5 of the dataset's 7 photographs are missing" in said
        and "missing: 1.png, 2.png, 3.png, 4.png, 5.png" in said
    )
    text = (tmp_path / "report/report.md").read_text()
    assert text.startswith("# scene: it cannot be trained") and "5.png" in text
    assert not (tmp_path / "report/cameras.png").exists()


def test_all_photographs_of_a_wrong_size_are_named(tmp_path):
    folder = dataset(tmp_path / "scene")
    Image.new("RGB", (50, 50)).save(folder / "images/2.png")
    (folder / "images/4.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as refused:
        examine(SceneOptions(source_path=str(folder)))
    lines = str(refused.value).splitlines()
    assert lines[0] == "2 photographs cannot be used:" and len(lines) == 3
    assert "2.png has 50x50 pixels, its camera 160x120" in lines[1] and "4.png cannot be read" in lines[2]


def test_a_folder_that_is_no_dataset_cannot_be_trained(tmp_path, capsys):
    assert run("-s", tmp_path) == 2
    assert "is no dataset" in capsys.readouterr().err
