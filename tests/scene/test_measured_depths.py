"""A sensor's depth images: units, holes, sizes, lenses, what training does with them, files of no use."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_renderer import Rendering
from scene.dataset import SceneOptions, load_scene
from scene.depth_maps import load_depth_maps
from tests.scene.test_blender import frame
from tests.scene.test_nerfstudio import LENS, frames_of, write
from training.depth_losses import DepthLosses, DepthOptions
from utils.errors import UserError, Warnings


def slope(width=40, height=30):
    """(H, W) uint16 millimetres, farther to the right, with a hole at the left upper corner."""
    values = np.tile(np.linspace(1000, 4000, width).astype(np.uint16), (height, 1))
    values[: height // 3, : width // 4] = 0
    return values


def dataset(folder, values, size=(40, 30), **top):
    frames = [frame("images/a.png", depth_file_path="depth/a.png"), frame("images/b.png")]
    write(folder, frames, size=size, **(top or LENS))
    (folder / "depth").mkdir()
    Image.fromarray(values).save(folder / "depth/a.png")
    return folder


def load(folder, depths="depth", **options):
    scene = load_scene(SceneOptions(source_path=str(folder), init_random=100, **options), seed=0)
    return load_depth_maps(folder, depths, scene.train_cameras, Warnings()), scene


def test_depths_are_inverted_in_scene_units(tmp_path):
    values = slope()
    maps, _ = load(dataset(tmp_path, values))
    assert set(maps) == {"a.png"}  # b.png's frame names none
    (its,) = maps.values()
    assert its.metric and torch.equal(its.known, torch.from_numpy(values > 0))
    np.testing.assert_allclose(its.inverse[its.known], 1000 / values[values > 0].astype(float), rtol=1e-6)
    assert (its.inverse[~its.known] == 0).all()


def test_the_file_tells_another_unit(tmp_path):
    (tmp_path / "a").mkdir()
    maps, _ = load(dataset(tmp_path / "a", slope(), **LENS, depth_unit_scale_factor=0.5))
    assert float(maps["a.png"].inverse[-1, 0]) == pytest.approx(1 / 500)
    content = json.loads((tmp_path / "a/transforms.json").read_text())
    for wrong in (0, "m", True, float("nan")):
        (tmp_path / "a/transforms.json").write_text(json.dumps({**content, "depth_unit_scale_factor": wrong}))
        with pytest.raises(UserError, match="`depth_unit_scale_factor` is"):
            load(tmp_path / "a")


def test_a_smaller_image_gives_each_pixel_the_nearest_value(tmp_path):
    maps, _ = load(dataset(tmp_path, slope(20, 15)))
    expected = np.repeat(np.repeat(slope(20, 15), 2, axis=0), 2, axis=1)
    assert torch.equal(maps["a.png"].known, torch.from_numpy(expected > 0))
    np.testing.assert_allclose(maps["a.png"].inverse[-1], 1000 / expected[-1].astype(float), rtol=1e-6)


@pytest.mark.parametrize("lens", [{"k1": -0.2, "p2": 0.01}, {"camera_model": "OPENCV_FISHEYE", "k1": 0.05}])
def test_a_bent_image_is_straightened_as_its_photograph_is(tmp_path, lens):
    """The photograph holds the depths as grey values; both are the same picture then."""
    values = slope(120, 90) // 20
    folder = dataset(tmp_path, values, size=(120, 90), **{"fl_x": 110, "w": 120, "h": 90, **lens})
    Image.fromarray(np.dstack([values.astype(np.uint8)] * 3)).save(folder / "images/a.png")
    maps, scene = load(folder, resolution=1)
    grey = scene.train_cameras[0].own_photograph.pixels().rgb[..., 0].astype(float)
    its = maps["a.png"]
    assert its.inverse.shape == grey.shape
    depth = np.where(its.known.numpy(), 1000 / its.inverse.clamp_min(1e-9).numpy(), 0)
    assert np.median(np.abs(depth - grey)) <= 1 and np.mean(np.abs(depth - grey) > 4) < 0.03


def test_holes_count_for_nothing(tmp_path):
    maps, scene = load(dataset(tmp_path, slope()))
    camera, its = scene.train_cameras[0], maps["a.png"]

    depth = torch.full((1, 30, 40), 2.0, requires_grad=True)
    rendering = Rendering(torch.zeros(3, 30, 40), torch.ones(1, 30, 40), depth, {})
    losses = DepthLosses(DepthOptions(depths="depth"), [camera], maps, 100, torch.zeros(3))
    losses._given(rendering, camera, its, 0.0).backward()
    assert depth.grad is not None and its.known is not None
    gradient = depth.grad[0]
    assert (gradient[~its.known] == 0).all() and (gradient[its.known] != 0).float().mean() > 0.95


def test_other_folders_hold_maps_of_the_references_kind(tmp_path):
    folder = dataset(tmp_path, slope())
    (folder / "maps").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(slope()).save(folder / "maps" / name)
    maps, _ = load(folder, "maps")
    assert set(maps) == {"a.png", "b.png"} and not maps["a.png"].metric and maps["a.png"].known is None


def test_images_of_no_use_are_explained(tmp_path):
    folder = dataset(tmp_path, slope())
    path = folder / "depth/a.png"
    for values, message in (
        (slope(40, 90), r"has 40x90 pixels, its photograph 40x30"),
        (np.zeros((30, 40), np.uint8), r"wanted is a PNG of one channel of 16 bits, found is the mode L"),
        (np.zeros((30, 40), np.uint16), r"no depth above 0"),
    ):
        Image.fromarray(values).save(path)
        with pytest.raises(UserError, match=message):
            load(folder)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a depth image"):
        load(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.png cannot be read as a depth image"):
        load(folder)


def test_without_depths_in_the_file_the_message_is_the_usual_one(tmp_path):
    write(tmp_path, frames_of("a.png"))
    with pytest.raises(UserError, match="1 of 1 training photographs have no depth map"):
        load(tmp_path)
