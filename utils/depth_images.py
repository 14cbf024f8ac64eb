"""Depth as pictures: 16 bits with a stated step, and colours with a stated range."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SOLID = 0.5  # alpha from which on a pixel has a depth
ROOM = 4.0  # how far beyond the scene's far end 16 bits reach, as a factor
LARGEST = 65535
# Colours at equal steps of inverse depth, far to near; they read in grey too. Black is kept for nothing.
RAMP = np.array(((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)), np.float64)


def solid_depth(depth: Tensor, alpha: Tensor) -> NDArray[np.float32]:
    """(H, W) float32: the depth where alpha is at least a half, 0 elsewhere.

    Args:
        depth: (1, H, W) float32, scene units.
        alpha: (1, H, W) float32 in [0, 1].
    """
    solid: NDArray[np.float32] = (depth * (alpha >= SOLID))[0].numpy(force=True)
    return solid


@dataclass(frozen=True)
class DepthScale:
    """How depths become pictures, the same for all pictures of a scene.

    Attributes:
        step: scene units; what a value of the 16-bit pictures is multiplied by.
        near, far: scene units, 0 < near < far; the ends of the colours.
    """

    step: float
    near: float
    far: float

    def pixels(self, depth: NDArray[np.float32]) -> NDArray[np.uint16]:
        """(H, W) uint16: depth / step, rounded, 1 to 65535 where there is a depth; 0 elsewhere."""
        values = np.rint(depth.astype(np.float64) / self.step).clip(1, LARGEST)
        return np.where(depth > 0, values, 0).astype(np.uint16)

    def coloured(self, depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: yellow is near, violet far, in equal steps of inverse depth; nothing is black."""
        inverse = 1 / np.where(depth > 0, depth, self.far).clip(self.near, self.far).astype(np.float64)
        place = (inverse - 1 / self.far) / (1 / self.near - 1 / self.far) * (len(RAMP) - 1)
        channels = [np.interp(place, np.arange(len(RAMP)), channel) for channel in RAMP.T]
        colours = np.rint(np.stack(channels, axis=-1))
        return np.where(depth[..., None] > 0, colours, 0).astype(np.uint8)

    def record(self) -> dict[str, Any]:
        """What the pictures mean, as JSON values, to be written beside them."""
        return {
            "depth": "expected depth along the camera's z axis, from the camera's centre, in scene units",
            "scale": self.step,
            "meaning": "depth = value * scale; 0: nothing, alpha is below 0.5; 65535: so far or farther",
            "farthest": self.step * LARGEST,
            "coloured": {"near": self.near, "far": self.far, "steps": "equal in inverse depth"},
        }


def depth_scale(near: float, far: float) -> DepthScale:
    """The scale for a scene between these depths, scene units, 0 < near < far.

    The step is a 1, 2 or 5 before or after a decimal point, so that scenes of about one size have the same.
    """
    least = ROOM * far / LARGEST
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    return DepthScale(float(f"{step:.0e}"), near, far)
