"""Semantic consistency: a rendering of any view should mean to CLIP what the photographs mean (DietNeRF)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning_sources import photographs
from sds_guidance.models import CLIP, GIVE_CLIP, VISION, find_model, missing_files
from sds_guidance.run import Run
from utils.errors import UserError

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.clip import Vision

SEED_OFFSET = 0xC11  # from --seed to the draws of views and pictures, which repeat nobody else's


@dataclass(frozen=True)
class Meanings:
    """What a CLIP's vision tower makes of the pictures; vectors are of unit length.

    Attributes:
        vision: the tower, on the device of the renderings.
        photographs: by the cameras' names, each (width,) float32 on that device.
        images: of the condition images, likewise.
    """

    vision: Vision
    photographs: dict[str, Tensor]
    images: list[Tensor]

    @property
    def nbytes(self) -> int:
        """What the tower occupies of the device."""
        return sum(weight.nbytes for weight in self.vision.tower.parameters())

    def among(self, cameras: Sequence[Camera]) -> Meanings:
        """The same without the photographs of other cameras."""
        return replace(self, photographs={camera.name: self.photographs[camera.name] for camera in cameras})


def load_meanings(
    clip_model: str,
    model: Path,
    cameras: Sequence[Camera],
    images: Sequence[Path],
    run: Run,
) -> Meanings:
    """The tower, loaded, and what it makes of the pictures.

    Args:
        clip_model: see `ConditioningOptions`; empty: the guidance model's own tower.
        model: the guidance model's folder.
        cameras: the training cameras, with their photographs.
        images: files of the condition images.
        run: to be guided.

    Raises:
        UserError: there is no vision tower, or a picture cannot be read.
    """
    from sds_guidance.clip import load_clip_vision, load_vision  # noqa: PLC0415 - brings transformers

    if clip_model:
        vision = load_clip_vision(find_model(clip_model, run.argv, run.warnings, kind=CLIP).folder)
    elif missing := missing_files(model, VISION):
        raise UserError(
            f"--image_condition loss: {model} has no vision tower of a CLIP ({missing[0]} is missing).\n"
            f"{GIVE_CLIP}"
        )
    else:
        vision = load_vision(model)
    vectors = vision.of_pictures(chain(photographs(cameras), map(read_condition_image, images)))
    vectors = vectors.to(run.device)
    vision.tower.to(run.device)
    names = [camera.name for camera in cameras]
    return Meanings(vision, dict(zip(names, vectors, strict=False)), list(vectors[len(names) :]))


class SemanticConsistency:
    """The loss lambda (1 - cos(phi(rendering), phi(picture))), with phi a frozen CLIP's vision tower.

    Every few steps one novel view is rendered at the tower's own size and compared with one of the pictures,
    drawn anew (Jain et al. 2021, DietNeRF, section 4). It stands beside the photometric loss, a mean over
    pixels too, with a plain weight of its own.

    Attributes:
        loss: 1 - cosine of the last rendering, in [0, 2]; 0 before the first.
        dropped: renderings whose gradient was not finite.
    """

    def __init__(
        self,
        meanings: Meanings,
        sample_camera: Callable[[torch.Generator, float], Camera],
        *,
        weight: float,
        interval: int,
        window: tuple[int, int],
        iterations: int,
        seed: int,
    ) -> None:
        """Makes the loss of a run.

        Args:
            meanings: of the pictures.
            sample_camera: where to look, from a generator and the run's progress in [0, 1].
            weight: lambda.
            interval: steps from one rendering to the next.
            window: the first and the last step that may have one, of 1 to `iterations`.
            iterations, seed: the run's.
        """
        self.meanings = meanings
        self.sample_camera = sample_camera
        self.weight = weight
        self.interval = interval
        self.window = window
        self.iterations = iterations
        self.seed = seed
        self.targets = [*meanings.photographs.values(), *meanings.images]
        self.generator = torch.Generator().manual_seed(seed + SEED_OFFSET)
        self.loss = 0.0
        self.dropped = 0

    def pilot(
        self,
        cameras: Sequence[Camera],
        sample_camera: Callable[[torch.Generator, float], Camera],
        window: tuple[int, int],
        iterations: int,
    ) -> SemanticConsistency:
        """That of a pilot run which trains on the photographs of these cameras alone, from the start."""
        return SemanticConsistency(
            self.meanings.among(cameras),
            sample_camera,
            weight=self.weight,
            interval=self.interval,
            window=window,
            iterations=iterations,
            seed=self.seed,
        )

    def camera(self, step: int) -> Camera | None:
        """The camera to render for this step, of the tower's size; None where the step has no turn."""
        first, last = self.window
        if not first <= step <= last or (step - first) % self.interval:
            return None
        return self.meanings.vision.camera(self.sample_camera(self.generator, step / self.iterations))

    def __call__(self, rgb: Tensor) -> Tensor:
        """A scalar whose gradient at the rendering is lambda times the loss's; 0 where that is not finite.

        Args:
            rgb: (3, h, w) in [0, 1], what `camera` saw, with gradient.
        """
        target = self.targets[int(torch.randint(len(self.targets), (1,), generator=self.generator))]
        seen = rgb.detach().requires_grad_()
        loss = 1.0 - self.meanings.vision.of_rendering(seen) @ target
        (gradient,) = torch.autograd.grad(loss, seen)
        if not bool(gradient.isfinite().all()):
            self.dropped += 1
            gradient = torch.zeros_like(gradient)
        else:
            self.loss = float(loss.detach())
        return (rgb * (self.weight * gradient)).sum()

    def scalars(self) -> dict[str, float]:
        """What is logged."""
        return {"clip_loss": self.loss, "clip_dropped": float(self.dropped)}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"generator": self.generator.get_state(), "loss": self.loss, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.generator.set_state(state["generator"])
        self.loss = float(state["loss"])
        self.dropped = int(state["dropped"])
