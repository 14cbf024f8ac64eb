"""The forecast of memory against bytes counted by hand, by autograd, in a real step, and by others."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.guidance_memory import hollow, write_settings
from sds_guidance.memory import (
    LiveBytes,
    MemoryPlan,
    choose_precision,
    count,
    occupied,
    plan_memory,
    step_bytes,
)
from sds_guidance.prior import hollow_prior, load_prior

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (64, 96)
MIB = 2**20


def test_bytes_count_while_something_holds_them():
    known = torch.zeros(10)
    with LiveBytes([known]) as live:
        first = torch.ones(1000)
        assert live.now == 4000
        second = first.double()
        assert live.now == 12_000
        views = [first.view(10, 100).T, known.view(2, 5), first.detach(), first.add_(1)]
        assert live.now == 12_000
        del first
        assert live.now == 12_000
        del views
        assert live.now == 8000
        del second
        assert (live.now, live.peak) == (0, 12_000)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("model", ["tiny_model", "tiny_depth_model"])
def test_the_forecast_is_what_a_real_step_holds(request, model, gradient, checkpoint):
    folder = request.getfixturevalue(model)
    forecast, real = hollow(folder, torch.float32), load_prior(folder, CPU, torch.float32)
    if checkpoint:
        for prior in (forecast, real):
            prior.vae.enable_gradient_checkpointing()
    measured = step_bytes(real, SIZE, gradient=gradient)
    assert step_bytes(forecast, SIZE, gradient=gradient) == pytest.approx(measured, rel=0.02)


def test_what_the_encoder_keeps_is_what_autograd_saves(tiny_model):
    """A second count: each storage that the graph packs, once."""
    prior = hollow(tiny_model, torch.float32)
    weights = {weight.untyped_storage()._cdata for weight in prior.vae.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    pixels = torch.zeros(1, 3, *SIZE, device="meta", requires_grad=True)
    with LiveBytes([*prior.vae.parameters(), pixels]) as live:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            latents = prior.encode(pixels)
        assert live.now == pytest.approx(sum(saved.values()), rel=0.02)
    assert latents.requires_grad


def test_stable_diffusion_needs_what_was_published(tmp_path):
    """Against another count, ../shared/diffusion-guidance.md, section 6, at 512 pixels in half precision."""
    prior = hollow(write_settings(tmp_path), torch.bfloat16)
    assert count(prior.unet) == pytest.approx(865.91e6, rel=1e-5)
    assert occupied([prior.unet]) == pytest.approx(1.61 * 1024 * MIB, rel=0.01)
    prior.vae.enable_gradient_checkpointing()
    assert step_bytes(prior, (512, 512), gradient=True) == pytest.approx(976 * MIB, rel=0.02)
    assert step_bytes(prior, (512, 512), gradient=False) == pytest.approx(384 * MIB, rel=0.02)
    prior.vae.disable_gradient_checkpointing()
    both = 1497 + 130  # the encoder's graph waits while both prompts are in the U-Net
    assert step_bytes(prior, (512, 512), gradient=True) == pytest.approx(both * MIB, rel=0.02)


def plan(folder: Path, level: str, available: int | None = None, gradient: bool = True) -> MemoryPlan:
    return plan_memory(
        level, "auto", CPU, folder, SIZE, gradient=gradient, decoder=not gradient, available=available
    )


@pytest.fixture(scope="module")
def fastest(tiny_model) -> MemoryPlan:
    return plan(tiny_model, "high")


def test_without_a_limit_nothing_is_spared(tiny_model, fastest):
    assert plan(tiny_model, "auto") == fastest
    assert (fastest.dtype, fastest.checkpoint_encoder, fastest.one_batch) == (torch.float32, False, True)


def test_a_limit_spares_as_much_as_is_needed(tiny_model, fastest):
    assert plan(tiny_model, "auto", fastest.needed).step == fastest.step
    next_best = plan(tiny_model, "auto", fastest.needed - 1)
    assert next_best.checkpoint_encoder
    assert next_best.needed < fastest.needed
    assert "it may not fit" not in next_best.sentence("auto")
    assert "it may not fit" in plan(tiny_model, "auto", 1).sentence("auto")


def test_low_spares_all_that_can_be_spared(tiny_model, fastest):
    low = plan(tiny_model, "low")
    assert (low.dtype, low.checkpoint_encoder) == (torch.bfloat16, True)
    assert low.weights == fastest.weights / 2
    prior = hollow(tiny_model, torch.bfloat16)
    prior.free_decoder()
    prior.one_batch = False
    unchecked = step_bytes(prior, SIZE, gradient=True)
    prior.vae.enable_gradient_checkpointing()
    assert low.step == step_bytes(prior, SIZE, gradient=True) < unchecked < fastest.step / 2
    assert not low.one_batch


def test_the_decoder_is_counted_where_it_stays(tiny_model, fastest):
    vae = hollow_prior(tiny_model, torch.float32).vae
    kept = plan(tiny_model, "high", gradient=False).weights
    assert kept - fastest.weights == occupied([vae.decoder, vae.post_quant_conv])


def test_precision_follows_the_device_and_the_models_size(monkeypatch):
    assert choose_precision("auto", CPU, 3_000_000) == torch.float32
    assert choose_precision("auto", CPU, 866_000_000) == torch.bfloat16
    assert choose_precision("auto", CPU, 3_000_000, spare=True) == torch.bfloat16
    assert choose_precision("float32", CPU, 866_000_000, spare=True) == torch.float32
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert choose_precision("auto", CUDA, 3_000_000) == dtype


def test_the_plan_is_told_in_one_sentence():
    sparing = MemoryPlan(torch.bfloat16, True, True, False, False, 1717 * MIB, 981 * MIB, 6144 * MIB)
    assert sparing.sentence("auto") == (
        "guidance memory (--guidance_memory auto): bfloat16; 1.68 GiB of weights, up to 981.0 MiB more in a "
        "guided step; activations of the VAE's encoder computed again on the way back, both prompts one "
        "after the other; with a million Gaussians 4.65 GiB of 6.00 GiB"
    )
    decoding = replace(sparing, gradient=False, checkpoint_encoder=False, one_batch=True, available=None)
    assert decoding.sentence("high").endswith("more in a guided step; both prompts at once")
