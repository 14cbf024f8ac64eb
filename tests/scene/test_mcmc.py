"""MCMC densification: the paper's identities, and the state right after its events."""

import math

import pytest
import torch

from scene.densification import Densification, DensificationOptions
from scene.mcmc import MOST_COPIES, covariances, relocated
from scene.optimisers import OptimiserOptions, make_optimisers
from tests.small_scene import some_gaussians
from utils.errors import Warnings


def mcmc(gaussians, **flags):
    options = DensificationOptions(densification="mcmc", **{"noise_lr": 0.0, **flags})
    return Densification(options, 1.0, "cpu", False, Warnings()), make_optimisers(
        gaussians, OptimiserOptions(), 1.0
    )


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_copies_are_together_as_opaque_as_the_one_they_replace(copies):
    opacities = torch.tensor([0.01, 0.3, 0.9])
    new, _ = relocated(opacities, torch.ones(3, 3), torch.full((3,), copies))
    torch.testing.assert_close(1 - (1 - new) ** copies, opacities)


def test_copies_beyond_the_most_count_as_the_most():
    opacities, scales = torch.tensor([0.05, 0.5, 0.95]), torch.ones(3, 3)
    most, more = (relocated(opacities, scales, torch.full((3,), n)) for n in (MOST_COPIES, MOST_COPIES + 9))
    assert all(torch.equal(*pair) for pair in zip(most, more, strict=True))


@pytest.mark.parametrize("copies", [1, 2, 3, 7, MOST_COPIES])
def test_copies_keep_the_integral_along_a_line(copies):
    """Equation 9's condition: alpha of n stacked copies, integrated over x, equals that of the original."""
    opacities, scales = torch.tensor([0.05, 0.5, 0.95]), torch.full((3, 3), 0.7)
    new, shrunk = relocated(opacities, scales, torch.full((3,), copies))
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    for i in range(3):
        one = opacities[i] * torch.exp(-(x**2) / (2 * 0.7**2))
        layer = new[i] * torch.exp(-(x**2) / (2 * float(shrunk[i, 0]) ** 2))
        stacked = 1 - (1 - layer) ** copies
        assert math.isclose(float(stacked.sum()), float(one.sum()), rel_tol=2e-4)


def test_covariances_agree_with_rotation_of_a_diagonal():
    quats, scales = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.rand(5, 3) + 0.1
    matrices = covariances(quats, scales)
    values = torch.linalg.eigvalsh(matrices)
    torch.testing.assert_close(values, (scales**2).sort(dim=1).values, rtol=1e-4, atol=1e-6)
    turned = covariances(torch.tensor([[math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]]), scales[:1])
    expected = torch.diag(scales[0, [1, 0, 2]] ** 2)  # a quarter turn about z swaps x and y
    torch.testing.assert_close(turned[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("iteration", "acts"), [(500, False), (600, True), (650, False), (15_000, False)])
def test_dead_gaussians_move_and_the_set_grows_by_a_twentieth(iteration, acts):
    gaussians = some_gaussians(100)
    with torch.no_grad():
        gaussians["opacities"][:10] = torch.logit(torch.tensor(0.004))
        gaussians["means"][:10] = 99.0
    densification, optimisers = mcmc(gaussians)
    densification.after_step(gaussians, optimisers, iteration, {}, 1e-4)
    assert len(gaussians["means"]) == (105 if acts else 100)
    assert bool((gaussians["means"] == 99.0).any()) is not acts
    assert (torch.sigmoid(gaussians["opacities"]) > 0.005).all() or not acts
    for name, optimiser in optimisers.items():
        assert optimiser.param_groups[0]["params"][0] is gaussians[name]


def test_growth_stops_at_the_cap():
    gaussians = some_gaussians(100)
    densification, optimisers = mcmc(gaussians, max_gaussians=107)
    for iteration in (600, 700, 800):
        densification.after_step(gaussians, optimisers, iteration, {}, 1e-4)
    assert len(gaussians["means"]) == 107


def test_noise_shakes_faint_gaussians_and_leaves_opaque_ones():
    gaussians = some_gaussians(100)
    with torch.no_grad():
        gaussians["opacities"][:50] = torch.logit(torch.tensor(0.005))
        gaussians["opacities"][50:] = torch.logit(torch.tensor(0.9))
    before = gaussians["means"].detach().clone()
    densification, optimisers = mcmc(gaussians, noise_lr=5e5)
    torch.manual_seed(0)
    densification.after_step(gaussians, optimisers, 20_000, {}, 1e-5)  # also after refinement stopped
    moved = gaussians["means"].detach() - before
    torch.manual_seed(0)
    noise = 5e5 * 1e-5 / 2 * torch.randn(100, 3)  # equation 8: a half of it at the opacity 0.005
    shapes = covariances(gaussians["quats"], gaussians["scales"].exp()).detach()
    torch.testing.assert_close(moved[:50], (shapes @ noise[:, :, None])[:50, :, 0], rtol=1e-3, atol=1e-5)
    assert moved[:50].norm(dim=1).mean() > 1e3 * moved[50:].norm(dim=1).mean()


def test_optimiser_moments_start_again_where_gaussians_were_shared():
    gaussians = some_gaussians(20)
    densification, optimisers = mcmc(gaussians)
    for name, optimiser in optimisers.items():
        gaussians[name].grad = torch.ones_like(gaussians[name])
        optimiser.step()
    with torch.no_grad():
        gaussians["opacities"][:19] = torch.logit(torch.tensor(0.004))  # only the last one lives
    densification.after_step(gaussians, optimisers, 600, {}, 1e-4)
    moments = optimisers["means"].state[gaussians["means"]]["exp_avg"]
    assert (moments == 0).all()
