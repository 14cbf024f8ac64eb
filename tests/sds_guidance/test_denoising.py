"""From a rendering to its target: exact posteriors, diffusers' own sampler, and identities."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from sds_guidance.denoising import Denoising, denoised, denoised_picture, fit_back, match_colours, path_levels
from sds_guidance.prior import load_prior
from sds_guidance.sds import fit_to_prior
from tests.sds_guidance.exact_priors import GaussianPrior, PoorCodec

HOW = Denoising(start=500, steps=12, guidance_scale=3.0, rescale=0.7, resolution=16)
NO_STATES = torch.empty(2, 0, 0)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def path(prior: Any, known: torch.Tensor, noise: torch.Tensor, **changes: Any) -> torch.Tensor:
    """`denoised` without anything certain."""
    return denoised(prior, known, noise, torch.zeros_like(known[:, :1]), NO_STATES, replace(HOW, **changes))


@pytest.mark.parametrize(
    ("start", "steps", "levels"),
    [(500, 5, [500, 400, 300, 200, 100]), (100, 1, [100]), (3, 12, [3, 2, 1]), (7, 3, [7, 5, 2])],
)
def test_the_levels_go_down_evenly(start, steps, levels):
    assert path_levels(start, steps) == levels


def test_the_path_ends_at_the_posterior_sample():
    """Of a Gaussian the probability flow is known: (z_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2) stays."""
    mean, std = rand(1, 3, 8, 8), 0.1 + rand(1, 3, 8, 8, seed=1)
    prior = GaussianPrior(mean, std)
    known, noise = rand(1, 3, 8, 8, seed=2), randn(1, 3, 8, 8)
    alpha, sigma = prior.levels(torch.tensor([500]))
    constant = (alpha * known + sigma * noise - alpha * mean) / (alpha**2 * std**2 + sigma**2).sqrt()
    errors = [
        float((path(prior, known, noise, steps=steps) - (mean + std * constant)).abs().max())
        for steps in (25, 100, 500)
    ]
    assert errors[2] < 0.02
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_samples_of_the_data_stay_samples_of_the_data():
    prior = GaussianPrior(0.4, 0.2)
    known = 0.4 + 0.2 * randn(1, 3, 128, 128)
    found = path(prior, known, randn(1, 3, 128, 128, seed=1), steps=200)
    assert float(found.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(found.std()) == pytest.approx(0.2, abs=0.01)
    assert float((found - known).std()) > 0.1  # and not simply what went in


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_path_is_that_of_diffusers(tiny_models, kind):
    prior = load_prior(tiny_models[kind], torch.device("cpu"), torch.float32)
    known, noise, states = randn(1, 4, 8, 8), randn(1, 4, 8, 8, seed=1), randn(2, 16, 32)
    found = denoised(prior, known, noise, torch.zeros(1, 1, 8, 8), states, replace(HOW, steps=5))

    scheduler = DDIMScheduler.from_pretrained(tiny_models[kind], subfolder="scheduler")
    scheduler.set_timesteps(10)  # 100 levels a step
    noised, step = scheduler.add_noise(known, noise, torch.tensor([500])), None
    for t in (500, 400, 300, 200, 100):
        estimate = prior.predict(noised, torch.tensor([t]), states, 3.0, 0.7)
        alpha, sigma = prior.levels(torch.tensor([t]))
        output = estimate.noise if kind == "epsilon" else alpha * estimate.noise - sigma * estimate.clean
        step = scheduler.step(output, t, noised, eta=0.0)
        noised = step.prev_sample
    assert step is not None
    torch.testing.assert_close(found, step.pred_original_sample, atol=1e-4, rtol=1e-4)


def test_where_all_is_certain_the_path_is_the_noised_reference():
    prior = GaussianPrior(0.9, 0.3)
    known, noise = rand(1, 3, 8, 8), randn(1, 3, 8, 8)
    found = denoised(prior, known, noise, torch.ones(1, 1, 8, 8), NO_STATES, HOW)
    assert [t for t, _ in prior.seen] == path_levels(500, 12)
    for t, noised in prior.seen:
        torch.testing.assert_close(noised, prior.add_noise(known, noise, torch.tensor([t])))
    alone = prior.predict(prior.seen[-1][1], torch.tensor([prior.seen[-1][0]]), NO_STATES, 1.0).clean
    assert torch.equal(found, alone)  # the last estimate is the prior's own


def test_a_step_blends_by_certainty():
    """The second level by hand: an oracle's estimate, half of it replaced where certainty is a half."""
    prior = GaussianPrior(0.2)
    known, noise = rand(1, 3, 2, 2), randn(1, 3, 2, 2)
    certain = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    denoised(prior, known, noise, certain, NO_STATES, replace(HOW, steps=2))
    (first, second) = prior.abar[500], prior.abar[250]
    noised = first.sqrt() * known + (1 - first).sqrt() * noise
    blend = certain * known + (1 - certain) * 0.2
    left = (noised - first.sqrt() * blend) / (1 - first).sqrt()
    torch.testing.assert_close(prior.seen[1][1], second.sqrt() * blend + (1 - second).sqrt() * left)


def test_an_oracle_gives_the_truth_where_uncertain_and_the_reference_where_certain():
    truth, rgb, reference = (rand(3, 16, 24, seed=seed) for seed in range(3))
    certain = torch.zeros(16, 24)
    certain[[2, 9, 5], [3, 20, 23]] = 1.0  # too few pixels to match colours by
    target = denoised_picture(GaussianPrior(truth), rgb, reference, certain, NO_STATES, 0, HOW)
    sure = certain.bool()
    torch.testing.assert_close(target[:, ~sure], truth[:, ~sure])
    assert torch.equal(target[:, sure], reference[:, sure])


