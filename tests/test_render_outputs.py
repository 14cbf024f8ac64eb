"""What render.py writes beside the views: depth, alpha, other sizes, paths, Gaussians from elsewhere."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

import gaussian_renderer
import metrics
from formats.compressed_ply import pack_compressed
from formats.spz import pack_spz
from render import Options, main
from scene.cameras import Camera
from scene.dataset import SceneOptions
from scene.gaussians import save_ply, splats_of
from tests.small_scene import (
    FIELD_OF_VIEW,
    HEIGHT,
    WIDTH,
    arc_of_cameras,
    cpu_engine,
    some_gaussians,
    write_small_scene,
)
from train import Options as TrainOptions
from utils.errors import UserError
from utils.options import save_settings

VIEWS = 3
NO_VIEWS: Mapping[str, Any] = {"skip_train": True, "skip_test": True}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("dataset"), views=VIEWS)


@pytest.fixture
def model(tmp_path: Path, dataset: Path) -> Path:
    """A model folder that holds the very Gaussians of which the dataset's photographs are pictures."""
    save_settings(tmp_path / "model", TrainOptions(scene=SceneOptions(source_path=str(dataset), eval=True)))
    save_ply(tmp_path / "model/point_cloud/iteration_9/point_cloud.ply", some_gaussians())
    return tmp_path / "model"


def render(model: Path, **options) -> None:
    main(Options(model_path=str(model), device="cpu", quiet=True, **options))


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def looked_at(camera: Camera) -> gaussian_renderer.Rendering:
    """The camera's rendering, without the program."""
    return gaussian_renderer.render(
        camera, some_gaussians(), sh_degree=3, background=torch.zeros(3), engine=cpu_engine(), depth=True
    )


def rounded(camera: Camera) -> np.ndarray:
    """The camera's picture in 8 bits, without the program."""
    return np.floor(looked_at(camera).rgb.clamp(0, 1).permute(1, 2, 0).detach().numpy() * 255 + 0.5)


def record(path: Path, cameras: list[Camera], **more: Any) -> Path:
    """The cameras as view.py records them."""
    frames = [
        {
            "camera_to_world": torch.linalg.inv(camera.world_to_camera.double()).tolist(),
            "fov_y_degrees": np.degrees(camera.field_of_view[1]),
        }
        for camera in cameras
    ]
    path.write_text(json.dumps({"fps": 30, "frames": frames} | more))
    return path


