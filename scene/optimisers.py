"""One Adam for each kind of parameter, and the schedule of the positions' learning rate."""

import math
from dataclasses import dataclass

import torch
from torch.nn import ParameterDict
from torch.optim import Optimizer

from utils.errors import demand
from utils.schedules import log_linear


@dataclass
class OptimiserOptions:
    """Learning rates, as in the reference."""

    position_lr_init: float = 0.00016
    """Learning rate of positions at the start, as a fraction of the scene extent."""
    position_lr_final: float = 0.0000016
    """Learning rate of positions at --position_lr_max_steps and after."""
    position_lr_max_steps: int = 30_000
    """Iterations over which the positions' rate falls (log-linearly)."""
    feature_lr: float = 0.0025
    """Learning rate of colours; coefficients beyond degree 0 use a twentieth."""
    opacity_lr: float = 0.025
    """Learning rate of opacity logits."""
    scaling_lr: float = 0.005
    """Learning rate of log scales."""
    rotation_lr: float = 0.001
    """Learning rate of quaternions."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        for flag, value in vars(self).items():
            demand(0 <= value < math.inf, flag, value, "a finite number >= 0")


def position_lr(options: OptimiserOptions, iteration: int, extent: float) -> float:
    """Learning rate of positions at `iteration` (from 1), scene units: log-linear; 0 if an end is 0."""
    progress = iteration / max(options.position_lr_max_steps, 1)
    return extent * log_linear(options.position_lr_init, options.position_lr_final, progress)


def make_optimisers(
    gaussians: ParameterDict, options: OptimiserOptions, extent: float
) -> dict[str, Optimizer]:
    """An Adam for each entry, with the reference's rates, betas (0.9, 0.999) and epsilon 1e-15."""
    rates = {
        "means": options.position_lr_init * extent,
        "scales": options.scaling_lr,
        "quats": options.rotation_lr,
        "opacities": options.opacity_lr,
        "sh0": options.feature_lr,
        "shN": options.feature_lr / 20,
    }
    return {
        name: torch.optim.Adam([gaussians[name]], lr=rate, eps=1e-15, fused=True)
        for name, rate in rates.items()
    }
