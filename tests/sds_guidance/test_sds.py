"""The score distillation gradient against its formula worked out by hand, and its schedules."""

from functools import partial
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from sds_guidance.mode import Guided
from sds_guidance.prior import load_prior
from sds_guidance.sds import (
    annealed_range,
    clip_elements,
    draw_level,
    fit_back,
    fit_to_prior,
    level_weight,
    pixel_gradient,
    sds_gradient,
)
from tests.sds_guidance.exact_priors import GaussianPrior
from tests.sds_guidance.fakes import FakePrior

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "guidance_scale": 7.5,
    "rescale": 0.0,
    "weighting": "alpha_sigma",
    "clip": 1.0,
    "resolution": 16,
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def distilled(prior, rgb, states, noise_range, generator, *, clip, resolution, **settings) -> Guided:
    """Score distillation of one rendering, from and to its pixels."""
    latent_gradient = partial(
        sds_gradient, prior, states=states, noise_range=noise_range, generator=generator, **settings
    )
    return pixel_gradient(prior, rgb, latent_gradient, clip=clip, resolution=resolution)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("weighting", ["alpha_sigma", "sigma2", "abar", "one"])
def test_gradient_equals_the_formula(tiny_models, kind, weighting):
    """Everything again from diffusers' own parts, differentiated by plain autograd."""
    folder = tiny_models[kind]
    rgb = torch.rand(3, 16, 24, generator=seeded())
    states = torch.randn(2, 16, 32, generator=seeded())
    settings = {**SETTINGS, "weighting": weighting}
    prior = load_prior(folder, CPU, torch.float32)
    found = distilled(prior, rgb, states, (0.25, 0.75), seeded(), **settings)

    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False)
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False)
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    generator = seeded()
    t = torch.randint(250, 751, (1,), generator=generator)
    noise = torch.randn(1, 4, 8, 12, generator=generator)
    pixels = rgb.clone().requires_grad_()
    z = 0.18215 * vae.encode(2 * pixels[None] - 1).latent_dist.mean
    abar = scheduler.alphas_cumprod[t]
    with torch.no_grad():
        noised = scheduler.add_noise(z, noise, t)
        negative, positive = (unet(noised, t, encoder_hidden_states=s[None]).sample for s in states)
        output = negative + 7.5 * (positive - negative)
        estimate = output if kind == "epsilon" else abar.sqrt() * output + (1 - abar).sqrt() * noised
        weight = {
            "alpha_sigma": (abar * (1 - abar)).sqrt(),
            "sigma2": 1 - abar,
            "abar": abar,
            "one": torch.ones(1),
        }[weighting]
    (weight * (estimate - noise) * z).sum().backward()

    torch.testing.assert_close(found.gradient, pixels.grad, atol=1e-6, rtol=1e-4)
    assert found.t == int(t)
    assert found.weight == pytest.approx(float(weight))
    assert found.loss == pytest.approx(float((weight * (estimate - noise)).square().mean()) / 2, rel=1e-4)
    assert found.elements == 4 * 8 * 12
    assert found.finite


def test_no_graph_goes_through_the_unet_nor_into_the_rendering(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float32)
    outputs = []
    prior.unet.register_forward_hook(lambda _, __, output: outputs.append(output.sample))
    leaf = torch.rand(3, 16, 16, generator=seeded(), requires_grad=True)
    rendering = leaf * 1.0
    result = distilled(prior, rendering, torch.randn(2, 16, 32), (0.1, 0.2), seeded(), **SETTINGS)
    assert [output.requires_grad for output in outputs] == [False]
    assert not result.gradient.requires_grad
    assert leaf.grad is None
    rendering.sum().backward()  # the rendering's own graph is still whole


def test_clipping_acts_on_the_latent_gradient(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float32)
    rgb, states = torch.rand(3, 16, 16, generator=seeded()), torch.randn(2, 16, 32, generator=seeded())
    whole = distilled(prior, rgb, states, (0.3, 0.3), seeded(), **SETTINGS)
    cut = distilled(prior, rgb, states, (0.3, 0.3), seeded(), **{**SETTINGS, "clip": 0.5})
    assert 0 < cut.loss < whole.loss


def test_a_gradient_that_is_not_finite_is_reported():
    for error in (float("nan"), float("inf")):
        for clip in (1.0, 0.99):
            result = distilled(
                FakePrior(error), torch.rand(3, 16, 16), torch.empty(2, 0, 0), (0.1, 0.2), seeded(),
                **{**SETTINGS, "clip": clip},
            )  # fmt: skip
            assert not result.finite


