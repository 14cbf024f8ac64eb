"""Pictures that a model makes of captions, drawn by DDIM with guidance, and a sheet of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from sds_guidance.prior import LatentDiffusionPrior
from utils.files import whole_file
from utils.images import image_pixels

BATCH = 8
"""Pictures made at once."""
SMALLEST = 128
"""Pixels that a picture on a sheet is wide, at least."""


@torch.no_grad()
def sample(
    prior: LatentDiffusionPrior,
    scheduler: Any,
    states: Tensor,
    empty: Tensor,
    *,
    side: int,
    guidance_scale: float = 5.0,
    steps: int = 50,
    seed: int = 0,
) -> Tensor:
    """One picture for each text state, by deterministic DDIM.

    Args:
        prior: U-Net and VAE, where and in the format in which they are.
        scheduler: the model's own `DDIMScheduler`; its set of steps is changed.
        states: (B, tokens, width) text states.
        empty: (tokens, width), the state of the empty caption.
        side: of the latents; the pictures' is larger by the VAE's factor.
        guidance_scale: of classifier-free guidance.
        steps: of DDIM.
        seed: picture number i starts from noise that depends on the seed and i alone.

    Returns:
        (B, 3, H, W) float32 in [0, 1] on the CPU.
    """
    device, dtype = prior.unet.device, prior.unet.dtype
    channels = prior.unet.config.in_channels
    scheduler.set_timesteps(steps)
    pictures = []
    for rows in tqdm(torch.arange(len(states)).split(BATCH), desc="sampling", unit="batch", leave=False):
        noise = [
            torch.randn(channels, side, side, generator=torch.Generator().manual_seed(seed + int(row)))
            for row in rows
        ]
        z = torch.stack(noise).to(device) * scheduler.init_noise_sigma
        both = torch.cat([empty.expand(len(rows), -1, -1), states[rows]]).to(device, dtype)
        for t in scheduler.timesteps:
            output = prior.unet(
                z.repeat(2, 1, 1, 1).to(dtype), t.to(device), encoder_hidden_states=both
            ).sample
            unconditional, conditional = output.float().chunk(2)
            guided = unconditional + guidance_scale * (conditional - unconditional)
            z = scheduler.step(guided, t, z).prev_sample
        pictures.append(prior.decode(z.to(prior.vae.device)).cpu())
    return torch.cat(pictures)


def write_sheet(path: Path, pictures: Tensor, captions: Sequence[str], columns: int = 4) -> None:
    """Writes a PNG: (B, 3, R, R) pictures in [0, 1] row by row, each above its caption.

    Small pictures are enlarged, pixel by pixel, so that a caption has room below them.
    """
    enlarged = pictures.repeat_interleave(-(-SMALLEST // pictures.shape[3]), dim=2)
    enlarged = enlarged.repeat_interleave(-(-SMALLEST // pictures.shape[3]), dim=3)
    side = enlarged.shape[3]
    size = max(11, side // 20)
    lines = [textwrap.wrap(caption, max(8, int(side / (0.55 * size))))[:3] for caption in captions]
    height = side + (max(map(len, lines)) * 5 // 4 + 1) * size
    columns = min(columns, len(captions))
    rows = -(-len(captions) // columns)
    sheet = Image.new("RGB", (columns * side, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size)
    for number, (picture, words) in enumerate(zip(enlarged, lines, strict=True)):
        x, y = number % columns * side, number // columns * height
        sheet.paste(Image.fromarray(image_pixels(picture)), (x, y))
        draw.multiline_text((x + 3, y + side + 2), "\n".join(words), "black", font)
    with whole_file(path) as file:
        sheet.save(file, format="PNG")
