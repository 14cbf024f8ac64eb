"""Depth maps from a model of random weights: what is written is what training reads; scales are exact."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from scene.dataset import SceneOptions, load_scene
from scene.depth_estimation import Estimator, load_estimator
from scene.depth_maps import STEPS, load_depth_maps, read_map
from tests.scene.models import POINTS, observed, pinhole, pose, write_dataset
from tests.scene.tiny_depth_model import save_tiny_depth_model
from tests.small_scene import arc_of_cameras
from tools.make_depths import Options, as_stored, fitted, main
from utils.errors import UserError, Warnings

NAMES = ["a/1.png", "2.png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DPT of random weights."""
    return save_tiny_depth_model(tmp_path_factory.mktemp("dpt"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two photographs with something to see in them."""

    def noise(number, lens, matrix):
        random = np.random.default_rng(number)
        return Image.fromarray(random.integers(0, 256, (lens.height, lens.width, 3), dtype=np.uint8))

    return write_dataset(tmp_path / "scene", NAMES, paint=noise)


def test_maps_and_scales_are_read_by_training(model, dataset):
    main(Options(source_path=str(dataset), model=str(model)))
    scene = load_scene(SceneOptions(source_path=str(dataset)), seed=0)
    maps = load_depth_maps(dataset, "depths", scene.train_cameras, Warnings())
    assert set(maps) == set(NAMES)
    network = load_estimator("model", str(model), "cpu")
    for camera in scene.train_cameras:
        inverse = maps[camera.name].inverse
        assert maps[camera.name].metric and inverse.shape == (48, 64)
        said = network(camera.own_photograph.pixels().rgb)
        correlation = float(torch.corrcoef(torch.stack([said.flatten(), inverse.flatten()]))[0, 1])
        assert correlation > 0.99  # 1, but for values cut at 0
        # the median of the points' inverse depths is that of the map there, whatever the model says
        matrix = pose(NAMES.index(camera.name), 2)
        depths = (POINTS @ matrix[:, :3].T + matrix[:, 3])[:, 2]
        columns, rows = np.floor(observed(pinhole(), matrix, POINTS)).astype(int).T
        inside = (columns >= 0) & (columns < 64) & (rows >= 0) & (rows < 48)
        at_points = inverse[rows[inside], columns[inside]].numpy()
        assert abs(np.median(at_points) - np.median(1 / depths[inside])) < 0.01


def test_a_map_that_is_right_up_to_scale_and_offset_gets_both():
    camera = arc_of_cameras(3)[1]
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    depth = 3 + 0.02 * x + 0.01 * y
    inverse = torch.from_numpy(1 / depth)
    values = as_stored(inverse)
    picked = np.random.default_rng(0).permutation(depth.size)[:50]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(camera.intrinsics.double().numpy()).T
    local = (rays * depth[..., None]).reshape(-1, 3)[picked]
    to_world = np.linalg.inv(camera.world_to_camera.double().numpy())
    points = local @ to_world[:3, :3].T + to_world[:3, 3]
    scale, offset = fitted(values, camera, points)
    np.testing.assert_allclose(values / STEPS * scale + offset, 1 / depth, rtol=1e-3)
    assert fitted(values, camera, points[:10]) == (0, 0)
    assert fitted(values, camera, np.repeat(points[:1], 20, axis=0)) == (0, 0)


def test_stored_maps_use_all_of_16_bits_and_keep_near_larger(tmp_path):
    values = as_stored(torch.tensor([[-1.0, 0.0], [1.0, 3.0]]))
    assert values.tolist() == [[0, 16384], [32768, 65535]]
    for useless in (torch.ones(2, 2), torch.tensor([[0.0, float("nan")]])):
        with pytest.raises(UserError, match="says the same of all pixels"):
            as_stored(useless)


def test_a_metric_model_is_turned_into_inverse_depth(model):
    picture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    estimate = load_estimator("model", str(model), "cpu")
    inverse = estimate(picture)
    estimate.metric = True
    expected = 1 / inverse.clamp_min(1e-3 * float(inverse.median()))
    torch.testing.assert_close(estimate(picture), expected)


@pytest.mark.parametrize(("kind", "metric"), [("dpt", False), ("glpn", True), ("tipsv2_dpt", True)])
def test_models_that_tell_metres_are_known(kind, metric):
    network = SimpleNamespace(config=SimpleNamespace(model_type=kind))
    assert Estimator(network, None).metric == metric


def test_a_blender_dataset_has_maps_and_no_scales(model, small_scene, tmp_path):
    source = shutil.copytree(small_scene, tmp_path / "blender")
    main(Options(source_path=str(source), model=str(model)))
    assert len(list((source / "depths").rglob("*.png"))) == 11
    assert not list(source.rglob("depth_params.json"))
    assert read_map(source / "depths" / "train" / "r_0.png").shape == (40, 48)


def test_a_single_photograph_has_a_map_and_stays_one(model, tmp_path):
    random = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(random).save(tmp_path / "a.png")
    main(Options(source_path=str(tmp_path), model=str(model)))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "depths"}
    scene = load_scene(SceneOptions(source_path=str(tmp_path)), seed=0)
    assert scene.kind == "photograph"
    maps = load_depth_maps(tmp_path, "depths", scene.train_cameras, Warnings())
    assert not maps["a.png"].metric


def test_what_is_there_is_replaced_only_when_asked(model, dataset):
    parameters = dataset / "sparse" / "0" / "depth_params.json"
    parameters.write_text("{}")
    with pytest.raises(UserError, match=r"depth_params.json is there already; give --overwrite"):
        main(Options(source_path=str(dataset), model=str(model)))
    assert not (dataset / "depths").exists()
    main(Options(source_path=str(dataset), model=str(model), overwrite=True))
    assert set(json.loads(parameters.read_text())) == {"a/1", "2"}


def test_a_model_of_no_use_is_named(model, dataset, tmp_path):
    other = tmp_path / "text"
    config = CLIPTextConfig(
        vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    CLIPTextModel(config).save_pretrained(other)
    shutil.copy(model / "preprocessor_config.json", other)
    unsafe = shutil.copytree(model, tmp_path / "unsafe")
    (unsafe / "model.safetensors").rename(unsafe / "pytorch_model.bin")
    for folder in (tmp_path / "nowhere", other, unsafe):
        with pytest.raises(UserError, match=r"--model .* cannot be loaded for depth .* safetensors"):
            main(Options(source_path=str(dataset), model=str(folder)))
    assert not (dataset / "depths").exists()
