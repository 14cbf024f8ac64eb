"""Images between tensors in [0, 1] and 8-bit pixels, and PNG files of them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from utils.files import whole_file


def image_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(3, H, W) float32 in [0, 1] of 8-bit pixels (H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255


def image_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a (3, H, W) float image; values are rounded, and those outside [0, 1] clamped."""
    pixels = (image.detach() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def laplacian(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """(H - 2, W - 2) float32, the sum of a pixel's four neighbours less four times itself; grey is (H, W)."""
    values = grey.astype(np.float32)
    neighbours = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return neighbours - 4 * values[1:-1, 1:-1]


def write_png(path: Path, image: Tensor) -> None:
    """Writes a (3, H, W) image in [0, 1] as an 8-bit PNG, whole."""
    write_pixels(path, image_pixels(image))


def write_pixels(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Writes a PNG, whole: of (H, W, 3) or (H, W, 4) uint8, or of one channel (H, W) of 8 or 16 bits."""
    with whole_file(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")
