"""Training a model to denoise captioned latents: the regression target, its weight, and the validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sds_guidance.finetune.bands import errors_per_band
from sds_guidance.prior import LatentDiffusionPrior


@dataclass(frozen=True)
class Examples:
    """Latents with the number of their caption.

    Attributes:
        latents: (N, V, 4, h, w) float32 on the CPU: V copies of each of N pictures, scaled.
        captions: (N,) int64 on the CPU, each picture's row in `Conditions`; row 0 is the empty caption.
    """

    latents: Tensor
    captions: Tensor


class CachedStates(nn.Module):
    """Text states that were computed once: rows (B,) of captions to (B, tokens, width)."""

    def __init__(self, states: Tensor) -> None:
        """Takes (P + 1, tokens, width) states on the CPU; row 0 is the empty caption's."""
        super().__init__()
        self.states = states  # no buffer: it shall stay on the CPU and out of checkpoints

    def forward(self, rows: Tensor) -> Tensor:
        return self.states[rows.to(self.states.device)]


class Denoiser(nn.Module):
    """A U-Net and where its text states come from, as the one network that is trained.

    Its parameters with `requires_grad` are those trained: the U-Net's, some of them, or the text encoder's.
    """

    def __init__(self, unet: nn.Module, conditions: nn.Module) -> None:
        """Takes a U-Net, and `CachedStates` or a text encoder with its tokens (`inversion.TokenStates`)."""
        super().__init__()
        self.unet = unet
        self.conditions = conditions

    def forward(self, noised: Tensor, t: Tensor, captions: Tensor) -> Tensor:
        """The network's output, (B, 4, h, w), for noised latents, (B,) levels and (B,) caption rows."""
        states = self.conditions(captions).to(noised.device, noised.dtype)
        return self.unet(noised, t, encoder_hidden_states=states).sample


class Denoising:
    """The task of denoising, as `trainer.fit` takes it.

    Attributes:
        network: what is trained; `fit` may wrap it.
        count: training pictures.
    """

    def __init__(
        self,
        prior: LatentDiffusionPrior,
        conditions: nn.Module,
        examples: Examples,
        held_out: dict[str, Examples],
        *,
        caption_dropout: float = 0.1,
        snr_gamma: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Makes the task; which parameters are trained was decided by their `requires_grad`.

        Args:
            prior: its U-Net, schedule and prediction type; the VAE is not used.
            conditions: see `Denoiser`.
            examples: what is trained on.
            held_out: what is validated on, by name; only the first copy of each picture is.
            caption_dropout: share of captions that are replaced by the empty one, in [0, 1].
            snr_gamma: of min-SNR weighting (Hang et al. 2023); 0: every level weighs the same.
            seed: of the validation's noise.
        """
        self.prior = prior
        self.network: nn.Module = Denoiser(prior.unet, conditions)
        self.examples = examples
        self.held_out = held_out
        self.caption_dropout = caption_dropout
        self.snr_gamma = snr_gamma
        self.seed = seed
        self.count = len(examples.latents)

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """The scalar loss on the pictures of (B,) int64 `rows`; all draws are made on the CPU."""
        device = self.prior.unet.device
        latents, captions = self.draw(rows, random)
        t = torch.randint(len(self.prior.abar), (len(rows),), generator=random)
        noise = torch.randn(latents.shape, generator=random)
        latents, noise, t = latents.to(device), noise.to(device), t.to(device)
        output = self.network(self.prior.add_noise(latents, noise, t), t, captions)
        errors = (output.float() - target(self.prior, latents, noise, t)).square().mean(dim=(1, 2, 3))
        return (errors * snr_weight(self.prior, t, self.snr_gamma)).mean()

    def draw(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A copy of each picture, (B, 4, h, w), and its caption's row, (B,), or 0 where it is dropped."""
        copy = torch.randint(self.examples.latents.shape[1], (len(rows),), generator=random)
        dropped = torch.rand(len(rows), generator=random) < self.caption_dropout
        return self.examples.latents[rows, copy], self.examples.captions[rows].masked_fill(dropped, 0)

    def validate(self) -> dict[str, Any]:
        """The loss of eps-hat in each band of t, for each held-out set."""
        return {
            name: {"loss_per_band": errors_per_band(self._estimate(held), self.prior, first, self.seed)}
            for name, held in self.held_out.items()
            for first in (held.latents[:, 0],)
        }

    def _estimate(self, held: Examples):
        """The denoiser that `errors_per_band` asks, with the captions of a held-out set."""
        prior = self.prior

        def estimate(noised: Tensor, t: Tensor, rows: Tensor) -> Tensor:
            output = self.network(noised, t, held.captions[rows]).float()
            return prior.read(output, noised, t).noise

        return estimate


def target(prior: LatentDiffusionPrior, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network shall give, (B, 4, h, w): the noise, or the velocity v = alpha eps - sigma z."""
    if prior.prediction_type == "epsilon":
        return noise
    alpha, sigma = prior.levels(t)
    return alpha * noise - sigma * latents


def snr_weight(prior: LatentDiffusionPrior, t: Tensor, gamma: float) -> Tensor:
    """(B,) float32: min-SNR-gamma's weight of the squared error in the network's own output; 1 for gamma 0.

    With SNR = alpha^2 / sigma^2 it is min(SNR, gamma) / SNR for the noise, and / (SNR + 1) for the velocity.
    """
    if gamma == 0:
        return torch.ones(len(t), device=t.device)
    alpha, sigma = (level.view(-1) for level in prior.levels(t))
    snr = (alpha / sigma).square()
    return snr.clamp(max=gamma) / (snr if prior.prediction_type == "epsilon" else snr + 1)