def test_what_the_denoiser_leaves_alone_comes_back_as_rendered():
    """Not as the VAE repeats it, and whatever was padded and resized on the way."""
    for size, resolution in (((16, 24), 16), ((15, 20), 24)):
        rgb = rand(3, *size)
        prior = PoorCodec(0.0)
        prior.mean = prior.encode(fit_to_prior(rgb, resolution, 2))  # the denoiser sees nothing to change
        how = replace(HOW, resolution=resolution)
        target = denoised_picture(prior, rgb, rgb, torch.zeros(size), NO_STATES, 0, how)
        torch.testing.assert_close(target, rgb, atol=1e-6, rtol=0)
    picture = rand(1, 3, 16, 24)
    assert float((prior.decode(prior.encode(picture)) - picture).abs().max()) > 0.2  # the codec is poor


def test_a_change_goes_on_top_of_what_was_rendered():
    rgb = 0.25 + rand(3, 16, 24) / 2
    prior = PoorCodec(0.0)
    prior.mean = prior.encode(rgb[None]) + 0.125
    target = denoised_picture(prior, rgb, rgb, torch.zeros(16, 24), NO_STATES, 0, HOW)
    torch.testing.assert_close(target, rgb + 0.125)


def test_a_colour_cast_of_the_prior_is_taken_back_by_the_confident_half():
    """A gain and an offset for each channel; the confident half shows colours like those of the other."""
    truth = (rand(3, 16, 32) > 0.5).float() * 0.6 + 0.2
    wrong = truth * torch.tensor([0.8, 1.0, 1.1]).view(3, 1, 1) + 0.05
    certain = (torch.arange(32) < 16).expand(16, 32).float()
    rgb = torch.where(certain.bool(), truth, 0.5)
    target = denoised_picture(GaussianPrior(wrong), rgb, rgb, certain, NO_STATES, 0, HOW)
    assert float((target - truth).abs().max()) < 0.02
    assert float((wrong - truth).abs().max()) > 0.1


def test_colours_are_matched_on_confident_pixels_alone():
    picture = (rand(3, 20, 20) > 0.5).float()
    wanted = 0.8 * picture + 0.1
    certain = (torch.arange(20) < 10).expand(20, 20) * 0.9
    garbage = torch.where(certain > 0, wanted, 7.0)
    matched = match_colours(picture, garbage, certain)
    torch.testing.assert_close(matched, wanted, atol=0.01, rtol=0)
    assert match_colours(picture, wanted, torch.full((20, 20), 0.4)) is picture


@pytest.mark.parametrize(("columns", "certainty"), [(1, 1.0), (10, 0.75)], ids=["a corner", "half sure"])
def test_colours_that_little_is_known_of_stay_as_they_are(columns, certainty):
    """A twentieth of the picture for certain, or half of it by a photograph and a half."""
    picture, certain = rand(3, 20, 20), torch.zeros(20, 20)
    certain[:, :columns] = certainty
    assert match_colours(picture, 0.8 * picture + 0.1, certain) is picture


def test_a_reference_that_is_off_by_a_pixel_takes_no_contrast():
    picture = rand(3, 40, 40)
    matched = match_colours(picture, picture.roll(1, dims=2), torch.ones(40, 40))
    torch.testing.assert_close(matched, picture, atol=1e-5, rtol=0)


def test_a_single_known_colour_does_not_turn_the_others():
    """The match has little to go by: others are shifted as it is, and keep their contrast."""
    picture = torch.cat([torch.full((3, 8, 8), 0.5), rand(3, 8, 8)], dim=2)
    certain = (torch.arange(16) < 8).expand(8, 16).float()
    matched = match_colours(picture, picture + 0.1, certain)
    torch.testing.assert_close(matched, picture + 0.1)


@pytest.mark.parametrize("size", [(16, 24), (15, 21), (40, 30)])
def test_fitting_back_undoes_fitting(size):
    rows, columns = torch.linspace(0, 1, size[0])[:, None], torch.linspace(0, 1, size[1])
    smooth = torch.stack([rows + 0 * columns, columns + 0 * rows, rows * columns])
    fitted = fit_to_prior(smooth, 16, 8)[0]
    found = fit_back(fitted, size[0], size[1], 16)
    assert found.shape == smooth.shape
    torch.testing.assert_close(found, smooth, atol=0.06, rtol=0)
    torch.testing.assert_close(found[:, 3:-3, 3:-3], smooth[:, 3:-3, 3:-3], atol=0.005, rtol=0)


def test_padding_alone_is_undone_exactly():
    picture = rand(3, 10, 13)
    assert torch.equal(fit_back(fit_to_prior(picture, 10, 8)[0], 10, 13, 10), picture)


def test_the_seed_decides_the_target():
    prior, rgb = GaussianPrior(0.5, 0.2), rand(3, 16, 16)
    first, again, other = (
        denoised_picture(prior, rgb, rgb, torch.zeros(16, 16), NO_STATES, seed, HOW) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert float((first - other).abs().mean()) > 0.01


def test_a_broken_network_makes_a_broken_target():
    for certain in (0.0, 1.0):
        prior, rgb = GaussianPrior(float("nan")), rand(3, 16, 16)
        known = torch.full((16, 16), certain)
        assert not denoised_picture(prior, rgb, rgb, known, NO_STATES, 0, HOW).isfinite().all()
