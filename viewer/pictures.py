"""Pictures for the panel beside the scene: depth in colours, and photographs at a small size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scene.cameras import Camera
from utils.depth_images import depth_scale, solid_depth


def coloured_depth(depth: Tensor, alpha: Tensor) -> tuple[NDArray[np.uint8], tuple[float, float] | None]:
    """Depths in the colours of `utils.depth_images`; black where less than half of a pixel is covered.

    Args:
        depth, alpha: (1, H, W), as `Rendering` has them.

    Returns:
        pixels: (H, W, 3) uint8.
        span: nearest and farthest depth of the colours, scene units: of all but two hundredths of the pixels
            at either end. None where nothing is covered.
    """
    values = solid_depth(depth, alpha)
    if not values.any():
        return np.zeros((*values.shape, 3), np.uint8), None
    near, far = np.percentile(values[values > 0], (2, 98)).tolist()
    far = max(far, 1.001 * near)
    return depth_scale(near, far).coloured(values), (near, far)


def within(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size of a picture made smaller, in its own shape, so that its longer side is at most `longest`."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def enlarged(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a small picture, each pixel repeated as often as `longest` pixels along it allow."""
    times = max(1, longest // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def together(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two pictures of one size as one: beside each other where they are upright, else one below the other."""
    return np.concatenate([one, other], axis=int(one.shape[0] > one.shape[1]))


def photograph(camera: Camera, background: Tensor, longest: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the camera's photograph over a background, at most `longest` pixels long.

    Args:
        camera: one that took a photograph.
        background: (3,) float32 in [0, 1]; shows where the photograph is transparent.
        longest: pixels of the longer side.
    """
    pixels = camera.own_photograph.pixels()
    size = within(camera.width, camera.height, longest)
    picture = Image.fromarray(pixels.rgb)
    if pixels.alpha is not None:
        picture.putalpha(Image.fromarray(pixels.alpha))
    picture = picture.resize(size, Image.Resampling.BOX)
    if pixels.alpha is not None:
        colour = tuple((background * 255).round().int().tolist())
        picture = Image.alpha_composite(Image.new("RGBA", size, (*colour, 255)), picture).convert("RGB")
    return np.asarray(picture)
