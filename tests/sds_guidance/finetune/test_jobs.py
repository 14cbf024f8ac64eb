"""Every method on the tiny model: it trains what it names alone, and guidance takes what it ends in."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from scene.cameras import Camera
from sds_guidance import GuidanceOptions, View, load_guidance
from sds_guidance.embedding import Placeholder, read_embedding, save_embedding
from sds_guidance.finetune.jobs import suit_processor
from sds_guidance.finetune.program import finetune
from sds_guidance.lora import read_lora
from sds_guidance.prior import load_prior
from sds_guidance.text import encode_prompts, load_text_encoder
from tests.sds_guidance.fakes import save_random_lora, save_tiny_model
from tests.sds_guidance.runs import cpu_run
from utils.errors import UserError, Warnings

CPU = torch.device("cpu")
PARTS = ("unet", "vae", "text_encoder")
LONG = {"steps": 16, "batch_size": 4, "learning_rate": 1e-2}


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (path,) = (folder / part).glob("*.safetensors")
    return safetensors.torch.load_file(path)


def changed(base: Path, result: Path) -> set[str]:
    """The first words of the names of all weights in which two models differ, with their part's name."""
    return {
        f"{part}/{name.split('.')[0]}"
        for part in PARTS
        for name, tensor in weights(result, part).items()
        if not torch.equal(tensor, weights(base, part)[name])
    }


def held_out(folder: Path) -> list[dict]:
    """The validations of a run, the first and the last."""
    validations = json.loads((folder / "report.json").read_text())["validations"]
    return [validations[0]["held_out_instances"], validations[-1]["held_out_instances"]]


def mean_losses(folder: Path) -> tuple[float, float]:
    before, after = (sum(found["loss_per_band"]) / 10 for found in held_out(folder))
    return before, after


def guided_gradient(model: Path, **flags) -> torch.Tensor:
    """What one guided step sends into a rendering, (3, 16, 16)."""
    intrinsics = torch.tensor([[20.0, 0.0, 32.0], [0.0, 20.0, 32.0], [0.0, 0.0, 1.0]])
    camera = Camera("novel", torch.eye(4), intrinsics, 64, 64)
    options = GuidanceOptions(
        guidance_model=str(model), guidance_interval=1, guidance_from=0.0, guidance_resolution=64, **flags
    )
    guidance = load_guidance(
        options,
        cpu_run(),
        cameras=[camera],
        sample_camera=lambda generator, progress: camera,
        iterations=10,
    )
    rgb = torch.full((3, 64, 64), 0.5, requires_grad=True)
    view = View(guidance.cameras(1)[0], rgb, torch.ones(1, 64, 64), torch.ones(1, 64, 64))
    (gradient,) = torch.autograd.grad(guidance([view], 1, 1.0).loss, rgb)
    return gradient


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_lora_lowers_the_loss_and_guides(options, tiny_model, tmp_path, precision):
    result = finetune(options({**LONG, "precision": precision}, method="lora"))
    before, after = mean_losses(tmp_path / "run")
    assert after < before - 0.02
    names = list(safetensors.torch.load_file(result / "pytorch_lora_weights.safetensors"))
    assert all(name.startswith("unet.") and "attn" in name for name in names)
    with_it = guided_gradient(tiny_model, guidance_lora=str(result))
    assert torch.isfinite(with_it).all()
    assert not torch.allclose(with_it, guided_gradient(tiny_model))


