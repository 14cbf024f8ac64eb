"""Interval score matching against diffusers' inversion, and against a prior whose denoiser is known."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, UNet2DConditionModel

from sds_guidance.ism import inversion_levels, inverted, ism_gradient
from sds_guidance.prior import Prediction, load_prior
from sds_guidance.sds import pixel_gradient
from tests.sds_guidance.exact_priors import GaussianPrior

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"interval": 0.1, "stride": 0.2, "guidance_scale": 7.5, "rescale": 0.0}
STATES = torch.tensor([-1.0, 1.0]).view(2, 1, 1)


class TwoGaussians(GaussianPrior):
    """Pictures N(mean, std^2) under the prompt (state 1), N(other, std^2) under the negative (state -1)."""

    def __init__(self, mean: float, other: float, std: float) -> None:
        super().__init__(mean, std)
        self.by_state = {1.0: torch.tensor(mean), -1.0: torch.tensor(other)}

    def predict(self, noised, t, states, guidance_scale, rescale=0.0) -> Prediction:
        noises = []
        for state in states:
            self.mean = self.by_state[float(state)]
            noises.append(super().predict(noised, t, states, guidance_scale).noise)
        noise = noises[0] + guidance_scale * (noises[-1] - noises[0]) if len(states) > 1 else noises[0]
        alpha, sigma = self.levels(t)
        return Prediction(noise=noise, clean=(noised - sigma * noise) / alpha)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_inversion_goes_in_strides_of_which_the_first_may_be_short():
    assert inversion_levels(450, 200) == [0, 50, 250, 450]
    assert inversion_levels(400, 200) == [0, 200, 400]
    assert inversion_levels(10, 200) == [0, 10]
    assert inversion_levels(0, 200) == [0]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_gradient_equals_the_formula(tiny_models, kind):
    """Everything again from diffusers' own parts: t = 500, s = 400, inverted by its DDIMInverseScheduler."""
    folder = tiny_models[kind]
    latents, states = torch.randn(1, 4, 8, 8, generator=seeded()), torch.randn(2, 16, 32, generator=seeded())
    prior = load_prior(folder, CPU, torch.float32)
    found = ism_gradient(prior, latents, states, (0.5, 0.5), seeded(), **SETTINGS)

    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False)
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    abar = scheduler.alphas_cumprod[500]

    def output(z: torch.Tensor, level: int, state: torch.Tensor) -> torch.Tensor:
        return unet(z, level, encoder_hidden_states=state[None]).sample

    def noise(z: torch.Tensor, level: int, state: torch.Tensor) -> torch.Tensor:
        share, said = scheduler.alphas_cumprod[level], output(z, level, state)
        return said if kind == "epsilon" else share.sqrt() * said + (1 - share).sqrt() * z

    with torch.no_grad():
        z = latents
        for level, onwards, strides in ((0, 200, 5), (200, 400, 5), (400, 500, 10)):
            inverse = DDIMInverseScheduler.from_config(scheduler.config)
            inverse.set_timesteps(strides)
            z_s, z = z, inverse.step(output(z, level, states[0]), onwards, z).prev_sample
        negative, positive = (noise(z, 500, state) for state in states)
        difference = negative + 7.5 * (positive - negative) - noise(z_s, 400, states[0])
        expected = ((1 - abar) / abar).sqrt() * difference

    torch.testing.assert_close(found.residual, expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.noised, z, atol=1e-5, rtol=1e-4)
    assert (found.t, found.weight) == (500, pytest.approx(float(((1 - abar) / abar).sqrt()), rel=1e-5))


