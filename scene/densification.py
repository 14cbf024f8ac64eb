"""Where Gaussians are added and removed: gsplat's default strategy, repaired and capped, or MCMC.

Iterations count from 1. The hooks see the photograph's view only, so guidance never feeds the statistics.
"""

import math
from collections.abc import MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from gsplat.strategy import DefaultStrategy
from gsplat.strategy.ops import reset_opa
from torch import Tensor
from torch.nn import ParameterDict
from torch.optim import Optimizer

from scene.mcmc import McmcStrategy
from utils.determinism import sigmoid, single_threaded
from utils.errors import Warnings, demand
from utils.memory import give_back_freed_memory

CPU_CAP = 300_000
NO_CAP = 2**31
PRUNE_OPACITY = 0.005
RESET_OPACITY = 2 * PRUNE_OPACITY


@dataclass
class DensificationOptions:
    """Growth and pruning of the Gaussians."""

    densification: Literal["default", "mcmc"] = "default"
    """default: clone, split, prune, as the reference; mcmc: relocation and noise (arXiv 2404.09591)."""
    densify_from_iter: int = 500
    """First iteration after which Gaussians are added."""
    densify_until_iter: int = 15_000
    """Iteration at which densification stops (3DGS-MCMC uses 25000)."""
    densification_interval: int = 100
    """Iterations between densifications."""
    opacity_reset_interval: int = 3000
    """Iterations between resets of all opacities to at most 0.01 (default strategy only)."""
    opacity_resets: int = -1
    """The most resets of opacities in a run; -1: no limit."""
    prune_scale: float = 0.1
    """Scale above which a Gaussian is pruned after --opacity_reset_interval, as a fraction of the scene
    extent; 0: none is for its size (default strategy only)."""
    densify_grad_threshold: float = 0.0002
    """Mean screen-space gradient, in units of half the image, above which a Gaussian is cloned or split."""
    percent_dense: float = 0.01
    """Largest size that is cloned rather than split, as a fraction of the scene extent."""
    absgrad: bool = False
    """Use absolute pixel gradients (AbsGS); raise --densify_grad_threshold to about 0.0008."""
    max_gaussians: int = -1
    """Hard cap on the number of Gaussians; 0: none; -1: 300000 on a CPU, on CUDA none (mcmc: 1000000)."""
    noise_lr: float = 5e5
    """Strength of the noise on positions (mcmc only)."""
    opacity_reg: float = -1.0
    """Weight of the mean opacity in the loss; -1: 0.01 for mcmc, else 0."""
    scale_reg: float = -1.0
    """Weight of the mean scale in the loss; -1: 0.01 for mcmc, else 0."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        for flag in ("densification_interval", "opacity_reset_interval"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "at least 1")
        demand(self.opacity_resets >= -1, "opacity_resets", self.opacity_resets, "-1 (no limit), 0 or more")
        for flag in ("densify_grad_threshold", "percent_dense", "prune_scale", "noise_lr"):
            value = getattr(self, flag)
            demand(0 <= value < math.inf, flag, value, "a finite number >= 0")
        for flag in ("opacity_reg", "scale_reg"):
            value = getattr(self, flag)
            demand(
                value == -1 or 0 <= value < math.inf, flag, value, "-1 (automatic), or a finite number >= 0"
            )
        demand(
            self.max_gaussians >= -1,
            "max_gaussians",
            self.max_gaussians,
            "-1 (automatic), 0 (none) or a count",
        )

    def cap(self, device: str) -> int:
        """The cap in force on "cpu" or "cuda"."""
        if self.max_gaussians >= 0:
            return self.max_gaussians or NO_CAP
        if device == "cpu":
            return CPU_CAP
        return 1_000_000 if self.densification == "mcmc" else NO_CAP

    def reset_iterations(self, white_background: bool) -> frozenset[int]:
        """After which opacities are lowered; gsplat 1.5.3 never does it (its #797), the reference does.

        Over a white background the reference also resets once when densification begins.
        """
        due = set(range(self.opacity_reset_interval, self.densify_until_iter, self.opacity_reset_interval))
        if white_background and self.densify_from_iter < self.densify_until_iter:
            due.add(self.densify_from_iter)
        return frozenset(sorted(due) if self.opacity_resets < 0 else sorted(due)[: self.opacity_resets])

    @property
    def regularisation(self) -> tuple[float, float]:
        """Weights of the mean opacity and the mean scale in the loss (3DGS-MCMC, equation 12)."""
        default = 0.01 if self.densification == "mcmc" else 0.0
        opacity, scale = (default if weight < 0 else weight for weight in (self.opacity_reg, self.scale_reg))
        return opacity, scale

    @property
    def initial(self) -> tuple[float, float]:
        """Opacity and scale factor that the strategy wants its Gaussians to start with."""
        return (0.5, 0.1) if self.densification == "mcmc" else (0.1, 1.0)


@dataclass
class CappedStrategy(DefaultStrategy):
    """gsplat's default strategy, never growing beyond `cap`: the largest gradients win the free places."""

    cap: int = NO_CAP

    @torch.no_grad()
    def _update_state(self, params, state, info, packed=False):
        """As gsplat's for one camera, in a few passes whose bits do not depend on the number of threads."""
        means2d, seen = info[self.key_for_gradient], (info["radii"][0].amin(dim=-1) > 0).float()
        gradient = (means2d.absgrad if self.absgrad else means2d.grad)[0]
        x, y = gradient[:, 0] * (info["width"] / 2), gradient[:, 1] * (info["height"] / 2)
        for name, increment in (("grad2d", torch.hypot(x, y) * seen), ("count", seen)):
            state[name] = increment if state[name] is None else state[name].add_(increment)

    @torch.no_grad()
    def _grow_gs(self, params, optimizers, state, step):
        gradient = state["grad2d"] / state["count"].clamp_min(1)
        chosen = (gradient > self.grow_grad2d).nonzero().flatten()
        room = max(0, self.cap - len(gradient))  # cloning and splitting both add one
        if len(chosen) > room:
            order = torch.argsort(gradient[chosen], descending=True, stable=True)
            state["grad2d"][chosen[order[room:]]] = 0
        return super()._grow_gs(params, optimizers, state, step)


class Densification:
    """The strategy with its state: two hooks round the backward pass, and what a checkpoint needs."""

    def __init__(
        self,
        options: DensificationOptions,
        extent: float,
        device: str,
        white_background: bool,
        warnings: Warnings,
    ) -> None:
        self.options, self.warnings = options, warnings
        self.cap = options.cap(device)
        self.resets = options.reset_iterations(white_background)
        self.warned = False
        shared = {
            "refine_start_iter": options.densify_from_iter,
            "refine_stop_iter": options.densify_until_iter,
            "refine_every": options.densification_interval,
        }
        self.strategy: CappedStrategy | McmcStrategy
        if options.densification == "mcmc":
            self.strategy = McmcStrategy(
                cap=self.cap, noise_lr=options.noise_lr, min_opacity=PRUNE_OPACITY, **shared
            )
            self.state: dict[str, Any] = {}
        else:
            self.strategy = CappedStrategy(
                prune_opa=PRUNE_OPACITY,
                grow_grad2d=options.densify_grad_threshold,
                grow_scale3d=options.percent_dense,
                prune_scale3d=options.prune_scale or math.inf,
                reset_every=options.opacity_reset_interval,
                absgrad=options.absgrad,
                cap=self.cap,
                **shared,
            )
            self.state = self.strategy.initialize_state(scene_scale=extent)

    def regularisation(self, gaussians: ParameterDict) -> Tensor | float:
        """Scalar to add to the loss: it pulls opacities and scales down where the options ask for it."""
        opacity, scale = self.options.regularisation
        loss: Tensor | float = 0.0
        if opacity:
            loss = loss + opacity * sigmoid(gaussians["opacities"]).mean()
        if scale:
            loss = loss + scale * gaussians["scales"].exp().mean()
        return loss

    def before_backward(self, info: MutableMapping[str, Any]) -> None:
        """Asks the rasteriser's `info` for the gradients that the statistics need."""
        if isinstance(self.strategy, CappedStrategy):
            info["means2d"].retain_grad()

    @torch.no_grad()
    def after_step(
        self,
        gaussians: ParameterDict,
        optimisers: dict[str, Optimizer],
        iteration: int,
        info: MutableMapping[str, Any],
        means_lr: float,
    ) -> None:
        """Gathers statistics, and clones, splits, prunes, relocates or resets where the schedule says so.

        Called after the optimisers' step, so that no gradient is lost when parameters are replaced.
        """
        refines = iteration % self.options.densification_interval == 0
        before = len(gaussians["means"])
        if isinstance(self.strategy, McmcStrategy):
            with single_threaded():
                self.strategy.step(gaussians, optimisers, iteration, means_lr)
        else:
            with single_threaded() if refines else nullcontext():
                self.strategy.step_post_backward(
                    gaussians, optimisers, self.state, iteration, info, packed=False
                )
            if iteration in self.resets:
                reset_opa(gaussians, optimisers, self.state, value=RESET_OPACITY)
        count = len(gaussians["means"])
        if count != before:
            give_back_freed_memory()  # the old arrays', which the new ones do not fit into
        self._warn_near_cap(count)

    def _warn_near_cap(self, count: int) -> None:
        if count >= 0.9 * self.cap and not self.warned:
            self.warned = True
            self.warnings.add(
                f"{count} Gaussians: 90 % of the cap of {self.cap}; growth will stop there "
                "(--max_gaussians raises it, 0 removes it)"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {"state": dict(self.state), "warned": self.warned}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s result."""
        self.state = dict(saved["state"])
        self.warned = bool(saved["warned"])