def test_a_merged_lora_gives_the_output_of_the_trained_one_and_leaves_the_base_weights(tiny_model, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(tiny_model, subfolder="unet")
    save_random_lora(unet, tmp_path)

    base = weights(tiny_model, "unet")
    inside = {name.replace(".base_layer", ""): tensor for name, tensor in unet.state_dict().items()}
    assert all(torch.equal(inside[name], tensor) for name, tensor in base.items())

    noised, t, states = torch.randn(2, 4, 8, 8), torch.tensor([5, 900]), torch.randn(2, 16, 32)
    merged = load_prior(tiny_model, CPU, torch.float32, lora=read_lora(tmp_path)).unet
    assert merged.state_dict().keys() == base.keys()
    with torch.no_grad():
        expected = unet(noised, t, states).sample
        torch.testing.assert_close(merged(noised, t, states).sample, expected, atol=1e-5, rtol=1e-5)
        plain = load_prior(tiny_model, CPU, torch.float32).unet(noised, t, states).sample
    assert float((plain - expected).abs().max()) > 0.01


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_text_encoder_is_trained_through_the_frozen_unet(options, tiny_model, tmp_path, method):
    result = finetune(options(LONG, method=method, train="text_encoder", caption_dropout=0.0))
    before, after = mean_losses(tmp_path / "run")
    assert after < before
    plain = encode_prompts(tiny_model, ["a red box"], CPU, torch.float32, Warnings())
    if method == "full":
        assert {name.split("/")[0] for name in changed(tiny_model, result)} == {"text_encoder"}
        tuned = encode_prompts(result, ["a red box"], CPU, torch.float32, Warnings())
    else:
        names = list(safetensors.torch.load_file(result / "pytorch_lora_weights.safetensors"))
        assert all(name.startswith("text_encoder.") for name in names)
        lora = read_lora(result)
        tuned = encode_prompts(tiny_model, ["a red box"], CPU, torch.float32, Warnings(), lora=lora)
    assert float((tuned - plain).abs().max()) > 0.01


def test_the_decoder_alone_is_trained_and_its_psnr_rises(options, tiny_model, tmp_path):
    result = finetune(options(LONG, method="full", train="vae_decoder", samples=2))
    before, after = (found["psnr"][0] for found in held_out(tmp_path / "run"))
    assert after > before + 1
    assert changed(tiny_model, result) <= {"vae/decoder", "vae/post_quant_conv"}
    assert (tmp_path / "run" / "samples_after.png").stat().st_size > 200


def test_inversion_learns_a_word_and_guidance_understands_it(options, tiny_model, tmp_path):
    path = finetune(
        options(LONG, method="inversion", placeholder_token="<it>", placeholder_vectors=2, caption="x")
    )
    before, after = mean_losses(tmp_path / "run")
    assert after < before
    learnt = read_embedding(path)
    assert (learnt.token, learnt.vectors.shape) == ("<it>", (2, 32))
    flags = {"guidance_embedding": str(path), "prompt": "a photograph of <it>"}
    assert torch.isfinite(guided_gradient(tiny_model, **flags)).all()
    with pytest.raises(UserError, match="teaches the word <it>, but no prompt contains it"):
        guided_gradient(tiny_model, **{**flags, "prompt": "a fern"})


def test_a_word_s_vectors_stand_where_the_word_is_and_other_prompts_stay(tiny_model):
    def encode(prompt, placeholder=None):
        states = encode_prompts(tiny_model, [prompt], CPU, torch.float32, Warnings(), placeholder=placeholder)
        return states[0]

    table = weights(tiny_model, "text_encoder")["embeddings.token_embedding.weight"]
    a, b = 28, 29  # the tokens of "a" and "b" at a word's end
    same = Placeholder("<it>", table[[a, b]])
    assert torch.equal(encode("c <it>, d", same), encode("c a b, d"))
    assert torch.equal(encode("c, d", same), encode("c, d"))
    other = Placeholder("<it>", table[[a, b]] + 1)
    assert not torch.allclose(encode("c <it>, d", other), encode("c a b, d"))


def test_a_pipeline_of_diffusers_reads_both_files(options, tiny_model, tmp_path):
    scheduler = DDIMScheduler.from_pretrained(tiny_model, subfolder="scheduler", steps_offset=1)
    tokenizer, encoder = load_text_encoder(tiny_model, CPU, torch.float32)
    prior = load_prior(tiny_model, CPU, torch.float32)
    pipeline: Any = StableDiffusionPipeline(
        vae=prior.vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=prior.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    lora = finetune(options(LONG, method="lora", model_path=str(tmp_path / "lora")))
    pipeline.load_lora_weights(str(lora))
    noised, t, states = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 16, 32)
    merged = load_prior(tiny_model, CPU, torch.float32, lora=read_lora(lora)).unet
    with torch.no_grad():
        expected = merged(noised, t, states).sample
        torch.testing.assert_close(pipeline.unet(noised, t, states).sample, expected, atol=1e-5, rtol=1e-5)

    word = Placeholder("<it>", torch.randn(2, 32, generator=torch.Generator().manual_seed(0)))
    save_embedding(tmp_path / "word.safetensors", word)
    pipeline.load_textual_inversion(str(tmp_path / "word.safetensors"))
    theirs = pipeline.encode_prompt("a <it> b", CPU, 1, do_classifier_free_guidance=False)[0]
    ours = encode_prompts(tiny_model, ["a <it> b"], CPU, torch.float32, Warnings(), placeholder=word)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_a_trained_model_guides(options, tiny_model):
    result = finetune(options(LONG, method="full"))
    assert {name.split("/")[0] for name in changed(tiny_model, result)} == {"unet"}
    gradient = guided_gradient(result)
    assert torch.isfinite(gradient).all()
    assert not torch.allclose(gradient, guided_gradient(tiny_model))


def test_gradient_checkpointing_changes_memory_and_not_the_result(options, tmp_path):
    losses = []
    for name, flag in (("a", False), ("b", True)):
        finetune(options(method="full", gradient_checkpointing=flag, model_path=str(tmp_path / name)))
        losses.append(held_out(tmp_path / name)[1]["loss_per_band"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


TO_Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "wanted is a folder with pytorch_lora_weights"),
        (b"nothing", "cannot be read as a LoRA"),
        ({"x": torch.ones(1)}, "holds no weights for a U-Net"),
        (
            {f"{TO_Q}.lora_A.weight": torch.ones(2, 640), f"{TO_Q}.lora_B.weight": torch.ones(640, 2)},
            "does not fit the model's unet",
        ),
    ],
)
def test_a_lora_of_the_wrong_kind_is_refused(tiny_model, tmp_path, content, message):
    path = tmp_path / "wrong.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        safetensors.torch.save_file(content, path)
    with pytest.raises(UserError, match=f"--guidance_lora .*{message}"):
        load_prior(tiny_model, CPU, torch.float32, lora=read_lora(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"<a>": torch.ones(1, 32), "<b>": torch.ones(1, 32)}, "wanted is one word"),
        ({"<a>": torch.ones(1, 7)}, "7 wide, the text encoder works with 32"),
        ({"a</w>": torch.ones(1, 32)}, "knows the word"),
    ],
)
def test_an_embedding_of_the_wrong_kind_is_refused(tiny_model, tmp_path, content, message):
    path = tmp_path / "word.safetensors"
    safetensors.torch.save_file(content, path)
    with pytest.raises(UserError, match=message):
        encode_prompts(tiny_model, ["a"], CPU, torch.float32, Warnings(), placeholder=read_embedding(path))


