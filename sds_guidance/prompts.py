"""The text states that a view is guided with: one of several prompts, in the words for its direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from utils.errors import UserError

if TYPE_CHECKING:
    from scene.cameras import Camera

USUAL_WORDS = {
    "front": "front view",
    "side": "side view",
    "back": "back view",
    "overhead": "overhead view",
}
"""What DreamFusion (section 3.2) adds to a prompt, by the direction from which an object is seen."""
DIRECTIONS = tuple(USUAL_WORDS)
QUARTER = math.cos(math.radians(45.0))  # front and back are a quarter of all azimuths each
STEEP = math.radians(60.0)  # DreamFusion's: seen from above this elevation, an object is seen from overhead
LEAST_SPREAD = math.sin(math.radians(5.0)) ** 2  # of the cameras' axes, for their crossing to be well defined
LEVEL_PULL = 0.01  # of the cameras' own up directions, beside what is at right angles to their x axes


@dataclass(frozen=True)
class ViewDirections:
    """From which side a camera sees an object.

    Attributes:
        focus: (3,) float64, world frame, scene units: where the object is.
        up: (3,) float64 of unit length, world frame.
        front: (3,) float64 of unit length, level: from the object towards where its front is seen from.
    """

    focus: Tensor
    up: Tensor
    front: Tensor

    def elevation(self, camera: Camera) -> float:
        """Angle in radians of the camera above the level of the focus, in [-pi / 2, pi / 2]."""
        offset = camera.position.double().cpu() - self.focus
        return math.asin(max(-1.0, min(1.0, float(offset @ self.up / offset.norm()))))

    def __call__(self, camera: Camera) -> str:
        """One of `DIRECTIONS`: overhead above 60 degrees, else by azimuth, in quarters."""
        if self.elevation(camera) > STEEP:
            return "overhead"
        offset = camera.position.double().cpu() - self.focus
        level = offset - (offset @ self.up) * self.up
        towards = float(level @ self.front / level.norm().clamp_min(1e-12))
        if abs(towards) < QUARTER:
            return "side"
        return "front" if towards > 0 else "back"


def view_directions(cameras: Sequence[Camera], front_view: str) -> ViewDirections:
    """The directions round what the cameras look at, the front being where one of them stands.

    The focus is the point nearest to all optical axes, in least squares. Upright cameras have level x axes:
    up is what is at right angles to them, and where they leave it open, the mean of the cameras' own up
    directions.

    Args:
        cameras: the training cameras.
        front_view: the name of the one that sees the front.

    Raises:
        UserError: there is no such photograph, it looks down from above, or the axes do not meet in front of
            the cameras, as they do where photographs are taken round an object.
    """
    names = [camera.name for camera in cameras]
    if front_view not in names:
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise UserError(
            f"the front view {front_view!r} (--front_view) is none of the {len(names)} training photographs; "
            f"those are {some}"
        )
    poses = torch.stack([camera.world_to_camera for camera in cameras]).double().cpu()
    positions = torch.stack([camera.position for camera in cameras]).double().cpu()
    identity = torch.eye(3, dtype=torch.float64)
    axes = poses[:, 2, :3]
    across = identity - axes[:, :, None] * axes[:, None, :]
    normal, pulls = across.mean(dim=0), (across @ positions[:, :, None])[..., 0].mean(dim=0)
    met = float(torch.linalg.eigvalsh(normal)[0]) > LEAST_SPREAD
    focus = torch.linalg.solve(normal, pulls) if met else positions.mean(dim=0)
    if not met or not bool((((focus - positions) * axes).sum(dim=1) > 0).all()):
        raise UserError(
            "words for the view's direction (--front_view) are for photographs taken round an object, but "
            "these cameras do not look at one common point; leave --front_view out"
        )
    level = poses[:, 0, :3].T @ poses[:, 0, :3] / len(poses)
    up = torch.linalg.solve(level + LEVEL_PULL * identity, -poses[:, 1, :3].mean(dim=0))
    up = up / up.norm()
    offset = positions[names.index(front_view)] - focus
    front = offset - (offset @ up) * up
    directions = ViewDirections(focus, up, front / front.norm())
    if directions.elevation(cameras[names.index(front_view)]) > STEEP:
        raise UserError(f"--front_view {front_view} looks down from above; name one taken from the front")
    return directions


class PromptStates:
    """What a guided view is conditioned by: `PromptStates(...)(camera, generator)`.

    One of the prompts is drawn by weight for every view; of a single one, nothing is drawn from the
    generator. With directions, the prompt's wording for the view's direction is taken.
    """

    def __init__(
        self, states: Tensor, weights: Sequence[float], directions: ViewDirections | None = None
    ) -> None:
        """Takes over the encoded texts.

        Args:
            states: (1 + P D, tokens, width): the negative prompt's, then those of P prompts, each in the
                wording of D directions in the order of `DIRECTIONS`; D is 1 without directions.
            weights: P, at least 0, not all 0.
            directions: from which side a camera sees the object; None: the same words for all views.
        """
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.directions = directions
        self.negative = states[0]
        self.prompts = states[1:].unflatten(0, (len(weights), -1))

    def __call__(self, camera: Camera, generator: torch.Generator) -> Tensor:
        """(2, tokens, width): states of the negative prompt, then of the prompt, for this view.

        Args:
            camera: where the view is seen from.
            generator: on the CPU; all chance comes from it.
        """
        drawn = 0
        if len(self.weights) > 1:
            drawn = int(torch.multinomial(self.weights, 1, generator=generator))
        seen = DIRECTIONS.index(self.directions(camera)) if self.directions else 0
        return torch.stack([self.negative, self.prompts[drawn, seen]])


def read_prompts_file(name: str) -> list[str]:
    """The prompts of a UTF-8 text file, one a line; empty lines are passed over.

    Raises:
        UserError: the file cannot be read, or has no prompt.
    """
    path = Path(name).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise UserError(f"--prompts_file {path} cannot be read as UTF-8 text: {failure}") from failure
    read = [line.strip() for line in lines if line.strip()]
    if not read:
        raise UserError(f"--prompts_file {path} has no prompt; write one a line")
    return read
