"""Photographs warped into a rendering by its depth: what they show of it, and how sure it is by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.warping import reproject, sample

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.mode import View

NEAREST = 4  # photographs that are asked about a view
TOLERANCE = 0.05  # difference of colour, mean over channels, from which on a photograph does not agree
WINDOW = 3  # pixels, side of the square over which differences are averaged: one alone may agree by chance
SURFACE = 0.5  # alpha from which on a pixel's depth is taken for that of a surface
BEHIND = 0.03  # a point is hidden by one that is nearer by more than this share of the distance
CELL = 2  # pixels, side of the cells in which points hide each other; smaller ones would leave gaps
SLOPE = 2.0  # tangent of the slant up to which a surface does not hide itself within a cell


@torch.no_grad()
def certainty(view: View, photographers: Sequence[Camera]) -> tuple[Tensor, Tensor]:
    """How far each pixel of a rendering is known from photographs, and the picture that they know.

    A pixel's certainty is its alpha times the mean agreement, 1 - (difference / 0.05)^2 and not below 0, of
    those nearby photographs that see its surface. One photograph alone counts half: the Gaussians were fitted
    to repeat it, and do so at any depth; that two agree says that the depth is right.

    A photograph sees a surface where the rendered depth puts it inside of the picture, counted by its mask,
    and not behind anything that the rendering shows. What the view itself does not see may still hide it;
    then only the colour can tell. Where alpha is small the depth means nothing, and nobody is asked.

    Args:
        view: the rendering, from any camera.
        photographers: the training cameras, with their photographs.

    Returns:
        certainty: (H, W) float32 in [0, 1].
        reference: (3, H, W) float32 in [0, 1], the nearest agreeing photograph's colours, and the rendering's
            own where none agrees.
    """
    rgb, alpha = view.rgb.detach().clamp(0, 1), view.alpha[0].detach()
    depth, surface = _surface(view)
    reference, known = rgb, torch.zeros_like(surface)
    witnesses, agreement = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for source in nearest(view.camera, photographers):
        colours, seen = _warped(source, view.camera, depth, surface)
        difference = _mean_nearby((colours - rgb).abs().mean(dim=0), seen)
        agrees = seen & (difference < TOLERANCE)
        witnesses += seen
        agreement += torch.where(agrees, 1 - (difference / TOLERANCE) ** 2, 0)
        reference = torch.where(agrees & ~known, colours, reference)
        known |= agrees
    return alpha * agreement / witnesses.clamp_min(2), reference


@torch.no_grad()
def warped_photographs(view: View, photographers: Sequence[Camera]) -> tuple[Tensor, Tensor]:
    """What photographs show of the surfaces that a rendering shows, whether its colours agree or not.

    Of those nearby photographs that see a pixel's surface, as `certainty` has it, the nearest has the word.

    Args:
        view: the rendering, from any camera.
        photographers: the training cameras, with their photographs.

    Returns:
        picture: (3, H, W) float32 in [0, 1]; 0 where no photograph sees.
        seen: (H, W) bool, where one does.
    """
    depth, surface = _surface(view)
    picture, seen = torch.zeros_like(view.rgb), torch.zeros_like(surface)
    for source in nearest(view.camera, photographers):
        colours, sees = _warped(source, view.camera, depth, surface)
        picture = torch.where(sees & ~seen, colours, picture)
        seen |= sees
    return picture, seen


def nearest(camera: Camera, photographers: Sequence[Camera]) -> list[Camera]:
    """The few of the photographers that stand nearest to the camera, nearest first."""
    position = camera.position.double().cpu()
    return sorted(photographers, key=lambda it: float((it.position.double().cpu() - position).norm()))[
        :NEAREST
    ]


def in_sight(pixels: Tensor, distance: Tensor, surface: Tensor, source: Camera) -> Tensor:
    """(H, W) bool: which points a camera sees, as far as these points alone can hide each other.

    Args:
        pixels, distance: (H, W, 2) and (H, W), where the points lie in the camera (see `reproject`).
        surface: (H, W) bool; other points are neither seen nor hide anything.
        source: the camera.
    """
    size = pixels.new_tensor([source.width, source.height])
    inside = surface & (distance > 0) & ((pixels >= 0) & (pixels < size)).all(dim=-1)
    columns, rows = -(-source.width // CELL), -(-source.height // CELL)
    cells = (torch.where(inside[..., None], pixels, 0) / CELL).long()
    cells = (cells[..., 1] * columns + cells[..., 0]).flatten()
    depths = torch.where(inside, distance, torch.inf).flatten()
    front = depths.new_full((rows * columns,), torch.inf).scatter_reduce(0, cells, depths, "amin")
    slack = BEHIND + SLOPE * CELL / float(source.intrinsics[0, 0])
    return inside & (distance <= (1 + slack) * front[cells].view_as(distance))


def _surface(view: View) -> tuple[Tensor, Tensor]:
    """(H, W) depths of a rendering, scene units, and (H, W) bool: where they are those of a surface."""
    depth = view.depth[0].detach()
    return depth, (view.alpha[0].detach() >= SURFACE) & (depth > 0)


def _warped(source: Camera, camera: Camera, depth: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """A photograph warped into a camera by its depth, (3, H, W), and where it sees the surface, (H, W)."""
    picture, counts = _photograph(source, depth.device)
    pixels, distance = reproject(camera, source, depth)
    seen = in_sight(pixels, distance, surface, source) & (sample(counts[None], pixels)[0] > 0.99)
    return sample(picture, pixels), seen


def _mean_nearby(values: Tensor, counted: Tensor) -> Tensor:
    """(H, W): the mean of the counted values in a small square round each pixel."""
    weights = counted.to(values)
    total, count = (
        F.avg_pool2d(layer[None, None], WINDOW, stride=1, padding=WINDOW // 2)[0, 0]
        for layer in (torch.where(counted, values, 0), weights)
    )
    return total / count.clamp_min(1e-6)


def _photograph(camera: Camera, device: torch.device) -> tuple[Tensor, Tensor]:
    """A training camera's photograph, (3, H, W) float32 in [0, 1], and how far its pixels count, (H, W)."""
    pixels = camera.own_photograph.pixels()
    rgb = torch.from_numpy(pixels.rgb).to(device).permute(2, 0, 1).float() / 255
    counts = torch.ones_like(rgb[0])
    for layer in (pixels.alpha, pixels.mask):
        if layer is not None:
            counts = counts * torch.from_numpy(layer).to(device).float() / 255
    return rgb, counts
