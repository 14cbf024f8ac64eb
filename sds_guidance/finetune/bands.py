"""How well a model denoises, in ten equal bands of the noise level t, with little variance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sds_guidance.prior import LatentDiffusionPrior

BANDS = 10


def losses_per_band(
    prior: LatentDiffusionPrior,
    latents: Tensor,
    states_of: Callable[[Tensor], Tensor],
    seed: int,
    batch_size: int = 32,
) -> list[float]:
    """The denoising loss of a model in each band of t, without classifier-free guidance.

    Args:
        prior: the model; its U-Net's device and format are used.
        latents: (N, 4, h, w) float32, scaled.
        states_of: the (B, tokens, width) text states of the pictures with the (B,) int64 indices given.
        seed: of the noise and of the levels; the same for models that shall be compared.
        batch_size: latents in one call of the network.

    Returns:
        Ten numbers, each the mean of (eps-hat - eps)^2 over all elements, also for a model that predicts v.
    """
    device, dtype = prior.unet.device, prior.unet.dtype

    def estimate(noised: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        states = states_of(rows).to(device, dtype)
        output = prior.unet(noised.to(dtype), t, encoder_hidden_states=states).sample.float()
        return prior.read(output, noised, t).noise

    return errors_per_band(estimate, prior, latents, seed, batch_size)


@torch.no_grad()
def errors_per_band(
    estimate: Callable[[Tensor, Tensor, Tensor], Tensor],
    prior: LatentDiffusionPrior,
    latents: Tensor,
    seed: int,
    batch_size: int = 32,
) -> list[float]:
    """The same for any denoiser: `estimate(noised, t, rows)` gives eps-hat, (B, 4, h, w).

    The noise and the levels depend on the seed, the band and the count of latents alone, so denoisers are
    compared on equal draws. The levels of a band lie evenly in it, one for each latent.
    """
    device = prior.unet.device
    result = []
    for band in range(BANDS):
        t, noise = draws(band, latents.shape, len(prior.abar), seed)
        total = 0.0
        for rows in torch.arange(len(latents)).split(batch_size):
            drawn, levels = noise[rows].to(device), t[rows].to(device)
            noised = prior.add_noise(latents[rows].to(device), drawn, levels)
            total += float((estimate(noised, levels, rows) - drawn).square().sum(dtype=torch.float64))
        result.append(total / latents.numel())
    return result


def draws(band: int, shape: torch.Size, levels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Levels (N,) int64, spread evenly over the band in random order, and noise of `shape`, (N, 4, h, w)."""
    random = torch.Generator().manual_seed(seed * BANDS + band)
    low, high = band * levels / BANDS, (band + 1) * levels / BANDS
    places = (torch.randperm(shape[0], generator=random) + 0.5) / shape[0]
    t = (low + places * (high - low)).long()
    return t, torch.randn(shape, generator=random)
