"""The inpainting model beside a guidance model: found, held against its family, and loaded."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_guidance.architecture import read_architecture
from sds_guidance.inpainting import INPAINTING, demand_inpainting, find_inpainting
from sds_guidance.lora import read_lora
from sds_guidance.memory import occupied, plan_memory
from sds_guidance.models import find_model
from sds_guidance.prior import load_inpainting, load_prior
from tests.sds_guidance.fakes import save_random_lora
from utils.errors import UserError, Warnings

CPU = torch.device("cpu")
ARGV = ["train.py", "-s", "scene"]
UNGUIDED = "    python train.py -s scene --lambda_sds 0"


def message(model: object, beside: Path) -> str:
    """What is said of a model that is refused."""
    with pytest.raises(UserError) as refusal:
        find_inpainting(str(model), beside, ARGV, Warnings())
    assert str(refusal.value).endswith(UNGUIDED)
    return str(refusal.value)


def changed(folder: Path, copy: Path, part: str, **settings: Any) -> Path:
    """A copy of a model with other settings."""
    shutil.copytree(folder, copy)
    path = copy / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return copy


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_model_of_the_family_is_found_whatever_either_predicts(tiny_models, tiny_inpainting_model, kind):
    found = find_inpainting(str(tiny_inpainting_model), tiny_models[kind], ARGV, Warnings())
    assert found.folder == tiny_inpainting_model
    assert found.revision.startswith("local-")


def test_of_its_vae_and_text_encoder_only_settings_are_wanted(tiny_model, tiny_inpainting_model, tmp_path):
    folder = shutil.copytree(tiny_inpainting_model, tmp_path / "model")
    shutil.rmtree(folder / "tokenizer")
    for part in ("vae", "text_encoder"):
        for path in (folder / part).glob("*.safetensors"):
            path.unlink()
    assert find_inpainting(str(folder), tiny_model, ARGV, Warnings()).folder == folder
    assert [name for name in INPAINTING.downloads() if "safetensors" in name and "unet" not in name] == []
    prior = load_prior(tiny_model, CPU, torch.float32)
    assert load_inpainting(folder, prior, torch.float32).unet.config.in_channels == 9


def test_a_model_of_another_task_is_refused(tiny_model, tiny_depth_model):
    text = message(tiny_model, tiny_model)
    assert text.startswith(f"--inpainting_model: {tiny_model} is a model of another task")
    assert "latent diffusion, text-to-image" in text and "stable-diffusion-2-inpainting" in text
    assert "latent diffusion, depth" in message(tiny_depth_model, tiny_model)


def test_beside_a_model_that_is_asked_with_a_picture_it_is_refused(
    tiny_model, tiny_depth_model, tiny_inpainting_model
):
    base = read_architecture(tiny_model)
    unclip = replace(base, task="unCLIP", wants="the embedding of an image")
    with pytest.raises(UserError, match="unCLIP, which is asked with the embedding of an image"):
        demand_inpainting(tiny_inpainting_model, unclip)
    assert demand_inpainting(tiny_inpainting_model, read_architecture(tiny_depth_model)).task == "inpainting"


@pytest.mark.parametrize(
    ("part", "settings", "difference"),
    [
        ("vae", {"scaling_factor": 0.5}, "scaling factor of latents 0.5, there 0.18215"),
        ("vae", {"block_out_channels": [8, 16, 16]}, "multiple of a picture's sides 8, there 4"),
    ],
)
def test_a_model_of_another_family_is_refused(
    tiny_model, tiny_inpainting_model, tmp_path, part, settings, difference
):
    folder = changed(tiny_inpainting_model, tmp_path / "model", part, **settings)
    text = message(folder, tiny_model)
    assert text.startswith(
        f"--inpainting_model: {folder} (latent diffusion, inpainting) is of another family"
    )
    assert difference in text


def test_text_states_of_another_width_are_refused(tiny_model, tiny_inpainting_model, tmp_path):
    folder = changed(tiny_inpainting_model, tmp_path / "model", "unet", cross_attention_dim=24)
    changed(folder, tmp_path / "wider", "text_encoder", hidden_size=24)
    assert "width of text states 24, there 32" in message(tmp_path / "wider", tiny_model)
    text = message(folder, tiny_model)  # by itself it does not even fit together
    assert text.startswith("--inpainting_model: the U-Net") and "do not belong together" in text


def test_what_is_missing_is_named_with_the_flag(tiny_model, tiny_inpainting_model, tmp_path):
    assert message(tmp_path / "nowhere", tiny_model).startswith(
        f"--inpainting_model {tmp_path / 'nowhere'}: not found"
    )
    folder = shutil.copytree(tiny_inpainting_model, tmp_path / "model")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    text = message(folder, tiny_model)
    assert text.startswith("--inpainting_model:") and "unet/diffusion_pytorch_model.safetensors" in text
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLInpaintPipeline"}')
    assert "SDXL, which is not supported" in message(folder, tiny_model)


def test_it_does_not_guide_by_itself_and_is_told_where_it_does(tiny_inpainting_model):
    with pytest.raises(UserError, match="--guidance rectified, as --inpainting_model"):
        find_model(str(tiny_inpainting_model), ARGV, Warnings())


def test_another_noise_schedule_is_refused(tiny_model, tiny_inpainting_model, tmp_path):
    folder = changed(tiny_inpainting_model, tmp_path / "model", "scheduler", beta_end=0.02)
    prior = load_prior(tiny_model, CPU, torch.float32)
    with pytest.raises(UserError, match="--inpainting_model: the noise schedule"):
        load_inpainting(folder, prior, torch.float32)


def test_it_shares_the_vae_and_predicts_in_its_own_way(tiny_models, tiny_inpainting_model):
    prior = load_prior(tiny_models["v_prediction"], CPU, torch.float32, one_batch=False)
    inpainting = load_inpainting(tiny_inpainting_model, prior, torch.float32)
    assert inpainting.vae is prior.vae
    assert (prior.prediction_type, inpainting.prediction_type) == ("v_prediction", "epsilon")
    assert not inpainting.one_batch
    assert all(not weight.requires_grad for weight in inpainting.unet.parameters())


def test_an_adapter_changes_both_models_alike(tiny_model, tiny_inpainting_model, tmp_path):
    unet = load_prior(tiny_model, CPU, torch.float32).unet
    save_random_lora(unet, tmp_path)

    changes = []
    prior = load_prior(tiny_model, CPU, torch.float32)
    for load in (
        lambda lora: load_prior(tiny_model, CPU, torch.float32, lora=lora),
        lambda lora: load_inpainting(tiny_inpainting_model, prior, torch.float32, lora=lora),
    ):
        plain, tuned = (load(lora).unet.state_dict() for lora in (None, read_lora(tmp_path)))
        changes.append({name: tuned[name] - it for name, it in plain.items() if "conv_in" not in name})
    for name, change in changes[0].items():
        torch.testing.assert_close(changes[1][name], change, atol=1e-6, rtol=0)
    assert max(float(change.abs().max()) for change in changes[1].values()) > 0.01


def test_the_memory_plan_counts_its_weights(tiny_model, tiny_inpainting_model):
    def weights(**changes: Any) -> int:
        return plan_memory(
            "high", "bfloat16", CPU, tiny_model, (64, 64),
            gradient=True, decoder=False, available=None, **changes,
        ).weights  # fmt: skip

    prior = load_prior(tiny_model, CPU, torch.bfloat16)
    inpainting = load_inpainting(tiny_inpainting_model, prior, torch.bfloat16)
    assert weights(inpainting=tiny_inpainting_model) - weights() == occupied([inpainting.unet])
