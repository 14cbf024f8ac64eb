"""Priors whose optimal denoiser is known in closed form, on pictures as they are or through a poor codec."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_guidance.prior import Prediction
from tests.sds_guidance.fakes import AnyView


class GaussianPrior(AnyView):
    """The optimal denoiser of pictures drawn from N(mean, std^2), by pixel; its latents are the pictures.

    With std 0 it is an oracle: whatever it sees, it answers `mean`.

    Attributes:
        mean: a number, or a tensor that fits the latents.
        std: likewise.
        seen: (t, z_t) of every call, in order.
    """

    size_multiple = 2

    def __init__(self, mean: float | Tensor, std: float | Tensor = 0.0) -> None:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.abar = (1 - betas).cumprod(0)
        self.mean, self.std = torch.as_tensor(mean), torch.as_tensor(std)
        self.seen: list[tuple[int, Tensor]] = []

    def encode(self, pictures: Tensor) -> Tensor:
        return pictures

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        abar = self.abar[t].view(-1, 1, 1, 1)
        return abar.sqrt(), (1.0 - abar).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.levels(t)
        return alpha * latents + sigma * noise

    def predict(
        self, noised: Tensor, t: Tensor, states: Tensor, guidance_scale: float, rescale: float = 0.0
    ) -> Prediction:
        self.seen.append((int(t), noised))
        alpha, sigma = self.levels(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        clean = self.mean + gain * (noised - alpha * self.mean)
        return Prediction(noise=(noised - alpha * clean) / sigma, clean=clean)


class PoorCodec(GaussianPrior):
    """The same on 2x2 means of the pixels, which the decoder can only repeat."""

    def encode(self, pictures: Tensor) -> Tensor:
        return F.avg_pool2d(pictures, 2)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents, scale_factor=2)
