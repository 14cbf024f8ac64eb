"""unCLIP: labels as diffusers' pipeline makes them, one a view, through the U-Net's own input; refusals."""

import json
import shutil
from dataclasses import replace
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

import train
from sds_guidance import GuidanceOptions
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.loading import load_guidance, pilot_guidance
from sds_guidance.memory import plan_memory
from sds_guidance.models import find_model
from sds_guidance.prior import load_prior
from sds_guidance.unclip import (
    SEED_OFFSET,
    UNCLIP,
    ImageConditions,
    image_labels,
    label_rows,
    with_labels,
    without_labels,
)
from tests.programs import ply, run_train
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import applied, moved_camera
from utils.checkpoints import checkpoint_path
from utils.errors import UserError, Warnings
from utils.options import parse

CPU = torch.device("cpu")


def pipeline_labels(folder, pictures, noise_level: int, seed: int) -> torch.Tensor:
    """(P, 2, L): what the pipeline's own methods make of PIL pictures, one call each; negative row first."""
    pipeline: Any = SimpleNamespace(
        feature_extractor=CLIPImageProcessor.from_pretrained(folder / "feature_extractor"),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval(),
        image_normalizer=StableUnCLIPImageNormalizer.from_pretrained(folder / "image_normalizer"),
        image_noising_scheduler=DDPMScheduler.from_pretrained(folder / "image_noising_scheduler"),
    )
    pipeline.noise_image_embeddings = MethodType(StableUnCLIPImg2ImgPipeline.noise_image_embeddings, pipeline)
    generator = torch.Generator().manual_seed(seed + SEED_OFFSET)
    with torch.no_grad():
        made = [
            StableUnCLIPImg2ImgPipeline._encode_image(
                pipeline, picture, CPU, 1, 1, True, noise_level, generator, None
            )
            for picture in pictures
        ]
    return torch.stack(made)


@pytest.mark.parametrize("level", [0, 300])
def test_labels_are_those_of_the_pipeline_bit_for_bit(cameras, tmp_path, tiny_unclip, level):
    files = [tmp_path / "b.png", tmp_path / "a.png"]
    found = image_labels(tiny_unclip, cameras, files, level, seed=3)
    pictures = [Image.open(camera.photograph.path) for camera in cameras] + [Image.open(it) for it in files]
    expected = pipeline_labels(tiny_unclip, pictures, level, seed=3)
    assert found.shape == (6, 48) and found.std() > 0.1
    assert torch.equal(found, expected[:, 1])
    assert not expected[:, 0].any()
    assert not torch.equal(found, image_labels(tiny_unclip, cameras, files, level, seed=4))


@pytest.mark.parametrize(("length", "rows"), [(48, 2), (32, 1), (33, 2), (64, 2)])
def test_labels_come_back_from_behind_the_text_states(length, rows):
    states, labels = torch.randn(2, 5, 32), torch.randn(2, length)
    both = with_labels(states, labels)
    assert both.shape == (2, 5 + rows, 32) and label_rows(length, 32) == rows
    for part, expected in zip(without_labels(both, length), (states, labels), strict=True):
        assert torch.equal(part, expected)
    assert torch.equal(without_labels(both[:1], length)[1], labels[:1])


@pytest.mark.parametrize("one_batch", [True, False])
def test_the_unet_gets_each_prompt_with_its_label(tiny_unclip, one_batch):
    """The estimate equals classifier-free guidance over two plain calls of the network."""
    prior = load_prior(tiny_unclip, CPU, torch.float32, one_batch=one_batch, tasks=["unCLIP"])
    random = torch.Generator().manual_seed(0)
    states, labels = torch.randn(2, 5, 32, generator=random), torch.randn(2, 48, generator=random)
    noised, t = torch.randn(3, 4, 8, 8, generator=random), torch.tensor([100, 400, 700])
    found = prior.predict(noised, t, with_labels(states, labels), guidance_scale=3.0)
    with torch.no_grad():
        negative, positive = (
            prior.unet(
                noised,
                t,
                encoder_hidden_states=states[k].expand(3, -1, -1),
                class_labels=labels[k].expand(3, -1),
            ).sample
            for k in (0, 1)
        )
    expected = prior.read(negative + 3.0 * (positive - negative), noised, t)
    torch.testing.assert_close(found.noise, expected.noise, atol=1e-5, rtol=1e-5)
    other = prior.predict(noised, t, with_labels(states, labels.flip(0)), guidance_scale=3.0)
    assert (other.noise - found.noise).abs().max() > 1e-4
    alone = prior.predict(noised, t, with_labels(states, labels)[:1], guidance_scale=1.0)  # as ism inverts
    torch.testing.assert_close(alone.noise, prior.read(negative, noised, t).noise, atol=1e-5, rtol=1e-5)


