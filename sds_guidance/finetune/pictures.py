"""Picture files become RGB in [0, 1]: photographs, grey scans through an intensity window, DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from utils.errors import UserError
from utils.images import image_tensor
from utils.optional_modules import optional_module

DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of one channel with more than eight bits."""


class UnreadablePicture(Exception):
    """A file that is no picture, or a damaged one; the message says what is wrong."""


def read_picture(path: Path, window: tuple[float, float] | None) -> Tensor:
    """(3, H, W) float32 in [0, 1].

    Photographs are turned upright by their EXIF tag; what is transparent becomes white. Grey pictures of more
    than eight bits, and DICOM, are mapped linearly from the window to [0, 1], cut there, and repeated to
    three channels; with a window, eight-bit grey pictures are too.

    Args:
        path: a picture.
        window: lowest and highest intensity, in the file's units (Hounsfield units for a CT's DICOM).

    Raises:
        UnreadablePicture: the file is damaged or of no known kind.
        UserError: a scan without a stated window, or a window for a picture with colours.
    """
    raw = _read_dicom(path) if path.suffix.lower() == ".dcm" else _read_image(path)
    if raw.ndim == 3:
        if window is not None:
            raise UserError(f"--intensity_window is for grey scans, but {path} has colours; leave it out")
        return image_tensor(raw)
    if window is None and raw.dtype != np.uint8:
        raise UserError(
            f"{path} is a grey scan with intensities from {raw.min():g} to {raw.max():g}; state the window "
            "that becomes black to white, the same for all scans: --intensity_window LOW HIGH"
        )
    low, high = window or (0.0, 255.0)
    grey = torch.from_numpy(raw.astype(np.float32)).sub(low).div(high - low).clamp(0, 1)
    return grey.expand(3, -1, -1).contiguous()


def _read_image(path: Path) -> NDArray:
    """(H, W, 3) uint8 of a picture with colours, (H, W) of a grey one, uint8 or deeper."""
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (
        OSError,
        ValueError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as problem:
        raise UnreadablePicture(str(problem)) from problem
    if upright.mode in (*DEEP_MODES, "L"):
        return np.array(upright)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.array(upright.convert("RGB"))


def _read_dicom(path: Path) -> NDArray:
    """(H, W) float64, the stored values through the modality's slope and intercept or table."""
    pydicom = optional_module("pydicom", f"{path}: reading DICOM needs pydicom")
    from pydicom.pixels import apply_modality_lut  # noqa: PLC0415 - an optional extra

    try:
        scan = pydicom.dcmread(path)
        raw = np.asarray(apply_modality_lut(scan.pixel_array, scan), dtype=np.float64)
    except (pydicom.errors.InvalidDicomError, AttributeError, ValueError, RuntimeError, OSError) as problem:
        raise UnreadablePicture(str(problem)) from problem
    if raw.ndim != 2:
        raise UnreadablePicture(f"wanted is one grey slice, found an array of shape {raw.shape}")
    return raw.max() + raw.min() - raw if scan.PhotometricInterpretation == "MONOCHROME1" else raw
