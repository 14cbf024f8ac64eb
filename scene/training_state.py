"""All that changes from one iteration to the next, as a checkpoint holds it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, ParameterDict
from torch.optim import Optimizer

from scene.cameras import Camera
from scene.densification import Densification
from scene.exposure import Exposures


class ViewOrder:
    """Training views at random without replacement, again and again, and random backgrounds."""

    def __init__(self, cameras: list[Camera], seed: int) -> None:
        self.cameras = cameras
        self.generator = torch.Generator().manual_seed(seed)
        self.left: list[int] = []

    def next(self) -> Camera:
        """The next view; a new shuffle begins when all have been seen."""
        if not self.left:
            self.left = torch.randperm(len(self.cameras), generator=self.generator).tolist()
        return self.cameras[self.left.pop()]

    def random_colour(self) -> Tensor:
        """(3,) float32, uniform in [0, 1)."""
        return torch.rand(3, generator=self.generator)


class TrainingState:
    """The Gaussians, their optimisers, densification's statistics, the order of views, the generators.

    `exposures` are None where photographs are taken to have one exposure. `depth_losses`, None where depths
    have none, add their gradients: called with an iteration, its camera and `render`, they give their value.
    """

    def __init__(
        self,
        gaussians: ParameterDict,
        optimisers: dict[str, Optimizer],
        densification: Densification,
        views: ViewOrder,
        exposures: Exposures | None = None,
        depth_losses: Callable[[int, Camera, Callable[..., Any]], float] | None = None,
    ) -> None:
        self.gaussians, self.optimisers = gaussians, optimisers
        self.densification, self.views = densification, views
        self.exposures, self.depth_losses = exposures, depth_losses
        self.iteration = 0

    def exposed(self, camera: Camera, rgb: Tensor) -> Tensor:
        """A rendering (3, H, W) from the camera as its photograph would show it."""
        return self.exposures(camera.name, rgb) if self.exposures else rgb

    def step(self, means_lr: float) -> None:
        """One step of every optimiser, positions' at the rate `means_lr` (scene units); clears gradients."""
        self.optimisers["means"].param_groups[0]["lr"] = means_lr
        for optimiser in self.optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if self.exposures:
            self.exposures.step(self.iteration + 1)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, lists and dictionaries, on whatever device they are."""
        generators = {"torch": torch.get_rng_state(), "views": self.views.generator.get_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        return {
            "iteration": self.iteration,
            "gaussians": {name: value.detach() for name, value in self.gaussians.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "densification": self.densification.state_dict(),
            "generators": generators,
            "views_left": self.views.left,
            "exposures": self.exposures.state_dict() if self.exposures else {},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s result; parameters are replaced, on the device where they were."""
        self.iteration = saved["iteration"]
        for name, value in saved["gaussians"].items():
            parameter = Parameter(value.to(self.gaussians[name].device))
            self.gaussians[name] = parameter
            self.optimisers[name].param_groups[0]["params"] = [parameter]
            self.optimisers[name].load_state_dict(saved["optimisers"][name])
        device = self.gaussians["means"].device
        state = saved["densification"]["state"]
        self.densification.load_state_dict(
            {
                **saved["densification"],
                "state": {k: v.to(device) if isinstance(v, Tensor) else v for k, v in state.items()},
            }
        )
        self.views.left = list(saved["views_left"])
        if self.exposures:
            self.exposures.load_state_dict(saved["exposures"])
        self.views.generator.set_state(saved["generators"]["views"])
        torch.set_rng_state(saved["generators"]["torch"])
        if "cuda" in saved["generators"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["generators"]["cuda"])