def test_gradient_of_an_exact_prior_is_what_comes_out_by_hand():
    """One scalar, in double precision, step by step."""
    mean, other, std, z = 0.8, 0.3, 0.2, 0.55
    prior = TwoGaussians(mean, other, std)
    latents = torch.full((1, 1, 1, 1), z)
    found = ism_gradient(prior, latents, STATES, (0.3, 0.3), seeded(), **SETTINGS)
    abar = [float(it) for it in prior.abar.double()]

    def noise(x: float, level: int, centre: float) -> float:
        alpha, sigma = math.sqrt(abar[level]), math.sqrt(1 - abar[level])
        return sigma * (x - alpha * centre) / (alpha**2 * std**2 + sigma**2)

    x = z
    for level, onwards in ((0, 200), (200, 300)):
        said = noise(x, level, other)
        clean = (x - math.sqrt(1 - abar[level]) * said) / math.sqrt(abar[level])
        x = math.sqrt(abar[onwards]) * clean + math.sqrt(1 - abar[onwards]) * said
    guided = noise(x, 300, other) + 7.5 * (noise(x, 300, mean) - noise(x, 300, other))
    expected = math.sqrt((1 - abar[300]) / abar[300]) * (guided - said)
    assert float(found.residual) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("last", [100, 400])
def test_inversion_in_small_steps_follows_the_probability_flow(last):
    """For a Gaussian its solution is known: a picture keeps its place within the noised distribution."""
    prior, mean, std = GaussianPrior(0.4, 0.3), 0.4, 0.3
    latents = torch.linspace(-1, 2, 16).view(1, 1, 4, 4)
    inverted(prior, latents, inversion_levels(last, 1), STATES[:1])
    level, found = prior.seen[-1]
    start, end = (prior.abar[at] for at in (0, last))
    spread = [(share * std**2 + 1 - share).sqrt() for share in (start, end)]
    expected = end.sqrt() * mean + (latents - start.sqrt() * mean) * spread[1] / spread[0]
    assert level == last
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)


def test_the_gradient_has_no_chance_in_it_and_rests_where_the_prior_does():
    """At the mean of what both prompts expect nothing pulls, whereas score distillation would still shake."""
    prior = TwoGaussians(0.6, 0.6, 0.2)
    latents = torch.rand(1, 1, 4, 4, generator=seeded())
    gradients = [
        ism_gradient(prior, latents, STATES, (0.3, 0.3), seeded(seed), **SETTINGS).residual for seed in (1, 2)
    ]
    assert torch.equal(*gradients)
    assert float(gradients[0].abs().max()) > 1e-2
    resting = ism_gradient(prior, torch.full((1, 1, 4, 4), 0.6), STATES, (0.3, 0.3), seeded(), **SETTINGS)
    assert float(resting.residual.abs().max()) < 1e-4


@pytest.mark.parametrize("level", [0.02, 0.3, 0.5])
def test_a_prior_that_knows_one_picture_only_has_nothing_to_say(level):
    """Inversion keeps the noise of a point: not even rounding is left. One of a distribution does pull."""
    truth, latents = torch.rand(2, 1, 1, 16, 16, generator=seeded())
    for std, silent in ((0.0, True), (0.2, False)):
        found = ism_gradient(
            GaussianPrior(truth, std), latents, STATES, (level, level), seeded(), **SETTINGS
        ).residual
        assert (int(found.count_nonzero()) == 0) is silent


def test_a_level_below_the_interval_starts_at_the_picture_itself():
    prior = GaussianPrior(0.6, 0.2)
    ism_gradient(prior, torch.rand(1, 1, 4, 4), STATES, (0.02, 0.02), seeded(), **SETTINGS)
    assert [t for t, _ in prior.seen] == [0, 20]


def test_pixels_that_follow_it_become_what_the_prompt_expects():
    prior = TwoGaussians(0.6, 0.6, 0.2)
    rgb, generator = torch.rand(3, 8, 8, generator=seeded()), seeded()
    states = STATES
    for _ in range(200):
        score = partial(ism_gradient, prior, states=states, noise_range=(0.02, 0.5), generator=generator)
        found = pixel_gradient(prior, rgb, partial(score, **SETTINGS), clip=1.0, resolution=8)
        assert found.finite
        rgb = rgb - 0.5 * found.gradient
    torch.testing.assert_close(rgb, torch.full((3, 8, 8), 0.6), atol=1e-2, rtol=0)
