"""How a quantity changes over a training."""

import math


def log_linear(first: float, last: float, progress: float) -> float:
    """From `first` to `last`, at `progress` in [0, 1] of the way, evenly in their logarithms; beyond, `last`.

    Args:
        first, last: at least 0; if one is 0, so is everything.
        progress: at least 0.
    """
    if not first or not last:
        return 0.0
    progress = min(progress, 1.0)
    return math.exp((1 - progress) * math.log(first) + progress * math.log(last))
