"""From flags and a model's folder to a guidance that guides: what is loaded, kept, told and refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from sds_guidance import Guidance, GuidanceOptions, load_guidance
from sds_guidance.text import encode_prompts
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import CAMERA, applied, moved_camera, view
from utils.errors import UserError, Warnings

CPU = torch.device("cpu")


def load(folder, **changes) -> Guidance:
    """A guidance from a model's folder, as train.py builds it."""
    options = GuidanceOptions(
        guidance_model=str(folder),
        guidance_interval=1,
        guidance_from=0.0,
        guidance_resolution=64,
        prompt="a fern",
    )
    return load_guidance(
        replace(options, **changes),
        cpu_run(say=print),
        cameras=[replace(CAMERA, height=48)],
        sample_camera=moved_camera,
        iterations=100,
    )


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_loaded_model_guides_and_describes_itself(tiny_models, kind):
    guidance = load(tiny_models[kind])
    gradient, scalars = applied(guidance, 1, photometric_norm=1e-3)
    assert float(gradient.norm()) == pytest.approx(0.2e-3 / 5, rel=1e-3)  # the first of five warm-up steps
    assert scalars["guidance_dropped"] == 0
    assert guidance.description == {
        "mode": "sds",
        "model": str(tiny_models[kind]),
        "revision": guidance.description["revision"],
        "image_condition": "auto",
        "lora": "",
        "embedding": "",
        "prompt": "a fern",
        "negative_prompt": GuidanceOptions.negative_prompt,
        "prediction_type": kind,
        "precision": "float32",
        "checkpoint_encoder": False,
        "one_batch": True,
        "offload": False,
        "picture_width": 88,
        "picture_height": 64,
    }


def test_both_prompts_reach_the_unet(tiny_model):
    guidance = load(tiny_model, negative_prompt="mud")
    seen: list[torch.Tensor] = []
    prior: Any = guidance.mode.prior  # type: ignore[attr-defined]
    prior.unet.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    applied(guidance, 1)
    expected = encode_prompts(tiny_model, ["mud", "a fern"], CPU, torch.float32, Warnings())
    assert torch.equal(seen[0], expected)


def test_only_unet_and_encoder_stay(tiny_model):
    prior: Any = load(tiny_model).mode.prior  # type: ignore[attr-defined]
    assert prior.vae.decoder is None
    assert {name for name, value in vars(prior).items() if isinstance(value, torch.nn.Module)} == {
        "unet",
        "vae",
    }


def test_the_decoder_stays_where_sheets_are_to_be_drawn(tiny_model):
    guidance = load(tiny_model, guidance_log=5)
    (camera,) = guidance.cameras(1)
    result = guidance([view(camera)], 1, 1.0)
    assert {name: picture.shape for name, picture in result.guided[0].pictures().items()} == {
        "noised": (3, 64, 64),
        "denoised": (3, 64, 64),
    }


def test_low_memory_is_told_and_done(tiny_model, capsys):
    guidance = load(tiny_model, guidance_memory="low")
    prior: Any = guidance.mode.prior  # type: ignore[attr-defined]
    assert "guidance memory (--guidance_memory low): bfloat16" in capsys.readouterr().out
    assert prior.vae.encoder.gradient_checkpointing
    assert not prior.one_batch
    assert prior.unet.dtype == torch.bfloat16
    gradient, _ = applied(guidance, 1)
    assert gradient.isfinite().all()


def test_a_second_run_needs_no_text_encoder(tiny_model, monkeypatch):
    first, _ = applied(load(tiny_model, prompt="a moss"), 1)

    def refuse(*_, **__):
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr("sds_guidance.prompt_cache.prompt_encoder", refuse)
    second, _ = applied(load(tiny_model, prompt="a moss"), 1)
    assert torch.equal(first, second)


def test_the_global_generator_is_left_alone(tiny_model):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    guidance = load(tiny_model)
    applied(guidance, 1)
    guidance.measure(view)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bad_flag_stops_before_anything_is_looked_for():
    with pytest.raises(UserError, match="--guidance_until"):
        load("nowhere", guidance_until=2.0)
