"""Opacity dropout: its rate, its draws, and pictures with Gaussians left out: right each, and on average."""

from itertools import product

import pytest
import torch
from torch.nn import ParameterDict

from gaussian_renderer import render
from scene.dropout import dropout_rate, opacity_factors
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians

BLACK = torch.zeros(3)


def see(gaussians: ParameterDict, factors: torch.Tensor | None = None):
    return render(
        arc_of_cameras(1)[0],
        gaussians,
        sh_degree=0,
        background=BLACK,
        engine=cpu_engine(),
        opacity_factors=factors,
    )


def test_the_rate_rises_linearly_and_the_last_twentieth_has_none():
    assert [dropout_rate(0.2, iteration, 1000) for iteration in (1, 500, 950)] == [0.0002, 0.1, 0.19]
    assert [dropout_rate(0.2, iteration, 1000) for iteration in (951, 1000)] == [0, 0]
    assert dropout_rate(0.0, 500, 1000) == 0


def test_factors_drop_the_share_asked_for_and_keep_the_mean():
    factors = opacity_factors(100_000, 0.2, torch.Generator().manual_seed(0))
    assert factors.dtype == torch.float32 and set(factors.tolist()) == {0, 1.25}
    assert (factors == 0).float().mean() == pytest.approx(0.2, abs=0.005)  # four standard errors
    assert factors.mean() == pytest.approx(1, abs=0.006)


def test_draws_go_on_from_a_saved_generator():
    first = torch.Generator().manual_seed(3)
    opacity_factors(50, 0.3, first)
    second = torch.Generator()
    second.set_state(first.get_state())
    assert torch.equal(opacity_factors(50, 0.3, first), opacity_factors(50, 0.3, second))


def test_factors_of_one_change_nothing():
    gaussians = some_gaussians(20)
    assert torch.equal(see(gaussians).rgb, see(gaussians, torch.ones(20)).rgb)


def test_a_dropped_gaussian_is_not_there():
    """Same picture as a model without it; it has no radius, so no statistics, and no gradient."""
    gaussians = some_gaussians(20)
    factors = torch.ones(20)
    factors[[3, 11]] = 0
    rendering = see(gaussians, factors)
    assert (rendering.info["radii"][0, [3, 11]] == 0).all()
    rendering.rgb.sum().backward()
    for name, value in gaussians.items():
        assert value.grad is None or (value.grad.isfinite().all() and (value.grad[[3, 11]] == 0).all()), name

    left = ParameterDict({name: value.detach()[factors > 0] for name, value in gaussians.items()})
    alone = see(left)
    assert torch.equal(rendering.rgb, alone.rgb)
    alone.rgb.sum().backward()
    torch.testing.assert_close(gaussians["opacities"].grad[factors > 0], left["opacities"].grad)
    assert (see(gaussians).rgb - rendering.rgb).abs().max() > 0.01


def test_the_expected_rendering_is_the_undropped_one():
    """Blending is linear in each opacity, so over all ways to drop the mean is exact where nothing clips."""
    rate, count = 0.3, 4
    gaussians = some_gaussians(count)
    with torch.no_grad():
        gaussians["opacities"].fill_(0.0)  # 0.5, compensated 0.71
        gaussians["scales"].fill_(0.7)  # wider than the picture: no tail is cut off at 1/255
    mean = torch.zeros(3, 40, 48)
    for kept in product((False, True), repeat=count):
        chance = rate ** (count - sum(kept)) * (1 - rate) ** sum(kept)
        mean += chance * see(gaussians, torch.tensor(kept) / (1 - rate)).rgb.detach()
    torch.testing.assert_close(mean, see(gaussians).rgb.detach(), rtol=0, atol=1e-5)
    uncompensated = see(gaussians, torch.full((count,), 1 - rate)).rgb
    assert (uncompensated - mean).abs().max() > 0.01


def test_compensation_stops_at_an_opaque_gaussian():
    gaussians = some_gaussians(20)
    with torch.no_grad():
        gaussians["opacities"].fill_(4.0)
    rendering = see(gaussians, torch.full((20,), 5.0))
    assert rendering.info["opacities"].max() == 1
    assert rendering.rgb.isfinite().all() and rendering.alpha.max() < 1
