"""Rectified score distillation: what a model that sees the photographs says beyond one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_guidance.certainty import warped_photographs
from sds_guidance.mode import Prior
from sds_guidance.sds import LatentGradient, Score, draw_level, fit_to_prior, level_weight

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.mode import View
    from sds_guidance.rectified_options import RectifiedOptions

GREY = 0.5  # of masked pixels: 0 in the range [-1, 1] that the VAE sees


@dataclass(frozen=True)
class Rectified:
    """The mode `rectified`, as `Distillation` has it: a gradient that an inpainting model has a say in.

    Photographs are warped into the view by its rendered depth, and the inpainting model, which was trained to
    keep what it is shown and to paint the rest, is shown them. So what it takes for noise is told by this
    scene's photographs, where the guidance model has words alone.

    Attributes:
        options: the mode's flags, checked.
        photographers: the training cameras, with their photographs.
        guidance_scale, rescale: of both models, see `LatentDiffusionPrior.predict`.
        resolution: short side in pixels of what the prior sees.
    """

    options: RectifiedOptions
    photographers: Sequence[Camera]
    guidance_scale: float
    rescale: float
    resolution: int

    def __call__(
        self, prior: Prior, view: View, states: Tensor, progress: float, generator: torch.Generator
    ) -> Score:
        """What is said of a view's latents by this prior, with the inpainting model beside it."""
        assert prior.inpainting is not None
        picture, beside = masked_picture(prior, view, self.photographers, self.resolution)
        inpainting = prior.inpainting.seeing(beside)

        def score(latents: Tensor) -> LatentGradient:
            found = rectified_gradient(
                prior,
                inpainting,
                latents,
                states,
                self.options.rectified_t,
                generator,
                weights=self.options.rectified_weights,
                guidance_scale=self.guidance_scale,
                rescale=self.rescale,
            )
            return replace(found, shown={"photographs": picture})

        return score


@torch.no_grad()
def masked_picture(
    prior: Prior, view: View, photographers: Sequence[Camera], resolution: int
) -> tuple[Tensor, Tensor]:
    """The photographs warped into a view, and the channels by which an inpainting U-Net sees them.

    As diffusers' StableDiffusionInpaintPipeline prepares them: grey where something is to be painted, encoded
    and scaled like any picture; of the mask, the nearest pixel for each of the latents'.

    Args:
        prior: the frozen model whose VAE encodes.
        view: the rendering.
        photographers: the training cameras, with their photographs.
        resolution: short side in pixels of what the prior sees.

    Returns:
        picture: (3, H, W) float32 in [0, 1], of the rendering's size.
        beside: (1, 1 + 4, h, w) float32: the mask, 1 where no photograph sees and it is to be painted, 0
            elsewhere; then the picture's latents.
    """
    warped, seen = warped_photographs(view, photographers)
    layers = fit_to_prior(torch.cat([warped, seen[None].to(warped)]), resolution, prior.size_multiple)
    colours, share = layers[:, :-1], layers[:, -1:]
    known = share >= 0.5  # share: of a pixel, after resizing; its colours are of the seen part alone
    latents = prior.encode(torch.where(known, colours / share.clamp_min(0.5), GREY))
    mask = F.interpolate((~known).to(latents), size=latents.shape[-2:])
    return torch.where(seen, warped, GREY), torch.cat([mask, latents], dim=1)


def rectified_gradient(
    prior: Prior,
    inpainting: Prior,
    latents: Tensor,
    states: Tensor,
    noise_range: tuple[float, float],
    generator: torch.Generator,
    *,
    weights: tuple[float, float],
    guidance_scale: float,
    rescale: float,
) -> LatentGradient:
    """Inline prior guided score matching: g = w(t) (a (eps-hat_i - eps) + b (eps-hat_i - eps-hat)), w = abar.

    IPSM (arXiv 2412.02225). The first part is score distillation from the inpainting model. The second leads
    from what the guidance model expects of the noised rendering to what the inpainting model expects, who
    knows more; where both expect the same it is 0. First t, then eps is drawn.

    Args:
        prior: the frozen model, eps-hat.
        inpainting: the frozen inpainting model, eps-hat_i, with its channels beside the latents.
        latents: (1, 4, h, w) float32, z.
        states: (2, tokens, width), text states of the negative prompt, then of the prompt.
        noise_range: lowest and highest t, as fractions of the prior's T levels.
        generator: on the CPU, so that every device sees the same noise.
        weights: a and b.
        guidance_scale, rescale: of both, see `LatentDiffusionPrior.predict`.
    """
    t = draw_level(noise_range, len(prior.abar), generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noised = prior.add_noise(latents, noise, t)
    expected = prior.predict(noised, t, states, guidance_scale, rescale)
    informed = inpainting.predict(noised, t, states, guidance_scale, rescale)
    weight = level_weight("abar", *prior.levels(t))
    said, (by_noise, by_prior) = informed.noise.float(), weights
    residual = weight * (by_noise * (said - noise) + by_prior * (said - expected.noise.float()))
    return LatentGradient(residual, int(t), float(weight), noised, informed.clean)
