"""A camera that moves, what it sees, and what a guidance does to that."""

from dataclasses import replace

import torch

from scene.cameras import Camera
from sds_guidance import Guidance, View

CAMERA = Camera(
    "novel", torch.eye(4), torch.tensor([[50.0, 0.0, 32.0], [0.0, 50.0, 32.0], [0.0, 0.0, 1.0]]), 64, 64
)


def moved_camera(generator: torch.Generator, progress: float) -> Camera:
    """A sampler that uses its generator, so that the stream of draws is that of a real run."""
    pose = torch.eye(4)
    pose[0, 3] = float(torch.rand(1, generator=generator)) + progress
    return replace(CAMERA, world_to_camera=pose)


def view(camera: Camera = CAMERA) -> View:
    """A smooth picture that depends on the camera, with gradient."""
    rgb = (torch.linspace(0, 1, 64)[None, :, None] * torch.ones(3, 1, 64) + camera.world_to_camera[0, 3]) / 4
    return View(camera, rgb.requires_grad_(), torch.ones(1, 64, 64), torch.ones(1, 64, 64))


def applied(guidance: Guidance, step: int, photometric_norm: float = 1.0) -> tuple[torch.Tensor, dict]:
    """The gradient that one guided step sends into its rendering, and what it logs."""
    (camera,) = guidance.cameras(step)
    seen = view(camera)
    result = guidance([seen], step, photometric_norm)
    (gradient,) = torch.autograd.grad(result.loss, seen.rgb)
    return gradient, result.scalars
