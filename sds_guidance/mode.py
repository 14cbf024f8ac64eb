"""What a guidance mode is: it names cameras, sees their renderings, and says how these should change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.prior import Prediction


@dataclass(frozen=True)
class View:
    """A rendering that guidance asked for.

    Attributes:
        camera: one of those that `Guidance.cameras` gave.
        rgb: (3, H, W) float32, at least 0 and mostly below 1, as it was rendered, with gradient.
        alpha: (1, H, W) float32 in [0, 1], with gradient.
        depth: (1, H, W) float32, scene units, with gradient.
    """

    camera: Camera
    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def no_pictures() -> Mapping[str, Tensor]:
    """What a mode without pictures of its own gives to the log."""
    return {}


@dataclass(frozen=True)
class Guided:
    """What a mode says of one rendering, before any lambda.

    Attributes:
        gradient: (3, H, W) float32, dL/d rgb in the sum convention, the view's weight included.
        loss: a number to watch, not what is differentiated.
        t: the noise level, of the model's T.
        weight: w(t), or what the mode has in its place.
        elements: how many elements the loss has (for the mean convention).
        finite: whether the gradient may be used.
        pictures: gives what the contact sheet shows beside rendering and gradient, by name: each (3, h, w) or
            (1, h, w) in [0, 1], of any size with the rendering's aspect. It is called only when a sheet is
            due, and before the next guided step.
    """

    gradient: Tensor
    loss: float
    t: int
    weight: float
    elements: int
    finite: bool
    pictures: Callable[[], Mapping[str, Tensor]] = no_pictures


class Mode(Protocol):
    """A way to guide. All chance comes from the generator that it is handed.

    Attributes:
        prior: the frozen model.
        fresh_share: share of guided steps that cost as much as the first at a camera; the others cost as much
            as a second one there, which is less where a mode keeps what it made. 1: it keeps nothing.
    """

    prior: Prior
    fresh_share: float

    def cameras(self, generator: torch.Generator, progress: float) -> list[Camera]:
        """The cameras to render at a guided step; progress is the fraction of the run, in [0, 1]."""
        ...

    def __call__(self, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Guided:
        """What the mode says of a rendering of one of these cameras; its graph is neither used nor changed.

        Args:
            view: the rendering.
            states: (2, tokens, width), text states of the negative prompt, then of the prompt.
            progress: the same fraction of the run.
            generator: on the CPU, so that every device sees the same noise.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs beside the generator: tensors, numbers, strings, lists and dicts."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        ...


class Prior(Protocol):
    """What the modes ask of a prior; `LatentDiffusionPrior` has it, and so has a test's stub."""

    abar: Tensor
    size_multiple: int

    @property
    def inpainting(self) -> Prior | None: ...
    def seeing(self, beside: Tensor) -> Prior: ...
    def for_view(self, view: View, resolution: int) -> Prior: ...
    def unet_on_device(self) -> AbstractContextManager[None]: ...
    def encode(self, pictures: Tensor) -> Tensor: ...
    def decode(self, latents: Tensor) -> Tensor: ...
    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]: ...
    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor: ...
    def predict(
        self, noised: Tensor, t: Tensor, states: Tensor, guidance_scale: float, rescale: float = 0.0
    ) -> Prediction: ...
