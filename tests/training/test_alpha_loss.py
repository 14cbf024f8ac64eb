"""The loss on alpha: its value by hand, and a training in which what hovers beside an object fades."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_renderer import render
from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from scene.gaussians import load_gaussians
from scene.photographs import Pixels
from tests.programs import BUSY, run_train
from tests.small_scene import cpu_engine, some_gaussians
from training.alpha_loss import alpha_loss
from training.options import Options
from training.start import first_state, starting_scene
from utils.errors import UserError, Warnings

RENDERED = torch.tensor([[[0.25, 0.5], [0.75, 1.0]]])
ALPHA = np.array([[0, 255], [51, 255]], np.uint8)
MASK = np.array([[255, 255], [0, 102]], np.uint8)


@pytest.mark.parametrize(
    ("alpha", "mask", "value", "slopes"),
    [
        (None, None, 0, [0, 0, 0, 0]),
        (ALPHA, None, (0.25 + 0.5 + 0.55 + 0) / 4, [0.25, -0.25, 0.25, 0]),
        (None, MASK, (0.75 + 0.5 + 0.75 + 0.6) / 4, [-0.25, -0.25, 0.25, 0.25]),
        (ALPHA, MASK, (0.25 + 0.5 + 0 + 0) / 2.4, [1 / 2.4, -1 / 2.4, 0, 0]),
        (ALPHA, 0 * MASK, 0, [0, 0, 0, 0]),
    ],
)
def test_it_is_l1_to_the_alpha_channel_or_else_to_the_mask(alpha, mask, value, slopes):
    rendered = RENDERED.clone().requires_grad_()
    loss = alpha_loss(rendered, Pixels(np.zeros((2, 2, 3), np.uint8), alpha, mask))
    assert float(loss.detach()) == pytest.approx(value)
    slope = torch.zeros(4)
    if loss.requires_grad:
        loss.backward()
        assert rendered.grad is not None
        slope = rendered.grad.flatten()
    torch.testing.assert_close(slope, torch.tensor(slopes, dtype=torch.float32))


def alpha_of(gaussians, camera: Camera) -> torch.Tensor:
    """(H, W) rendered alpha."""
    with torch.no_grad():
        black = torch.zeros(3)
        return render(camera, gaussians, sh_degree=0, background=black, engine=cpu_engine()).alpha[0]


@pytest.fixture(scope="module")
def masked(small_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small scene with masks of its Gaussians, and points all over a cube to start from."""
    folder = shutil.copytree(small_scene, tmp_path_factory.mktemp("masked") / "scene")
    (folder / "points3d.ply").unlink()
    for camera in load_scene(SceneOptions(source_path=str(folder)), 0).train_cameras:
        seen = alpha_of(some_gaussians(), camera) > 0.02
        path = folder / "masks" / f"{camera.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(seen.numpy()).convert("L").save(path)
    return folder


def outside(model: Path, masked: Path, iteration: int) -> float:
    """Mean alpha where the masks of the training views are black."""
    gaussians, _ = load_gaussians(model / f"point_cloud/iteration_{iteration}/point_cloud.ply")
    values = []
    for camera in load_scene(SceneOptions(source_path=str(masked)), 0).train_cameras:
        mask = camera.own_photograph.pixels().mask
        assert mask is not None and (mask == 0).sum() > 100
        values.append(float(alpha_of(gaussians, camera)[torch.from_numpy(mask == 0)].mean()))
    return float(np.mean(values))


def test_what_hovers_beside_a_masked_object_fades(masked, tmp_path):
    """Its colours have no say there, so that without the loss nothing takes it away."""
    flags = ("--eval", "--iterations", 80, *BUSY, "--init_random", 300)
    plain = outside(run_train(masked, tmp_path / "plain", *flags), masked, 80)
    cleared = outside(run_train(masked, tmp_path / "alpha", *flags, "--lambda_alpha", 1), masked, 80)
    assert cleared < 0.5 * plain, (cleared, plain)


def test_a_pilot_that_leaves_out_the_only_masked_photograph_starts(small_scene, masked, tmp_path):
    """The gate's pilots train on some of the photographs; that any has a mask is asked of all."""
    folder = shutil.copytree(small_scene, tmp_path / "scene")
    first = sorted(masked.glob("masks/train/*.png"))[0]
    (folder / "masks/train").mkdir(parents=True)
    shutil.copy(first, folder / "masks/train")
    options = Options(scene=SceneOptions(source_path=str(folder)), lambda_alpha=1.0)
    scene = starting_scene(options, cpu_engine())
    plain = [camera for camera in scene.train_cameras if camera.own_photograph.pixels().mask is None]
    assert len(plain) == len(scene.train_cameras) - 1
    fold = replace(scene, train_cameras=plain)
    assert first_state(options, fold, cpu_engine(), Warnings()).views.cameras == fold.train_cameras


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--lambda_alpha: none of the 9 training photographs has a transparent or a masked pixel"),
        (("--train_test_exp",), "masks halves of photographs"),
        (("--lambda_alpha", -1), r"--lambda_alpha -1.0: allowed is a finite number >= 0"),
    ],
)
def test_where_it_says_nothing_it_is_refused(small_scene, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run_train(small_scene, tmp_path / "out", "--eval", "--lambda_alpha", 1, *flags)
    assert not (tmp_path / "out").exists()
