"""Opacity dropout (DropGaussian, arXiv 2504.00773): a photograph's view misses some Gaussians at random.

With few photographs the Gaussians nearest to the cameras explain them alone, and those behind get no
gradient. Where some are missing by chance, the others have to stand for the surface too.
"""

import torch
from torch import Tensor

UNTIL = 0.95  # of the run; its last part sees all Gaussians, as the saved model does


def dropout_rate(highest: float, iteration: int, iterations: int) -> float:
    """Probability of a Gaussian to be missing at `iteration` (from 1): rises linearly, 0 at the very end."""
    return highest * iteration / iterations if iteration <= UNTIL * iterations else 0.0


def opacity_factors(count: int, rate: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 on the CPU: 0 with probability `rate` in [0, 1), else 1 / (1 - rate); 1 on average."""
    kept = torch.rand(count, generator=generator) >= rate
    return kept / (1 - rate)
