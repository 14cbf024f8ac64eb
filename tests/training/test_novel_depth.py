"""The loss on the depth of novel views: gradient, turns, and a wall that an exact model puts right."""

from typing import Any

import numpy as np
import pytest
import torch

from gaussian_renderer import Rendering
from scene.cameras import Camera
from scene.novel_cameras import NovelCameras
from tests.programs import BUSY, break_off, ply, run_train
from tests.scene.tiny_depth_model import save_tiny_depth_model
from tests.small_scene import arc_of_cameras
from tests.training.slanted import depth_errors, write_slanted_wall
from training import novel_depth, start
from training.depth_losses import DepthOptions
from training.novel_depth import NovelDepthLoss
from utils.errors import UserError

ANY = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1


def loss_of(said: torch.Tensor, **options: Any) -> NovelDepthLoss:
    """The loss of a run of 100 iterations by a model that always says the same."""
    flags = DepthOptions(depth_model="given", depth_interval=1, **{"depth_model_interval": 1} | options)
    return NovelDepthLoss(flags, lambda _: said, lambda *_: arc_of_cameras(1)[0], 100, seed=0)


def rendering(depth: torch.Tensor, alpha: torch.Tensor | None = None) -> Rendering:
    """One with this (H, W) depth."""
    alpha = torch.full_like(depth, 0.9) if alpha is None else alpha
    return Rendering(depth.new_zeros(3, *depth.shape), alpha[None], depth[None], {})


def test_gradients_are_those_of_finite_differences():
    depth, said = ANY[0].clone().requires_grad_(), ANY[1]
    loss = loss_of(said, lambda_depth=0.3)
    value = loss(50, lambda *_, **__: rendering(depth))
    expected = 0.3 * (1 - np.corrcoef((1 / depth.detach()).flatten(), said.flatten())[0, 1])
    assert value == pytest.approx(expected)
    assert depth.grad is not None
    for row, column in ((0, 0), (3, 5), (5, 7)):
        step = torch.zeros_like(depth)
        step[row, column] = 1e-6
        with torch.no_grad():
            values = [loss(50, lambda *_, d=d, **__: rendering(d)) for d in (depth + step, depth - step)]
        assert float(depth.grad[row, column]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_a_right_shape_has_no_loss_and_empty_pixels_do_not_count():
    depth, alpha = ANY[0], torch.ones_like(ANY[0])
    assert loss_of(3 / depth - 1)(50, lambda *_, **__: rendering(depth)) == pytest.approx(0)
    alpha[:, :4] = 0.4
    said = 1 / depth
    said[:, :4] = ANY[1][:, :4]
    assert loss_of(said)(50, lambda *_, **__: rendering(depth, alpha)) == pytest.approx(0)
    assert loss_of(said)(50, lambda *_, **__: rendering(depth)) > 0.001


def test_turns_change_how_often_and_not_how_much_and_the_weight_rises():
    def values(interval: int) -> list[float]:
        loss = loss_of(ANY[1], depth_model_interval=interval)
        return [loss(iteration, lambda *_, **__: rendering(ANY[0])) for iteration in range(1, 101)]

    often, seldom = values(1), values(5)
    assert np.count_nonzero(seldom) == 20
    assert seldom[-1] == pytest.approx(5 * often[-1])
    assert often[9] == pytest.approx(0.5 * often[-1]) and often[19] == pytest.approx(often[99])


def test_cameras_follow_from_seed_and_iteration():
    asked: list[tuple[list[float], float]] = []

    def look(seed: int, iteration: int) -> None:
        novel = NovelCameras(arc_of_cameras(3), np.zeros((1, 3)))

        def sample(generator: torch.Generator, progress: float) -> Camera:
            found = novel(generator, progress)
            asked.append((found.position.tolist(), progress))
            return found

        loss = NovelDepthLoss(loss_of(ANY[1]).options, lambda _: ANY[1], sample, 100, seed)
        loss(iteration, lambda *_, **__: rendering(ANY[0]))

    for seed, iteration in ((0, 50), (0, 50), (0, 51), (1, 50), (2**63 - 1, 50)):
        look(seed, iteration)
    assert asked[0] == asked[1] and asked[0][1] == 0.5
    assert len({tuple(place) for place, _ in asked}) == 4


class Exact:
    """A model that knows the slanted wall z = 5 + X / 2, and from where it is looked at."""

    camera: Camera

    def sampler(self, cameras: list[Camera], points: np.ndarray) -> Any:
        novel = NovelCameras(cameras, points)

        def sample(generator: torch.Generator, progress: float) -> Camera:
            self.camera = novel(generator, progress)
            return self.camera

        return sample

    def __call__(self, picture: np.ndarray) -> torch.Tensor:
        """Inverse depth of the wall, to another scale and offset than the world's."""
        seen = self.camera
        rows, columns = torch.meshgrid(
            torch.arange(seen.height) + 0.5, torch.arange(seen.width) + 0.5, indexing="ij"
        )
        rays = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ seen.intrinsics.inverse().T
        world = rays @ seen.camera_to_world[:3, :3].T  # the point at depth d is position + d * world
        x, _, z = seen.position
        depth = (5 + x / 2 - z) / (world[..., 2] - world[..., 0] / 2)
        assert picture.shape == (seen.height, seen.width, 3)
        return 7 / depth + 0.3


def test_an_exact_model_puts_a_wrong_geometry_right(tmp_path, monkeypatch):
    """Points of the wall are off by up to a unit; photographs hold the colours, the model the shape."""
    wall, exact = write_slanted_wall(tmp_path / "wall"), Exact()
    monkeypatch.setattr(novel_depth, "load_estimator", lambda *_: exact)
    monkeypatch.setattr(novel_depth, "NovelCameras", exact.sampler)
    flags = ("--iterations", 100, "--sh_degree", 0, "--position_lr_init", 0.002, "--position_lr_final", 0.002)
    model = ("--depth_model", "exact", "--lambda_depth", 0.5, "--depth_model_interval", 1)
    plain = depth_errors(run_train(wall, tmp_path / "plain", *flags), 100)
    told = depth_errors(run_train(wall, tmp_path / "told", *flags, *model), 100)
    assert told[1] < 0.8 * plain[1], (told, plain)


def test_a_run_with_a_model_of_transformers_resumes_to_the_same_bits(small_scene, tmp_path):
    folder = save_tiny_depth_model(tmp_path / "model")
    flags = ("--n_views", 3, "--iterations", 30, *BUSY, "--depth_model_interval", 2)
    model = ("--depth_model", folder)
    unbroken = run_train(small_scene, tmp_path / "unbroken", *flags, *model)
    break_off(small_scene, tmp_path / "broken", *flags, *model, at=20)
    run_train(small_scene, tmp_path / "broken", *flags, *model, "--resume")
    assert ply(tmp_path / "broken", 30) == ply(unbroken, 30)
    assert ply(run_train(small_scene, tmp_path / "plain", *flags), 30) != ply(unbroken, 30)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--depth_model", "/nowhere"), r"--depth_model /nowhere cannot be loaded for depth .* safetensors"),
        (("--depth_model", "a", "--lambda_depth", "0"), "--depth_model counts by --lambda_depth, which is 0"),
        (("--depth_model_interval", "0"), "--depth_model_interval 0: allowed is at least 1"),
    ],
)
def test_bad_input_is_named_before_the_scene_is_read(small_scene, tmp_path, monkeypatch, flags, message):
    def too_early(*_):
        raise AssertionError("the scene is read before the mistake is told")

    monkeypatch.setattr(start, "load_scene", too_early)
    with pytest.raises(UserError, match=message):
        run_train(small_scene, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()