def test_clip_cuts_at_the_quantile_and_keeps_the_rest():
    gradient = torch.tensor([-4.0, -3.0, 2.0, 1.0, 0.0])
    assert clip_elements(gradient, 0.75).tolist() == [-3.0, -3.0, 2.0, 1.0, 0.0]
    assert clip_elements(gradient, 1.0) is gradient


def test_weights_at_a_known_level():
    alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
    weights = {
        name: float(level_weight(name, alpha, sigma)) for name in ("alpha_sigma", "sigma2", "abar", "one")
    }
    assert weights == pytest.approx({"alpha_sigma": 0.48, "sigma2": 0.36, "abar": 0.64, "one": 1.0})
    with pytest.raises(ValueError, match="no such weighting"):
        level_weight("two", alpha, sigma)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, (0.25, 0.75)), (0.3, (0.135, 0.625)), (0.6, (0.02, 0.5)), (1.0, (0.02, 0.5))],
)
def test_the_noise_range_is_annealed(progress, expected):
    assert annealed_range(progress, (0.25, 0.02), (0.75, 0.5), until=0.6) == pytest.approx(expected)


def test_without_annealing_the_end_values_hold():
    assert annealed_range(0.0, (0.25, 0.02), (0.75, 0.5), until=0.0) == pytest.approx((0.02, 0.5))


def test_levels_fill_the_range_and_its_ends():
    generator = seeded()
    drawn = {int(draw_level((0.25, 0.26), 1000, generator)) for _ in range(300)}
    assert drawn == set(range(250, 261))
    assert int(draw_level((0.9999, 0.9999), 1000, generator)) == 999


@pytest.mark.parametrize(
    ("size", "seen"), [((378, 504), (512, 704)), ((512, 512), (512, 512)), ((100, 50), (1024, 512))]
)
def test_pictures_keep_their_aspect_and_are_padded(size, seen):
    """The first case is LLFF's at an eighth, as worked out in the project's facts."""
    assert fit_to_prior(torch.zeros(3, *size), 512, 64).shape == (1, 3, *seen)


def test_a_picture_that_fits_is_left_alone_and_padding_repeats_the_edge():
    picture = torch.rand(3, 8, 10, generator=seeded())
    assert torch.equal(fit_to_prior(picture, 8, 2)[0], picture)
    padded = fit_to_prior(picture, 8, 4)[0]
    assert torch.equal(padded[:, :, 1:11], picture)
    assert torch.equal(padded[:, :, 0], picture[:, :, 0])
    assert torch.equal(padded[:, :, 11], picture[:, :, 9])


@pytest.mark.parametrize(("size", "multiple"), [((8, 10), 4), ((8, 10), 16), ((9, 13), 8)])
def test_what_is_padded_and_resized_comes_back(size, multiple):
    """A picture that is only padded comes back exactly; a ramp that is resized too, but for its ends."""
    height, width = size
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    short_side = 8 if height == 8 else 4 * height
    seen = fit_to_prior(ramp, short_side, multiple)
    back = fit_back(seen[0], height, width, short_side)
    assert back.shape == ramp.shape
    torch.testing.assert_close(back[:, :, 1:-1], ramp[:, :, 1:-1], atol=0 if height == 8 else 5e-3, rtol=0)


def test_the_log_gets_the_pictures_of_this_very_step():
    """Without a codec, from an oracle: the noise that was put on, and what the oracle answers."""
    prior, rgb = GaussianPrior(0.7), torch.rand(3, 16, 24, generator=seeded())
    pictures = distilled(prior, rgb, torch.zeros(2, 1, 1), (0.3, 0.3), seeded(), **SETTINGS).pictures()
    generator, abar = seeded(), prior.abar[300]
    torch.randint(300, 301, (1,), generator=generator)
    noised = abar.sqrt() * rgb + (1 - abar).sqrt() * torch.randn(1, 3, 16, 24, generator=generator)[0]
    assert list(pictures) == ["noised", "denoised"]
    torch.testing.assert_close(pictures["noised"], noised)
    torch.testing.assert_close(pictures["denoised"], torch.full((3, 16, 24), 0.7))


def test_resizing_passes_the_whole_gradient_back():
    """A constant added to every pixel is a constant added to what the prior sees, padding included."""
    picture = torch.rand(3, 9, 13, generator=seeded(), requires_grad=True)
    (gradient,) = torch.autograd.grad(fit_to_prior(picture, 24, 8).mean(), picture)
    assert float(gradient.sum()) == pytest.approx(1.0, abs=1e-5)
