"""Growth, pruning, resets and the cap: the state right after the step at which each must happen."""

import pytest
import torch
from gsplat.strategy import DefaultStrategy
from torch.nn import ParameterDict

from scene.densification import NO_CAP, CappedStrategy, Densification, DensificationOptions
from scene.optimisers import OptimiserOptions, make_optimisers
from tests.small_scene import some_gaussians
from utils.errors import UserError, Warnings
from utils.options import from_plain

EXTENT = 1.0


def state_of(options: DensificationOptions, gaussians: ParameterDict, white: bool = False):
    """A densification and its optimisers, with Adam's moments filled by one step."""
    optimisers = make_optimisers(gaussians, OptimiserOptions(), EXTENT)
    for name, optimiser in optimisers.items():
        gaussians[name].grad = torch.ones_like(gaussians[name])
        optimiser.step()
        optimiser.zero_grad()
    return Densification(options, EXTENT, "cpu", white, Warnings()), optimisers


def info_with(gradient: torch.Tensor, seen: torch.Tensor | None = None) -> dict:
    """What the rasteriser reports: (N, 2) pixel gradients of the screen positions, and who was seen."""
    means2d = torch.zeros(1, *gradient.shape, requires_grad=True)
    means2d.retain_grad()
    means2d.grad = gradient[None].clone()
    radii = torch.full((1, len(gradient), 2), 5, dtype=torch.int32)
    if seen is not None:
        radii[0, ~seen] = 0
    info = {"width": 2, "height": 2, "n_cameras": 1, "gaussian_ids": None}
    return {**info, "means2d": means2d, "radii": radii}


