"""One photograph and two: they train from end to end, plain and guided, with points and without."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scene.gaussians import load_gaussians
from scene.points import read_points
from tests.programs import BUSY, run_train
from tests.scene.models import POINTS, pinhole, write_dataset
from tests.sds_guidance.fakes import FakePrior
from tests.small_scene import write_small_scene
from tests.test_guided_training import GUIDED, with_prior
from utils.errors import Warnings
from utils.options import load_settings

ALL = ("--prune_unseen", 20, "--prune_before_surface", 30, "--least_views", 2, "--exposure")
FEW = (
    *("--preset", "few_views", "--iterations", 40, "--densify_grad_threshold", 0.0002),
    *("--densify_from_iter", 5, "--densify_until_iter", 15, "--densification_interval", 10),
    *("--opacity_dropout", 0, "--test_iterations", 40),
)
"""Gaussians split once, after the first row of the log."""


def gradient(number, lens, matrix) -> Image.Image:
    """A picture that gets brighter to the right."""
    row = np.linspace(20, 220, lens.width).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (lens.height, lens.width, 3)).copy())


def learned(model: Path, iterations: int) -> float:
    """By how much the loss fell, as a share of the first row's; all of the model and its log is finite."""
    rows = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.isfinite(losses).all()
    gaussians, info = load_gaussians(model / f"point_cloud/iteration_{iterations}/point_cloud.ply")
    assert info.dropped == 0 and len(gaussians["means"]) > 0
    return 1 - losses[-1] / losses[0]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("points", [POINTS, POINTS[:0]])
def test_a_colmap_scene_trains_from_one_photograph_or_two(tmp_path, views, points):
    """By the preset's dense start from SfM points, and from random points in view where there are none."""
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png", "c.png"], points=points, paint=gradient)
    model = run_train(folder, tmp_path / "out", "--n_views", views, *FEW, "--init_random", 300, *ALL)
    assert learned(model, 40) > 0.03
    said = (load_settings(model) or {})["scene"]
    assert len(said["train_photographs"]) == views and said["extent"] > 1
    assert ("random" in said["points"]) is (len(points) == 0)


@pytest.mark.parametrize("views", [1, 2])
def test_a_blender_scene_trains_from_as_many_as_it_has(tmp_path, views):
    folder = write_small_scene(tmp_path / "scene", views=views)
    flags = ("--eval", *FEW, "--points", "seen", *ALL)
    assert learned(run_train(folder, tmp_path / "out", *flags), 40) > 0.03


def test_one_photograph_without_a_pose_trains_by_itself_and_with_a_depth_map(tmp_path):
    """The scene's size comes from the points, these from the map, to a scale that is as good as any."""
    folder = tmp_path / "scene"
    (folder / "depths").mkdir(parents=True)
    gradient(0, pinhole(), np.eye(4)).save(folder / "a.png")
    inverse = np.tile(np.linspace(100, 60000, 64).astype(np.uint16), (48, 1))
    Image.fromarray(inverse).save(folder / "depths" / "a.png")
    said, positions = [], []
    for name, flags in (("alone", ()), ("map", ("--depths", "depths"))):
        model = run_train(folder, tmp_path / name, *FEW, "--init_random", 300, *flags)
        assert learned(model, 40) > 0.03
        said.append((load_settings(model) or {})["scene"])
        positions.append(read_points(model / "input.ply", Warnings()).positions)
    assert said[0]["points"] == "300 random points in the photograph's view"
    assert said[1]["points"] == "192 points at the depths of --depths"  # every fourth pixel either way
    assert said[0]["kind"] == "photograph" and said[0]["test_photographs"] == []
    depth = positions[1][:, 2]
    assert 1 <= depth.min() < depth.max() <= 10.01
    assert said[1]["extent"] == pytest.approx(1.1 * np.median(np.linalg.norm(positions[1], axis=1)), rel=1e-4)
    pixel = positions[1][:, 0] / depth  # the map is nearer to the right
    assert np.corrcoef(pixel, 1 / depth)[0, 1] > 0.99


@pytest.mark.parametrize("views", [1, 2])
def test_guidance_has_somewhere_to_look_from(tmp_path, monkeypatch, views):
    """The gate has nothing to measure with so few, says so, and leaves guidance on."""
    prior: FakePrior = with_prior(monkeypatch, 0.3)
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png", "c.png"], paint=gradient)
    guided = (*GUIDED, "--guidance_gate", "auto")
    model = run_train(folder, tmp_path / "out", "--n_views", views, "--iterations", 20, *BUSY, *guided)
    learned(model, 20)
    assert prior.calls == 10
    gate = (load_settings(model) or {})["gate"]
    assert gate["lambda_sds"] == 0.2 and f"{views} of 3 photographs" in gate["sentence"]
