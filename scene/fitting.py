"""A posed photograph becomes a camera at the training size: the file's size against the lens's, masks, -r."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import pycolmap
import torch

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache, find_mask, stored_size
from scene.source import PosedPhotograph
from scene.undistort import is_pinhole, pinhole_of
from utils.errors import UserError, Warnings

WIDEST = 1600  # pixels; wider photographs are shrunk to it unless --resolution says otherwise
UPRIGHT = (0, 1)  # EXIF orientations that ask for no turn; 0 is "unknown"


@dataclass
class Fitting:
    """What all photographs of a scene share when they become cameras.

    Attributes:
        resolution: the flag's value.
        cache: for the decoded photographs.
        masks: the folder of the masks, or None.
        own_masks: whether masks that a dataset names itself are used; they win over those in the folder.
        mask_is_alpha: see `Photograph`.
        warnings: takes what is odd but usable.
        original_sizes: filled: for each name, width and height before --resolution.
    """

    resolution: int
    cache: PixelCache
    masks: Path | None
    own_masks: bool
    mask_is_alpha: bool
    warnings: Warnings
    original_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def camera(self, posed: PosedPhotograph) -> Camera:
        """The pinhole camera with its photograph, both at the training size.

        Raises:
            UserError: the file is damaged, does not fit its lens, or the lens has no pinhole equivalent.
        """
        lens = self._lens_of_file(posed)
        distorted = None if is_pinhole(lens) else lens
        original = posed.lens
        if distorted is not None:
            original, lens = pinhole_of(posed.lens), pinhole_of(distorted)
            self.warnings.add(
                f"photographs of a {posed.lens.model_name} camera are undistorted on load", posed.name
            )
        self.original_sizes[posed.name] = (original.width, original.height)

        width, height = training_size(lens.width, lens.height, self.resolution)
        if self.resolution == -1 and width < lens.width:
            kind = (
                f"photographs wider than {WIDEST} pixels are shrunk to that; --resolution 1 keeps their size"
            )
            self.warnings.add(kind, posed.name)
        mask_path = posed.mask if self.own_masks else None
        if self.masks and mask_path is None:
            mask_path = find_mask(self.masks, posed.name)
        if self.masks and mask_path is None:
            self.warnings.add(f"no mask in {self.masks}, all of the photograph is used", posed.name)
        at_file_size = Camera(
            name=posed.name,
            world_to_camera=torch.from_numpy(posed.world_to_camera).float(),
            intrinsics=torch.from_numpy(lens.calibration_matrix()).float(),
            width=lens.width,
            height=lens.height,
        )
        photograph = Photograph(
            posed.path, width, height, self.cache, distorted, mask_path, mask_is_alpha=self.mask_is_alpha
        )
        return replace(at_file_size.resized(width, height), photograph=photograph)

    def _lens_of_file(self, posed: PosedPhotograph) -> pycolmap.Camera:
        """The lens scaled to the file's size, when both show the same picture.

        Raises:
            UserError: they cannot; the message says whether one is turned.
        """
        width, height, orientation = stored_size(posed.path)
        lens = posed.lens
        turned = f"EXIF orientation {orientation}"
        if (width, height) != (lens.width, lens.height):
            sizes = f"{posed.path} has {width}x{height} pixels, its camera {lens.width}x{lens.height}"
            if not same_shape(width, height, lens) and same_shape(height, width, lens):
                tag = f" (its {turned})" if orientation not in UPRIGHT else ""
                raise UserError(
                    f"{sizes}: one of them is turned by 90 degrees{tag}. COLMAP never turns a picture by its "
                    "EXIF orientation, nor do we; some other program turned this file. Use the files from "
                    "which the poses were made, or make the poses anew from these"
                )
            if not same_shape(width, height, lens):
                raise UserError(
                    f"{sizes}: not the same picture, not even at another scale. Use the files from which the "
                    "poses were made (--images names their folder)"
                )
            lens = copy.deepcopy(lens)
            lens.rescale(width, height)
        if orientation not in UPRIGHT:
            self.warnings.add(
                f"{turned} asks to turn the picture; it is used as stored, because its camera "
                "was estimated so (COLMAP never turns)",
                posed.name,
            )
        return lens


def same_shape(width: int, height: int, lens: pycolmap.Camera) -> bool:
    """Whether width x height is the lens's size at some scale, either side rounded by up to a pixel."""
    by_width = abs(width * lens.height / lens.width - height)
    by_height = abs(height * lens.width / lens.height - width)
    return min(by_width, by_height) <= 1


def training_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height in pixels at which a photograph is used, by the reference's rule for --resolution."""
    if resolution in (1, 2, 4, 8):
        return max(round(width / resolution), 1), max(round(height / resolution), 1)
    target = min(width, WIDEST) if resolution == -1 else resolution
    factor = width / target
    return int(width / factor), max(int(height / factor), 1)
