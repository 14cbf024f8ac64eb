"""The Gaussians: their parameters, how they start from points, and their files.

A scene is a `ParameterDict` in gsplat's naming, so that gsplat's densification works on it unchanged:

    means (N, 3)  world frame, scene units     scales (N, 3)     natural log of the standard deviations
    quats (N, 4)  w x y z, any length          opacities (N,)    logit
    sh0 (N, 1, 3) degree-0 SH coefficient      shN (N, K-1, 3)   higher SH coefficients, K = (degree + 1)^2
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyElement
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter, ParameterDict
from torch.nn.functional import pad

from formats.files import read_splats
from formats.ply import read_ply, vertices_of, write_ply
from formats.splats import SH_C0, Splats, finite
from utils.errors import Warnings

NAMES = ("means", "scales", "quats", "opacities", "sh0", "shN")


def sh_degree_of(gaussians: ParameterDict) -> int:
    """The SH degree that the stored coefficients allow: 0 to 3."""
    return round((gaussians["shN"].shape[1] + 1) ** 0.5) - 1


def _parameters(**tensors: Tensor) -> ParameterDict:
    return ParameterDict({name: Parameter(tensors[name].contiguous()) for name in NAMES})


def mean_neighbour_distance(positions: np.ndarray, fallback: float) -> np.ndarray:
    """Root mean square distance of each point to its three nearest neighbours, the point itself excluded.

    Args:
        positions: (N, 3) float, world frame.
        fallback: what a lone point gets, scene units.

    Returns:
        (N,) float32, scene units, at least sqrt(1e-7) as in the reference.
    """
    neighbours = min(3, len(positions) - 1)
    if neighbours == 0:
        return np.full(len(positions), fallback, np.float32)
    distances, _ = cKDTree(positions).query(positions, k=neighbours + 1, workers=-1)
    squared = (distances[:, 1:] ** 2).mean(axis=1)
    return np.sqrt(np.maximum(squared, 1e-7)).astype(np.float32)


def gaussians_from_points(
    positions: np.ndarray,
    colours: np.ndarray,
    *,
    sh_degree: int = 3,
    extent: float = 1.0,
    opacity: float = 0.1,
    scale: float = 1.0,
) -> ParameterDict:
    """One round Gaussian a point, as large as the gap to its neighbours.

    Args:
        positions: (N, 3) float, world frame.
        colours: (N, 3) uint8 RGB.
        sh_degree: 0 to 3; coefficients beyond degree 0 start at zero.
        extent: scene extent, scene units; a lone point becomes a hundredth of it.
        opacity: activated, in (0, 1).
        scale: factor on the initial standard deviations.
    """
    count = len(positions)
    deviation = mean_neighbour_distance(positions, fallback=0.01 * extent)
    rgb = torch.from_numpy(np.asarray(colours, np.float32) / 255)
    return _parameters(
        means=torch.from_numpy(np.array(positions, np.float32)),
        scales=torch.from_numpy(np.log(scale * deviation))[:, None].repeat(1, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        opacities=torch.full((count,), float(np.log(opacity / (1 - opacity)))),
        sh0=((rgb - 0.5) / SH_C0)[:, None, :],
        shN=torch.zeros(count, (sh_degree + 1) ** 2 - 1, 3),
    )


def save_ply(path: Path, gaussians: ParameterDict, *, antialiased: bool = False) -> None:
    """Writes the reference's PLY, see `formats.ply.write_ply`."""
    write_ply(path, splats_of(gaussians, antialiased))


def splats_of(gaussians: ParameterDict, antialiased: bool = False) -> Splats:
    """The Gaussians as plain arrays."""
    values = {name: gaussians[name].detach().cpu().numpy() for name in NAMES}
    return Splats(**values | {"sh0": values["sh0"][:, 0]}, antialiased=antialiased)


def gaussians_of(splats: Splats) -> ParameterDict:
    """The Gaussians of plain arrays."""
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in splats.arrays().items()
    }
    return _parameters(**tensors | {"sh0": tensors["sh0"][:, None]})


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself besides its Gaussians."""

    sh_degree: int
    antialiased: bool
    dropped: int
    """Gaussians left out because a value was not finite."""


def read_vertices(path: Path) -> PlyElement:
    """The element `vertex` of a PLY file; a `UserError` when there is no such file, PLY or element."""
    return vertices_of(read_ply(path), path)


def load_gaussians(path: Path, warnings: Warnings | None = None) -> tuple[ParameterDict, FileInfo]:
    """Gaussians from a file of any format that `formats.files.read_splats` reads.

    Args:
        path: the file.
        warnings: where Gaussians with a value that is not finite are reported; they are left out.

    Raises:
        UserError: no such file, not of Gaussians, not whole, or none that is finite.
    """
    path = Path(path)
    splats, dropped = finite(read_splats(path), str(path), warnings)
    return gaussians_of(splats), FileInfo(splats.sh_degree, splats.antialiased, dropped)


def with_sh_degree(gaussians: ParameterDict, sh_degree: int) -> ParameterDict:
    """The Gaussians with the coefficients of a degree not below their own; those that they lack are 0."""
    missing = (sh_degree + 1) ** 2 - 1 - gaussians["shN"].shape[1]
    values = {name: gaussians[name].detach() for name in NAMES}
    return _parameters(**values | {"shN": pad(values["shN"], (0, 0, 0, missing))})
