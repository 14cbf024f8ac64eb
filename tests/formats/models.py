"""Small models of Gaussians for the tests of formats, and how alike two of them look."""

from dataclasses import replace

import numpy as np
import torch

from formats.splats import HIGHER_COEFFICIENTS, Splats
from gaussian_renderer import render
from scene.cameras import Camera
from scene.gaussians import gaussians_of, splats_of
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians


def some_splats(count: int = 300, degree: int = 3, seed: int = 0) -> Splats:
    """Gaussians round the origin, of various opacities, their colours changing with the view."""
    random = np.random.default_rng(seed)
    return replace(
        splats_of(some_gaussians(count, seed)),
        opacities=random.normal(1, 2, count).astype(np.float32),
        shN=random.normal(0, 0.15, (count, HIGHER_COEFFICIENTS[degree], 3)).astype(np.float32),
    )


def picture(splats: Splats, camera: Camera) -> np.ndarray:
    """(H, W, 3) float in [0, 255], rounded as in an image file, over black."""
    with torch.no_grad():
        rgb = render(
            camera,
            gaussians_of(splats),
            sh_degree=splats.sh_degree,
            background=torch.zeros(3),
            engine=cpu_engine(),
            antialiased=splats.antialiased,
        ).rgb
    return np.rint(255 * rgb.clamp(0, 1).permute(1, 2, 0).numpy())


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB, of values in [0, 255]."""
    return float(10 * np.log10(255**2 / max(((one.astype(float) - other) ** 2).mean(), 1e-9)))


def likeness(one: Splats, other: Splats, width: int = 120, height: int = 100) -> float:
    """PSNR in dB of two models' renderings, the mean of three cameras round the origin."""
    cameras = arc_of_cameras(3, width, height)
    return float(np.mean([psnr(picture(one, camera), picture(other, camera)) for camera in cameras]))
