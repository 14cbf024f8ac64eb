"""Floaters: Gaussians that no photograph needs, found by what they contribute to the training views.

With few photographs most of space is seen by one camera or by none, and nothing keeps Gaussians out of it.
Two kinds are told apart from the rest: those that hardly a training photograph sees, and those that hover as
a haze before a surface that is clear itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from gsplat.strategy.ops import remove
from torch import Tensor
from torch.nn import ParameterDict

from scene.cameras import Camera
from scene.gaussians import SH_C0
from scene.training_state import TrainingState
from utils.determinism import single_threaded
from utils.errors import demand
from utils.memory import give_back_freed_memory

if TYPE_CHECKING:
    from gaussian_renderer import Rendering

LONGEST_SIDE = 256  # pixels; floaters show at this size too, and cost less
SEEN = 0.01  # pixels; a Gaussian with less blending weight in all of a picture is not seen there
SLICE = 1.1  # ratio of the depths at which a slice, in which the light of a pixel is counted, ends and begins
MARGIN = 2  # slices; so far before and behind the one at the mode Gaussians still belong to the surface
CLEAR = 0.5  # share of a pixel's light that comes from there, so that a surface is there
MOST = 0.5  # share of its blending weight by which a Gaussian hovers before surfaces

See = Callable[..., "Rendering"]
"""`render` of these Gaussians; a camera, and the keywords that are to differ, complete the call."""


@dataclass
class FloaterOptions:
    """Floaters, and when they are removed."""

    prune_unseen: tuple[int, ...] = ()
    """Iterations after which Gaussians are removed that fewer than --least_views training photographs see."""
    least_views: int = 1
    """Training photographs that must see a Gaussian for --prune_unseen to leave it, at least 1; where fewer
    train, all of them."""
    prune_before_surface: tuple[int, ...] = ()
    """Iterations after which Gaussians are removed whose blending weight lies mostly before a clear surface,
    at the mode of the depths along a pixel's ray (after SparseGS, arXiv 2312.00206)."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        for flag in ("prune_unseen", "prune_before_surface"):
            moments = getattr(self, flag)
            demand(all(it >= 1 for it in moments), flag, moments, "iterations, from 1 on")
        demand(self.least_views >= 1, "least_views", self.least_views, "1 or more photographs")

    def due(self, iteration: int) -> bool:
        """Whether anything is removed after this iteration."""
        return iteration in self.prune_unseen or iteration in self.prune_before_surface


def remove_floaters(options: FloaterOptions, see: See, state: TrainingState) -> None:
    """Removes what the options ask for after the state's iteration, with all that belongs to it.

    Were all Gaussians floaters, all stay: something else is wrong then.

    Args:
        options: the flags.
        see: renders the state's Gaussians.
        state: of the training; its parameters are replaced.
    """
    gaussians, cameras = state.gaussians, [smaller(camera) for camera in state.views.cameras]
    mask = torch.zeros(len(gaussians["means"]), dtype=torch.bool, device=gaussians["means"].device)
    if state.iteration in options.prune_unseen:
        mask |= views_that_see(cameras, see, gaussians) < min(options.least_views, len(cameras))
    if state.iteration in options.prune_before_surface:
        mask |= before_surfaces(cameras, see, gaussians)
    if mask.any() and not mask.all():
        with single_threaded():
            remove(gaussians, state.optimisers, state.densification.state, mask)
        give_back_freed_memory()


def smaller(camera: Camera) -> Camera:
    """The camera with its longer side at most `LONGEST_SIDE` pixels."""
    factor = min(1.0, LONGEST_SIDE / max(camera.width, camera.height))
    return camera.resized(*(max(1, round(side * factor)) for side in (camera.width, camera.height)))


def blending_weights(
    camera: Camera,
    see: See,
    gaussians: ParameterDict,
    pixels: Tensor | None = None,
    chosen: Tensor | None = None,
) -> Tensor:
    """(N,) float32: every Gaussian's weight in the picture, transmittance times alpha, summed over pixels.

    A picture is linear in its Gaussians' colours, and its derivative by one of them is that weight; so any
    engine that has gradients tells it.

    Args:
        pixels: (H, W) bool, those that count; None: all.
        chosen: (N,) bool, the Gaussians that are there; None: all.
    """
    flat = {name: value.detach() for name, value in gaussians.items()}
    flat["sh0"] = torch.zeros_like(flat["sh0"]).requires_grad_()
    flat["shN"] = flat["shN"][:, :0]
    factors = None if chosen is None else chosen.float()
    red = see(camera, gaussians=flat, sh_degree=0, opacity_factors=factors).rgb[0]
    (red if pixels is None else red * pixels).sum().backward()
    gradient = flat["sh0"].grad
    assert gradient is not None
    return gradient[:, 0, 0] / SH_C0


def views_that_see(cameras: Sequence[Camera], see: See, gaussians: ParameterDict) -> Tensor:
    """(N,) int64: in how many of the cameras' pictures each Gaussian has a blending weight worth the name."""
    return torch.stack([blending_weights(camera, see, gaussians) >= SEEN for camera in cameras]).sum(dim=0)


def before_surfaces(cameras: Sequence[Camera], see: See, gaussians: ParameterDict) -> Tensor:
    """(N,) bool: whose blending weight, over all cameras, lies mostly before clear surfaces."""
    weights = torch.zeros(2, len(gaussians["means"]), device=gaussians["means"].device)
    for camera in cameras:
        everywhere = blending_weights(camera, see, gaussians)
        weights[0] += everywhere
        weights[1] += weights_before_surface(camera, see, gaussians, everywhere >= SEEN)
    return weights[1] > MOST * weights[0]


def weights_before_surface(camera: Camera, see: See, gaussians: ParameterDict, seen: Tensor) -> Tensor:
    """(N,) float32: blending weights summed over the pixels in which a Gaussian lies before the surface.

    The alpha of the Gaussians nearer than a depth is the share of a ray's light that comes from before it.
    The slice of depth that adds most is the ray's mode. With its neighbours it is a surface if more than half
    of the light comes from them; what lies nearer than these, then, is a haze before it.

    Args:
        seen: (N,) bool; the range of depths is that of these.
    """
    pose = camera.world_to_camera.to(gaussians["means"].device)
    depths = gaussians["means"].detach() @ pose[2, :3] + pose[2, 3]
    result = torch.zeros_like(depths)
    if not seen.any():
        return result
    nearest, farthest = float(depths[seen].min()), float(depths[seen].max())
    slices = 1 + int(math.log(farthest / nearest) / math.log(SLICE))
    edges = nearest * SLICE ** torch.arange(slices + 1, device=depths.device)
    with torch.no_grad():
        met = torch.stack([see(camera, opacity_factors=(depths < edge).float()).alpha[0] for edge in edges])
    mode = met.diff(dim=0).argmax(dim=0)[None]
    start, end = (mode - MARGIN).clamp(min=0), (mode + 1 + MARGIN).clamp(max=slices)
    clear = met.gather(0, end) - met.gather(0, start) > CLEAR
    start = torch.where(clear, start, 0)[0]
    for number in start.unique().tolist():
        if number:
            result += blending_weights(camera, see, gaussians, start == number, depths < edges[number])
    return result
