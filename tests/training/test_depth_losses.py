"""Losses on depth: a textured wall whose depth is known, correlation, and trainings that end nearer to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train
from gaussian_renderer import Rendering
from scene.cameras import Camera
from scene.depth_maps import DepthMap
from scene.photographs import Photograph, PixelCache
from tests.programs import BUSY, break_off, ply, run_train
from tests.small_scene import arc_of_cameras
from tests.training.slanted import depth_errors, write_slanted_wall
from training.depth_losses import (
    DepthLosses,
    DepthOptions,
    correlation,
    inverse_depth,
    make_depth_losses,
    neighbours,
    warp_loss,
)
from utils.errors import UserError, Warnings
from utils.options import load_cfg_args

WIDTH, HEIGHT = 48, 36
LENS = torch.tensor([[50.0, 0.0, 24.0], [0.0, 50.0, 18.0], [0.0, 0.0, 1.0]])
WALL = 5.0


def camera(x: float) -> Camera:
    """A camera at (x, 0, 0) that looks along z."""
    pose = torch.eye(4)
    pose[0, 3] = -x
    return Camera(f"at {x}", pose, LENS, WIDTH, HEIGHT)


def photograph(seen: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """The wall z = 5, painted with waves, and ones."""
    columns = torch.arange(WIDTH) + 0.5
    x = (columns - 24) / 50 * WALL + seen.position[0]
    waves = torch.stack([torch.sin(1.7 * x), torch.cos(1.3 * x), torch.sin(0.9 * x + 1)])
    return (0.5 + 0.4 * waves)[:, None].expand(3, HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH)


def rendering(depth: torch.Tensor, alpha: float = 1.0) -> Rendering:
    """One with this (H, W) depth, of any colour."""
    return Rendering(torch.zeros(3, *depth.shape), torch.full((1, *depth.shape), alpha), depth[None], {})


def wall(depth: float = WALL) -> torch.Tensor:
    return torch.full((HEIGHT, WIDTH), depth)


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    """What a backward pass left."""
    assert tensor.grad is not None
    return tensor.grad


def loss_of(depth: torch.Tensor, hiding: torch.Tensor | None = None, alpha: float = 1.0) -> torch.Tensor:
    """The warp loss of a depth seen from 0, by the photograph from 0.5."""
    here, there = camera(0.0), camera(0.5)
    seen = rendering(wall() if hiding is None else hiding)
    return warp_loss(rendering(depth, alpha), here, photograph(here), there, photograph(there), seen)


# ---- warp consistency


def test_the_right_depth_has_hardly_a_loss_and_gradients_pull_towards_it():
    right = float(loss_of(wall()))
    assert right < 1e-3
    for wrong in (4.6, 4.85, 5.1):
        depth = wall(wrong).requires_grad_()
        loss = loss_of(depth)
        assert float(loss.detach()) > 10 * right
        loss.backward()
        assert float(gradient(depth).sum()) * (wrong - WALL) > 0


def test_gradients_are_those_of_finite_differences():
    depth = (
        wall(4.7) + 0.05 * torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    ).double()
    depth.requires_grad_()
    here, there = camera(0.0), camera(0.5)
    pictures = [(photograph(each)[0].double(), photograph(each)[1].double()) for each in (here, there)]

    def value(depth: torch.Tensor) -> torch.Tensor:
        seen = rendering(wall().double())
        return warp_loss(rendering(depth), here, pictures[0], there, pictures[1], seen)

    (slope,) = torch.autograd.grad(value(depth), depth)
    for row, column in ((3, 20), (17, 30), (30, 25)):
        step = torch.zeros_like(depth)
        step[row, column] = 1e-5
        difference = float((value(depth + step) - value(depth - step)).detach()) / 2e-5
        assert float(slope[row, column]) == pytest.approx(difference, rel=1e-4)
        assert difference != 0


def test_hidden_pixels_do_not_count():
    """From 0.5 a board at depth 2.5 hides the columns 5 to 24 of its picture; there the wall has no say."""
    hiding = wall()
    hiding[:, 5:25] = 2.5
    depth = wall(4.6).requires_grad_()
    loss_of(depth, hiding).backward()
    lands = torch.arange(WIDTH) + 0.5 - 50 * 0.5 / 4.6
    hidden = (lands > 6) & (lands < 24)
    assert hidden.sum() > 10
    assert not gradient(depth)[:, hidden].any()
    assert gradient(depth)[:, (lands > 26) & (lands < 46)].any()


def test_what_is_out_of_the_picture_masked_or_no_surface_does_not_count():
    depth = wall(4.6).requires_grad_()
    loss_of(depth).backward()
    assert not gradient(depth)[:, :5].any()  # they land left of the other picture
    assert float(loss_of(wall(4.6), alpha=0.4)) == 0
    assert float(loss_of(wall(-4.6))) == 0
    here, there = camera(0.0), camera(0.5)
    for masked in range(2):
        pictures = [photograph(here), photograph(there)]
        pictures[masked] = (pictures[masked][0], torch.zeros(HEIGHT, WIDTH))
        seen = rendering(wall())
        assert float(warp_loss(rendering(wall(4.6)), here, pictures[0], there, pictures[1], seen)) == 0


def test_neighbours_are_near_and_look_the_same_way():
    arc = arc_of_cameras(7)  # 15 degrees apart
    names = [[other.name for other in each] for each in neighbours(arc)]
    assert names[0][:2] == ["view_1", "view_2"]
    assert set(names[3][:2]) == {"view_2", "view_4"} and len(names[3]) == 3
    assert neighbours([arc[0], arc[6]]) == [[], []]
    warnings = Warnings()
    losses = make_depth_losses(
        DepthOptions(lambda_warp=1.0), Path(), [arc[0], arc[6]], 10, torch.zeros(3), warnings
    )
    assert losses is not None and "compares none" in warnings.lines()[0]


# ---- given maps


def maps_of_noise() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first, second, weight = torch.rand(3, 7, 9, generator=generator, dtype=torch.float64)
    return first, second, weight


def test_correlation_is_numpys_and_knows_neither_scale_nor_offset():
    first, second, _ = maps_of_noise()
    ones = torch.ones_like(first)
    expected = np.corrcoef(first.flatten(), second.flatten())[0, 1]
    assert float(correlation(first, second, ones)) == pytest.approx(expected)
    assert float(correlation(3 * first - 7, 0.1 * second + 2, ones)) == pytest.approx(expected)
    assert float(correlation(-first, second, ones)) == pytest.approx(-expected)
    half = (torch.arange(9) < 5).expand(7, 9)
    expected = np.corrcoef(first[half], second[half])[0, 1]
    assert float(correlation(first, second, half.double())) == pytest.approx(expected)


def test_correlations_gradient_is_that_of_finite_differences():
    first, second, weight = maps_of_noise()
    assert torch.autograd.gradcheck(lambda it: correlation(it, second, weight), (first.requires_grad_(),))


def test_where_nothing_is_to_be_learnt_the_correlation_is_one():
    first, second, weight = maps_of_noise()
    assert float(correlation(first, second, 0 * weight)) == 1
    assert float(correlation(first, 0 * second, weight)) == 1


def test_inverse_depth_of_nothing_is_zero_and_has_a_finite_gradient():
    depth = torch.tensor([[2.0, 0.0]], requires_grad=True)
    alpha = torch.tensor([[[0.5, 0.0]]], requires_grad=True)
    near = inverse_depth(Rendering(torch.zeros(3, 1, 2), alpha, depth[None], {}))
    assert near.tolist() == [[0.25, 0.0]]
    near.sum().backward()
    assert torch.isfinite(gradient(depth)).all() and torch.isfinite(gradient(alpha)).all()


def photographed(folder: Path) -> Camera:
    """A camera with a black photograph."""
    path = folder / "black.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    return replace(camera(0.0), photograph=Photograph(path, WIDTH, HEIGHT, PixelCache(10**6)))


def test_the_l1_is_the_references_with_its_weight(tmp_path):
    here = photographed(tmp_path)
    depth = wall(4.0).requires_grad_()
    options = DepthOptions(depths="maps", depth_interval=1)
    maps = {here.name: DepthMap(wall(0.3), metric=True)}
    losses = DepthLosses(options, [here], maps, 100, torch.zeros(3))
    for iteration, weight in ((0, 1.0), (50, 0.1), (100, 0.01)):
        depth.grad = None
        value = losses(iteration, here, lambda *_, **__: rendering(depth))
        assert value == pytest.approx(weight * 0.05, rel=1e-4)
        torch.testing.assert_close(depth.grad, wall(weight / 16 / (WIDTH * HEIGHT)))


def test_the_interval_changes_how_often_and_not_how_much(tmp_path):
    here = photographed(tmp_path)
    maps = {here.name: DepthMap(wall(0.3), metric=True)}
    sums = []
    for interval in (1, 4):
        options = DepthOptions(depths="maps", depth_interval=interval, depth_l1_weight_final=1.0)
        losses = DepthLosses(options, [here], maps, 100, torch.zeros(3))
        values = [losses(it, here, lambda *_, **__: rendering(wall().requires_grad_())) for it in range(1, 9)]
        assert np.count_nonzero(values) == 8 // interval
        sums.append(sum(values))
    assert sums[0] == pytest.approx(sums[1])


# ---- in training


@pytest.fixture(scope="module")
def slanted_wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wall to be trained on, depth maps and all; not to be written to."""
    return write_slanted_wall(tmp_path_factory.mktemp("wall"))


