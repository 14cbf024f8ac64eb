"""Gaussians as plain arrays, and how several formats squeeze a rotation or an opacity into few bits."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError, Warnings

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; colour = 0.5 + SH_C0 * coefficient."""

HIGHER_COEFFICIENTS = (0, 3, 8, 15)
"""How many SH coefficients a colour has beyond the first, by SH degree."""

MOST_GAUSSIANS = 50_000_000
"""A header that claims more than this is not believed."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Splats:
    """Gaussians with the values that the reference's PLY stores (not activated).

    Attributes:
        means: (N, 3) float32, world frame, scene units.
        scales: (N, 3) float32, natural log of the standard deviations.
        quats: (N, 4) float32, w x y z, of any length.
        opacities: (N,) float32, logit.
        sh0: (N, 3) float32, SH coefficient of degree 0.
        shN: (N, K - 1, 3) float32, higher SH coefficients, K = (degree + 1)^2.
        antialiased: trained with Mip-Splatting's filter, which a viewer should know.
    """

    means: Floats
    scales: Floats
    quats: Floats
    opacities: Floats
    sh0: Floats
    shN: Floats
    antialiased: bool = False

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """0 to 3."""
        return HIGHER_COEFFICIENTS.index(self.shN.shape[1])

    def arrays(self) -> dict[str, Floats]:
        """The six arrays by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "antialiased"}

    def __getitem__(self, chosen: NDArray | list[int] | slice) -> "Splats":
        """The Gaussians of a mask, of indices or of a range."""
        chosen_arrays: Any = {name: values[chosen] for name, values in self.arrays().items()}
        return replace(self, **chosen_arrays)

    def of_degree(self, degree: int) -> "Splats":
        """The same without the coefficients above an SH degree."""
        return replace(self, shN=self.shN[:, : HIGHER_COEFFICIENTS[degree]])


def finite(splats: Splats, name: str, warnings: Warnings | None = None) -> tuple[Splats, int]:
    """The Gaussians of which all values are finite, and how many others there were.

    Args:
        splats: as read.
        name: of the file, for messages.
        warnings: where those left out are reported.

    Raises:
        UserError: nothing is left.
    """
    if not len(splats):
        raise UserError(f"{name} holds no Gaussians; export or train the model again")
    good = np.all(
        [np.isfinite(values.reshape(len(splats), -1)).all(axis=1) for values in splats.arrays().values()],
        axis=0,
    )
    dropped = int((~good).sum())
    if dropped == len(splats):
        raise UserError(
            f"{name}: none of its {dropped:,} Gaussians has finite values throughout; the training that "
            "wrote it came to nothing, take an earlier iteration"
        )
    if dropped and warnings is not None:
        warnings.add(f"{dropped} Gaussians with values that are not finite were left out", name)
    return (splats[good] if dropped else splats), dropped


def sigmoid(logits: NDArray) -> NDArray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def opacity_bytes(logits: Floats) -> NDArray[np.uint8]:
    """Opacities in 255ths."""
    return np.rint(255 * sigmoid(logits)).astype(np.uint8)


def opacity_logits(quantised: NDArray[np.uint8]) -> Floats:
    """The logits of opacities in 255ths; 0 and 255 become 0.0005 and 0.9995, whose logits are finite."""
    opacities = np.clip(quantised / 255, 0.0005, 0.9995)
    return np.log(opacities / (1 - opacities)).astype(np.float32)


def to_bytes(values: NDArray) -> NDArray[np.uint8]:
    """Rounded and clipped to 0 to 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def unit_quaternions(quats: Floats) -> Floats:
    """Of length 1; what has no length, or one beyond float32, is no rotation at all."""
    quats = quats / np.maximum(np.abs(quats).max(axis=1, keepdims=True), np.float32(1e-30))
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    return np.where(lengths > 0.5, quats / np.maximum(lengths, 0.5), [1, 0, 0, 0]).astype(np.float32)


def smallest_three(quats: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Which component is the largest in magnitude, and the other three once that one is positive.

    Args:
        quats: (N, 4) unit quaternions, their components in any order.

    Returns:
        largest: (N,) from 0 to 3.
        others: (N, 3), each at most sqrt(1/2) in magnitude, in the order of `quats`.
    """
    rows = np.arange(len(quats))
    largest = np.abs(quats).argmax(axis=1)
    signs = np.where(quats[rows, largest] < 0, -1, 1).astype(np.float32)
    left = np.ones(quats.shape, bool)
    left[rows, largest] = False
    return largest, quats[left].reshape(-1, 3) * signs[:, None]


def from_smallest_three(largest: NDArray, others: NDArray) -> Floats:
    """(N, 4) unit quaternions from what `smallest_three` returns."""
    rows = np.arange(len(others))
    left = np.ones((len(others), 4), bool)
    left[rows, largest] = False
    quats = np.empty((len(others), 4), np.float32)
    quats[left] = others.reshape(-1)
    quats[rows, largest] = np.sqrt(np.maximum(1 - (others**2).sum(axis=1), 0))
    return quats