def test_a_view_gets_the_label_of_the_nearest_photograph(cameras):
    labels, states = torch.arange(1.0, 5.0)[:, None].expand(4, 6), torch.zeros(2, 3, 6)
    conditions = ImageConditions(lambda *_: states, cameras, labels)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    for number, camera in enumerate(cameras):
        pose = camera.world_to_camera.clone()
        pose[0, 3] += 0.3
        found = conditions(replace(camera, name="novel", world_to_camera=pose), generator)
        assert torch.equal(found[:, :3], states)
        assert found[:, 3:].flatten(1).tolist() == [[0.0] * 6, [number + 1.0] * 6]
    assert torch.equal(generator.get_state(), before)  # nothing is drawn where there is no choice

    poses = [camera.world_to_camera.clone() for camera in cameras]
    for pose in poses:
        pose[:3, 3] = 0  # all from one spot: the direction decides
    turned = [replace(it, world_to_camera=pose) for it, pose in zip(cameras, poses, strict=True)]
    conditions = ImageConditions(lambda *_: states, turned, labels)
    assert [conditions.nearest(camera) for camera in turned] == [0, 1, 2, 3]


def test_condition_images_take_turns_with_it_by_chance(cameras):
    labels = torch.arange(1.0, 7.0)[:, None].expand(6, 4)
    conditions = ImageConditions(lambda *_: torch.zeros(2, 3, 4), cameras, labels)

    def drawn(conditions, seed):
        random = torch.Generator().manual_seed(seed)
        return [float(conditions(cameras[2], random)[1, 3, 0]) for _ in range(300)]

    found = drawn(conditions, 0)
    assert found == drawn(conditions, 0) != drawn(conditions, 1)
    assert {value: found.count(value) > 70 for value in set(found)} == {3.0: True, 5.0: True, 6.0: True}
    part = conditions.among([cameras[0], cameras[3]])
    assert set(drawn(part, 0)) < {1.0, 4.0, 5.0, 6.0} and 3.0 not in drawn(part, 0)


def load(folder, cameras, **words):
    options = GuidanceOptions(
        guidance_model=str(folder),
        guidance_interval=1,
        guidance_from=0.0,
        guidance_resolution=64,
        words=ConditioningOptions(**{"image_condition": "unclip", **words}),
    )
    return load_guidance(
        options, cpu_run(seed=3), cameras=cameras, sample_camera=moved_camera, iterations=100
    )


def test_a_loaded_model_asks_with_these_labels_and_keeps_no_tower(cameras, tiny_unclip):
    guidance = load(tiny_unclip, cameras)
    prior: Any = guidance.mode.prior
    assert {name for name, value in vars(prior).items() if isinstance(value, torch.nn.Module)} == {
        "unet",
        "vae",
    }
    seen = []
    prior.unet.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["class_labels"]), with_kwargs=True
    )
    applied(guidance, 1)
    expected = pipeline_labels(tiny_unclip, [Image.open(it.photograph.path) for it in cameras], 0, 3)
    assert any(torch.equal(seen[0], pair) for pair in expected)
    assert guidance.description["image_condition"] == "unclip"

    left_out = guidance.conditions.nearest(moved_camera(torch.Generator().manual_seed(0), 0.0))
    kept = [camera for number, camera in enumerate(cameras) if number != left_out]
    pilot = pilot_guidance(
        guidance, kept, moved_camera, lambda _: 1.0, iterations=50, lambda_sds=0.2, device=CPU
    )
    applied(pilot, 1)
    assert any(torch.equal(seen[-1], pair) for pair in expected)
    assert not torch.equal(seen[-1], expected[left_out])


