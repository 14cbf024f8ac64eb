"""The prior against diffusers' own scheduler, hand-worked conventions, and models that it must refuse."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from diffusers import DDIMScheduler

from sds_guidance.prior import hollow_prior, load_prior
from utils.errors import UserError

CPU = torch.device("cpu")
LATENT = (2, 4, 8, 12)


@pytest.fixture(params=["epsilon", "v_prediction"])
def model(request, tiny_models):
    """The folder, its prior, and the scheduler that diffusers reads from it."""
    folder = tiny_models[request.param]
    prior = load_prior(folder, CPU, torch.float32)
    return SimpleNamespace(
        folder=folder, prior=prior, scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    )


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def replace_output(prior, output):
    """Lets the U-Net return `output` for the prompt and zeros for the negative prompt; records its calls."""
    calls = []

    def unet(noised, t, encoder_hidden_states, class_labels):
        assert class_labels is None
        calls.append((noised, t, encoder_hidden_states))
        batch = torch.cat([torch.zeros_like(output), output])[-len(noised) :]
        return SimpleNamespace(sample=batch)

    unet.dtype = torch.float32  # type: ignore[attr-defined]
    prior.unet = unet
    return calls


def test_noise_is_added_as_the_scheduler_does(model, random):
    z, noise = torch.randn(LATENT, generator=random), torch.randn(LATENT, generator=random)
    t = torch.tensor([20, 980])
    torch.testing.assert_close(model.prior.add_noise(z, noise, t), model.scheduler.add_noise(z, noise, t))


def test_a_perfect_network_gives_back_noise_and_latent(model, random):
    z, noise = torch.randn(LATENT, generator=random), torch.randn(LATENT, generator=random)
    t = torch.tensor([20, 700])
    perfect = {"epsilon": noise, "v_prediction": model.scheduler.get_velocity(z, noise, t)}
    replace_output(model.prior, perfect[model.prior.prediction_type])
    noised = model.prior.add_noise(z, noise, t)
    prediction = model.prior.predict(noised, t, torch.zeros(2, 5, 32), guidance_scale=1.0)
    torch.testing.assert_close(prediction.noise, noise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prediction.clean, z, atol=1e-4, rtol=1e-4)


def test_the_two_estimates_compose_the_noised_latent(model, random):
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    states = torch.randn(2, 16, 32, generator=random)
    for rescale in (0.0, 0.7):
        estimate = model.prior.predict(noised, t, states, guidance_scale=7.5, rescale=rescale)
        again = model.scheduler.add_noise(estimate.clean, estimate.noise, t)
        torch.testing.assert_close(again, noised, atol=1e-4, rtol=1e-4)


def test_guidance_is_unconditional_plus_scale_times_difference(model, random):
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    states = torch.randn(2, 16, 32, generator=random)
    each = [model.prior.predict(noised, t, states[[i, i]], guidance_scale=1.0).noise for i in (0, 1)]
    assert float((each[0] - each[1]).abs().max()) > 1e-4
    for scale in (0.0, 3.0, 7.5):
        guided = model.prior.predict(noised, t, states, guidance_scale=scale).noise
        expected = each[0] + scale * (each[1] - each[0])
        torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-4)


def test_negative_prompt_comes_first_and_is_skipped_at_scale_one(model, random):
    states = torch.randn(2, 16, 32, generator=random)
    calls = replace_output(model.prior, torch.ones(LATENT))
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    model.prior.predict(noised, t, states, guidance_scale=7.5)
    model.prior.predict(noised, t, states, guidance_scale=1.0)
    both, alone = calls
    assert torch.equal(both[0], torch.cat([noised, noised]))
    assert both[1].tolist() == [50, 600, 50, 600]
    assert torch.equal(both[2], states[[0, 0, 1, 1]])
    assert torch.equal(alone[0], noised)
    assert torch.equal(alone[2], states[[1, 1]])


def test_channels_beside_the_latents_come_after_them_for_both_prompts(model, random):
    states = torch.randn(2, 16, 32, generator=random)
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    calls = replace_output(model.prior, torch.ones(LATENT))
    depth = torch.randn(1, 1, *LATENT[2:], generator=random)
    model.prior.seeing(depth).predict(noised, t, states, guidance_scale=7.5)
    model.prior.predict(noised, t, states, guidance_scale=7.5)
    seen, plain = (noised for noised, _, _ in calls)
    assert torch.equal(seen[:, :4], plain)
    assert torch.equal(seen[:, 4:], depth.expand(4, -1, -1, -1))


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_one_prompt_after_the_other_is_the_same_up_to_rounding(model, random, scale):
    states = torch.randn(2, 16, 32, generator=random)
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    sizes: list[int] = []
    model.prior.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    model.prior.unet.double()  # in float32 the scale enlarges rounding, which differs between processors
    at_once = model.prior.predict(noised, t, states, scale, rescale=0.7)
    model.prior.one_batch = False
    in_turn = model.prior.predict(noised, t, states, scale, rescale=0.7)
    torch.testing.assert_close(vars(in_turn), vars(at_once), atol=1e-5, rtol=1e-5)
    assert sizes == ([2, 2] if scale == 1.0 else [4, 2, 2])


def test_rescaling_brings_the_denoised_latent_to_the_prompts_deviation(model, random):
    noised, t = torch.randn(LATENT, generator=random), torch.tensor([50, 600])
    states = torch.randn(2, 16, 32, generator=random)
    alone = model.prior.predict(noised, t, states, guidance_scale=1.0).clean
    plain = model.prior.predict(noised, t, states, guidance_scale=7.5).clean
    whole = model.prior.predict(noised, t, states, guidance_scale=7.5, rescale=1.0).clean
    half = model.prior.predict(noised, t, states, guidance_scale=7.5, rescale=0.5).clean
    torch.testing.assert_close(whole.std(dim=(1, 2, 3)), alone.std(dim=(1, 2, 3)))
    torch.testing.assert_close(half, (plain + whole) / 2)


def test_rescaling_an_empty_latent_stays_finite(model):
    replace_output(model.prior, torch.zeros(1, 4, 8, 8))
    estimate = model.prior.predict(
        torch.zeros(1, 4, 8, 8), torch.tensor([500]), torch.zeros(2, 5, 32), guidance_scale=7.5, rescale=0.7
    )
    assert torch.equal(estimate.noise, torch.zeros(1, 4, 8, 8))


def test_encode_is_the_scaled_posterior_mean_of_signed_pictures(model, random):
    pictures = torch.rand(1, 3, 16, 24, generator=random)
    latents = model.prior.encode(pictures)
    moments = model.prior.vae.quant_conv(model.prior.vae.encoder(2 * pictures - 1))
    torch.testing.assert_close(latents, 0.18215 * moments[:, :4])
    assert latents.shape == (1, 4, 8, 12)


def test_decode_reads_what_encode_wrote(model, random):
    latents = torch.randn(1, 4, 8, 12, generator=random)
    pictures = model.prior.decode(latents)
    signed = model.prior.vae.decoder(model.prior.vae.post_quant_conv(latents / 0.18215))
    torch.testing.assert_close(pictures, (signed / 2 + 0.5).clamp(0, 1))
    assert not pictures.requires_grad


def test_the_freed_decoder_leaves_no_weights(model):
    vae = model.prior.vae
    encoder = sum(p.numel() for part in (vae.encoder, vae.quant_conv) for p in part.parameters())
    assert sum(p.numel() for p in vae.parameters()) > encoder
    model.prior.free_decoder()
    assert sum(p.numel() for p in vae.parameters()) == encoder
    assert model.prior.encode(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_networks_are_frozen_and_in_evaluation_mode(model):
    for network in (model.prior.unet, model.prior.vae):
        assert not any(weight.requires_grad for weight in network.parameters())
        assert not network.training


def test_sides_must_be_multiples_of_what_both_networks_halve(model):
    assert model.prior.size_multiple == 4


def test_half_precision_stays_inside_the_networks(tiny_models, random):
    exact = load_prior(tiny_models["epsilon"], CPU, torch.float32)
    coarse = load_prior(tiny_models["epsilon"], CPU, torch.bfloat16)
    assert coarse.unet.dtype == coarse.vae.dtype == torch.bfloat16
    pictures, states = torch.rand(1, 3, 16, 16, generator=random), torch.randn(2, 16, 32, generator=random)
    results = []
    for prior in (exact, coarse):
        latents = prior.encode(pictures)
        estimate = prior.predict(latents, torch.tensor([300]), states, guidance_scale=1.0)
        assert latents.dtype == estimate.noise.dtype == estimate.clean.dtype == torch.float32
        results.append(estimate.noise)
    assert 0 < float((results[0] - results[1]).abs().mean()) < 0.1 * float(results[0].abs().mean())


def test_float16_keeps_the_vae_in_float32_and_upcasts_attention(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float16)
    assert (prior.unet.dtype, prior.vae.dtype) == (torch.float16, torch.float32)
    assert prior.unet.config.upcast_attention


def test_checkpointing_the_encoder_changes_no_gradient(tiny_model, random):
    pictures = torch.rand(1, 3, 16, 16, generator=random)
    gradients: list[torch.Tensor] = []
    for checkpoint in (False, True):
        prior = load_prior(tiny_model, CPU, torch.float32, checkpoint_encoder=checkpoint)
        assert prior.vae.encoder.gradient_checkpointing == checkpoint
        leaf = pictures.clone().requires_grad_()
        gradients += torch.autograd.grad(prior.encode(leaf).square().sum(), leaf)
    assert torch.equal(*gradients)


def test_other_components_are_not_touched(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"not weights")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not weights")
    (folder / "model_index.json").write_text("not JSON")
    assert load_prior(folder, CPU, torch.float32).prediction_type == "epsilon"


@pytest.mark.parametrize("change", [{"in_channels": 9}, {"class_embed_type": "projection"}])
def test_models_of_other_tasks_are_refused_before_any_weight_is_read(tiny_model, tmp_path, change):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps({**config, **change}))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="a model of another task"):
        load_prior(folder, CPU, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_hollow_prior_has_every_shape_and_format_of_the_real_one(tiny_model, dtype):
    hollow, real = hollow_prior(tiny_model, dtype), load_prior(tiny_model, CPU, dtype)
    for part in ("unet", "vae"):
        ours, theirs = (getattr(prior, part).state_dict() for prior in (hollow, real))
        assert {name: (w.shape, w.dtype) for name, w in ours.items()} == {
            name: (w.shape, w.dtype) for name, w in theirs.items()
        }
        assert all(weight.is_meta for weight in ours.values())
    assert hollow.unet.config.upcast_attention == real.unet.config.upcast_attention
    assert (hollow.size_multiple, hollow.prediction_type) == (real.size_multiple, real.prediction_type)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_weights_that_are_incomplete_are_named(tiny_model, tmp_path, part):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / part / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(path)
    name = sorted(weights)[3]
    del weights[name]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(UserError, match=f"{part} are incomplete: 1 are missing, {re.escape(name)}"):
        load_prior(folder, CPU, torch.float32)
