"""Depth maps of a dataset: the reference's format, its rule for scales, and files that are of no use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scene.dataset import SceneOptions, load_scene
from scene.depth_maps import DepthMap, load_depth_maps, read_parameters, supposed_depth
from tests.scene.models import write_dataset
from tests.scene.test_recorded_paths import ANYTHING
from utils.errors import UserError, Warnings

NAMES = ["a/1.png", "a/2.png", "3.png"]


def write_map(path: Path, values: np.ndarray) -> None:
    """A PNG of the values, of their type's depth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def ramp(width: int = 64, height: int = 48) -> np.ndarray:
    """(H, W) uint16, larger to the right."""
    return np.tile(np.linspace(100, 60000, width).astype(np.uint16), (height, 1))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three photographs of 64 x 48 pixels, their maps, no scales."""
    write_dataset(tmp_path, NAMES)
    for name in NAMES:
        write_map(tmp_path / "maps" / name, ramp())
    return tmp_path


def write_scales(dataset: Path, scales: dict[str, float], offset: float = 0.25) -> None:
    content = {name: {"scale": scale, "offset": offset} for name, scale in scales.items()}
    (dataset / "sparse" / "0" / "depth_params.json").write_text(json.dumps(content))


def load(dataset: Path, warnings: Warnings | None = None):
    scene = load_scene(SceneOptions(source_path=str(dataset)), seed=0)
    return load_depth_maps(dataset, "maps", scene.train_cameras, warnings or Warnings())


def test_without_scales_maps_are_relative(dataset):
    maps = load(dataset)
    assert set(maps) == set(NAMES)
    for each in maps.values():
        assert not each.metric
        torch.testing.assert_close(each.inverse, torch.from_numpy(ramp().astype(np.float32) / 65536))


def test_a_relative_map_lies_between_1_and_10_whatever_its_scale():
    inverse = torch.linspace(0.1, 0.6, 48 * 64).reshape(48, 64)
    depth = supposed_depth(DepthMap(inverse, metric=False))
    assert depth.shape == (48, 64) and depth.min() == pytest.approx(1) and depth.max() == pytest.approx(10)
    assert (np.diff(depth.flatten()) <= 0).all()
    inside = (depth > 1.01) & (depth < 9.9)
    assert np.corrcoef(1 / depth[inside], inverse.numpy()[inside])[0, 1] == pytest.approx(1)
    for other in (0.2 * inverse + 0.3, torch.where(inverse > 0.599, 5.0, inverse)):
        np.testing.assert_allclose(supposed_depth(DepthMap(other, metric=False)), depth, rtol=0.02)
    flat = DepthMap(torch.where(inverse > 0.599, 0.6, 0.5), metric=False)
    assert np.isfinite(supposed_depth(flat)).all()


def test_scales_are_the_references(dataset):
    write_scales(dataset, {"a/1": 2.0, "a/2": 3.0, "3": 1.0})
    maps = load(dataset)
    assert all(each.metric for each in maps.values())
    scaled = torch.from_numpy(ramp().astype(np.float32) / 65536) * 3.0
    torch.testing.assert_close(maps["a/2.png"].inverse, scaled + 0.25)
    write_scales(dataset, {"a/1": 2.0, "a/2": 3.0, "3": 1.0}, offset=-0.25)
    torch.testing.assert_close(load(dataset)["a/2.png"].inverse, (scaled - 0.25).clamp(min=0))


@pytest.mark.parametrize("scales", [{"a/1": 2.0, "a/2": 2.0, "3": 10.1}, {"a/1": 2.0, "a/2": 2.0, "3": 0.39}])
def test_an_unlikely_scale_leaves_its_map_out(dataset, scales):
    """More than five times the median, or less than a fifth of it."""
    write_scales(dataset, scales)
    warnings = Warnings()
    assert set(load(dataset, warnings)) == {"a/1.png", "a/2.png"}
    assert warnings.lines()[0].endswith(": 3.png")
    write_scales(dataset, {**scales, "3": 9.9})
    assert len(load(dataset)) == 3


def test_a_missing_scale_leaves_its_map_out_but_no_scale_at_all_none(dataset):
    write_scales(dataset, {"a/1": 2.0, "a/2": 2.0})
    assert set(load(dataset)) == {"a/1.png", "a/2.png"}
    write_scales(dataset, {"a/1": 0.0, "a/2": 0.0, "3": 0.0})
    assert [each.metric for each in load(dataset).values()] == [False] * 3


def test_maps_of_another_size_are_scaled(dataset):
    write_map(dataset / "maps" / "3.png", np.repeat(np.repeat(ramp(), 2, axis=0), 2, axis=1))
    inverse = load(dataset)["3.png"].inverse
    assert inverse.shape == (48, 64)
    torch.testing.assert_close(inverse, torch.from_numpy(ramp().astype(np.float32) / 65536))


def test_a_blender_frames_map_lies_in_the_frames_folder(small_scene, tmp_path):
    """Frames of train and test have the same names there."""
    scene = load_scene(SceneOptions(source_path=str(small_scene)), seed=0)
    cameras = [scene.train_cameras[0], scene.train_cameras[-1]]
    for number, camera in enumerate(cameras):
        write_map(tmp_path / f"{camera.name}.png", ramp(48, 40) // (number + 1))
    maps = load_depth_maps(small_scene, str(tmp_path), cameras, Warnings())
    assert float(maps["train/r_0"].inverse.amax() / maps["test/r_1"].inverse.amax()) == pytest.approx(2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"1 of 3 .* no depth map in .*maps: 3.png; .*make_depths"),
        (lambda path: write_map(path, ramp(64, 40)), r"3.png has 64x40 .* photograph 64x48 .* anew"),
        (lambda path: write_map(path, (ramp() >> 8).astype(np.uint8)), r"3.png is no .* 16 bits, .* 8 bits"),
        (lambda path: write_map(path, np.zeros((48, 64, 3), np.uint8)), r"3.png is no .* \(mode RGB\)"),
        (lambda path: write_map(path, 0 * ramp()), r"3.png says nothing of depth: all .* are 0; .* anew"),
        (lambda path: write_map(path, 0 * ramp() + 7), r"3.png says nothing of depth: all .* are 7; .* anew"),
        (lambda path: path.write_bytes(b"no picture"), r"3.png cannot be read as a picture .* anew"),
    ],
)
def test_a_file_of_no_use_is_named(dataset, spoil, message):
    spoil(dataset / "maps" / "3.png")
    with pytest.raises(UserError, match=message):
        load(dataset)


@pytest.mark.parametrize(
    "content",
    [
        *("no JSON", "[1]", "[" * 100_000, '{"3": 1}', '{"3": {"scale": 1}}'),
        *('{"3": {"scale": NaN, "offset": 0}}', '{"3": {"scale": 1%s, "offset": 0}}' % ("0" * 400)),
    ],
)
def test_parameters_of_no_use_are_named(dataset, content):
    (dataset / "sparse" / "0" / "depth_params.json").write_text(content)
    with pytest.raises(UserError, match=r"depth_params.json cannot be read .* or delete it"):
        load(dataset)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        ANYTHING,
        st.dictionaries(
            st.text(max_size=3),
            st.fixed_dictionaries({"scale": ANYTHING, "offset": ANYTHING}),
            max_size=3,
        ),
    )
)
def test_any_parameters_are_numbers_or_end_in_one_message(tmp_path, content):
    (tmp_path / "sparse").mkdir(exist_ok=True)
    (tmp_path / "sparse/depth_params.json").write_text(json.dumps(content))
    try:
        found = read_parameters(tmp_path)
    except UserError:
        return
    assert all(np.isfinite(each).all() for each in found.values())
