"""How strong guidance is: the relative weight, which measures it in units of the photometric pull."""

from __future__ import annotations

import math
from statistics import median

MEMORY = 100  # guided steps over which the averages run
CAP = 10.0  # the ratio may exceed its own running median by this factor at most


class RelativeWeight:
    """The ratio EMA(|g_photometric|) / EMA(|g_guidance|), which makes lambda a share of the photometric pull.

    Averages rather than the step's own norms, so that w(t), schedules and convergence still change the single
    step, and a vanishing gradient is not blown up. Both averages are plain means over the first 100 guided
    steps and exponential with that memory afterwards.

    Attributes:
        photometric, guidance: the averaged L2 norms in image space.
        steps: how many guided steps they have seen.
        ratios: the last 100 ratios before the cap, the oldest first.
    """

    def __init__(self) -> None:
        self.photometric = 0.0
        self.guidance = 0.0
        self.steps = 0
        self.ratios: list[float] = []

    def update(self, photometric_norm: float, guidance_norm: float) -> float:
        """The factor for this step's gradient, after taking both norms into the averages.

        Args:
            photometric_norm: L2 norm of the photometric gradient at this step's training rendering.
            guidance_norm: L2 norm of the guidance gradient over all its renderings, before any lambda.

        Returns:
            The ratio, at most 10 times its running median; 0.0 while guidance has had no gradient at all.
            A norm that is not finite leaves the averages as they were.
        """
        if math.isfinite(photometric_norm) and math.isfinite(guidance_norm):
            self.steps += 1
            share = 1.0 / min(self.steps, MEMORY)
            self.photometric += share * (photometric_norm - self.photometric)
            self.guidance += share * (guidance_norm - self.guidance)
        if self.guidance <= 0.0:
            return 0.0
        ratio = self.photometric / self.guidance
        self.ratios = [*self.ratios, ratio][-MEMORY:]
        return min(ratio, CAP * median(self.ratios))

    def state_dict(self) -> dict[str, object]:
        """All that `load_state_dict` needs, as plain numbers."""
        return {
            "photometric": self.photometric,
            "guidance": self.guidance,
            "steps": self.steps,
            "ratios": list(self.ratios),
        }

    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` gave."""
        self.photometric = float(state["photometric"])
        self.guidance = float(state["guidance"])
        self.steps = int(state["steps"])
        self.ratios = [float(ratio) for ratio in state["ratios"]]
