"""What every reader of a dataset hands over: posed photographs, and points with who saw them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from utils.errors import UserError


@dataclass(frozen=True, eq=False)
class PosedPhotograph:
    """A photograph's file, the lens that took it, and where it stood.

    Attributes:
        name: unique; as COLMAP has it, a Blender frame's path without its extension, or a Nerfstudio frame's
            path below the folder of all photographs.
        path: the image file.
        lens: any COLMAP camera model, at the size for which it was estimated.
        world_to_camera: (4, 4) float64, OpenCV axes (x right, y down, z forward), scene units.
        mask: the picture whose white part counts, where the dataset itself names one.
    """

    name: str
    path: Path
    lens: pycolmap.Camera
    world_to_camera: NDArray[np.float64]
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class ObservedPoints:
    """Points of structure from motion.

    Attributes:
        positions: (N, 3) float64, world frame, scene units.
        colours: (N, 3) uint8.
        seen: for each photograph's name, the (M,) int64 rows of the points observed in it, each once.
    """

    positions: NDArray[np.float64]
    colours: NDArray[np.uint8]
    seen: dict[str, NDArray[np.int64]]

    def observations(self, names: list[str]) -> NDArray[np.int64]:
        """(N,) int64, in how many of the named photographs each point was observed."""
        count = np.zeros(len(self.positions), np.int64)
        for name in names:
            count[self.seen.get(name, [])] += 1
        return count


NOT_OBSERVED = ObservedPoints(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), {})
"""Of photographs without structure from motion."""


class MissingPhotographs(UserError):
    """Photographs of a dataset are not there; `names` are theirs."""

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


def demand_photographs(paths: dict[str, Path], where: str) -> None:
    """Raises MissingPhotographs, which names the photographs whose file is not there.

    They are not left out in silence or with a warning: every eighth photograph is for the test, so that a
    lost file would change which ones those are, and the figures with them.

    Args:
        paths: each photograph's file, by its name.
        where: the folder in which they are looked for, for the message.
    """
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        names = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        raise MissingPhotographs(
            f"{len(missing)} of the dataset's {len(paths)} photographs are missing in {where}: {names}; give "
            "the folder that holds them (--images, unless it is a Blender dataset), copy them there, or make "
            "the poses anew without them",
            missing,
        )