def test_a_training_ends_nearer_to_the_true_depth(slanted_wall, tmp_path):
    """In shape by maps whose scale nobody knows, and in scene units by the photographs alone."""
    flags = ("--iterations", 100, "--sh_degree", 0, "--position_lr_init", 0.002, "--position_lr_final", 0.002)
    errors = {}
    for name, more in (
        ("plain", ()),
        ("maps", ("--depths", "depths", "--lambda_depth", 0.5)),
        ("warp", ("--lambda_warp", 1)),
    ):
        model = run_train(slanted_wall, tmp_path / name, *flags, *more)
        errors[name] = depth_errors(model, 100)
    assert errors["maps"][1] < 0.8 * errors["plain"][1], errors
    assert errors["warp"][0] < 0.7 * errors["plain"][0], errors


def test_a_resumed_run_equals_the_unbroken_one(slanted_wall, tmp_path):
    flags = ("--iterations", 60, *BUSY, "--lambda_warp", 2, "--depths", "depths", "--depth_interval", 3)
    unbroken = run_train(slanted_wall, tmp_path / "unbroken", *flags)
    broken = tmp_path / "broken"
    break_off(slanted_wall, broken, *flags, at=40)
    run_train(slanted_wall, broken, *flags, "--resume")
    assert ply(broken, 60) == ply(unbroken, 60)
    plain = run_train(slanted_wall, tmp_path / "plain", "--iterations", 60, *BUSY)
    assert ply(plain, 60) != ply(unbroken, 60)
    assert (load_cfg_args(unbroken)["depths"], load_cfg_args(plain)["depths"]) == ("depths", "")


