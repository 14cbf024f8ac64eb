"""Gaussians as the browser draws them, and those of them that lie in a box."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import Parameter, ParameterDict

from formats.splats import SH_C0
from scene.gaussians import NAMES
from scene.mcmc import covariances
from utils.determinism import sigmoid

MEDIAN_DEVIATION = 0.1
LARGEST_VARIANCE = 6e4  # float16 ends at 65504


@dataclass(frozen=True)
class BrowserSplats:
    """What viser's splats are made of, in a frame of their own.

    The browser keeps covariances as float16, in which a Gaussian of a thousandth of a unit is as good as
    none. So they come in a frame in which the median deviation is 0.1: 0.008 to 250 keep three digits.

    Attributes:
        unit: scene units in a unit of that frame.
        centers: (N, 3) float32.
        covariances: (N, 3, 3) float32.
        rgbs: (N, 3) float32 in [0, 1], the colour of SH degree 0: the browser knows no others.
        opacities: (N, 1) float32 in (0, 1).
    """

    unit: float
    centers: NDArray[np.float32]
    covariances: NDArray[np.float32]
    rgbs: NDArray[np.float32]
    opacities: NDArray[np.float32]


@torch.no_grad()
def for_browser(gaussians: ParameterDict, size: float = 1.0) -> BrowserSplats:
    """The Gaussians as splats, their deviations times `size`.

    Args:
        gaussians: gsplat's names and stored values, see `scene.gaussians`; at least one.
        size: above 0.
    """
    deviations = torch.exp(gaussians["scales"])
    unit = float(deviations.median()) / MEDIAN_DEVIATION
    spread = covariances(gaussians["quats"], deviations * (size / unit))
    return BrowserSplats(
        unit=unit,
        centers=(gaussians["means"] / unit).numpy(force=True),
        covariances=spread.clamp(-LARGEST_VARIANCE, LARGEST_VARIANCE).numpy(force=True),
        rgbs=base_colours(gaussians),
        opacities=sigmoid(gaussians["opacities"])[:, None].numpy(force=True),
    )


def base_colours(gaussians: ParameterDict) -> NDArray[np.float32]:
    """(N, 3) float32 in [0, 1]: the colours of SH degree 0."""
    return (0.5 + SH_C0 * gaussians["sh0"][:, 0]).clamp(0, 1).numpy(force=True)


@dataclass(frozen=True, eq=False)
class Box:
    """A box in the world.

    Attributes:
        centre: (3,) float64, world frame, scene units.
        wxyz: (4,) float64, unit quaternion that turns the box's axes to the world's.
        size: (3,) float64, lengths of its sides, scene units.
    """

    centre: NDArray[np.float64]
    wxyz: NDArray[np.float64]
    size: NDArray[np.float64]

    def holds(self, points: Tensor) -> Tensor:
        """(N,) bool: which of the points (N, 3), world frame, lie in the box or on its sides."""
        axes = torch.from_numpy(Rotation.from_quat(self.wxyz, scalar_first=True).as_matrix()).to(points)
        own = (points - points.new_tensor(self.centre)) @ axes
        return (own.abs() <= points.new_tensor(self.size) / 2).all(dim=1)


def box_around(points: Tensor) -> Box:
    """An upright box that holds all but a hundredth of the points (N, 3) at each end of each axis."""
    low, high = np.percentile(points.numpy(force=True), (1, 99), axis=0)
    sides = np.maximum(high - low, 1e-3 * max((high - low).max(), 1e-6))
    size = np.array([float(f"{side:.3g}") for side in sides])  # a person reads these
    return Box((low + high) / 2, np.array([1.0, 0.0, 0.0, 0.0]), size)


def chosen(gaussians: ParameterDict, keep: Tensor) -> ParameterDict:
    """The Gaussians for which `keep`, (N,) bool, is true."""
    return ParameterDict({name: Parameter(gaussians[name].detach()[keep]) for name in NAMES})
