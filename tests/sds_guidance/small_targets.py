"""The mode `targets` on small smooth pictures, with priors whose denoiser is known."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from sds_guidance import View
from sds_guidance.mode import Guided
from sds_guidance.targets import Targets
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.exact_priors import GaussianPrior

SIZE = 24
CAMERA = Camera(
    "train", torch.eye(4), torch.tensor([[30.0, 0.0, 12.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]]), SIZE, SIZE
)
NO_STATES = torch.empty(2, 0, 0)
FEW = TargetsOptions(targets_views=3, targets_refresh=6, targets_steps=4)


def moved(generator: torch.Generator, progress: float) -> Camera:
    """A camera like the training camera, somewhat aside; what it sees is at depth 5."""
    pose = torch.eye(4)
    pose[0, 3] = 0.2 + float(torch.rand(1, generator=generator))
    return replace(CAMERA, name="novel", world_to_camera=pose)


def evenly(camera: Camera) -> float:
    return 1.0


def make(prior: Any = None, options: TargetsOptions = FEW, photographers=(), weight=evenly) -> Targets:
    prior = prior or GaussianPrior(0.5, 0.2)
    return Targets(options, prior, photographers, moved, weight, rescale=0.7, resolution=SIZE)


def rendering(camera: Camera, alpha: float = 1.0, level: float = 0.3) -> View:
    """A smooth picture that depends on the camera, with gradient."""
    ramp = torch.linspace(0, 0.3, SIZE)[None, :, None] * torch.ones(3, 1, SIZE)
    rgb = ramp + level + camera.world_to_camera[0, 3] / 10
    depth = torch.full((1, SIZE, SIZE), 5.0)
    return View(camera, rgb.requires_grad_(), torch.full((1, SIZE, SIZE), alpha), depth)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def step(mode: Targets, generator: torch.Generator, progress: float = 0.5, **changes: Any) -> Guided:
    """One guided step."""
    (camera,) = mode.cameras(generator, progress)
    return mode(rendering(camera, **changes), NO_STATES, progress, generator)


def photographer(folder: Path, picture: torch.Tensor) -> Camera:
    """The training camera with this (3, H, W) photograph."""
    path = folder / "photograph.png"
    Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(path)
    return replace(CAMERA, photograph=Photograph(path, SIZE, SIZE, PixelCache(10**6)))


def saved_and_loaded(state: dict) -> dict:
    """The state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
