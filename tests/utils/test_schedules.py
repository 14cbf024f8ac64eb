"""Schedules: ends, middle, zeros."""

import pytest

from utils.schedules import log_linear


def test_the_way_is_even_in_logarithms_and_stays_at_its_end():
    found = [log_linear(1.0, 0.01, progress) for progress in (0.0, 0.5, 1.0, 3.0)]
    assert found == pytest.approx([1.0, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_an_end_of_zero_is_zero_all_the_way(ends: tuple[float, float]):
    assert log_linear(*ends, 0.5) == 0
