"""Pictures for the diffusion model alone: contrast, standard size, augmentation; each may be switched off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from utils.errors import UserError, demand


@dataclass
class PreprocessingOptions:
    """What is done to pictures before the model sees them; never to photographs that are reconstructed."""

    resolution: int = 0
    """Side in pixels of the square that every picture becomes; a multiple of the model's own step. 0: the
    model's own side."""
    fit: Literal["crop", "pad"] = "crop"
    """How it becomes a square: the middle is cut out, or the border's colour is added on both sides."""
    intensity_window: tuple[float, float] | None = None
    """Intensities of grey scans (16 bits, DICOM) that become black and white, in the file's units."""
    normalise_contrast: float = 0.0
    """Percent of darkest and of brightest pixels to cut when stretching contrast, below 50; 0: left alone."""

    augmented_copies: int = 0
    """Copies of each training picture, changed at random by the flags below, beside the picture itself."""
    augment_flip: bool = False
    """Mirror half of the copies, left to right; not where captions or scans say left and right."""
    augment_crop: float = 0.0
    """Largest share of a copy's side that is cut away, in [0, 1)."""
    augment_colour: float = 0.0
    """Largest change of a copy's brightness, contrast and saturation, each a factor 1 +- this, in [0, 1)."""
    augment_blur: float = 0.0
    """Largest standard deviation of a copy's Gaussian blur, in pixels of the result."""

    def of_side(self, own: int) -> PreprocessingOptions:
        """The same with the model's own side, in pixels, where none is given."""
        return replace(self, resolution=self.resolution or own)

    def check(self, size_multiple: int) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense for the model."""
        demand(
            self.resolution > 0 and self.resolution % size_multiple == 0,
            "resolution",
            self.resolution,
            f"a multiple of {size_multiple}, the step of this model",
        )
        if self.intensity_window is not None:
            low, high = self.intensity_window
            demand(low < high, "intensity_window", self.intensity_window, "LOW below HIGH")
        demand(0 <= self.normalise_contrast < 50, "normalise_contrast", self.normalise_contrast, "0 to 50")
        demand(self.augmented_copies >= 0, "augmented_copies", self.augmented_copies, "0 or more")
        for flag in ("augment_crop", "augment_colour"):
            demand(0 <= getattr(self, flag) < 1, flag, getattr(self, flag), "a number from 0, below 1")
        demand(self.augment_blur >= 0, "augment_blur", self.augment_blur, "0 or more")
        changes = self.augment_flip or self.augment_crop or self.augment_colour or self.augment_blur
        if bool(self.augmented_copies) != bool(changes):
            raise UserError(
                "augmentation needs --augmented_copies, how many copies are made, and at least one of "
                "--augment_flip, --augment_crop, --augment_colour, --augment_blur; only one side was given"
            )


def standardise(picture: Tensor, options: PreprocessingOptions) -> Tensor:
    """(3, R, R) float32 in [0, 1]: a (3, H, W) picture with contrast and size as the options say."""
    return _resize(square(picture, options), options.resolution)


def copies(picture: Tensor, options: PreprocessingOptions, random: torch.Generator) -> Tensor:
    """(1 + augmented_copies, 3, R, R): the standardised picture, then its random copies."""
    whole = square(picture, options)
    first = _resize(whole, options.resolution)
    return torch.stack([first, *(_augment(whole, options, random) for _ in range(options.augmented_copies))])


def square(picture: Tensor, options: PreprocessingOptions) -> Tensor:
    """(3, S, S) of a (3, H, W) picture: contrast stretched, cut or padded to a square, not yet resized."""
    if options.normalise_contrast:
        percents = [options.normalise_contrast, 100 - options.normalise_contrast]
        low, high = np.percentile(picture.mean(dim=0).numpy(), percents)
        picture = ((picture - low) / max(high - low, 1 / 255)).clamp(0, 1)
    height, width = picture.shape[1:]
    if options.fit == "crop":
        return functional.center_crop(picture, [min(height, width)])
    side = max(height, width)
    border = torch.cat([picture[:, [0, -1]].flatten(1), picture[:, :, [0, -1]].flatten(1)], dim=1)
    padded = border.median(dim=1).values.view(3, 1, 1).repeat(1, side, side)
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, top : top + height, left : left + width] = picture
    return padded


def _augment(whole: Tensor, options: PreprocessingOptions, random: torch.Generator) -> Tensor:
    """(3, R, R): one random copy of a square picture; every copy draws the same count of numbers."""
    size, x, y, flip, brightness, contrast, saturation, blur = torch.rand(8, generator=random).tolist()
    side = whole.shape[1]
    kept = max(1, round(side * (1 - options.augment_crop * size)))
    left, top = round(x * (side - kept)), round(y * (side - kept))
    copy = _resize(whole[:, top : top + kept, left : left + kept], options.resolution)
    if options.augment_flip and flip < 0.5:
        copy = functional.horizontal_flip(copy)
    if options.augment_colour:
        factors = [1 + options.augment_colour * (2 * u - 1) for u in (brightness, contrast, saturation)]
        copy = functional.adjust_brightness(copy, factors[0])
        copy = functional.adjust_contrast(copy, factors[1])
        copy = functional.adjust_saturation(copy, factors[2])
    sigma = options.augment_blur * blur
    if sigma > 0.1:  # below a tenth of a pixel there is nothing to see
        radius = min(int(3 * sigma) + 1, (options.resolution - 1) // 2)
        copy = functional.gaussian_blur(copy, [2 * radius + 1] * 2, [sigma] * 2)
    return copy


def _resize(picture: Tensor, side: int) -> Tensor:
    """(3, side, side) in [0, 1], antialiased."""
    resized = functional.resize(picture, [side, side], InterpolationMode.BICUBIC, antialias=True)
    return resized.clamp(0, 1)
