"""Whether guidance stays on: how long its pilot may be, and what the pilot's measurements decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

SHARE = 0.15  # of the run's time, at most, for all pilots together
ARMS = 3  # without guidance, with it, and with half of it, which only a harmful pilot calls for
FOLDS = 4  # groups in which photographs are left out, at most
FEWEST_LEFT = 3  # photographs that a pilot trains on
MOST_WARPED = 5  # photographs that may all train and be warped into each other; pairs grow with the square
FEWEST_ITERATIONS = 150  # of a pilot; measured: at 80 from random points, a good prior may seem to harm
FEWEST_GUIDED = 10  # guided steps of a pilot
TOLERANCE = 0.05  # dB, a loss that is put up with


@dataclass(frozen=True)
class PilotPlan:
    """What is trained to find out whether guidance helps.

    Attributes:
        folds: pairs of runs; each leaves another group of photographs out. 1: all photographs train, and
            are compared with each other.
        iterations: of one run.
    """

    folds: int
    iterations: int

    def sentence(self) -> str:
        """What is announced before it starts."""
        runs = 2 * self.folds
        return (
            f"gate: {runs} pilot runs of {self.iterations} iterations each, {runs + self.folds} if guidance "
            f"does harm, at most {SHARE:.0%} of the run's time; --guidance_gate off skips them"
        )


def plan_pilot(photographs: int, iterations: int, guided_steps: Callable[[int], int]) -> PilotPlan | str:
    """The pilot of a run, or a sentence that says why there is none.

    A pilot guides over the same part of its iterations and at the same interval as the run. So whatever a
    guided step costs, a pilot's share of the run's iterations is that of its time. As many groups of
    photographs are left out as there is time for, four at most, each of one photograph or more, so that three
    still train. Where that cannot be, few photographs all train, and are compared by warping.

    Args:
        photographs: that the run trains on.
        iterations: of the run.
        guided_steps: how many steps of a run of so many iterations are guided.
    """
    if photographs < FEWEST_LEFT:
        return f"gate: {photographs} of 3 photographs that it needs, so nothing says whether guidance helps"
    for count in range(FOLDS, 0, -1):
        left = photographs - math.ceil(photographs / count) if count > 1 else photographs
        if left < FEWEST_LEFT or (count == 1 and photographs > MOST_WARPED):
            continue
        each = math.floor(SHARE * iterations / (ARMS * count))
        if each >= FEWEST_ITERATIONS and guided_steps(each) >= FEWEST_GUIDED:
            return PilotPlan(count, each)
    return (
        f"gate: {SHARE:.0%} of {iterations} iterations are too few for pilot runs of {FEWEST_ITERATIONS} "
        f"iterations and {FEWEST_GUIDED} guided steps, so nothing says whether guidance helps"
    )


@dataclass(frozen=True)
class Trial:
    """Guided pilots beside the unguided ones.

    Attributes:
        lambda_sds: the weight of guidance.
        scores: by what was compared, dB without guidance and with it; none where no pixel counts.
    """

    lambda_sds: float
    scores: Mapping[str, tuple[float, float]]

    @property
    def mean(self) -> float:
        """dB, the mean paired difference, with minus without; NaN where a score is none, 0 without any."""
        return fmean(self._differences()) if self.scores else 0.0

    @property
    def standard_error(self) -> float:
        """dB, of that mean; 0 for a single pair."""
        count, mean = len(self.scores), self.mean
        if count < 2:
            return 0.0
        squares = sum((difference - mean) ** 2 for difference in self._differences())
        return math.sqrt(squares / (count - 1) / count)

    @property
    def harms(self) -> bool:
        """Whether guidance loses more than 0.05 dB and more than chance explains."""
        return not self.mean >= -max(TOLERANCE, self.standard_error)

    def sentence(self) -> str:
        """What was measured."""
        return (
            f"{self.mean:+.2f} dB at --lambda_sds {self.lambda_sds:g} (standard error "
            f"{self.standard_error:.2f} dB)"
        )

    def _differences(self) -> list[float]:
        return [guided - unguided for unguided, guided in self.scores.values()]


def try_weights(lambda_sds: float, attempt: Callable[[float], Trial]) -> list[Trial]:
    """One trial at this weight, and where it harms a second at half of it."""
    trials = [attempt(lambda_sds)]
    if trials[0].harms:
        trials.append(attempt(lambda_sds / 2))
    return trials


def verdict(trials: Sequence[Trial], compared: str) -> dict[str, Any]:
    """What the trials decide, as it is recorded: the last one holds, unless it harms too.

    Args:
        trials: of `try_weights`.
        compared: what the scores are of, in words.

    Returns:
        "decision": "kept", "halved" or "off"; "lambda_sds": the weight from now on; "sentence": for people;
        "compared"; "trials": the measurements, numbers that are none as None.
    """
    last = trials[-1]
    decision = "off" if last.harms else ("kept", "halved")[len(trials) - 1]
    weight = 0.0 if last.harms else last.lambda_sds
    outcome = {
        "kept": "guidance stays on",
        "halved": f"guidance goes on at {weight:g}",
        "off": "guidance is off, the run trains on photographs alone",
    }[decision]
    measured = ", ".join(trial.sentence() for trial in trials)
    seen = f"over {len(last.scores)} {compared} guidance changes PSNR by {measured}"
    return {
        "decision": decision,
        "lambda_sds": weight,
        "sentence": f"gate: {seen}: {outcome}",
        "compared": compared,
        "trials": [
            {
                "lambda_sds": trial.lambda_sds,
                "mean_db": _number(trial.mean),
                "standard_error_db": _number(trial.standard_error),
                "db_without_and_with": {
                    name: [_number(score) for score in pair] for name, pair in trial.scores.items()
                },
            }
            for trial in trials
        ],
    }


def unmeasured(lambda_sds: float, reason: str) -> dict[str, Any]:
    """What is recorded, in the form of `verdict`, where nothing was measured: guidance stays as asked for."""
    return {"decision": "not measured", "lambda_sds": lambda_sds, "sentence": reason}


def _number(value: float) -> float | None:
    """Rounded to what means something; None for what is no number, which JSON does not have."""
    return round(value, 4) if math.isfinite(value) else None