def video(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a video says of itself, and its frames."""
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return about, [np.frombuffer(frame, np.uint8).reshape(height, width, 3).astype(int) for frame in reader]


def test_depth_is_written_with_its_scale(model):
    render(model, depth=True, skip_test=True)
    folder = model / "train/ours_9"
    said = json.loads((folder / "depth.json").read_text())
    coloured = pictures(folder / "depth_coloured")
    for camera, stored, colours in zip(
        arc_of_cameras(VIEWS), pictures(folder / "depth"), coloured, strict=True
    ):
        view = looked_at(camera)
        assert view.depth is not None
        depth, solid = view.depth[0].detach().numpy(), view.alpha[0].detach().numpy() >= 0.5
        assert 0.2 < solid.mean() < 0.8
        assert np.abs(stored * said["scale"] - depth)[solid].max() <= 0.51 * said["scale"]
        assert not stored[~solid].any() and not colours[~solid].any()
        assert (colours[solid].sum(axis=1) > 100).all()  # the darkest colour is not black
        nearest, farthest = (colours[solid][choose(depth[solid])].sum() for choose in (np.argmin, np.argmax))
        assert nearest > farthest
        inside = (depth >= said["coloured"]["near"]) & (depth <= said["coloured"]["far"])
        assert inside[solid].mean() > 0.9
    assert said["scale"] < 1e-3 and said["farthest"] == 65535 * said["scale"] > 4  # the ball lies at 2 to 4
    with Image.open(folder / "depth/00000.png") as picture:
        assert picture.mode.startswith("I")
    render(model, skip_test=True)  # what an earlier run left does not stay
    assert not (folder / "depth").exists() and not (folder / "depth.json").exists()


def test_alpha_is_straight(model):
    """Laid over any background, the picture is the rendering over that background."""
    for white in (False, True):
        render(model, alpha=True, skip_test=True, white_background=white)
        for rgba, plain in zip(
            pictures(model / "train/ours_9/rgba"), pictures(model / "train/ours_9/renders"), strict=True
        ):
            alpha = rgba[..., 3:] / 255
            assert alpha.min() == 0 and alpha.max() > 0.9
            assert np.abs(rgba[..., :3] * alpha + 255 * white * (1 - alpha) - plain).max() <= 2


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        ({"scale": 2.0}, (96, 80)),
        ({"width": 24}, (24, 20)),
        ({"height": 60}, (72, 60)),
        ({"width": 100, "height": 40}, (100, 40)),
    ],
)
def test_any_size(model, flags, size):
    render(model, depth=True, skip_test=True, **flags)
    width, height = size
    focal = height / HEIGHT * WIDTH / (2 * np.tan(FIELD_OF_VIEW / 2))
    lens = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
    folder = model / "train_resized/ours_9"
    for camera, picture in zip(arc_of_cameras(VIEWS), pictures(folder / "renders"), strict=True):
        wanted = Camera(camera.name, camera.world_to_camera, lens, width, height)
        assert picture.shape == (height, width, 3)
        assert np.abs(picture - rounded(wanted)).max() <= 1
    assert pictures(folder / "depth")[0].shape == (height, width)
    assert not (folder / "gt").exists()  # there is no photograph of that size


def test_pictures_of_another_size_are_not_scored(model):
    render(model, skip_train=True)
    render(model, skip_train=True, scale=0.5, alpha=True, depth=True)
    metrics.main(metrics.Options(model_paths=(str(model),), lpips_net="none"))
    assert json.loads((model / "results.json").read_text())["ours_9"]["PSNR"] > 40


def test_scores_do_not_see_depth_and_alpha(model):
    scores = []
    for more in ({}, {"depth": True, "alpha": True}):
        render(model, skip_train=True, **more)
        metrics.main(metrics.Options(model_paths=(str(model),), lpips_net="none"))
        scores.append((model / "per_view.json").read_text())
    assert scores[0] == scores[1]


def test_a_path_through_the_training_cameras(model):
    render(model, **NO_VIEWS, path="interpolate", frames=9, depth=True)
    frames = pictures(model / "paths/interpolate/ours_9/renders")
    assert len(frames) == len(pictures(model / "paths/interpolate/ours_9/depth")) == 9
    for index, camera in zip((0, 4, 8), arc_of_cameras(VIEWS), strict=True):  # they are evenly spaced
        assert np.abs(frames[index] - rounded(camera)).max() <= 2
    assert not (model / "train").exists() and not (model / "test").exists()


def test_a_path_as_videos(model):
    render(model, **NO_VIEWS, path="interpolate", frames=6, fps=12.5, video=True, depth=True, width=64)
    for name in ("ours_9.mp4", "ours_9_depth.mp4"):
        about, frames = video(model / "paths/interpolate" / name)
        assert about["size"] == (64, 52) and about["fps"] == 12.5 and len(frames) == 6  # 53 is odd
        assert np.abs(frames[0] - frames[5]).mean() > 1
    assert json.loads((model / "paths/interpolate/ours_9_depth.json").read_text())["coloured"]["far"] > 3
    assert not (model / "paths/interpolate/ours_9").exists()


def test_a_recorded_path_is_followed_frame_by_frame(model, tmp_path):
    cameras = arc_of_cameras(5)
    render(model, **NO_VIEWS, path=str(record(tmp_path / "walk.json", cameras)), alpha=True)
    frames = pictures(model / "paths/walk/ours_9/renders")
    assert len(frames) == len(pictures(model / "paths/walk/ours_9/rgba")) == 5
    for frame, camera in zip(frames, cameras, strict=True):
        assert np.abs(frame - rounded(camera)).max() <= 1
    render(model, **NO_VIEWS, path=str(tmp_path / "walk.json"), frames=3)
    for frame, camera in zip(pictures(model / "paths/walk/ours_9/renders"), cameras[::2], strict=True):
        assert np.abs(frame - rounded(camera)).max() <= 2  # the path's frames became key frames


def test_a_recorded_path_says_how_fast_it_is(model, tmp_path):
    file = record(tmp_path / "slow.json", arc_of_cameras(3), fps=10)
    render(model, **NO_VIEWS, path=str(file), video=True)
    about, frames = video(model / "paths/slow/ours_9.mp4")
    assert about["fps"] == 10 and len(frames) == 3


def test_a_recorded_path_of_a_given_size_needs_no_dataset(model, tmp_path):
    save_settings(model, TrainOptions(scene=SceneOptions(source_path="/gone", eval=True)))
    file = str(record(tmp_path / "walk.json", arc_of_cameras(2)))
    render(model, **NO_VIEWS, path=file, width=WIDTH, height=HEIGHT)
    assert len(pictures(model / "paths/walk/ours_9/renders")) == 2
    with pytest.raises(UserError, match="source_path"):
        render(model, **NO_VIEWS, path=file)


@pytest.mark.parametrize("degree", range(4))
def test_gaussians_from_elsewhere(dataset, tmp_path, degree):
    save_ply(tmp_path / "plush.ply", some_gaussians(sh_degree=degree))
    render(tmp_path / "out", ply=str(tmp_path / "plush.ply"), source_path=str(dataset), eval=True)
    for split, count in (("train", VIEWS), ("test", 2)):
        renders, photographs = (pictures(tmp_path / "out" / split / "plush" / it) for it in ("renders", "gt"))
        assert len(renders) == count
        assert all(np.abs(a - b).max() <= 1 for a, b in zip(renders, photographs, strict=True))
    metrics.main(metrics.Options(model_paths=(str(tmp_path / "out"),), lpips_net="none"))


@pytest.mark.parametrize(
    ("name", "pack"), [("small.spz", pack_spz), ("small.compressed.ply", pack_compressed)]
)
def test_compressed_gaussians_from_elsewhere(dataset, tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(splats_of(some_gaussians())))
    render(tmp_path / "out", ply=str(tmp_path / name), source_path=str(dataset), skip_test=True)
    folder = tmp_path / "out/train" / name.rpartition(".")[0]
    for image, photograph in zip(*(pictures(folder / it) for it in ("renders", "gt")), strict=True):
        assert np.abs(image - photograph).mean() < 2


def test_other_gaussians_in_a_models_scene(model, tmp_path):
    save_ply(tmp_path / "edited.ply", some_gaussians(seed=5))
    render(model, ply=str(tmp_path / "edited.ply"), skip_train=True)
    assert len(pictures(model / "test/edited/renders")) == 2
    assert not (model / "test/ours_9").exists()


def test_gaussians_from_elsewhere_on_a_path_alone(tmp_path):
    save_ply(tmp_path / "plush.ply", some_gaussians())
    path = str(record(tmp_path / "walk.json", arc_of_cameras(2)))
    ply = str(tmp_path / "plush.ply")
    render(tmp_path / "out", ply=ply, path=path, width=WIDTH, height=HEIGHT, depth=True)
    assert len(pictures(tmp_path / "out/paths/walk/plush/depth")) == 2
    for flags in ({}, {"path": path}, {"path": "interpolate", "width": 9, "height": 9}):
        with pytest.raises(UserError, match=re.escape(f"--ply {ply} comes without cameras")):
            render(tmp_path / "out", ply=ply, **flags)


def test_what_is_missing_is_said(model, tmp_path):
    with pytest.raises(UserError, match=r"no such .*none\.ply"):
        render(model, ply=str(tmp_path / "none.ply"))
    with pytest.raises(UserError, match="--iteration 9: allowed is -1 with --ply"):
        render(model, ply=str(tmp_path / "none.ply"), iteration=9)
    with pytest.raises(UserError, match="--path: no file"):
        render(model, path=str(tmp_path / "none.json"))
    empty = some_gaussians()
    save_ply(tmp_path / "empty.ply", torch.nn.ParameterDict({name: it[:0] for name, it in empty.items()}))
    with pytest.raises(UserError, match="holds no Gaussians"):
        render(model, ply=str(tmp_path / "empty.ply"))


def test_one_training_camera_has_no_path_between(model):
    scene = SceneOptions(str(write_small_scene(model / "one", views=1)), eval=True)
    save_settings(model, TrainOptions(scene=scene))
    with pytest.raises(UserError, match="no two different cameras among 1"):
        render(model, **NO_VIEWS, path="interpolate")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"width": -1}, "--width -1: allowed is 1 to 16384 pixels"),
        ({"height": 20000}, "--height 20000"),
        ({"scale": 0.0}, "--scale 0.0"),
        ({"scale": float("nan")}, "--scale nan"),
        ({"scale": 2.0, "width": 5}, "both set the size"),
        ({"frames": -1}, "--frames -1"),
        ({"fps": 2000.0}, "--fps 2000.0"),
        ({"video": True}, "--video True: allowed is with --path only"),
    ],
)
def test_values_that_are_not_allowed(model, flags, message):
    with pytest.raises(UserError, match=message):
        render(model, **flags)
