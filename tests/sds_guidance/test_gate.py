"""The gate's arithmetic: when there is a pilot, what it costs, and what its numbers decide."""

import json
import math

import pytest

from sds_guidance.gate import (
    FEWEST_GUIDED,
    FEWEST_ITERATIONS,
    SHARE,
    PilotPlan,
    Trial,
    plan_pilot,
    try_weights,
    unmeasured,
    verdict,
)


def every(interval: int):
    """Guided steps of a run that guides three quarters of its steps at this interval."""
    return lambda iterations: iterations * 3 // 4 // interval


@pytest.mark.parametrize("photographs", [3, 4, 5, 6, 9, 200])
@pytest.mark.parametrize("iterations", [1600, 7000, 30_000])
@pytest.mark.parametrize("interval", [1, 5, 20])
def test_all_arms_of_all_folds_cost_at_most_the_share_of_the_run(photographs, iterations, interval):
    """Cost in unguided steps, a guided one at 0.01 to 100 of them, the third arm included."""
    plan = plan_pilot(photographs, iterations, every(interval))
    if isinstance(plan, str):
        return
    assert plan.iterations >= FEWEST_ITERATIONS and every(interval)(plan.iterations) >= FEWEST_GUIDED
    for price in (0.01, 1, 100):
        run = iterations + price * every(interval)(iterations)
        guided = plan.iterations + price * every(interval)(plan.iterations)
        assert plan.folds * (plan.iterations + 2 * guided) <= SHARE * run


@pytest.mark.parametrize(
    ("photographs", "iterations", "plan"),
    [
        (3, 7000, PilotPlan(1, 350)),
        (4, 30_000, PilotPlan(4, 375)),
        (
            4,
            7000,
            PilotPlan(1, 350),
        ),  # groups of one would have 87 iterations, larger ones leave two to train
        (5, 10_000, PilotPlan(3, 166)),
        (5, 5000, PilotPlan(1, 250)),
        (6, 30_000, PilotPlan(4, 375)),
        (6, 7000, PilotPlan(2, 175)),
        (6, 5000, None),  # too many to be warped
    ],
)
def test_as_many_groups_as_there_is_time_for_and_three_photographs_always_train(
    photographs, iterations, plan
):
    found = plan_pilot(photographs, iterations, every(1))
    assert found == plan if plan else isinstance(found, str)


@pytest.mark.parametrize(
    ("photographs", "iterations", "interval", "reason"),
    [(2, 30_000, 1, "2 of 3 photographs"), (9, 100, 1, "too few"), (4, 7000, 50, "too few")],
)
def test_why_there_is_no_pilot_is_said(photographs, iterations, interval, reason):
    plan = plan_pilot(photographs, iterations, every(interval))
    assert isinstance(plan, str) and reason in plan


def trial(*differences: float, weight: float = 0.2) -> Trial:
    """A trial in which guidance changed a PSNR of 20 dB by these."""
    return Trial(weight, {f"{n}.jpg": (20.0, 20.0 + change) for n, change in enumerate(differences)})


def test_mean_and_standard_error_are_those_of_paired_differences():
    found = Trial(0.2, {"a": (10.0, 11.0), "b": (30.0, 32.0), "c": (20.0, 26.0)})
    assert found.mean == pytest.approx(3.0)
    assert found.standard_error == pytest.approx(math.sqrt(7.0 / 3))  # variance (4 + 1 + 9) / 2


@pytest.mark.parametrize(
    ("differences", "harms"),
    [
        ((-0.04, -0.04), False),  # less than 0.05 dB
        ((-0.06, -0.06), True),
        ((-0.06,), True),
        ((-1.0, 0.8), False),  # -0.1 on average, less than the standard error of 0.9
        ((-1.0, -0.9, -0.8), True),
        ((0.5, 0.7), False),
        ((math.nan, 0.7), True),  # a rendering that is not finite
        ((), False),
    ],
)
def test_harm_is_more_than_a_twentieth_of_a_decibel_and_more_than_its_standard_error(differences, harms):
    assert trial(*differences).harms is harms


@pytest.mark.parametrize(
    ("by_weight", "decision", "weight"),
    [
        ({0.2: 0.3}, "kept", 0.2),
        ({0.2: -0.3, 0.1: 0.1}, "halved", 0.1),
        ({0.2: -0.3, 0.1: -0.2}, "off", 0.0),
    ],
)
def test_harmful_guidance_is_halved_once_and_then_off(by_weight, decision, weight):
    trials = try_weights(0.2, lambda weight: trial(by_weight[weight], by_weight[weight], weight=weight))
    found = verdict(trials, "left-out photographs")
    assert len(trials) == len(by_weight)
    assert (found["decision"], found["lambda_sds"]) == (decision, weight)
    assert [each["lambda_sds"] for each in found["trials"]] == list(by_weight)
    assert all(
        f"{change:+.2f} dB at --lambda_sds {tried:g}" in found["sentence"]
        for tried, change in by_weight.items()
    )
    assert found["trials"][0]["db_without_and_with"]["0.jpg"] == [20.0, round(20 + by_weight[0.2], 4)]


def test_the_record_is_json_without_nan():
    found = verdict(try_weights(0.2, lambda weight: trial(math.nan, 0.1, weight=weight)), "photographs")
    assert found["decision"] == "off"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert unmeasured(0.2, "why")["lambda_sds"] == 0.2
