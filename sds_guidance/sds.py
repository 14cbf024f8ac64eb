"""Score distillation sampling: the gradient of one rendering, without a graph through the U-Net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from sds_guidance.prior import Prediction


class Prior(Protocol):
    """What score distillation asks of a prior; `LatentDiffusionPrior` has it, and so has a test's stub."""

    abar: Tensor
    size_multiple: int

    def encode(self, pictures: Tensor) -> Tensor: ...
    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]: ...
    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor: ...
    def predict(
        self, noised: Tensor, t: Tensor, states: Tensor, guidance_scale: float, rescale: float = 0.0
    ) -> Prediction: ...


@dataclass(frozen=True)
class Distilled:
    """What score distillation says of one rendering, before any lambda.

    Attributes:
        gradient: (3, H, W) float32, dL/d rgb in the sum convention: J^T w(t) (eps-hat - eps), J = dz / d rgb.
        loss: half the mean square of the latent gradient; a number to watch, not what is differentiated.
        t: the noise level drawn, of T.
        weight: w(t).
        elements: how many latent elements the gradient has (for the mean convention).
        finite: whether the gradient may be used.
    """

    gradient: Tensor
    loss: float
    t: int
    weight: float
    elements: int
    finite: bool


def sds_gradient(
    prior: Prior,
    rgb: Tensor,
    states: Tensor,
    noise_range: tuple[float, float],
    generator: torch.Generator,
    *,
    guidance_scale: float,
    rescale: float,
    weighting: str,
    clip: float,
    resolution: int,
) -> Distilled:
    """The score distillation gradient at one rendering (DreamFusion, equation 3).

    z = E(rgb), z_t = alpha z + sigma eps, g = w(t) (eps-hat(z_t) - eps) in float32; one vector-Jacobian
    product through the VAE's encoder and the resizing carries g to the pixels. First t, then eps is drawn.

    Args:
        prior: the frozen model.
        rgb: (3, H, W) float32 in [0, 1]; its graph is neither used nor changed.
        states: (2, tokens, width), text states of the negative prompt, then of the prompt.
        noise_range: lowest and highest level, as fractions of the prior's T levels.
        generator: on the CPU, so that every device sees the same noise.
        guidance_scale, rescale: see `LatentDiffusionPrior.predict`.
        weighting: w(t), see `level_weight`.
        clip: quantile of |g| at which g is cut element by element; 1 leaves it.
        resolution: short side in pixels of what the prior sees.
    """
    pixels = rgb.detach().requires_grad_()
    with torch.enable_grad():
        latents = prior.encode(fit_to_prior(pixels, resolution, prior.size_multiple))
    t = draw_level(noise_range, len(prior.abar), generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)

    with torch.no_grad():
        noised = prior.add_noise(latents, noise, t)
        estimate = prior.predict(noised, t, states, guidance_scale, rescale)
        weight = level_weight(weighting, *prior.levels(t))
        residual = clip_elements(weight * (estimate.noise.float() - noise), clip)
    (gradient,) = torch.autograd.grad(latents, pixels, residual)
    return Distilled(
        gradient=gradient,
        loss=float(residual.square().mean()) / 2,
        t=int(t),
        weight=float(weight),
        elements=residual.numel(),
        finite=bool(residual.isfinite().all() and gradient.isfinite().all()),
    )


def fit_to_prior(rgb: Tensor, short_side: int, multiple: int) -> Tensor:
    """The picture as the prior wants it: aspect kept, short side as asked, padded by its own edge pixels.

    Args:
        rgb: (3, H, W) in [0, 1].
        short_side: pixels of the shorter side before padding.
        multiple: both sides are rounded up to it; the padding is shared between opposite edges.

    Returns:
        (1, 3, h, w), differentiable.
    """
    height, width = rgb.shape[1:]
    scale = short_side / min(height, width)
    size = (round(height * scale), round(width * scale))
    picture = rgb[None]
    if size != (height, width):
        picture = F.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    down, right = (-side % multiple for side in size)
    return F.pad(picture, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def annealed_range(
    progress: float, t_min: tuple[float, float], t_max: tuple[float, float], until: float
) -> tuple[float, float]:
    """Lowest and highest noise level at `progress`: linear from the first to the second values up to `until`.

    Args:
        progress: fraction of the run, in [0, 1].
        t_min, t_max: the lowest and the highest level, each at the start and at the end, fractions of T.
        until: fraction of the run at which the end values are reached; 0: they hold throughout.
    """
    share = min(1.0, progress / until) if until > 0 else 1.0
    low, high = (start + share * (end - start) for start, end in (t_min, t_max))
    return low, high


def draw_level(noise_range: tuple[float, float], steps: int, generator: torch.Generator) -> Tensor:
    """(1,) int64: a level drawn evenly from the range, both ends included, of `steps` levels."""
    low, high = (min(steps - 1, max(0, round(fraction * steps))) for fraction in noise_range)
    return torch.randint(low, high + 1, (1,), generator=generator)


def level_weight(weighting: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """w(t), in the shape of `alpha` and `sigma`.

    g = w (eps-hat - eps) = w (alpha / sigma) (z - z0-hat), so "alpha_sigma" pulls towards the estimate with
    the bounded strength abar; "sigma2" is DreamFusion's, "abar" IPSM's.
    """
    match weighting:
        case "alpha_sigma":
            return alpha * sigma
        case "sigma2":
            return sigma.square()
        case "abar":
            return alpha.square()
        case "one":
            return torch.ones_like(alpha)
    raise ValueError(f"no such weighting: {weighting}")


def clip_elements(gradient: Tensor, quantile: float) -> Tensor:
    """The gradient with each element cut at this quantile of all magnitudes; 1 leaves it unchanged."""
    if quantile >= 1.0:
        return gradient
    limit = torch.quantile(gradient.abs().flatten(), quantile)
    return gradient.clamp(-limit, limit)
