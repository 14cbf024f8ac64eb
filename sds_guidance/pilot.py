"""Pilot runs with and without guidance, compared at photographs; who trains them is the caller's affair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sds_guidance.certainty import SURFACE, in_sight
from sds_guidance.gate import PilotPlan, Trial, try_weights, unmeasured, verdict
from utils.image_metrics import any_counts, psnr
from utils.warping import reproject, sample

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.mode import View

BEST = 100.0  # dB, what a score is cut at, so that equal pictures have a difference

Look = Callable[["Camera"], "View"]
"""How a trained model is seen from a camera."""
Fit = Callable[[Sequence["Camera"], int, float], Look]
"""Trains a model on these photographs, for so many iterations, at this weight of guidance (0: none); the same
arguments give the same model."""


@dataclass(frozen=True)
class Fold:
    """Photographs that a pilot trains on, and those that judge it; the same ones where none is left out."""

    training: list[Camera]
    judging: list[Camera]


def run_pilot(
    plan: PilotPlan,
    cameras: Sequence[Camera],
    halfway: Sequence[Camera],
    fit: Fit,
    lambda_sds: float,
    background: Tensor,
) -> dict[str, Any]:
    """What pilots decide of guidance, as `verdict` records it; half the weight is tried if the whole harms.

    Args:
        plan: how many runs, and how long.
        cameras: those of the run's training photographs; no others are looked at.
        halfway: cameras between them, for a plan that leaves none out; see `warp_scores`.
        fit: trains.
        lambda_sds: the weight of guidance.
        background: (3,) float32 in [0, 1], of the renderings.
    """
    split = folds(cameras, plan.folds)
    unguided = [fit(fold.training, plan.iterations, 0.0) for fold in split]

    def attempt(weight: float) -> Trial:
        scores: dict[str, tuple[float, float]] = {}
        for fold, without in zip(split, unguided, strict=True):
            guided = fit(fold.training, plan.iterations, weight)
            if plan.folds > 1:
                scores |= left_out_scores(without, guided, fold.judging, background)
            else:
                scores |= warp_scores(without, guided, cameras, halfway, background)
        return Trial(weight, scores)

    compared = "left-out photographs" if plan.folds > 1 else "warped photographs"
    trials = try_weights(lambda_sds, attempt)
    if not trials[0].scores:
        return unmeasured(lambda_sds, f"gate: no pixel of {compared} counts, so nothing was measured")
    return verdict(trials, compared)


def folds(cameras: Sequence[Camera], count: int) -> list[Fold]:
    """The photographs in `count` groups, each left out once; 1: all of them train, and judge.

    Neighbours go to different groups, so that what is left out lies between photographs that train.
    """
    if count == 1:
        return [Fold(list(cameras), list(cameras))]
    return [
        Fold(
            [it for number, it in enumerate(cameras) if number % count != left_out],
            list(cameras[left_out::count]),
        )
        for left_out in range(count)
    ]


@torch.no_grad()
def left_out_scores(
    without: Look, guided: Look, cameras: Sequence[Camera], background: Tensor
) -> dict[str, tuple[float, float]]:
    """By photograph, PSNR in dB of both models' renderings; one without a pixel that counts is left out."""
    scores = {}
    for camera in cameras:
        target, weight = camera.own_photograph.target(background, background.device)
        if any_counts(weight):
            plain, changed = (
                min(psnr(look(camera).rgb.clamp(0, 1), target, weight), BEST) for look in (without, guided)
            )
            scores[camera.name] = (plain, changed)
    return scores


@torch.no_grad()
def warp_scores(
    without: Look,
    guided: Look,
    photographers: Sequence[Camera],
    halfway: Sequence[Camera],
    background: Tensor,
) -> dict[str, tuple[float, float]]:
    """By photograph and view, PSNR in dB of the photograph warped into the view by either model's depth.

    It says how far a model agrees with the photographs, without one to spare. In another photograph's view
    the warped one is compared with that photograph: where the depth is right, both show the same of a
    surface. In a view half-way, of which there is none, it is compared with the model's own rendering, whose
    colours guidance may have changed. Pixels count whose surface, by both models, the warped photograph sees.

    Args:
        without, guided: the two models.
        photographers: the training cameras, with their photographs.
        halfway: cameras between them.
        background: (3,) float32 in [0, 1], behind photographs with a transparent one.
    """
    scores = {}
    for camera in [*photographers, *halfway]:
        views = [look(camera) for look in (without, guided)]
        shown, weight = [view.rgb.clamp(0, 1) for view in views], None
        if camera.photograph:
            target, weight = camera.photograph.target(background, background.device)
            shown = [target, target]
        for source in photographers:
            if source is camera:
                continue
            pictures, seen = zip(*(warped(view, source, background) for view in views), strict=True)
            counted = (seen[0] & seen[1]).float() * (1 if weight is None else weight)
            if any_counts(counted):
                plain, changed = (
                    min(psnr(picture, target, counted), BEST)
                    for picture, target in zip(pictures, shown, strict=True)
                )
                scores[f"{source.name} in {camera.name}"] = (plain, changed)
    return scores


def warped(view: View, source: Camera, background: Tensor) -> tuple[Tensor, Tensor]:
    """The photograph of `source` as its surfaces appear from the view, by the view's rendered depth.

    Returns:
        colours: (3, H, W) float32 in [0, 1], without meaning where it does not see the surface.
        seen: (H, W) bool, where it does and its mask counts.
    """
    picture, weight = source.own_photograph.target(background, background.device)
    depth = view.depth[0]
    surface = (view.alpha[0] >= SURFACE) & (depth > 0)
    pixels, distance = reproject(view.camera, source, depth)
    seen = in_sight(pixels, distance, surface, source)
    if weight is not None:
        seen &= sample(weight[None], pixels)[0] > 0.99
    return sample(picture, pixels), seen
