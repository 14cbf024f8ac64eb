"""Colours of photographs as they come: from what the embedded profile says (Display P3, say) to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

UNSEEN = 2  # of 255: by how much a profile may move colours and still count as sRGB's


class Conversion(NamedTuple):
    """What turns the colours of a profile into sRGB.

    Attributes:
        name: the profile's, "Display P3" say.
        transform: of 8-bit RGB, relative colorimetric.
    """

    name: str
    transform: ImageCms.ImageCmsTransform


@lru_cache(maxsize=64)
def to_srgb(profile: bytes) -> Conversion | None:
    """What turns a photograph with this ICC profile into sRGB; None where nothing has to be done.

    That is so without a profile (empty), and where it changes no colour of a grid by more than two of 255: it
    is sRGB's, whatever its name and version. A damaged profile, or one of grey or CMYK, is taken for sRGB's.
    """
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        name = ImageCms.getProfileDescription(source).strip()
    except (OSError, ImageCms.PyCMSError):
        return None
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), axis=-1).reshape(6, 36, 3)
    turned = np.asarray(transform.apply(Image.fromarray(grid)))
    moved = np.abs(turned.astype(int) - grid).max()
    return Conversion(name or "a profile without a name", transform) if moved > UNSEEN else None


def in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """The picture, mode RGB or RGBA, with its colours in sRGB instead of in that ICC profile."""
    conversion = to_srgb(profile)
    if conversion is None:
        return picture
    result = conversion.transform.apply(picture.convert("RGB"))
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A"))
    return result
