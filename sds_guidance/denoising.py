"""A rendering denoised: noise on, a few deterministic steps back, decoded as a change of the rendering."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_guidance.mode import Prior
from sds_guidance.sds import fit_back, fit_to_prior

CONFIDENT = 0.8  # certainty above which a pixel's colour is taken for the scene's
FEWEST = 0.1  # share of confident pixels below which colours are left alone: a corner is not the picture
LEAST_VARIANCE = 0.01  # of colours in [0, 1]; keeps the contrast of what has little


@dataclass(frozen=True)
class Denoising:
    """How a picture is denoised.

    Attributes:
        start: the noise level that is put on, of the prior's T.
        steps: network evaluations on the way back.
        guidance_scale, rescale: see `LatentDiffusionPrior.predict`.
        resolution: short side in pixels of what the prior sees.
    """

    start: int
    steps: int
    guidance_scale: float
    rescale: float
    resolution: int


@torch.no_grad()
def denoised_picture(
    prior: Prior,
    rgb: Tensor,
    reference: Tensor,
    certainty: Tensor,
    states: Tensor,
    seed: int,
    how: Denoising,
) -> Tensor:
    """What the prior makes of a rendering that is known in part: the picture to train towards.

    The prior's answer is read as a change, rgb + D(z') - D(E(rgb)): what the denoiser leaves alone comes back
    as it was rendered, not as the VAE repeats it. Its colours are matched to the reference's on confident
    pixels, and by its certainty each pixel is led back to the reference.

    Args:
        prior: the frozen model.
        rgb: (3, H, W) float32 in [0, 1], the rendering.
        reference: (3, H, W) float32 in [0, 1], the picture as far as it is known, the rendering elsewhere.
        certainty: (H, W) float32 in [0, 1].
        states: (2, tokens, width), text states of the negative prompt, then of the prompt.
        seed: of the noise, which is the same for the same seed.
        how: levels, steps and scales.

    Returns:
        (3, H, W) float32 in [0, 1]; not finite where the network's answer was not.
    """
    # One picture at a time: two would double the VAE's memory, the largest of a refresh.
    rendered, known = (
        prior.encode(fit_to_prior(picture, how.resolution, prior.size_multiple))
        for picture in (rgb, reference)
    )
    seen = fit_to_prior(certainty[None], how.resolution, prior.size_multiple)
    noise = torch.randn(known.shape, generator=torch.Generator().manual_seed(seed)).to(known)
    certain = F.interpolate(seen, size=known.shape[-2:], mode="area")
    with prior.unet_on_device():  # not before and not after: the VAE needs most of its memory for itself
        clean = denoised(prior, known, noise, certain, states, how)
    change = prior.decode(clean) - prior.decode(rendered)
    picture = rgb + fit_back(change[0], rgb.shape[1], rgb.shape[2], how.resolution)
    picture = match_colours(picture, reference, certainty)
    return torch.lerp(picture, reference, certainty).clamp(0, 1)


@torch.no_grad()
def denoised(
    prior: Prior, known: Tensor, noise: Tensor, certainty: Tensor, states: Tensor, how: Denoising
) -> Tensor:
    """A latent denoised along the deterministic path of DDIM (Song et al. 2021, eta = 0), held where known.

    z_t = alpha z_known + sigma eps at the first level; then at every level the estimate is blended with what
    is known, z' = C z_known + (1 - C) z0-hat, and carried to the next one with the noise that z' leaves of
    z_t. Where C is 1 the path is z_known with one and the same noise. The last estimate is returned
    unblended: it shows how the prior itself sees the known part, colours included.

    Args:
        prior: the frozen model.
        known: (1, 4, h, w) float32, the latent that is known in part.
        noise: (1, 4, h, w) float32.
        certainty: (1, 1, h, w) float32 in [0, 1], C.
        states: (2, tokens, width).
        how: levels, steps and scales.

    Returns:
        (1, 4, h, w) float32.
    """
    levels = [torch.tensor([t]) for t in path_levels(how.start, how.steps)]
    noised = prior.add_noise(known, noise, levels[0])
    for t, following in pairwise(levels):
        estimate = prior.predict(noised, t, states, how.guidance_scale, how.rescale).clean
        estimate = torch.lerp(estimate, known, certainty)
        alpha, sigma = prior.levels(t)
        noised = prior.add_noise(estimate, (noised - alpha * estimate) / sigma, following)
    return prior.predict(noised, levels[-1], states, how.guidance_scale, how.rescale).clean


def path_levels(start: int, steps: int) -> list[int]:
    """The levels that are visited, from `start` evenly down to `start / steps`; the step after is to 0.

    Fewer than `steps` where there are not as many levels.
    """
    return sorted({max(1, round(start * step / steps)) for step in range(1, steps + 1)}, reverse=True)


def match_colours(picture: Tensor, reference: Tensor, certainty: Tensor) -> Tensor:
    """The picture with each channel's mean and contrast on confident pixels brought to the reference's.

    A generator's white balance is not the scene's. Confident are pixels of certainty above 0.8, to which two
    photographs have to agree, and they count by it. Where they are few, their own errors would colour all the
    rest. Means and standard deviations are compared, not pixels: least squares would take away the contrast
    of a picture that does not fit the reference to the pixel.

    Args:
        picture, reference: (3, H, W) float32.
        certainty: (H, W) float32 in [0, 1].

    Returns:
        (3, H, W) float32; the picture itself where too few pixels are confident.
    """
    confident = certainty > CONFIDENT
    if int(confident.sum()) < FEWEST * confident.numel():
        return picture
    weight = certainty[confident] / certainty[confident].sum()
    (mean, variance), (wanted_mean, wanted_variance) = (
        _moments(it[:, confident], weight) for it in (picture, reference)
    )
    gain = ((wanted_variance + LEAST_VARIANCE) / (variance + LEAST_VARIANCE)).sqrt()
    return (picture - mean[..., None]) * gain[..., None] + wanted_mean[..., None]


def _moments(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(C, 1) means and variances of (C, P) values with (P,) weights that sum to 1."""
    mean = (values * weight).sum(dim=1, keepdim=True)
    return mean, ((values - mean).square() * weight).sum(dim=1, keepdim=True)
