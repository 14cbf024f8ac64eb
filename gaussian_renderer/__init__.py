"""One `render` over two engines: activations, the call, and the background."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gaussian_renderer.engines import Engine, choose_engine
from utils.determinism import sigmoid

if TYPE_CHECKING:
    from scene.cameras import Camera

__all__ = ["Engine", "Rendering", "choose_engine", "render"]


@dataclass
class Rendering:
    """What one camera sees of the Gaussians.

    Attributes:
        rgb: (3, H, W) float32 over the background, at least 0, not clamped above.
        alpha: (1, H, W) float32 in [0, 1).
        depth: (1, H, W) float32, expected depth along the camera's z axis in scene units, 0 where nothing is;
            None unless asked for.
        info: the engine's `meta`, gsplat's keys; `info["means2d"]` receives the gradient in the image plane.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor | None
    info: MutableMapping[str, Any]


def render(
    camera: Camera,
    gaussians: Mapping[str, Tensor] | torch.nn.ParameterDict,
    *,
    sh_degree: int,
    background: Tensor,
    engine: Engine,
    depth: bool = False,
    antialiased: bool = False,
    absgrad: bool = False,
    scaling_modifier: float = 1.0,
    radius_clip: float = 0.0,
    opacity_factors: Tensor | None = None,
) -> Rendering:
    """The image of the Gaussians from `camera`, with gradients to every entry of `gaussians`.

    Args:
        camera: world to camera in OpenCV axes, intrinsics in pixels, width and height.
        gaussians: gsplat's names. means (N, 3) world; scales (N, 3) log; quats (N, 4) wxyz, of any length;
            opacities (N,) logit; sh0 (N, 1, 3); shN (N, K - 1, 3). float32 on the engine's device.
        sh_degree: the active degree, at most the stored one.
        background: (3,) float32.
        depth: render the expected depth too.
        antialiased: dim what is smaller than a pixel (Mip-Splatting, arXiv 2311.16493).
        absgrad: leave `info["means2d"].absgrad` in backward (AbsGS, arXiv 2404.10484).
        scaling_modifier: factor on all scales, for viewers.
        radius_clip: pixels; Gaussians of at most this radius are not drawn.
        opacity_factors: (N,) float32, at least 0; opacities times these, at most 1, are drawn. What is 0 is
            not seen: its `info["radii"]` are 0.
    """
    device = gaussians["means"].device
    scales = torch.exp(gaussians["scales"])
    opacities = sigmoid(gaussians["opacities"])
    if opacity_factors is not None:
        opacities = (opacities * opacity_factors).clamp(max=1)
    image, alpha, info = engine.rasterization(
        means=gaussians["means"],
        quats=gaussians["quats"],
        scales=scales if scaling_modifier == 1 else scales * scaling_modifier,
        opacities=opacities,
        colors=(gaussians["sh0"], gaussians["shN"]),
        viewmats=camera.world_to_camera[None].to(device),
        Ks=camera.intrinsics[None].to(device),
        width=camera.width,
        height=camera.height,
        near_plane=camera.near_plane,
        radius_clip=radius_clip,
        sh_degree=sh_degree,
        packed=False,
        render_mode="RGB+ED" if depth else "RGB",
        absgrad=absgrad,
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    channels = image[0].permute(2, 0, 1)
    alpha = alpha[0].permute(2, 0, 1)
    rgb = channels[:3] + (1 - alpha) * background[:, None, None]
    return Rendering(rgb, alpha, channels[3:4] if depth else None, info)
