"""The flags of `--guidance rectified`; importing this loads no network library."""

from __future__ import annotations

import math
from dataclasses import dataclass

from utils.errors import demand


@dataclass
class RectifiedOptions:
    """How an inpainting model that sees warped photographs rectifies what the guidance model says."""

    inpainting_model: str = ""
    """An inpainting model of --guidance_model's family for rectified: a hub id or a local folder."""
    rectified_t: tuple[float, float] = (0.25, 0.75)
    """Lowest and highest noise level t of rectified, as fractions of the model's steps."""
    rectified_weights: tuple[float, float] = (0.2, 2.0)
    """Weights of the inpainting model beyond the noise, and beyond --guidance_model (docs/)."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        low, high = self.rectified_t
        demand(0 < low <= high < 1, "rectified_t", self.rectified_t, "two rising fractions above 0, below 1")
        weights = self.rectified_weights
        holds = all(0 <= weight < math.inf for weight in weights) and any(weights)
        demand(holds, "rectified_weights", weights, "two finite numbers >= 0, not both 0")
