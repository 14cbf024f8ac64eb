"""Training the VAE's decoder: from cached latents back to the pictures, judged by PSNR."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sds_guidance.finetune.cache import CachedPictures
from sds_guidance.prior import LatentDiffusionPrior
from utils.image_metrics import psnr


class Decoder(nn.Module):
    """The decoding half of a VAE as a network: scaled latents (B, 4, h, w) to pictures around [0, 1]."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample.float() / 2 + 0.5


class Decoding:
    """The task of decoding, as `trainer.fit` takes it: the mean squared error of pictures.

    The encoder, and with it the latents that the U-Net knows, stay as they are.
    """

    def __init__(
        self, prior: LatentDiffusionPrior, examples: CachedPictures, held_out: dict[str, CachedPictures]
    ) -> None:
        """Takes pictures cached with `keep_pictures`; the decoder's weights become trainable."""
        self.prior = prior
        prior.vae.decoder.requires_grad_(True)
        prior.vae.post_quant_conv.requires_grad_(True)
        self.network: nn.Module = Decoder(prior.vae)
        self.examples = examples
        self.held_out = held_out
        self.count = len(examples.latents)

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """The mean squared error of (B,) int64 `rows`, one copy of each drawn at random."""
        copy = torch.randint(self.examples.latents.shape[1], (len(rows),), generator=random)
        wanted = kept_pictures(self.examples)[rows, copy].to(self.prior.vae.device).float() / 255
        decoded = self.network(self.examples.latents[rows, copy].to(self.prior.vae.device))
        return functional.mse_loss(decoded, wanted)

    def validate(self) -> dict[str, Any]:
        """The mean PSNR in dB of the round trip, for each held-out set."""
        return {name: {"psnr": [round_trip(self.prior, held)]} for name, held in self.held_out.items()}


def round_trip(prior: LatentDiffusionPrior, pictures: CachedPictures, most: int = 256) -> float:
    """Mean PSNR in dB of pictures (the first of their copies) that went through the VAE: no tuning of the
    U-Net can make pictures better than this.

    Args:
        prior: its VAE decodes.
        pictures: cached with `keep_pictures`.
        most: so many are looked at.
    """
    found = []
    for latents, wanted in zip(pictures.latents[:most], kept_pictures(pictures)[:most], strict=True):
        decoded = prior.decode(latents[:1].to(prior.vae.device))[0]
        found.append(psnr(decoded, wanted[0].float() / 255))
    return sum(found) / len(found)


def kept_pictures(cached: CachedPictures) -> Tensor:
    """The (N, V, 3, R, R) uint8 pictures of a cache that was asked to keep them."""
    if cached.pictures is None:
        raise ValueError("these pictures were cached without keep_pictures")
    return cached.pictures
