"""The best linear denoiser of latents: the posterior mean under a Gaussian with full covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from sds_guidance.prior import LatentDiffusionPrior


class WienerDenoiser:
    """The exact posterior mean for z ~ N(mu, S), z_t = alpha z + sigma eps, at every level.

    E[z | z_t] = mu + alpha S (alpha^2 S + sigma^2 I)^-1 (z_t - alpha mu), in the basis of S's eigenvectors.
    """

    def __init__(self, latents: Tensor, prior: LatentDiffusionPrior) -> None:
        """Fits mean and covariance to (N, 4, h, w) latents."""
        flat = latents.flatten(1).double()
        self.mean = flat.mean(dim=0)
        values, self.vectors = torch.linalg.eigh((flat - self.mean).T.cov())
        self.values = values.clamp_min(0)
        self.prior = prior

    def __call__(self, noised: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """eps-hat, (B, 4, h, w) float32; `rows` is there for `errors_per_band` alone."""
        del rows
        alpha, sigma = (level.flatten(1).double() for level in self.prior.levels(t))
        seen = (noised.flatten(1).double() - alpha * self.mean) @ self.vectors
        # sigma eps-hat is what is left of z_t when alpha times the posterior mean is taken away.
        noise = seen * sigma / (alpha**2 * self.values + sigma**2)
        return (noise @ self.vectors.T).view_as(noised).float()