def small_and_large(count: int = 6) -> ParameterDict:
    """The first half below, the second half above the size that is split; all opaque enough to stay."""
    gaussians = some_gaussians(count)
    with torch.no_grad():
        gaussians["scales"][: count // 2] = torch.log(torch.tensor(0.005 * EXTENT))
        gaussians["scales"][count // 2 :] = torch.log(torch.tensor(0.05 * EXTENT))
    return gaussians


def test_clone_and_split_at_the_iteration_where_they_must_happen():
    options = DensificationOptions()
    for iteration, grows in ((500, False), (599, False), (600, True), (14_900, True), (15_000, False)):
        gaussians = small_and_large()
        densification, optimisers = state_of(options, gaussians)
        before = {name: value.detach().clone() for name, value in gaussians.items()}
        gradient = torch.zeros(6, 2)
        gradient[0, 0] = gradient[3, 0] = 1.0  # one small, one large, far above 0.0002
        densification.after_step(gaussians, optimisers, iteration, info_with(gradient), 1e-4)
        assert len(gaussians["means"]) == (8 if grows else 6), iteration
        if grows:
            assert (gaussians["means"] == before["means"][0]).all(1).sum() == 2  # an exact copy
            assert not (gaussians["means"] == before["means"][3]).all(1).any()  # the split one is gone
            divided = torch.log(torch.tensor(0.05 * EXTENT / 1.6))
            assert torch.isclose(gaussians["scales"].amax(1), divided, atol=0.01).sum() == 2
            for name, optimiser in optimisers.items():
                assert optimiser.param_groups[0]["params"][0] is gaussians[name]
                assert len(optimiser.state[gaussians[name]]["exp_avg"]) == 8


def test_memory_is_given_back_right_after_a_step_that_changed_the_number_of_gaussians(monkeypatch):
    calls: list[None] = []
    monkeypatch.setattr("scene.densification.give_back_freed_memory", lambda: calls.append(None))
    gradient = torch.zeros(6, 2)
    gradient[0, 0] = 1.0  # far above 0.0002
    for iteration, grows in ((500, False), (600, True), (650, False), (14_900, True), (15_000, False)):
        calls.clear()
        gaussians = small_and_large()
        densification, optimisers = state_of(DensificationOptions(), gaussians)
        densification.after_step(gaussians, optimisers, iteration, info_with(gradient), 1e-4)
        assert len(calls) == grows, iteration


def test_gradients_average_over_the_views_that_saw_the_gaussian():
    options = DensificationOptions(densify_grad_threshold=0.5)
    gaussians = small_and_large()
    densification, optimisers = state_of(options, gaussians)
    gradient = torch.zeros(6, 2)
    gradient[0, 0], gradient[1, 0] = 0.9, 0.9
    both, first = torch.ones(6, dtype=torch.bool), torch.tensor([True, False, True, True, True, True])
    densification.after_step(gaussians, optimisers, 599, info_with(gradient, both), 1e-4)
    densification.after_step(gaussians, optimisers, 600, info_with(0 * gradient, first), 1e-4)
    # Gaussian 0: (0.9 + 0) / 2 < 0.5; Gaussian 1, unseen the second time: 0.9 / 1
    assert len(gaussians["means"]) == 7
    assert densification.state["count"].sum() == 0 and densification.state["grad2d"].sum() == 0


@pytest.mark.parametrize("absgrad", [False, True])
def test_statistics_are_those_of_gsplat(absgrad):
    """Two views through our update and through gsplat's own."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = CappedStrategy(absgrad=absgrad), DefaultStrategy(absgrad=absgrad)
    states = [ours.initialize_state(), theirs.initialize_state()]
    for _ in range(2):
        info = info_with(torch.randn(50, 2, generator=generator), torch.rand(50, generator=generator) > 0.3)
        info.update(width=70, height=30)
        info["means2d"].absgrad = info["means2d"].grad.abs() * 2
        for strategy, state in zip((ours, theirs), states, strict=True):
            strategy._update_state({"means": torch.zeros(50, 3)}, state, info)
    torch.testing.assert_close(states[0]["grad2d"], states[1]["grad2d"], rtol=1e-6, atol=0)
    assert torch.equal(states[0]["count"], states[1]["count"])


def test_faint_gaussians_are_pruned_and_large_ones_after_the_first_reset():
    for iteration, left in ((600, 5), (3000, 5), (3100, 4)):
        gaussians = small_and_large()
        with torch.no_grad():
            gaussians["opacities"][0] = torch.logit(torch.tensor(0.004))
            gaussians["scales"][4] = torch.log(torch.tensor(0.11 * EXTENT))
        densification, optimisers = state_of(DensificationOptions(), gaussians)
        with torch.no_grad():  # state_of's step moved them a little
            gaussians["opacities"][0] = torch.logit(torch.tensor(0.004))
            gaussians["scales"][4] = torch.log(torch.tensor(0.11 * EXTENT))
        densification.after_step(gaussians, optimisers, iteration, info_with(torch.zeros(6, 2)), 1e-4)
        assert len(gaussians["means"]) == left, iteration


@pytest.mark.parametrize(
    ("iteration", "white", "resets"),
    [
        (2999, False, False),
        (3000, False, True),
        (12_000, False, True),
        (15_000, False, False),
        (500, False, False),
        (500, True, True),
        (18_000, False, False),
    ],
)
def test_opacity_is_reset_right_after_its_iteration(iteration, white, resets):
    gaussians = small_and_large()
    densification, optimisers = state_of(DensificationOptions(), gaussians, white)
    before = torch.sigmoid(gaussians["opacities"].detach())
    densification.after_step(gaussians, optimisers, iteration, info_with(torch.zeros(6, 2)), 1e-4)
    after = torch.sigmoid(gaussians["opacities"].detach())
    moments = optimisers["opacities"].state[gaussians["opacities"]]
    if resets:
        torch.testing.assert_close(after, torch.full((6,), 0.01))
        assert (moments["exp_avg"] == 0).all() and (moments["exp_avg_sq"] == 0).all()
    else:
        assert torch.equal(after, before) and (moments["exp_avg"] != 0).all()


@pytest.mark.parametrize(
    ("limit", "white", "expected"),
    [
        (-1, False, {3000, 6000, 9000, 12_000}),
        (0, False, set()),
        (0, True, set()),
        (1, False, {3000}),
        (1, True, {500}),
        (2, True, {500, 3000}),
        (9, False, {3000, 6000, 9000, 12_000}),
    ],
)
def test_resets_of_opacity_are_no_more_than_asked_for(limit, white, expected):
    options = DensificationOptions(opacity_resets=limit)
    reset = set()
    for iteration in (500, *range(3000, 18_001, 3000)):
        gaussians = small_and_large()
        densification, optimisers = state_of(options, gaussians, white)
        densification.after_step(gaussians, optimisers, iteration, info_with(torch.zeros(6, 2)), 1e-4)
        if torch.sigmoid(gaussians["opacities"].detach()).max() < 0.02:
            reset.add(iteration)
    assert reset == expected


def left_with_a_large_one(options, iteration):
    """How many of six Gaussians a step leaves, the fifth of 0.11 of the extent."""
    gaussians = small_and_large()
    densification, optimisers = state_of(options, gaussians)
    with torch.no_grad():
        gaussians["scales"][4] = torch.log(torch.tensor(0.11 * EXTENT))
    densification.after_step(gaussians, optimisers, iteration, info_with(torch.zeros(6, 2)), 1e-4)
    return len(gaussians["means"])


@pytest.mark.parametrize(("prune_scale", "left"), [(0.1, 5), (0.12, 6), (0.0, 6)])
def test_large_gaussians_are_pruned_from_the_size_asked_for(prune_scale, left):
    assert left_with_a_large_one(DensificationOptions(prune_scale=prune_scale), 3100) == left


@pytest.mark.parametrize(("interval", "left"), [(600, 5), (700, 6), (800, 6)])
def test_large_gaussians_stay_up_to_the_first_reset(interval, left):
    assert left_with_a_large_one(DensificationOptions(opacity_reset_interval=interval), 700) == left


def test_the_cap_holds_and_the_largest_gradients_win():
    gaussians = small_and_large()
    densification, optimisers = state_of(DensificationOptions(max_gaussians=8), gaussians)
    before = gaussians["means"].detach().clone()
    gradient = torch.tensor([1.0, 5.0, 3.0, 2.0, 4.0, 1.5])[:, None].repeat(1, 2)
    densification.after_step(gaussians, optimisers, 600, info_with(gradient), 1e-4)
    assert len(gaussians["means"]) == 8
    assert (gaussians["means"] == before[1]).all(1).sum() == 2  # largest, small: cloned
    assert not (gaussians["means"] == before[4]).all(1).any()  # second largest, large: split
    assert (gaussians["means"] == before[2]).all(1).sum() == 1  # third: no room
    densification.after_step(gaussians, optimisers, 700, info_with(torch.ones(8, 2)), 1e-4)
    assert len(gaussians["means"]) == 8
    lines = densification.warnings.lines()
    assert len(lines) == 1 and "90 %" in lines[0] and "--max_gaussians" in lines[0]


def test_cap_in_force():
    assert DensificationOptions().cap("cpu") == 300_000
    assert DensificationOptions().cap("cuda") == NO_CAP
    assert DensificationOptions(max_gaussians=0).cap("cpu") == NO_CAP
    assert DensificationOptions(densification="mcmc").cap("cuda") == 1_000_000
    assert DensificationOptions(max_gaussians=77, densification="mcmc").cap("cuda") == 77


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("densification_interval", 0),
        ("opacity_reset_interval", 0),
        ("opacity_resets", -2),
        ("prune_scale", -0.1),
    ],
)
def test_bad_values_name_flag_and_value(flag, value):
    with pytest.raises(UserError, match=f"--{flag} {value}"):
        from_plain(DensificationOptions, {flag: value}).check()


def test_state_goes_through_a_checkpoint():
    gaussians = small_and_large()
    densification, optimisers = state_of(DensificationOptions(), gaussians)
    densification.after_step(gaussians, optimisers, 10, info_with(torch.ones(6, 2)), 1e-4)
    again = Densification(DensificationOptions(), EXTENT, "cpu", False, Warnings())
    again.load_state_dict(densification.state_dict())
    assert torch.equal(again.state["grad2d"], densification.state["grad2d"])
    assert torch.equal(again.state["count"], densification.state["count"])
