"""CLIP's vectors equal transformers' own, from either kind of folder; what cannot be used is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from sds_guidance.clip import load_clip, load_towers
from sds_guidance.models import CLIP, TOWERS, find_model
from tests.sds_guidance.fakes import put_towers, save_tiny_clip
from utils.errors import UserError, Warnings
from utils.images import image_tensor

PROMPTS = ["a red vase", "fern", "a blue car, far away"]


def pictures() -> list[np.ndarray]:
    """Twenty pictures of different sizes and shapes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (30 + k, 60 - k, 3), dtype=np.uint8) for k in range(20)]


def cosines(clip) -> torch.Tensor:
    """(20, 3) of the pictures and the prompts."""
    return clip.of_pictures(map(image_tensor, pictures())) @ clip.of_texts(PROMPTS, Warnings()).T


@torch.no_grad()
def wanted(folder, dtype=torch.float32) -> torch.Tensor:
    """What a `CLIPModel` makes of them, its weights rounded to a format."""
    model = CLIPModel.from_pretrained(folder).to(dtype).float().eval()
    processor, tokenizer = CLIPImageProcessor.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    pixels = processor([Image.fromarray(each) for each in pictures()], return_tensors="pt").pixel_values
    tokens = tokenizer(PROMPTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    return model(pixel_values=pixels, **tokens).logits_per_image / model.logit_scale.exp()


def test_cosines_are_those_of_the_whole_clip(tiny_clip):
    found = cosines(load_clip(tiny_clip))
    torch.testing.assert_close(found, wanted(tiny_clip), atol=1e-5, rtol=0)
    assert found.std(dim=0).min() > 1e-3 and found.std(dim=1).min() > 1e-3


def test_the_towers_of_a_guidance_model_compute_in_float32(tiny_clip, tiny_towers):
    clip = load_towers(tiny_towers)
    assert {weights.dtype for weights in clip.vision.tower.parameters()} == {torch.float32}
    torch.testing.assert_close(cosines(clip), wanted(tiny_clip, torch.float16), atol=1e-5, rtol=0)


def test_a_prompt_that_is_too_long_is_cut_and_mentioned(tiny_clip):
    warnings = Warnings()
    vectors = load_clip(tiny_clip).of_texts(["abcdefghijklmnop", "abcdefghijklmnxyz"], warnings)
    torch.testing.assert_close(vectors[0], vectors[1])
    assert "cut to the text encoder's 16 tokens" in warnings.lines()[0]


def test_a_text_encoder_without_projection_points_to_a_clip_of_its_own(tiny_towers, tiny_model, tmp_path):
    model = shutil.copytree(tiny_towers, tmp_path / "model")
    shutil.rmtree(model / "text_encoder")
    shutil.copytree(tiny_model / "text_encoder", model / "text_encoder")
    find_model(str(model), None, Warnings(), kind=TOWERS)
    with pytest.raises(UserError, match=r"\(CLIPTextModel\) has no projection[^$]*--clip_model openai/"):
        load_towers(model)


def test_a_model_without_vision_tower_points_to_a_clip_of_its_own(tiny_model):
    with pytest.raises(UserError) as refusal:
        find_model(str(tiny_model), None, Warnings(), kind=TOWERS)
    text = str(refusal.value)
    assert "is not a model with both towers of a CLIP" in text
    assert "image_encoder/config.json" in text and "feature_extractor/preprocessor_config.json" in text
    assert "unet" not in text
    assert "--clip_model openai/clip-vit-large-patch14" in text


def test_towers_of_different_models_are_refused(tiny_model, tiny_towers, tmp_path):
    other = save_tiny_clip(tmp_path / "clip", tiny_model / "tokenizer", joint_width=16)
    model = put_towers(other, shutil.copytree(tiny_model, tmp_path / "model"))
    shutil.rmtree(model / "text_encoder")
    shutil.copytree(tiny_towers / "text_encoder", model / "text_encoder")
    with pytest.raises(UserError, match="16 numbers and texts of 24: the two towers do not belong together"):
        load_towers(model)


def test_a_guidance_model_is_no_clip_and_a_clip_is_complete(tiny_model, tiny_clip):
    with pytest.raises(UserError, match=r"--clip_model: .* is not a complete folder") as refusal:
        find_model(str(tiny_model), None, Warnings(), kind=CLIP)
    assert "    config.json\n    model.safetensors or" in str(refusal.value)
    found = find_model(str(tiny_clip), None, Warnings(), kind=CLIP)
    assert found.folder == tiny_clip and found.revision.startswith("local-")


def test_a_model_of_another_kind_is_refused(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "siglip")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip"}))
    with pytest.raises(UserError, match="holds a model of type 'siglip'"):
        load_clip(folder)


def test_damaged_weights_are_one_message(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "damaged")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="cannot be loaded as a CLIPModel"):
        load_clip(folder)