def test_densification_sees_the_photographs_colours_alone(small_scene, monkeypatch, tmp_path):
    """A first step's statistics are the same with and without depth losses, though its gradients are not."""
    seen = []

    def spy(state):
        seen.append(state.densification.state["grad2d"].clone())

    original = train.densify

    def densify(options, state, step, engine):
        original(options, state, step, engine)
        spy(state)

    monkeypatch.setattr(train, "densify", densify)
    for number, flags in enumerate(((), ("--lambda_warp", 5, "--depth_interval", 1))):
        run_train(small_scene, tmp_path / str(number), "--iterations", 1, *flags)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    assert float(seen[0].sum()) > 0
    assert ply(tmp_path / "0", 1) != ply(tmp_path / "1", 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--lambda_warp", "-1"), "--lambda_warp -1.0"),
        (("--lambda_depth", "inf"), "--lambda_depth inf"),
        (("--depth_l1_weight_final", "0"), "--depth_l1_weight_final 0.0"),
        (("--depth_interval", "0"), "--depth_interval 0"),
        (("--depths", "nowhere"), "--depths: 11 of 11 training photographs have no depth map in .*nowhere"),
    ],
)
def test_bad_input_is_named(small_scene, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run_train(small_scene, tmp_path / "model", *flags)
    assert not (tmp_path / "model").exists()
