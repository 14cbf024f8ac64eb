"""What a model stands in when somebody looks at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from gaussian_renderer import Engine
from scene.cameras import Camera


@dataclass(frozen=True)
class Surroundings:
    """All that a viewer needs besides the Gaussians; the same however they train.

    Attributes:
        cameras: those of the dataset, with photographs where these are at hand; there may be none.
        background: (3,) float32 in [0, 1].
        engine: what renders.
        antialiased: Gaussians smaller than a pixel are dimmed.
        folder: where pictures, paths and cropped models are saved.
        exposures: of the photographs, by name; see `scene.exposure`.
    """

    cameras: Sequence[Camera]
    background: Tensor
    engine: Engine
    antialiased: bool
    folder: Path
    exposures: Mapping[str, Tensor] = field(default_factory=dict)
