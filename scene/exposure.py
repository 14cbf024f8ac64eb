"""Exposure of each training photograph: an affine change of colour between the scene and its picture.

A matrix is stored as the reference has it: (3, 4) E turns a colour c into the colour whose channel j is
E[j, 3] plus the sum over i of c_i E[i, j], before values are clamped.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Parameter

from utils.determinism import single_threaded
from utils.errors import UserError, demand
from utils.files import write_json
from utils.schedules import log_linear

EXPOSURE_FILE = "exposure.json"


@dataclass
class ExposureOptions:
    """Exposure of the photographs; the rates are the reference's."""

    exposure: bool = False
    """Learn an affine change of colour for each training photograph; their mean changes nothing."""
    exposure_lr_init: float = 0.01
    """Learning rate of exposures at the start."""
    exposure_lr_final: float = 0.001
    """Learning rate of exposures at the end; it falls log-linearly over all iterations."""
    exposure_lr_delay_steps: int = 0
    """Iterations over which the rate rises to its schedule; 0: it starts there."""
    exposure_lr_delay_mult: float = 0.0
    """Factor on the rate with which such a rise begins, 0 to 1."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        for flag in ("exposure_lr_init", "exposure_lr_final", "exposure_lr_delay_steps"):
            value = getattr(self, flag)
            demand(0 <= value < math.inf, flag, value, "a finite number >= 0")
        factor = self.exposure_lr_delay_mult
        demand(0 <= factor <= 1, "exposure_lr_delay_mult", factor, "0 to 1")

    def rate(self, iteration: int, iterations: int) -> float:
        """The learning rate at `iteration` (from 1) of a run; 0 if an end is 0."""
        rate = log_linear(self.exposure_lr_init, self.exposure_lr_final, iteration / iterations)
        if not self.exposure_lr_delay_steps:
            return rate
        rise = math.sin(math.pi / 2 * min(iteration / self.exposure_lr_delay_steps, 1.0))
        return rate * (self.exposure_lr_delay_mult + (1 - self.exposure_lr_delay_mult) * rise)


class Exposures:
    """The matrices of the training photographs, centred: their mean is the identity.

    Without that, all photographs together could drift away from the scene, which then has no colour of its
    own, and a test view would be seen in the drifted one. A single photograph keeps the identity.
    """

    def __init__(
        self, names: Sequence[str], options: ExposureOptions, iterations: int, device: torch.device | str
    ) -> None:
        self.rows = {name: row for row, name in enumerate(names)}
        self.options, self.iterations = options, iterations
        self.matrices = Parameter(torch.eye(3, 4, device=device).repeat(len(self.rows), 1, 1))
        self.optimiser = torch.optim.Adam([self.matrices])

    def __call__(self, name: str, rgb: Tensor) -> Tensor:
        """(3, H, W) as the photograph of that name shows it; unchanged if it is none of those that train."""
        return expose(rgb, self.matrices[self.rows[name]]) if name in self.rows else rgb

    def step(self, iteration: int) -> None:
        """A step of Adam at the rate of `iteration` (from 1), and the mean brought back; clears gradients."""
        self.optimiser.param_groups[0]["lr"] = self.options.rate(iteration, self.iterations)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.matrices.sub_(self.matrices.mean(dim=0) - torch.eye(3, 4, device=self.matrices.device))

    def save(self, model_path: Path) -> None:
        """Writes the reference's `exposure.json`: the matrices by the photographs' names."""
        matrices = self.matrices.tolist()
        by_name = {name: matrices[row] for name, row in self.rows.items()}
        write_json(model_path / EXPOSURE_FILE, by_name, indent=2)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {"matrices": self.matrices.detach(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s result."""
        with torch.no_grad():
            self.matrices.copy_(saved["matrices"])
        self.optimiser.load_state_dict(saved["optimiser"])


def load_exposures(model_path: Path) -> Mapping[str, Tensor]:
    """The (3, 4) float32 matrices of a model's `exposure.json` by name; none where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = model_path / EXPOSURE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        result = {name: torch.tensor(rows, dtype=torch.float32) for name, rows in content.items()}
        if not all(matrix.shape == (3, 4) and matrix.isfinite().all() for matrix in result.values()):
            raise ValueError("a matrix is not 3 x 4 finite numbers")
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
        raise UserError(
            f"{path} does not hold a 3 x 4 matrix for each photograph ({problem}); restore or remove it"
        ) from None
    return result


def expose(rgb: Tensor, matrix: Tensor) -> Tensor:
    """(3, H, W): the colours through a matrix, with gradients to both, the same at any number of threads.

    Args:
        rgb: (3, H, W) float32.
        matrix: (3, 4) float32; see the top of this file.
    """
    result: Tensor = _Expose.apply(rgb, matrix)
    return result


class _Expose(torch.autograd.Function):
    """Nothing but arithmetic by the pixel, and sums over pixels that one thread takes."""

    @staticmethod
    def forward(ctx: Any, rgb: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(rgb, matrix)
        return _mixed(rgb, matrix[:, :3].T) + matrix[:, 3, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rgb, matrix = ctx.saved_tensors
        with single_threaded():
            products = rgb.flatten(1) @ gradient.flatten(1).T
            sums = gradient.flatten(1).sum(dim=1)
        return _mixed(gradient, matrix[:, :3]), torch.cat([products, sums[:, None]], dim=1)


def _mixed(channels: Tensor, factors: Tensor) -> Tensor:
    """(3, H, W): channel j is the sum over i of factors[j, i] times channel i."""
    return torch.stack(
        [row[0] * channels[0] + row[1] * channels[1] + row[2] * channels[2] for row in factors]
    )
