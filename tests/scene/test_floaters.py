"""Floaters: blending weights by a second way, planted floaters that go, and surfaces that stay."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import ParameterDict

from gaussian_renderer import render
from scene.cameras import Camera
from scene.densification import Densification, DensificationOptions
from scene.floaters import (
    FloaterOptions,
    before_surfaces,
    blending_weights,
    remove_floaters,
    smaller,
    views_that_see,
    weights_before_surface,
)
from scene.gaussians import gaussians_from_points, load_gaussians
from scene.optimisers import OptimiserOptions, make_optimisers
from scene.points import PointCloud, read_points, save_point_cloud
from scene.training_state import TrainingState, ViewOrder
from tests.programs import BUSY, break_off, ply, run_train
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians
from utils.checkpoints import checkpoint_path
from utils.errors import Warnings
from utils.image_metrics import psnr

BLACK = torch.zeros(3)


def seeing(gaussians: ParameterDict):
    return partial(render, gaussians=gaussians, sh_degree=0, background=BLACK, engine=cpu_engine())


def opaque(positions, scales, opacities) -> ParameterDict:
    """Gaussians of random colours at the positions."""
    positions = np.asarray(positions, np.float32)
    colours = np.random.default_rng(0).integers(50, 250, positions.shape, dtype=np.uint8)
    gaussians = gaussians_from_points(positions, colours, sh_degree=1)
    with torch.no_grad():
        gaussians["scales"].copy_(torch.as_tensor(scales).log()[:, None].expand(-1, 3))
        gaussians["opacities"].copy_(torch.as_tensor(opacities).logit())
    return gaussians


def wall(*floaters: tuple[float, float, float]) -> tuple[ParameterDict, list[Camera]]:
    """A wall through the origin, floaters after its 625 Gaussians, and three cameras 3 away on an arc."""
    side = np.linspace(-3.6, 3.6, 25)
    positions = [(x, y, 0.0) for x in side for y in side] + list(floaters)
    few = len(floaters)
    gaussians = opaque(positions, [0.3] * 625 + [0.05] * few, [0.99] * 625 + [0.3] * few)
    return gaussians, arc_of_cameras(3)


def towards(camera: Camera, share: float) -> tuple[float, float, float]:
    """The point on the camera's axis at a share of the way to the origin, from which it is 3 away."""
    x, y, z = (camera.position * (1 - share)).tolist()
    return x, y, z


def state_of(gaussians: ParameterDict, cameras: list[Camera], iteration: int) -> TrainingState:
    """A training's state with Adam's moments and densification's statistics filled."""
    optimisers = make_optimisers(gaussians, OptimiserOptions(), 1.0)
    for name, optimiser in optimisers.items():
        gaussians[name].grad = torch.zeros_like(gaussians[name])
        optimiser.step()
        optimiser.zero_grad()
    densification = Densification(DensificationOptions(), 1.0, "cpu", False, Warnings())
    densification.state.update(grad2d=torch.arange(len(gaussians["means"])).float())
    state = TrainingState(gaussians, optimisers, densification, ViewOrder(cameras, 0))
    state.iteration = iteration
    return state


def test_blending_weights_are_how_a_colour_changes_the_picture():
    gaussians = some_gaussians(12)
    camera = arc_of_cameras(1)[0]
    weights = blending_weights(camera, seeing(gaussians), gaussians)
    with torch.no_grad():
        alpha = seeing(gaussians)(camera).alpha
        torch.testing.assert_close(weights.sum(), alpha.sum(), rtol=1e-4, atol=0)
        gaussians["sh0"].fill_(0.0)
        before = seeing(gaussians)(camera).rgb[1].sum()
        for number in range(12):
            gaussians["sh0"][number, 0, 1] = 1.0
            changed = (seeing(gaussians)(camera).rgb[1].sum() - before) / 0.28209479
            torch.testing.assert_close(changed, weights[number], rtol=1e-3, atol=1e-3)
            gaussians["sh0"][number, 0, 1] = 0.0


def test_blending_weights_of_some_pixels_and_some_gaussians():
    gaussians = some_gaussians(12)
    camera = arc_of_cameras(1)[0]
    see = seeing(gaussians)
    left = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    left[:, :20] = True
    parts = [blending_weights(camera, see, gaussians, pixels) for pixels in (left, ~left)]
    torch.testing.assert_close(sum(parts), blending_weights(camera, see, gaussians))
    chosen = torch.arange(12) < 5
    weights = blending_weights(camera, see, gaussians, chosen=chosen)
    few = ParameterDict({name: value.detach()[:5] for name, value in gaussians.items()})
    assert (weights[5:] == 0).all()
    torch.testing.assert_close(weights[:5], blending_weights(camera, seeing(few), few))
    assert gaussians["sh0"].grad is None


@pytest.mark.parametrize(("haze", "before"), [(0.3, 1.0), (0.6, 0.0)])
def test_a_layer_lies_before_the_surface_only_where_most_light_comes_from_behind_it(haze, before):
    """Two layers wider than the picture: the nearer takes `haze` of the light, the farther the rest."""
    camera = arc_of_cameras(1)[0]
    x, y, z = towards(camera, 0.5)
    gaussians = opaque([(x, y, z), (0.0, 0.0, 0.0)], [30.0, 60.0], [haze, 0.99])
    see = seeing(gaussians)
    found = weights_before_surface(camera, see, gaussians, torch.tensor([True, True]))
    weights = blending_weights(camera, see, gaussians)
    assert weights[0] / weights.sum() == pytest.approx(haze, abs=0.02)
    torch.testing.assert_close(found, torch.stack([before * weights[0], 0 * weights[1]]))


