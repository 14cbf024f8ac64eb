"""3D Gaussian splatting as Markov chain Monte Carlo (Kheradmand et al., arXiv 2404.09591), on any device.

gsplat has the same strategy, but three of its steps call CUDA kernels. Here they are torch.
"""

import math
from dataclasses import dataclass

import torch
from gsplat.strategy.ops import _update_param_with_optimizer
from torch import Tensor
from torch.nn import Parameter, ParameterDict
from torch.optim import Optimizer

MOST_COPIES = 51
"""Copies at one place beyond this count as this many (the reference of the paper does the same)."""


def relocated(opacities: Tensor, scales: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity and scale of `copies` equal Gaussians that look like the one they replace (equation 9).

    Args:
        opacities: (M,) float32, activated, in (0, 1).
        scales: (M, 3) float32, activated, scene units.
        copies: (M,) int64, at least 1.

    Returns:
        opacities: (M,) 1 - (1 - o)^(1/n).
        scales: (M, 3), shrunk so that the rendered integral along a line is kept.
    """
    copies = copies.clamp(1, MOST_COPIES)
    new_opacities = 1 - (1 - opacities) ** (1 / copies)
    denominator = torch.zeros_like(opacities)
    for i in range(1, int(copies.max()) + 1 if len(copies) else 1):
        terms = sum(
            math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * new_opacities.double() ** (k + 1)
            for k in range(i)
        )
        denominator += torch.where(copies >= i, terms, 0.0).to(opacities.dtype)
    return new_opacities, scales * (opacities / denominator)[:, None]


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    """(N, 3, 3) covariances in the world frame: R diag(s)^2 R^T.

    Args:
        quats: (N, 4) float32, w x y z, any length.
        scales: (N, 3) float32, activated, scene units.
    """
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    axes = torch.stack(rows, -1).reshape(-1, 3, 3) * scales[:, None, :]
    return axes @ axes.transpose(1, 2)


@dataclass
class McmcStrategy:
    """Dead Gaussians move to live ones, the set grows by 5 % up to `cap`, and positions are shaken."""

    cap: int
    noise_lr: float
    min_opacity: float
    refine_start_iter: int
    refine_stop_iter: int
    refine_every: int

    @torch.no_grad()
    def step(
        self, gaussians: ParameterDict, optimisers: dict[str, Optimizer], iteration: int, means_lr: float
    ) -> None:
        """What follows the optimisers' step of `iteration`; draws from torch's global generator.

        Args:
            gaussians, optimisers: same keys; parameters are replaced when the set changes.
            iteration: counts from 1.
            means_lr: the positions' learning rate at this iteration, scene units.
        """
        refines = self.refine_start_iter < iteration < self.refine_stop_iter
        if refines and iteration % self.refine_every == 0:
            self._relocate_dead(gaussians, optimisers)
            self._grow(gaussians, optimisers)
        self._shake(gaussians, means_lr)

    def _copies(self, gaussians: ParameterDict, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Stored opacities and scales of `chosen` (M,) once each shares its place with its copies."""
        copies = torch.bincount(chosen, minlength=len(gaussians["means"]))[chosen] + 1
        opacities, scales = relocated(
            gaussians["opacities"][chosen].sigmoid(), gaussians["scales"][chosen].exp(), copies
        )
        return opacities.clamp(self.min_opacity, 1 - torch.finfo(torch.float32).eps).logit(), scales.log()

    def _relocate_dead(self, gaussians: ParameterDict, optimisers: dict[str, Optimizer]) -> None:
        opacities = gaussians["opacities"].sigmoid()
        dead = (opacities <= self.min_opacity).nonzero().flatten()
        alive = (opacities > self.min_opacity).nonzero().flatten()
        if not len(dead) or not len(alive):
            return
        chosen = alive[torch.multinomial(opacities[alive], len(dead), replacement=True)]
        shared = dict(zip(("opacities", "scales"), self._copies(gaussians, chosen), strict=True))

        def moved(name: str, value: Tensor) -> Parameter:
            value = value.detach().clone()
            if name in shared:
                value[chosen] = shared[name]
            value[dead] = value[chosen]
            return Parameter(value)

        def restarted(_: str, moment: Tensor) -> Tensor:
            moment[chosen] = 0
            moment[dead] = 0
            return moment

        _update_param_with_optimizer(moved, restarted, gaussians, optimisers)

    def _grow(self, gaussians: ParameterDict, optimisers: dict[str, Optimizer]) -> None:
        count = len(gaussians["means"])
        added = min(self.cap, int(1.05 * count)) - count
        if added <= 0:
            return
        chosen = torch.multinomial(gaussians["opacities"].sigmoid(), added, replacement=True)
        shared = dict(zip(("opacities", "scales"), self._copies(gaussians, chosen), strict=True))

        def grown(name: str, value: Tensor) -> Parameter:
            value = value.detach().clone()
            if name in shared:
                value[chosen] = shared[name]
            return Parameter(torch.cat([value, value[chosen]]))

        def extended(_: str, moment: Tensor) -> Tensor:
            return torch.cat([moment, moment.new_zeros((added, *moment.shape[1:]))])

        _update_param_with_optimizer(grown, extended, gaussians, optimisers)

    def _shake(self, gaussians: ParameterDict, means_lr: float) -> None:
        """Noise along each Gaussian's own shape, fading as it becomes opaque (equation 8)."""
        faintness = torch.sigmoid(100 * (1 - gaussians["opacities"].sigmoid() - 0.995))
        noise = torch.randn_like(gaussians["means"]) * (faintness * means_lr * self.noise_lr)[:, None]
        shape = covariances(gaussians["quats"], gaussians["scales"].exp())
        gaussians["means"].add_((shape @ noise[:, :, None]).squeeze(-1))
