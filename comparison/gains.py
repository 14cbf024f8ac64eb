"""How much better one model is than another on the same views, and whether that is more than their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gain:
    """The mean of paired differences, second minus first.

    Attributes:
        mean: over the views, in the unit of the scores.
        standard_error: of that mean, sample standard deviation / sqrt(views); None for a single view.
        interval: 95 % confidence interval of the mean by Student's t; None for a single view.
        views: how many views there are.
        left_out: views without a finite difference (PSNR of equal pictures is infinite), not counted.
    """

    mean: float
    standard_error: float | None
    interval: tuple[float, float] | None
    views: int
    left_out: int

    @property
    def within_noise(self) -> bool | None:
        """Whether the interval contains zero; None for a single view."""
        return None if self.interval is None else self.interval[0] <= 0 <= self.interval[1]


def paired_gain(first: Sequence[float], second: Sequence[float]) -> Gain | None:
    """The gain of `second` over `first`, scores of the same views in the same order.

    None where no view has a finite difference.
    """
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        differences = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    finite = differences[np.isfinite(differences)]
    count, left_out = len(finite), len(differences) - len(finite)
    if not count:
        return None
    mean = float(finite.mean())
    if count == 1:
        return Gain(mean, None, None, 1, left_out)
    error = float(finite.std(ddof=1)) / math.sqrt(count)
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Gain(mean, error, (mean - reach, mean + reach), count, left_out)


def gain_sentence(first: str, second: str, gain: Gain | None) -> str:
    """What the gain in PSNR (dB) of model `second` over model `first` says, and what it does not."""
    if gain is None:
        return f"{second} minus {first}: no view has a finite PSNR difference."
    skipped = f" ({gain.left_out} more of infinite PSNR left out)" if gain.left_out else ""
    if gain.interval is None:
        return (
            f"{second} minus {first} on one held-out view{skipped}: {signed(gain.mean)} dB. "
            "One view has no spread to judge it by."
        )
    low, high = gain.interval
    verdict = (
        "The interval contains zero: within the noise of these views, and no difference is shown."
        if gain.within_noise
        else f"The interval leaves zero out: {second} is {'better' if low > 0 else 'worse'} on these views "
        "by more than their noise."
    )
    return (
        f"{second} minus {first} over {gain.views} held-out views{skipped}: mean {signed(gain.mean)} dB, "
        f"standard error {gain.standard_error:.2f}, 95 % interval {signed(low)} to {signed(high)} dB "
        f"(Student's t). {verdict}"
    )


def signed(value: float, decimals: int = 2) -> str:
    """A number with its sign; a rounded zero has none, and what is no number is a dash."""
    if math.isnan(value):
        return "-"
    text = f"{value:+.{decimals}f}"
    return text if float(text) else text[1:]