def test_the_memory_plan_counts_the_class_embedding(tiny_unclip, tiny_models):
    plans = [
        plan_memory("high", "float32", CPU, it, (64, 64), gradient=True, decoder=False, available=None)
        for it in (tiny_unclip, tiny_models["v_prediction"])
    ]
    width, label = 128, 48  # of the U-Net's embedding of t, four times its first block, and of the labels
    assert plans[0].weights - plans[1].weights == 4 * (label * width + width + width * width + width)


@pytest.mark.parametrize(
    ("model", "flags", "words"),
    [
        ("plain", {}, "image_encoder/config.json"),
        ("plain", {}, "--image_condition unclip wants an unCLIP model, sd2-community/"),
        ("complete", {}, "is of another task (latent diffusion, text-to-image); its U-Net has no input"),
        ("unclip", {"image_condition": "auto"}, "With --image_condition unclip it sees the photographs"),
        ("unclip", {"unclip_noise_level": 1000}, "--unclip_noise_level 1000: allowed is 0 to 999"),
        ("no_normaliser", {}, "image_normalizer/diffusion_pytorch_model.safetensors"),
        ("narrow", {}, "pictures become 24 numbers, the normaliser takes 16"),
    ],
)
def test_models_and_levels_that_do_not_go_together(
    cameras, tmp_path, tiny_models, tiny_unclip, model, flags, words
):
    folder = shutil.copytree(tiny_unclip, tmp_path / "model")
    if model == "plain":
        folder = tiny_models["v_prediction"]
    if model == "complete":
        shutil.rmtree(folder / "unet")
        shutil.copytree(tiny_models["v_prediction"] / "unet", folder / "unet")
    if model == "no_normaliser":
        (folder / "image_normalizer" / "diffusion_pytorch_model.safetensors").unlink()
    if model == "narrow":
        StableUnCLIPImageNormalizer(16).save_pretrained(folder / "image_normalizer")
    with pytest.raises(UserError) as raised:
        load(folder, cameras, **flags)
    assert words in str(raised.value)


def test_flags_that_do_not_go_together():
    words = ConditioningOptions(image_condition="unclip")
    with pytest.raises(UserError, match="--image_condition unclip: the inpainting model"):
        GuidanceOptions(
            guidance="rectified",
            words=words,
            rectified=replace(GuidanceOptions().rectified, inpainting_model="x"),
        ).check()
    for flags, said in (
        ({"unclip_noise_level": 5}, "--unclip_noise_level is for --image_condition unclip"),
        ({"unclip_noise_level": -1, "image_condition": "unclip"}, "--unclip_noise_level -1"),
    ):
        with pytest.raises(UserError, match=said):
            ConditioningOptions(**flags).check()


def test_a_complete_model_is_found_and_of_the_hubs_all_parts_are_fetched(tiny_unclip):
    assert find_model(str(tiny_unclip), None, Warnings(), kind=UNCLIP).folder == tiny_unclip
    parts = {pattern.split("/")[0] for pattern in UNCLIP.downloads()}
    assert {"image_encoder", "feature_extractor", "image_normalizer", "image_noising_scheduler"} < parts


def test_a_run_sees_its_photographs_and_goes_on_bit_for_bit(small_scene, tiny_unclip, tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    flags = (
        *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_until", 1, "--guidance_interval", 2),
        *("--guidance_resolution", 64, "--checkpoint_interval", 5, "--test_iterations", -1),
        *("--guidance_model", tiny_unclip, "--iterations", 10, "--guidance_gate", "off"),
        *("--image_condition", "unclip"),
    )
    whole = run_train(small_scene, tmp_path / "whole", *flags, "--condition_images", tmp_path / "x.png")
    plain = run_train(small_scene, tmp_path / "plain", *flags)
    assert ply(whole, 10) != ply(plain, 10)
    assert json.loads((whole / "settings.json").read_text())["guidance"]["image_condition"] == "unclip"
    folder = shutil.copytree(whole, tmp_path / "resumed")
    checkpoint_path(folder, 10).unlink()
    words = ["-s", small_scene, "-m", folder, "--device", "cpu", *flags, "--resume"]
    words += ["--condition_images", tmp_path / "x.png"]
    train.main(parse(train.Options, [str(word) for word in words]))
    assert ply(folder, 10) == ply(whole, 10)
