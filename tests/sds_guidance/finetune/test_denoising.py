"""The regression target, the weight, caption dropout, and the losses per band against other formulas."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr

from sds_guidance.finetune.bands import BANDS, draws, errors_per_band, losses_per_band
from sds_guidance.finetune.denoising import CachedStates, Denoising, Examples, snr_weight, target
from sds_guidance.prior import load_prior

CPU = torch.device("cpu")


@pytest.fixture(params=["epsilon", "v_prediction"])
def model(request, tiny_models):
    folder = tiny_models[request.param]
    prior = load_prior(folder, CPU, torch.float32)
    return SimpleNamespace(
        prior=prior,
        kind=request.param,
        scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    )


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def task(prior, count=20, copies=1, **flags):
    random = torch.Generator().manual_seed(1)
    latents = torch.randn(count, copies, 4, 8, 8, generator=random)
    states = torch.randn(4, 16, 32, generator=random)
    captions = torch.arange(count) % 3 + 1
    examples = Examples(latents, captions)
    return Denoising(prior, CachedStates(states), examples, {"held": examples}, **flags)


def test_the_target_is_the_noise_or_the_velocity_of_diffusers(model, random):
    z, noise = torch.randn(3, 4, 8, 8, generator=random), torch.randn(3, 4, 8, 8, generator=random)
    t = torch.tensor([0, 500, 999])
    expected = {"epsilon": noise, "v_prediction": model.scheduler.get_velocity(z, noise, t)}[model.kind]
    torch.testing.assert_close(target(model.prior, z, noise, t), expected)


def test_the_loss_is_the_weighted_mean_squared_error_from_the_target(model):
    """A network that gives the target, but for a known error, has a known loss."""
    made = task(model.prior, caption_dropout=0.0, snr_gamma=5.0)
    seen: dict[str, torch.Tensor] = {}

    class Oracle(torch.nn.Module):
        def forward(self, noised, t, captions):
            seen.update(noised=noised, t=t, captions=captions)
            return torch.zeros_like(noised)

    made.network = Oracle()
    rows = torch.tensor([3, 7, 8])
    loss = made.loss(rows, torch.Generator().manual_seed(3))
    z = made.examples.latents[rows, 0]
    alpha, sigma = model.prior.levels(seen["t"])
    noise = (seen["noised"] - alpha * z) / sigma
    wanted = noise if model.kind == "epsilon" else alpha * noise - sigma * z
    weight = snr_weight(model.prior, seen["t"], 5.0)
    assert float(loss) == pytest.approx(float((weight * wanted.square().mean((1, 2, 3))).mean()), rel=1e-3)
    assert torch.equal(seen["captions"], made.examples.captions[rows])


def test_the_weight_is_that_of_min_snr(model):
    t = torch.tensor([1, 100, 300, 600, 999])
    snr = compute_snr(model.scheduler, t)
    expected = snr.clamp(max=5) / (snr if model.kind == "epsilon" else snr + 1)
    torch.testing.assert_close(snr_weight(model.prior, t, 5.0), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(snr_weight(model.prior, t, 0.0), torch.ones(5))


def test_the_share_of_dropped_captions_is_the_one_asked_for(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float32)
    made = task(prior, count=5000, copies=2, caption_dropout=0.1)
    rows = torch.arange(5000)
    latents, captions = made.draw(rows, torch.Generator().manual_seed(0))
    dropped = captions == 0
    assert float(dropped.float().mean()) == pytest.approx(0.1, abs=0.015)
    assert torch.equal(captions[~dropped], made.examples.captions[~dropped])
    first = (latents == made.examples.latents[:, 0]).all(dim=(1, 2, 3))
    assert float(first.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert (first | (latents == made.examples.latents[:, 1]).all(dim=(1, 2, 3))).all()


def test_levels_lie_evenly_in_their_band():
    for band in (0, 4, 9):
        t, noise = draws(band, torch.Size((100, 4, 2, 2)), 1000, seed=3)
        assert sorted(t.tolist()) == list(range(100 * band, 100 * (band + 1)))
        assert noise.shape == (100, 4, 2, 2)
    again = draws(9, torch.Size((100, 4, 2, 2)), 1000, seed=3)
    assert torch.equal(again[0], t) and torch.equal(again[1], noise)
    assert not torch.equal(draws(9, torch.Size((100, 4, 2, 2)), 1000, seed=4)[1], noise)


def test_errors_per_band_of_denoisers_that_can_be_worked_out(model, random):
    latents = torch.randn(50, 4, 8, 8, generator=random)

    def knows_all(noised, t, rows):
        alpha, sigma = model.prior.levels(t)
        return (noised - alpha * latents[rows]) / sigma

    assert max(errors_per_band(knows_all, model.prior, latents, seed=0)) < 1e-6

    def knows_the_variance(noised, t, rows):
        return model.prior.levels(t)[1] * noised  # the best estimate for standard normal latents

    found = errors_per_band(knows_the_variance, model.prior, latents, seed=0)
    for band, value in enumerate(found):
        expected = float(model.prior.abar[100 * band : 100 * (band + 1)].mean())  # 1 - sigma^2
        assert value == pytest.approx(expected, rel=0.1, abs=0.005)


def test_the_model_s_losses_are_in_noise_and_the_same_by_both_ways(model):
    made = task(model.prior)
    states = made.network.conditions.states  # type: ignore[union-attr]
    direct = losses_per_band(
        model.prior,
        made.examples.latents[:, 0],
        lambda rows: states[made.examples.captions[rows]],  # type: ignore[index]
        seed=0,
        batch_size=7,
    )
    with torch.no_grad():
        validated = made.validate()["held"]["loss_per_band"]
    assert direct == pytest.approx(validated, rel=1e-4)

    t, noise = draws(2, made.examples.latents[:, 0].shape, 1000, seed=0)
    noised = model.prior.add_noise(made.examples.latents[:, 0], noise, t)
    per_image = [
        model.prior.predict(noised[[i]], t[[i]], states[[0, int(made.examples.captions[i])]], 1.0).noise[0]  # type: ignore[index]
        for i in range(20)
    ]
    assert direct[2] == pytest.approx(float((torch.stack(per_image) - noise).square().mean()), rel=1e-4)
    assert len(direct) == BANDS
