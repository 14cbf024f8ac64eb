"""Losses on the rendered depth of a training view: by neighbouring photographs, and by a given depth map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from gaussian_renderer import Rendering
from scene.cameras import Camera
from scene.depth_maps import DepthMap, load_depth_maps
from utils.determinism import single_threaded
from utils.errors import UserError, Warnings, demand
from utils.schedules import log_linear
from utils.warping import reproject, sample

NEIGHBOURS = 3  # photographs that a view is compared with, in turn
SAME_WAY = math.cos(math.radians(45.0))  # of axes closer than this; others show little of the same surfaces
SURFACE = 0.5  # alpha from which on a pixel's depth is taken for that of a surface
BEHIND = 0.03  # a point is hidden by a surface that is nearer by more than this share of the distance
RAMP = 0.2  # of the run, until the warp loss has its whole weight: the first depths hide the wrong things

See = Callable[..., Rendering]


@dataclass
class DepthOptions:
    """Losses on the rendered depth of training views."""

    lambda_warp: float = 0.0
    """Weight of the warp loss: L1 between a photograph and a neighbouring one, sampled where the rendered
    depth has the pixel there; 0: none."""
    depths: Annotated[str, tyro.conf.arg(aliases=["-d"])] = ""
    """Folder of depth maps inside the dataset, in the reference's format; empty: none."""
    depth_l1_weight_init: float = 1.0
    """Weight, at the start, of L1 to the inverse depths of --depths where depth_params.json tells their
    scale; 0: they count by their correlation alone."""
    depth_l1_weight_final: float = 0.01
    """The same at the end; it falls log-linearly over all iterations."""
    lambda_depth: float = 0.05
    """Weight of 1 - the correlation with the inverse depths of --depths, where their scale is not known, and
    with those of --depth_model."""
    depth_model: str = ""
    """Depth estimation model of transformers, a local folder or a hub id, that tells the depth of novel views
    from their renderings; they count as --depths without a scale do. Empty: none."""
    depth_model_interval: int = 4
    """Every so many renderings of depth it is asked, and then weighs so many times more."""
    depth_interval: int = 4
    """Every so many iterations depth is rendered for these losses, which then weigh so many times more."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        for flag in ("lambda_warp", "lambda_depth", "depth_l1_weight_init"):
            value = getattr(self, flag)
            demand(0 <= value < math.inf, flag, value, "a finite number >= 0")
        final = self.depth_l1_weight_final
        demand(0 < final < math.inf, "depth_l1_weight_final", final, "a finite number > 0")
        if self.depth_model and not self.lambda_depth:
            raise UserError("--depth_model counts by --lambda_depth, which is 0; give a weight or no model")
        every = self.depth_model_interval
        demand(every >= 1, "depth_model_interval", every, "at least 1")
        demand(self.depth_interval >= 1, "depth_interval", self.depth_interval, "at least 1")


class DepthLosses:
    """The losses of a run. They hold no state: an iteration's number says all."""

    def __init__(
        self,
        options: DepthOptions,
        cameras: Sequence[Camera],
        maps: Mapping[str, DepthMap],
        iterations: int,
        background: Tensor,
        novel: Callable[[int, See], float] | None = None,
    ) -> None:
        """Finds the cameras' neighbours.

        Args:
            options: the flags.
            cameras: the training cameras.
            maps: by camera's name, of `load_depth_maps`; empty: none.
            iterations: of the run.
            background: (3,) float32, on the device of the training; shows where photographs are transparent.
            novel: a loss on novel views, called with the iteration and what renders.
        """
        self.options, self.maps, self.iterations = options, maps, iterations
        self.background, self.novel = background, novel
        near = neighbours(cameras) if options.lambda_warp else [[] for _ in cameras]
        self.neighbours = {camera.name: them for camera, them in zip(cameras, near, strict=True)}

    def __call__(self, iteration: int, camera: Camera, see: See) -> float:
        """Renders depth, if the iteration's turn has come, and adds the losses' gradients.

        The rendering of the view is one of its own, of all Gaussians, so that densification's statistics stay
        those of the photograph's colours, and opacity dropout tears no holes into the depth.

        Args:
            iteration: from 1.
            camera: of the iteration's view.
            see: renders the state's Gaussians; they get the gradient.

        Returns:
            The losses, weighted; 0 out of turn.
        """
        value = self._at_photograph(iteration, camera, see)
        return value + self.novel(iteration, see) if self.novel else value

    def _at_photograph(self, iteration: int, camera: Camera, see: See) -> float:
        map_ = self.maps.get(camera.name)
        near = self.neighbours[camera.name]
        if iteration % self.options.depth_interval or not (near or map_):
            return 0.0
        rendering = see(camera, depth=True)
        progress = iteration / self.iterations
        with single_threaded():  # sums of many pixels, whose bits depend on the threads
            loss = rendering.rgb.new_zeros(())
            if near:
                other = near[iteration // self.options.depth_interval % len(near)]
                ramp = min(progress / RAMP, 1.0)
                loss = loss + self.options.lambda_warp * ramp * self._warp(rendering, camera, other, see)
            if map_:
                loss = loss + self._given(rendering, camera, map_, progress)
            loss = self.options.depth_interval * loss
            if loss.requires_grad:
                loss.backward()
        return float(loss.detach())

    def _warp(self, rendering: Rendering, camera: Camera, other: Camera, see: See) -> Tensor:
        with torch.no_grad():
            hiding = see(other, depth=True)
        here, there = (self._photograph(it) for it in (camera, other))
        return warp_loss(rendering, camera, here, other, there, hiding)

    def _given(self, rendering: Rendering, camera: Camera, map_: DepthMap, progress: float) -> Tensor:
        near, prior = inverse_depth(rendering), map_.inverse.to(self.background)
        weight = self._photograph(camera)[1]
        if map_.known is not None:
            weight = weight * map_.known.to(weight)
        if map_.metric and self.options.depth_l1_weight_init:
            first, last = self.options.depth_l1_weight_init, self.options.depth_l1_weight_final
            return log_linear(first, last, progress) * (weight * (near - prior).abs()).mean()
        surface = rendering.alpha[0].detach() >= SURFACE
        return self.options.lambda_depth * (1 - correlation(near, prior, weight * surface))

    def _photograph(self, camera: Camera) -> tuple[Tensor, Tensor]:
        """(3, H, W) and (H, W): the photograph, and how much each pixel counts."""
        target, weight = camera.own_photograph.target(self.background, self.background.device)
        return target, torch.ones_like(target[0]) if weight is None else weight


def make_depth_losses(
    options: DepthOptions,
    source: Path,
    cameras: Sequence[Camera],
    iterations: int,
    background: Tensor,
    warnings: Warnings,
    novel: Callable[[int, See], float] | None = None,
) -> DepthLosses | None:
    """The losses of a run, its depth maps loaded; None where there are none to be had.

    Raises:
        UserError: as `load_depth_maps` does.
    """
    maps = load_depth_maps(source, options.depths, cameras, warnings) if options.depths else {}
    if not (maps or options.lambda_warp or novel):
        return None
    losses = DepthLosses(options, cameras, maps, iterations, background, novel)
    if options.lambda_warp and not any(losses.neighbours.values()):
        warnings.add("no two training photographs look the same way; --lambda_warp compares none")
    return losses


def neighbours(cameras: Sequence[Camera]) -> list[list[Camera]]:
    """For each camera the few nearest others that look the same way, nearest first."""
    result = []
    for camera in cameras:
        axis, place = camera.world_to_camera[2, :3], camera.position
        alike = [it for it in cameras if it is not camera and it.world_to_camera[2, :3] @ axis >= SAME_WAY]
        result.append(sorted(alike, key=lambda it: float((it.position - place).norm()))[:NEIGHBOURS])
    return result


def warp_loss(
    rendering: Rendering,
    camera: Camera,
    here: tuple[Tensor, Tensor],
    other: Camera,
    there: tuple[Tensor, Tensor],
    hiding: Rendering,
) -> Tensor:
    """L1 between a photograph and another one, sampled where the rendered depth has the pixels there.

    The mean over channels and over those pixels that have a surface, lie in the other picture, count in
    both, and are not behind what the other view's rendering shows. Where it sees nothing, nothing counts.

    Args:
        rendering: of `camera`, with depth, which gets the gradient; its colours do not matter.
        camera, other: the photographs' cameras.
        here, there: each photograph, (3, H, W) in [0, 1], and how much its pixels count, (H, W).
        hiding: the rendering of `other`, with depth; gets no gradient.

    Returns:
        A scalar; 0 where no pixel counts.
    """
    assert rendering.depth is not None and hiding.depth is not None
    pixels, distance = reproject(camera, other, rendering.depth[0])
    with torch.no_grad():
        size = pixels.new_tensor([other.width, other.height])
        inside = (distance > 0) & ((pixels >= 0) & (pixels < size)).all(dim=-1)
        solid, front, counts = sample(torch.cat([hiding.alpha, hiding.depth, there[1][None]]), pixels)
        seen = inside & (solid >= SURFACE) & (distance <= (1 + BEHIND) * front)
        weight = here[1] * counts * (seen & (rendering.alpha[0] >= SURFACE))
    difference = (sample(there[0], pixels) - here[0]).abs().mean(dim=0)
    return (weight * difference).sum() / weight.sum().clamp_min(1e-6)


def inverse_depth(rendering: Rendering) -> Tensor:
    """(H, W) float32, 1 / scene units: alpha / depth; 0 where nothing is, as if it were infinitely far.

    The reference blends the Gaussians' inverse depths; on a surface both are the same.
    """
    assert rendering.depth is not None
    depth = rendering.depth[0]
    return rendering.alpha[0] / torch.where(depth > 0, depth, 1)


def correlation(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Pearson's correlation coefficient of two (H, W) maps, pixels weighted; a scalar in [-1, 1].

    It does not change with the maps' scale and offset. 1, without a gradient, where nothing counts or a map
    has one value only: there is nothing to be learnt then.
    """
    total = weight.sum().clamp_min(1e-6)
    first, second = (it - (weight * it).sum() / total for it in (first, second))
    variances = (weight * first**2).sum() * (weight * second**2).sum()
    if not float(variances.detach()) > 0:
        return torch.ones_like(total)
    return (weight * first * second).sum() / variances.sqrt()
