"""The relative weight: its averages, its cap, and what it leaves alone."""

import json
import math

import pytest

from sds_guidance.weighting import CAP, MEMORY, RelativeWeight


def test_the_first_steps_are_plain_means():
    weight = RelativeWeight()
    assert weight.update(2.0, 4.0) == pytest.approx(0.5)
    assert weight.update(4.0, 8.0) == pytest.approx(3.0 / 6.0)
    assert weight.update(0.0, 0.0) == pytest.approx(2.0 / 4.0)


def test_later_steps_weigh_a_hundredth():
    weight = RelativeWeight()
    for _ in range(MEMORY):
        weight.update(1.0, 1.0)
    weight.update(2.0, 1.0)
    weight.update(2.0, 1.0)
    assert weight.photometric == pytest.approx(2.0 - 0.99**2)
    assert weight.guidance == pytest.approx(1.0)


def test_a_single_weak_gradient_is_not_blown_up():
    weight = RelativeWeight()
    for _ in range(20):
        usual = weight.update(1.0, 1.0)
    assert weight.update(1.0, 1e-9) == pytest.approx(usual, rel=0.06)


def test_a_vanishing_guidance_gradient_is_capped_at_ten_medians():
    weight = RelativeWeight()
    for _ in range(MEMORY):
        weight.update(1.0, 1.0)
    for _ in range(40):
        factor = weight.update(1e3, 0.0)
    assert weight.photometric / weight.guidance > 2 * CAP
    assert factor == pytest.approx(CAP)


def test_a_guidance_without_any_gradient_has_no_weight():
    weight = RelativeWeight()
    assert [weight.update(1.0, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert weight.update(1.0, 4.0) == pytest.approx(1.0)  # mean guidance 4 / 4


@pytest.mark.parametrize("norms", [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)])
def test_norms_that_are_not_finite_leave_the_averages(norms):
    weight = RelativeWeight()
    weight.update(1.0, 2.0)
    assert weight.update(*norms) == pytest.approx(0.5)
    assert (weight.photometric, weight.guidance, weight.steps) == (1.0, 2.0, 1)


def test_the_state_survives_being_written_as_numbers():
    first, second = RelativeWeight(), RelativeWeight()
    for step in range(150):
        first.update(1.0 + math.sin(step), 2.0 + math.cos(step))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step in range(150, 160):
        assert first.update(1.1, step) == second.update(1.1, step)
