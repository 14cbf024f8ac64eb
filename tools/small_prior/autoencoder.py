"""The VAE of the small prior: pictures to latents of an eighth of the side, and back."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tools.small_prior.pictures import Pictures

KL_WEIGHT = 2e-4
EDGE_WEIGHT = 0.5
CHANNELS = 4


def new_vae() -> Any:
    """An untrained VAE of about 2 M weights; few channels where pixels are many, no attention."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=128,
        scaling_factor=1.0,
    )


class RoundTrip(nn.Module):
    """A VAE there and back, with the noise of its latents given from outside."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) in [-1, 1] come back, with the scalar KL a latent element."""
        posterior = self.vae.encode(pictures).latent_dist
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        return self.vae.decode(posterior.mean + posterior.std * noise).sample, kl


class Autoencoding:
    """The task of the VAE, as `finetune.trainer.fit` takes it."""

    def __init__(
        self, vae: Any, training: Pictures, held_out: dict[str, Pictures], *, crop: int, square_weight: float
    ) -> None:
        """Learns from random crops of side `crop`, half of them mirrored."""
        vae.to(memory_format=torch.channels_last)
        self.network: nn.Module = RoundTrip(vae)
        self.vae, self.training, self.held_out = vae, training, held_out
        self.crop, self.square_weight = crop, square_weight
        self.count = len(training)

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """Absolute, squared and edge differences, and a small KL divergence."""
        pictures = self._crops(self.training.batch(rows) * 2 - 1, random)
        latent = (len(rows), CHANNELS, self.crop // 8, self.crop // 8)
        back, kl = self.network(pictures, torch.randn(latent, generator=random))
        difference = back - pictures
        edges = sum(difference.diff(dim=dim).abs().mean() for dim in (2, 3))
        return (
            difference.abs().mean()
            + self.square_weight * difference.square().mean()
            + EDGE_WEIGHT * edges
            + KL_WEIGHT * kl
        )

    def validate(self) -> dict[str, Any]:
        """The mean PSNR of the first 64 pictures of each held-out set."""
        shown = {
            name: pictures.batch(torch.arange(min(64, len(pictures))))
            for name, pictures in self.held_out.items()
        }
        return {name: {"psnr": round_trip_psnr(self.vae, pictures)} for name, pictures in shown.items()}

    def _crops(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        """(B, 3, crop, crop), cut out and mirrored at random."""
        room = pictures.shape[-1] - self.crop + 1
        places = torch.randint(room, (len(pictures), 2), generator=random).tolist()
        mirrored = torch.rand(len(pictures), generator=random) < 0.5
        cut = [
            picture[:, y : y + self.crop, x : x + self.crop].flip([-1] if flip else [])
            for picture, (y, x), flip in zip(pictures, places, mirrored, strict=True)
        ]
        return torch.stack(cut).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def round_trip_psnr(vae: Any, pictures: Tensor) -> float:
    """Mean PSNR in dB of (N, 3, H, W) pictures in [0, 1] that went through the means of the latents."""
    values = []
    for batch in pictures.split(16):
        back = vae.decode(vae.encode(batch * 2 - 1).latent_dist.mean).sample.float() / 2 + 0.5
        errors = (back.clamp(0, 1) - batch).square().mean(dim=(1, 2, 3))
        values += (-10 * errors.log10()).tolist()
    return sum(values) / len(values)


@torch.no_grad()
def standardise_latents(vae: Any, pictures: Tensor) -> None:
    """Moves each latent channel to mean 0 and standard deviation 1 over `pictures`, (N, 3, H, W) in [0, 1].

    The 1x1 convolutions on both sides of the latents take the change up, so that pictures come back as before
    and the scaling factor is 1.
    """
    means = torch.cat([vae.encode(batch * 2 - 1).latent_dist.mean for batch in pictures.split(16)])
    shift, scale = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += (after.weight[:, :, 0, 0] * shift).sum(dim=1)
    after.weight *= scale.view(1, -1, 1, 1)
    before.bias[:CHANNELS] -= shift
    before.bias[:CHANNELS] /= scale
    before.weight[:CHANNELS] /= scale.view(-1, 1, 1, 1)
    before.bias[CHANNELS:] -= 2 * scale.log()