@pytest.mark.parametrize(("side", "plain"), [(8, True), (64, False)])
def test_plain_attention_is_for_small_latents_and_changes_no_gradient(tmp_path, side, plain):
    unet = load_prior(save_tiny_model(tmp_path), CPU, torch.float32).unet.requires_grad_(True)
    unet.register_to_config(sample_size=side)
    random = torch.Generator().manual_seed(0)
    z, states = torch.randn(2, 4, 8, 8, generator=random), torch.randn(2, 5, 32, generator=random)

    def gradients() -> list[torch.Tensor]:
        unet.zero_grad()
        unet(z, 500, encoder_hidden_states=states).sample.square().mean().backward()
        return [parameter.grad.clone() for parameter in unet.parameters()]

    fused, kinds = gradients(), {type(found) for found in unet.attn_processors.values()}
    suit_processor(unet)
    assert (kinds != {type(found) for found in unet.attn_processors.values()}) == plain
    for found, wanted in zip(gradients(), fused, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_a_model_that_adds_its_pooled_text_to_the_time_is_trained_and_guides(options, tmp_path):
    base = save_tiny_model(tmp_path / "base", addition_embed_type="text", addition_embed_type_num_heads=4)
    result = finetune(options(guidance_model=str(base), method="full"))
    assert "unet/add_embedding" in changed(base, result)
    estimate = load_prior(result, CPU, torch.float32).unet
    z = torch.zeros(1, 4, 8, 8)
    red, blue = (
        estimate(z, 500, encoder_hidden_states=encode_prompts(result, [text], CPU, torch.float32, Warnings()))
        for text in ("red", "blue")
    )
    assert not torch.equal(red.sample, blue.sample)
