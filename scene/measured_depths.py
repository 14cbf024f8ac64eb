"""Depth images of a sensor, as Nerfstudio datasets name them, brought to a photograph's pinhole camera."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scene.cameras import Camera
from utils.errors import UserError


class MeasuredDepth(NamedTuple):
    """Where the depth images of a dataset are.

    Attributes:
        files: by photograph's name.
        unit: scene units of a step of their values.
    """

    files: dict[str, Path]
    unit: float


def measured_inverse(path: Path, unit: float, camera: Camera) -> tuple[Tensor, Tensor]:
    """What a depth image says at the camera's pixels: the nearest value, so that edges do not blur.

    Args:
        path: a PNG of one channel of 16 or 32 bits, of the photograph's shape at any size, as the lens sees
            it: depth along the camera's z axis, 0 where the sensor had none.
        unit: scene units of a step.
        camera: with a photograph.

    Returns:
        inverse: (H, W) float32, 1 / scene units; 0 where there is none.
        known: (H, W) bool, where there is one.

    Raises:
        UserError: the file is damaged, of 8 bits, of another shape, or without any depth.
    """
    depth = unit * _values(path).astype(np.float64)
    height, width = depth.shape
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    places, size = np.stack([columns, rows], axis=-1).reshape(-1, 2), (camera.width, camera.height)
    lens = camera.own_photograph.lens
    if lens is not None:
        to_rays = np.linalg.inv(camera.intrinsics.numpy().astype(np.float64))
        rays = np.c_[places, np.ones(len(places))] @ to_rays.T
        places, size = lens.img_from_cam(rays), (lens.width, lens.height)
    if abs(width * size[1] - height * size[0]) > width + height + sum(size):  # sides are rounded
        raise UserError(
            f"{path} has {width}x{height} pixels, its photograph {size[0]}x{size[1]}: not the same picture, "
            "not even at another scale. Copy the right file there, or leave `depth_file_path` out"
        )
    scaled = np.nan_to_num(places / size * (width, height), nan=-1.0)
    inside = np.all((scaled >= 0) & (scaled < (width, height)), axis=1)
    across, down = np.where(inside[:, None], scaled, 0).astype(np.int64).T
    sampled = np.where(inside, depth[down, across], 0).reshape(camera.height, camera.width)
    if not sampled.any():
        raise UserError(f"{path} has no depth above 0; leave its `depth_file_path` out")
    known = sampled > 0
    inverse = np.divide(1, sampled, out=np.zeros_like(sampled), where=known)
    return torch.from_numpy(inverse.astype(np.float32)), torch.from_numpy(known)


def _values(path: Path) -> NDArray[np.integer]:
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise UserError(f"{path} cannot be read as a depth image ({failure}); make it anew") from failure
    if not mode.startswith("I"):
        raise UserError(
            f"{path} is no depth image: wanted is a PNG of one channel of 16 bits, found is the mode {mode}. "
            "Make it anew, or leave `depth_file_path` out"
        )
    return np.maximum(values, 0)
