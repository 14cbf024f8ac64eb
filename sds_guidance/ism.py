"""Interval score matching: what the prompt changes between two levels of noise that the picture leads to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.mode import Prior
from sds_guidance.sds import LatentGradient, draw_level

if TYPE_CHECKING:
    from sds_guidance.prior import Prediction


ROUNDING = 1e-5  # of the largest noise: what float32 may leave of two that are the same


def ism_gradient(
    prior: Prior,
    latents: Tensor,
    states: Tensor,
    noise_range: tuple[float, float],
    generator: torch.Generator,
    *,
    interval: float,
    stride: float,
    guidance_scale: float,
    rescale: float,
) -> LatentGradient:
    """Interval score matching: g = w(t) (eps-hat(z_t) - eps-hat_u(z_s)), w = sigma_t / alpha_t.

    LucidDreamer (arXiv 2311.11284), with the negative prompt where it has the empty one. No noise is drawn:
    z_s and z_t lie on the way on which deterministic (DDIM) inversion under the negative prompt leads from
    the rendering's own latents to noise, so that a rendering's gradient at a level is always the same. Only t
    is drawn; s = t - interval, at least 0.

    g says how the estimated noise changes along that way. Under a prior that knows one picture only, whatever
    the prompt, it does not change, however far the rendering is from that picture: what is left is rounding.
    That is not handed on, since a relative weight would blow it up.

    Args:
        prior: the frozen model, of either prediction type.
        latents: (1, 4, h, w) float32, z; they count as lying at level 0.
        states: (2, tokens, width), text states of the negative prompt, then of the prompt.
        noise_range: lowest and highest t, as fractions of the prior's T levels.
        generator: on the CPU.
        interval: from s to t, delta_T, as a fraction of T.
        stride: of the inversion from 0 to s, delta_S, as a fraction of T.
        guidance_scale, rescale: of eps-hat(z_t); see `LatentDiffusionPrior.predict`.
    """
    steps = len(prior.abar)
    t = draw_level(noise_range, steps, generator)
    levels = inversion_levels(max(0, int(t) - round(interval * steps)), max(1, round(stride * steps)))
    start = inverted(prior, latents, levels, states[:1])
    noised = prior.add_noise(start.clean, start.noise, t)
    estimate = prior.predict(noised, t, states, guidance_scale, rescale)
    alpha, sigma = prior.levels(t)
    weight = sigma / alpha
    before, after = start.noise.float(), estimate.noise.float()
    difference = after - before
    rounding = ROUNDING * max(before.abs().amax(), after.abs().amax())
    residual = weight * torch.where(difference.abs() > rounding, difference, 0)
    return LatentGradient(residual, int(t), float(weight), noised, estimate.clean)


def inversion_levels(last: int, stride: int) -> list[int]:
    """From 0 to `last` in steps of `stride`, of which the first may be shorter."""
    return [0, *reversed(range(last, 0, -stride))]


def inverted(prior: Prior, latents: Tensor, levels: Sequence[int], state: Tensor) -> Prediction:
    """The estimate at the last level of a deterministic inversion (DDIM with eta 0, backwards).

    Each step keeps the estimated noise and clean latent and mixes them anew: z_b = alpha_b z0-hat + sigma_b
    eps-hat.

    Args:
        prior: the frozen model.
        latents: (B, 4, h, w) float32, at the first level.
        levels: rising.
        state: (1, tokens, width), text states of the one prompt under which it is inverted.
    """
    rising = [torch.tensor([level]).expand(len(latents)) for level in levels]
    estimate = prior.predict(latents, rising[0], state, 1.0)
    for t in rising[1:]:
        estimate = prior.predict(prior.add_noise(estimate.clean, estimate.noise, t), t, state, 1.0)
    return estimate
