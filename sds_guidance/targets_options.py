"""The flags of `--guidance targets`; importing this loads no network library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from utils.errors import demand


@dataclass
class TargetsOptions:
    """How views that nobody photographed are given denoised pictures to train towards."""

    targets_views: int = 8
    """Views alive at a time, each with its denoised target; they take their turns, one a guided step."""
    targets_refresh: int = 100
    """Guided steps that a target serves; then it is made anew, or gives way to another view's."""
    targets_t: tuple[float, float] = (0.5, 0.15)
    """Noise put on a rendering at the run's start and at its end, linear between, fractions of the levels."""
    targets_steps: int = 12
    """Network evaluations from there to a clean picture (DDIM, eta 0)."""
    targets_scale: float = 3.0
    """Classifier-free guidance of the targets, in place of --guidance_scale; above 7.5 colours suffer."""
    targets_lpips_weights: str = ""
    """Torchvision's state dict of --targets_lpips_net: adds 0.2 LPIPS to the loss; empty: without LPIPS."""
    targets_lpips_net: Literal["vgg", "alex", "squeeze"] = "vgg"
    """The network whose weights --targets_lpips_weights are."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        for flag in ("targets_views", "targets_refresh", "targets_steps"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        allowed = "fractions above 0 and below 1"
        demand(all(0 < t < 1 for t in self.targets_t), "targets_t", self.targets_t, allowed)
        scale = self.targets_scale
        demand(0 <= scale < math.inf, "targets_scale", scale, "a finite number >= 0")
