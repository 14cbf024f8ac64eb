"""Score distillation: a gradient at one rendering's latents, and its way back to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_guidance.mode import Guided, Prior, View

if TYPE_CHECKING:
    from scene.cameras import Camera


@dataclass(frozen=True)
class LatentGradient:
    """What a prior says of one rendering's latents.

    Attributes:
        residual: (1, 4, h, w) float32, w(t) times a difference of two noises.
        t: the noise level, of T.
        weight: w(t).
        noised: (1, 4, h, w) float32, z_t.
        clean: (1, 4, h, w) float32, the estimate z0-hat.
        shown: what the contact sheet shows before these two, as of `Guided.pictures`.
    """

    residual: Tensor
    t: int
    weight: float
    noised: Tensor
    clean: Tensor
    shown: Mapping[str, Tensor] = field(default_factory=dict)


Score = Callable[[Tensor], LatentGradient]
"""What is said of the (1, 4, h, w) float32 latents of a view."""
ViewScore = Callable[[Prior, View, Tensor, float, torch.Generator], Score]
"""A score from the prior for a view, the view, text states (2, tokens, width), progress and a generator."""


class Distillation:
    """The modes without a memory: at one camera a step, a latent gradient, carried back to the pixels."""

    fresh_share = 1.0

    def __init__(
        self,
        prior: Prior,
        view_score: ViewScore,
        sample_camera: Callable[[torch.Generator, float], Camera],
        weigh_camera: Callable[[Camera], float],
        *,
        clip: float,
        resolution: int,
    ) -> None:
        """Makes the mode.

        Args:
            prior: the frozen model.
            view_score: what distinguishes these modes: what each says of a view.
            sample_camera: a camera from a generator and the progress.
            weigh_camera: the factor, in [0, 1], of the gradient at a camera.
            clip, resolution: see `pixel_gradient`.
        """
        self.prior = prior
        self.view_score = view_score
        self.sample_camera = sample_camera
        self.weigh_camera = weigh_camera
        self.clip = clip
        self.resolution = resolution

    def cameras(self, generator: torch.Generator, progress: float) -> list[Camera]:
        """One camera."""
        return [self.sample_camera(generator, progress)]

    def __call__(self, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Guided:
        """The gradient at one rendering, times the weight of its camera."""
        prior = self.prior.for_view(view, self.resolution)
        score = self.view_score(prior, view, states, progress, generator)
        guided = pixel_gradient(prior, view.rgb, score, clip=self.clip, resolution=self.resolution)
        return replace(guided, gradient=self.weigh_camera(view.camera) * guided.gradient)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all chance is the generator's."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over nothing."""


def pixel_gradient(
    prior: Prior,
    rgb: Tensor,
    score: Score,
    *,
    clip: float,
    resolution: int,
) -> Guided:
    """A latent gradient at one rendering, carried to its pixels: J^T g, J = dz / d rgb, z = E(rgb).

    One vector-Jacobian product through the VAE's encoder and the resizing; none through the U-Net. The loss
    is half the mean square of g.

    Args:
        prior: the frozen model.
        rgb: (3, H, W) float32 in [0, 1]; its graph is neither used nor changed.
        score: g from the latents z, in float32.
        clip: quantile of |g| at which g is cut element by element; 1 leaves it.
        resolution: short side in pixels of what the prior sees.
    """
    pixels = rgb.detach().requires_grad_()
    with torch.enable_grad():
        latents = prior.encode(fit_to_prior(pixels, resolution, prior.size_multiple))
    with torch.no_grad():
        found = score(latents.detach())
        residual = clip_elements(found.residual, clip)
    (gradient,) = torch.autograd.grad(latents, pixels, residual)

    def pictures() -> Mapping[str, Tensor]:
        height, width = rgb.shape[1:]
        latents = {"noised": found.noised, "denoised": found.clean}
        decoded = {
            name: fit_back(prior.decode(it)[0], height, width, resolution) for name, it in latents.items()
        }
        return {**found.shown, **decoded}

    return Guided(
        gradient=gradient,
        loss=float(residual.square().mean()) / 2,
        t=found.t,
        weight=found.weight,
        elements=residual.numel(),
        finite=bool(residual.isfinite().all() and gradient.isfinite().all()),
        pictures=pictures,
    )


def sds_gradient(
    prior: Prior,
    latents: Tensor,
    states: Tensor,
    noise_range: tuple[float, float],
    generator: torch.Generator,
    *,
    guidance_scale: float,
    rescale: float,
    weighting: str,
) -> LatentGradient:
    """Score distillation sampling (DreamFusion, equation 3): g = w(t) (eps-hat(z_t) - eps).

    z_t = alpha z + sigma eps, in float32. First t, then eps is drawn.

    Args:
        prior: the frozen model.
        latents: (1, 4, h, w) float32, z.
        states: (2, tokens, width), text states of the negative prompt, then of the prompt.
        noise_range: lowest and highest level, as fractions of the prior's T levels.
        generator: on the CPU, so that every device sees the same noise.
        guidance_scale, rescale: see `LatentDiffusionPrior.predict`.
        weighting: w(t), see `level_weight`.
    """
    t = draw_level(noise_range, len(prior.abar), generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noised = prior.add_noise(latents, noise, t)
    estimate = prior.predict(noised, t, states, guidance_scale, rescale)
    weight = level_weight(weighting, *prior.levels(t))
    residual = weight * (estimate.noise.float() - noise)
    return LatentGradient(residual, int(t), float(weight), noised, estimate.clean)


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
    size = _resized(height, width, short_side)
    picture = rgb[None]
    if size != (height, width):
        picture = F.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    down, right = (-side % multiple for side in size)
    return F.pad(picture, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def fit_back(picture: Tensor, height: int, width: int, short_side: int) -> Tensor:
    """(C, height, width): the way back from `fit_to_prior`, padding cut off and size restored.

    Args:
        picture: (C, h, w), what `fit_to_prior` makes of (C, height, width) at this `short_side`.
    """
    rows, columns = _resized(height, width, short_side)
    top, left = (picture.shape[1] - rows) // 2, (picture.shape[2] - columns) // 2
    inner = picture[None, :, top : top + rows, left : left + columns]
    if (rows, columns) != (height, width):
        size = (height, width)
        inner = F.interpolate(inner, size=size, mode="bilinear", antialias=True, align_corners=False)
    return inner[0]


def _resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a picture that is brought to this short side."""
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


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
