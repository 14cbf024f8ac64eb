"""The inpainting sibling: it begins as the prior, sees what its masks leave, and is what train.py takes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sds_guidance.inpainting import find_inpainting
from sds_guidance.models import find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from tools.small_prior.inpainting import build_sibling, random_masks, seen_beside, widen
from tools.small_prior.options import InpaintOptions
from utils.errors import UserError, Warnings

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def small() -> Path:
    return find_model("small", None, Warnings()).folder


@pytest.fixture(scope="module")
def prior(small) -> LatentDiffusionPrior:
    return load_prior(small, torch.device("cpu"), torch.float32)


@torch.no_grad()
def test_a_widened_network_says_at_first_what_the_narrow_one_said(small):
    prior = load_prior(small, torch.device("cpu"), torch.float32)
    random = torch.Generator().manual_seed(0)
    latents, beside = (torch.randn(2, count, 16, 16, generator=random) for count in (4, 5))
    states, t = (
        torch.randn(2, 8, prior.unet.config.cross_attention_dim, generator=random),
        torch.tensor([9, 700]),
    )
    before = prior.unet(latents, t, encoder_hidden_states=states).sample
    widen(prior.unet)
    assert prior.unet.config.in_channels == 9
    after = prior.unet(torch.cat([latents, beside], dim=1), t, encoder_hidden_states=states).sample
    torch.testing.assert_close(after, before)


def test_masks_hide_from_a_tenth_to_everything_in_large_pieces():
    masks = random_masks(300, 32, torch.Generator().manual_seed(0))
    share = masks.float().mean(dim=(1, 2, 3))
    assert 0.08 < share.min() < 0.2 and share.max() > 0.95
    assert abs(float(share.mean()) - 0.55) < 0.05
    neighbours = (masks[..., 1:] == masks[..., :-1]).float().mean()
    assert neighbours > 0.9  # pixel noise would have about a half


def test_what_is_hidden_has_no_influence_and_what_is_shown_has(prior):
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[..., 32:] = True
    hidden, shown = pictures.clone(), pictures.clone()
    hidden[..., 32:] = float("nan")
    shown[..., :32] = 0
    found = seen_beside(prior, pictures, masks)
    assert found.shape == (1, 5, 8, 8)
    assert torch.equal(found[:, 0], masks[:, 0, ::8, ::8].float())
    assert torch.equal(found, seen_beside(prior, hidden, masks))
    assert not torch.equal(found, seen_beside(prior, shown, masks))


@pytest.mark.slow
def test_a_trained_sibling_is_taken_beside_its_model(small, tmp_path):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    rows = []
    for number, split in enumerate(("train", "train", "held_out_instances", "held_out_families")):
        pixels = np.full((128, 128, 3), 60 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{number}.png")
        words = {"family": "box", "colour": "red", "count": 1, "split": split}
        rows.append({"file_name": f"images/{number}.png", "text": f"a red box {number}", **words})
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = InpaintOptions(data=(str(data),), output=str(tmp_path / "run"), steps=3, batch_size=2, masks=2)
    model = build_sibling(options)
    assert find_inpainting(str(model), small, None, Warnings()).folder == model
    index = json.loads((model / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionInpaintPipeline"
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in log if "validation" in row] == [0, 3]
    before, after = (
        safetensors.torch.load_file(folder / "unet" / WEIGHTS)["conv_in.weight"] for folder in (small, model)
    )
    assert after[:, 4:].abs().max() > 0 and not torch.equal(before, after[:, :4])
    weights = (model / "unet" / WEIGHTS).read_bytes()
    shutil.rmtree(model)
    assert build_sibling(options) == model  # from the last checkpoint
    assert weights == (model / "unet" / WEIGHTS).read_bytes()


def test_flags_that_make_no_sense_are_named(tmp_path):
    for changed, flag in (({"data": ()}, "--data"), ({"output": ""}, "--output"), ({"masks": 0}, "--masks")):
        options = replace(InpaintOptions(data=("x",), output=str(tmp_path)), **changed)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=flag):
            options.check()
