"""Lenses that bend straight lines are replaced by pinholes, and their photographs resampled to match."""

import numpy as np
import pycolmap
from numpy.typing import NDArray
from PIL import Image

from utils.errors import UserError


def is_pinhole(lens: pycolmap.Camera) -> bool:
    """Whether the lens projects as a pinhole does: PINHOLE, SIMPLE_PINHOLE, or distortion terms all zero."""
    return lens.is_perspective_pinhole() and lens.is_undistorted()


def pinhole_of(lens: pycolmap.Camera) -> pycolmap.Camera:
    """The PINHOLE camera in which every pixel of the lens's undistorted photograph lies (no blank border).

    Raises:
        UserError: the model has no pinhole equivalent; it is named.
    """
    try:
        return pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), lens)
    except ValueError as failure:
        raise UserError(
            f"the camera model {lens.model_name} cannot be turned into a pinhole camera; "
            "use PINHOLE, or a model with radial or fisheye distortion, when you estimate the poses"
        ) from failure


def undistorted(image: Image.Image, lens: pycolmap.Camera) -> Image.Image:
    """The image as `pinhole_of(lens)` would have taken it, bilinearly resampled.

    Args:
        image: mode L, RGB or RGBA, of the lens's size. Colours of RGBA are weighed by their alpha.
        lens: a camera with distortion.
    """

    def warped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bitmap = pycolmap.Bitmap.from_array(np.ascontiguousarray(pixels))
        return pycolmap.undistort_image(pycolmap.UndistortCameraOptions(), bitmap, lens)[0].to_array()

    if image.mode != "RGBA":
        return Image.fromarray(warped(np.asarray(image)))
    premultiplied = np.asarray(image.convert("RGBa"))
    result = np.dstack([warped(premultiplied[..., :3]), warped(premultiplied[..., 3])])
    return Image.frombytes("RGBa", result.shape[1::-1], result.tobytes()).convert("RGBA")