def test_planted_floaters_go_and_the_wall_stays():
    cameras = arc_of_cameras(3)
    gaussians, _ = wall(towards(cameras[0], 0.3), towards(cameras[2], 0.5))
    clean, _ = wall()
    mask = before_surfaces(cameras, seeing(gaussians), gaussians)
    assert mask[625:].all() and not mask[:625].any()
    state = state_of(gaussians, cameras, 70)
    remove_floaters(FloaterOptions(prune_before_surface=(70,)), seeing(gaussians), state)
    assert len(gaussians["means"]) == 625
    for name, value in clean.items():
        assert torch.equal(value, gaussians[name]), name
    for name, optimiser in state.optimisers.items():
        assert optimiser.param_groups[0]["params"][0] is gaussians[name]
        assert len(optimiser.state[gaussians[name]]["exp_avg"]) == 625
    assert torch.equal(state.densification.state["grad2d"], torch.arange(625).float())


def test_the_views_hardly_change_where_nothing_floats():
    """Of a ball of Gaussians without a clear surface next to nothing goes."""
    gaussians, cameras = some_gaussians(200), arc_of_cameras(4)
    with torch.no_grad():
        before = [seeing(gaussians)(camera).rgb for camera in cameras]
    remove_floaters(
        FloaterOptions(prune_before_surface=(9,), prune_unseen=(9,)),
        seeing(gaussians),
        state_of(gaussians, cameras, 9),
    )
    assert len(gaussians["means"]) > 150
    for camera, picture in zip(cameras, before, strict=True):
        assert psnr(seeing(gaussians)(camera).rgb.clamp(0, 1), picture.clamp(0, 1), None) > 30


def test_what_too_few_views_see_goes():
    cameras = arc_of_cameras(3)
    before_one = towards(cameras[0], 0.1)  # the others look past it
    gaussians, _ = wall(before_one, (0, 0, 1.0), (0, 0, -9.0))  # behind the wall, behind the cameras
    seen = views_that_see(cameras, seeing(gaussians), gaussians)
    assert seen[625:].tolist() == [1, 0, 0]
    middle = gaussians["means"][:625].abs().amax(dim=1) < 0.6
    assert (seen[:625][middle] == 3).all()
    for least, left in ((1, 1), (2, 0), (3, 0)):
        gaussians, _ = wall(before_one, (0, 0, 1.0), (0, 0, -9.0))
        options = FloaterOptions(prune_unseen=(5,), least_views=least)
        remove_floaters(options, seeing(gaussians), state_of(gaussians, cameras, 5))
        torch.testing.assert_close(len(gaussians["means"]), int((seen[:625] >= least).sum()) + left)


def test_one_camera_is_enough_where_only_one_trains_and_never_do_all_go():
    gaussians, cameras = wall()
    options = FloaterOptions(prune_unseen=(5,), least_views=2)
    remove_floaters(options, seeing(gaussians), state_of(gaussians, cameras[:1], 5))
    assert 0 < len(gaussians["means"]) < 625
    hidden = opaque([(0, 0, -50.0)], [0.1], [0.5])
    remove_floaters(options, seeing(hidden), state_of(hidden, cameras, 5))
    assert len(hidden["means"]) == 1


def test_large_pictures_are_looked_at_small():
    assert [(it.width, it.height) for it in map(smaller, arc_of_cameras(1, 1000, 500))] == [(256, 128)]
    camera = arc_of_cameras(1)[0]
    assert torch.equal(smaller(camera).intrinsics, camera.intrinsics)


def test_floaters_go_right_after_their_iteration_and_a_resumed_run_ends_the_same(small_scene, tmp_path):
    points = read_points(small_scene / "points3d.ply", Warnings())
    behind = PointCloud(np.full((5, 3), -40, np.float32), np.zeros((5, 3), np.uint8))
    save_point_cloud(tmp_path / "start.ply", points + behind)
    flags = (
        *("--iterations", 40, *BUSY, "--checkpoint_iterations", 4, "--save_iterations", 4),
        *("--init_ply", tmp_path / "start.ply", "--prune_unseen", 4, 20, "--prune_before_surface", 20),
    )
    unbroken = run_train(small_scene, tmp_path / "unbroken", *flags)
    saved, _ = load_gaussians(unbroken / "point_cloud/iteration_4/point_cloud.ply")
    kept = torch.load(checkpoint_path(unbroken, 4), weights_only=True)["training"]
    assert len(saved["means"]) == 65 and len(kept["gaussians"]["means"]) <= 60
    assert (kept["gaussians"]["means"] > -30).all()
    break_off(small_scene, tmp_path / "broken", *flags, at=10)
    run_train(small_scene, tmp_path / "broken", *flags, "--resume")
    assert ply(tmp_path / "broken", 40) == ply(unbroken, 40)
