"""DDIM with guidance against diffusers' own pipeline, and the sheet."""

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from sds_guidance.finetune.samples import sample, write_sheet
from sds_guidance.prior import load_prior

CPU = torch.device("cpu")


def test_samples_are_those_of_the_pipeline(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float32)
    random = torch.Generator().manual_seed(0)
    states, empty = torch.randn(2, 16, 32, generator=random), torch.randn(16, 32, generator=random)
    noise = torch.stack(
        [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5 + i)) for i in (0, 1)]
    )
    schedulers: list[Any] = [
        DDIMScheduler.from_pretrained(tiny_model, subfolder="scheduler", steps_offset=1) for _ in range(2)
    ]
    found = sample(prior, schedulers[0], states, empty, side=8, guidance_scale=4.0, steps=6, seed=5)

    pipeline: Any = StableDiffusionPipeline(
        vae=prior.vae,
        text_encoder=None,
        tokenizer=None,
        unet=prior.unet,
        scheduler=schedulers[1],
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=states,
        negative_prompt_embeds=empty.expand(2, -1, -1),
        latents=noise,
        guidance_scale=4.0,
        num_inference_steps=6,
        height=16,
        width=16,
        output_type="pt",
    ).images
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_sheet_shows_every_picture_above_its_caption(tmp_path):
    shades = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    pictures = shades[:, None, None, None].expand(5, 3, 128, 128)
    write_sheet(tmp_path / "sheet.png", pictures, ["a"] * 4 + ["a long caption that needs lines"], columns=4)
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.array(image.convert("L"))
    assert sheet.shape[1] == 4 * 128
    height = sheet.shape[0] // 2
    assert height > 128
    for number, shade in enumerate(shades):
        x, y = 128 * (number % 4) + 64, height * (number // 4) + 64
        assert sheet[y, x] == round(255 * float(shade))
    assert sheet[128:height, :128].min() < 100  # ink
