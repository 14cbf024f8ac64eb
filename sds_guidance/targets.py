"""Denoised targets: a few novel views, each with a picture of how it should look, renewed now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scene.cameras import Camera
from sds_guidance.certainty import certainty
from sds_guidance.denoising import Denoising, denoised_picture
from sds_guidance.mode import Guided, Prior
from sds_guidance.sds import fit_to_prior
from utils.image_metrics import lpips_network
from utils.losses import photometric_loss

if TYPE_CHECKING:
    from sds_guidance.mode import View
    from sds_guidance.targets_options import TargetsOptions
    from utils.image_metrics import LpipsNet

LIFE = 0.02  # of the run, after which another view takes the place of one whose target is due
LAMBDA_DSSIM = 0.2
LAMBDA_LPIPS = 0.2  # beside the whole of the other two


@dataclass
class PseudoView:
    """A view that nobody photographed, and what is to be seen from it.

    Attributes:
        camera: where it looks from.
        seed: of its noise, the same for each of its targets, so that they differ as little as the renderings.
        target: (3, H, W) float32 in [0, 1], on the CPU; None before the first rendering.
        certainty: (H, W) float32 in [0, 1], on the CPU, of the rendering that the target was made from.
        level: the noise level that the target was denoised from.
        turn: the guided step at which it was made, counted from 1.
        born: the run's progress, in [0, 1], when the view was chosen.
    """

    camera: Camera
    seed: int
    born: float
    target: Tensor | None = None
    certainty: Tensor | None = None
    level: int = 0
    turn: int = 0


class Targets:
    """The mode `targets`: the loss of a photograph, to a picture that the prior made of the rendering.

    No gradient goes through the prior, and a target serves many steps: so it can be approached, and costs a
    fraction of what it would cost to ask anew at each (as in CAT3D, arXiv 2405.10314, or FreeFix, 3DV 2026).
    What photographs know of a view is neither taken from the prior nor trained towards it.
    """

    def __init__(
        self,
        options: TargetsOptions,
        prior: Prior,
        photographers: Sequence[Camera],
        sample_camera: Callable[[torch.Generator, float], Camera],
        weigh_camera: Callable[[Camera], float],
        *,
        rescale: float,
        resolution: int,
    ) -> None:
        """Makes the mode, without any view yet.

        Args:
            options: the mode's flags, checked.
            prior: the frozen model, with its decoder.
            photographers: the training cameras, with their photographs.
            sample_camera: a camera from a generator and the run's progress in [0, 1].
            weigh_camera: the factor, in [0, 1], of the gradient at a camera.
            rescale: see `LatentDiffusionPrior.predict`.
            resolution: short side in pixels of what the prior sees.
        """
        self.options = options
        self.prior = prior
        self.photographers = list(photographers)
        self.sample_camera = sample_camera
        self.weigh_camera = weigh_camera
        self.rescale = rescale
        self.resolution = resolution
        self.lpips = load_lpips(options.targets_lpips_net, options.targets_lpips_weights)
        self.fresh_share = 1 / math.ceil(options.targets_refresh / options.targets_views)
        self.turn = 0
        self.views: dict[int, PseudoView] = {}

    def cameras(self, generator: torch.Generator, progress: float) -> list[Camera]:
        """The camera whose turn it is; a new one while there are few, or where one has had its time."""
        slot = self.turn % self.options.targets_views
        self.turn += 1
        view = self.views.get(slot)
        if view is None or (self._is_due(view) and progress >= view.born + LIFE):
            camera = self.sample_camera(generator, progress)
            seed = int(torch.randint(2**31, (1,), generator=generator))
            view = self.views[slot] = PseudoView(camera, seed, progress)
        return [view.camera]

    def __call__(self, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Guided:
        """The pull of a rendering to its view's target, which is made first where it is due.

        The loss is 0.8 L1 + 0.2 DSSIM, and 0.2 LPIPS where there are weights for it, summed over pixels with
        the weight (1 - certainty) x the camera's. A view whose target is not finite is given up, and another
        takes its place. See `Mode.__call__`.
        """
        pseudo = self.views[(self.turn - 1) % self.options.targets_views]
        assert pseudo.camera is view.camera
        if self._is_due(pseudo):
            self._renew(pseudo, view, states, progress)
        assert pseudo.target is not None and pseudo.certainty is not None
        target, known = pseudo.target.to(view.rgb), pseudo.certainty.to(view.rgb)
        camera_weight = self.weigh_camera(view.camera)

        pixels = view.rgb.detach().requires_grad_()
        with torch.enable_grad():
            loss = photometric_loss(pixels, target, 1 - known, LAMBDA_DSSIM)
            if self.lpips:
                loss = loss + LAMBDA_LPIPS * self._lpips_loss(pixels, target, known)
        (gradient,) = torch.autograd.grad(loss, pixels)
        # The loss is a mean over colours and weights; its sum is wanted.
        gradient = camera_weight * len(target) * (1 - known).sum() * gradient
        finite = bool(target.isfinite().all() and gradient.isfinite().all())
        if not finite:
            pseudo.target, pseudo.born = None, -math.inf
        return Guided(
            gradient=gradient,
            loss=float(loss.detach()),
            t=pseudo.level,
            weight=camera_weight,
            elements=target.numel(),
            finite=finite,
            pictures=lambda: {"target": target, "certainty": known[None]},
        )

    def _lpips_loss(self, pixels: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """LPIPS as the weighted mean over what is not certain, a scalar.

        The network sees too far for a weight at each pixel: what is certain is shown as the target has it,
        and so neither differs nor gets a gradient. The pictures are brought to the prior's size.
        """
        assert self.lpips
        shown, wanted = (
            fit_to_prior(picture, self.resolution, self.prior.size_multiple)
            for picture in (torch.lerp(pixels, target, known), target)
        )
        share = (1 - known).mean().clamp(min=1e-12)
        return self.lpips(shown, wanted).mean() / share

    def state_dict(self) -> dict[str, Any]:
        """The views with their targets, and whose turn it is; see `Mode.state_dict`."""
        return {"turn": self.turn, "views": {slot: _plain(view) for slot, view in self.views.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.turn = state["turn"]
        self.views = {slot: _pseudo_view(saved) for slot, saved in state["views"].items()}

    def _is_due(self, view: PseudoView) -> bool:
        """Whether the view's target is missing, or too old."""
        return view.target is None or self.turn - view.turn >= self.options.targets_refresh

    @torch.no_grad()
    def _renew(self, pseudo: PseudoView, view: View, states: Tensor, progress: float) -> None:
        """Makes the view's target from its rendering."""
        first, last = self.options.targets_t
        levels = len(self.prior.abar)
        start = min(levels - 1, max(1, round((first + progress * (last - first)) * levels)))
        how = Denoising(
            start, self.options.targets_steps, self.options.targets_scale, self.rescale, self.resolution
        )
        known, reference = certainty(view, self.photographers)
        rgb = view.rgb.detach().clamp(0, 1)
        prior = self.prior.for_view(view, self.resolution)
        target = denoised_picture(prior, rgb, reference, known, states, pseudo.seed, how)
        pseudo.target, pseudo.certainty = target.cpu(), known.cpu()
        pseudo.level, pseudo.turn = start, self.turn


@cache
def load_lpips(net: LpipsNet, weights: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS of two (B, 3, H, W) batches in [0, 1], differentiable; None without a file of weights.

    A run and its pilots share one.

    Raises:
        UserError: the file is missing or holds something else.
    """
    if not weights:
        return None
    network = lpips_network(net, Path(weights).expanduser(), "--targets_lpips")

    def lpips(pictures: Tensor, others: Tensor) -> Tensor:
        distances: Tensor = network.to(pictures.device)(pictures, others, normalize=True)
        return distances

    return lpips


def _plain(view: PseudoView) -> dict[str, Any]:
    """A view as tensors and numbers; its camera has no photograph to lose."""
    camera = view.camera
    names = ("world_to_camera", "intrinsics", "width", "height", "near_plane")
    lens = {name: getattr(camera, name) for name in names}
    return {**vars(view), "camera": lens}


def _pseudo_view(saved: dict[str, Any]) -> PseudoView:
    """The view of `_plain`'s result."""
    return PseudoView(**{**saved, "camera": Camera("novel", **saved["camera"])})
