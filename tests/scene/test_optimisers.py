"""The learning rates of the reference, and the positions' schedule at its ends and middle."""

import math

import pytest

from scene.optimisers import OptimiserOptions, make_optimisers, position_lr
from tests.small_scene import some_gaussians
from utils.errors import UserError


def test_position_rate_is_log_linear_and_scaled_by_the_extent():
    options = OptimiserOptions()
    assert math.isclose(position_lr(options, 0, 2.0), 2 * 1.6e-4)
    assert math.isclose(position_lr(options, 15_000, 2.0), 2 * 1.6e-5)
    assert math.isclose(position_lr(options, 30_000, 2.0), 2 * 1.6e-6)
    assert position_lr(options, 90_000, 2.0) == position_lr(options, 30_000, 2.0)
    assert position_lr(OptimiserOptions(position_lr_init=0), 5, 2.0) == 0


def test_every_parameter_has_an_adam_with_the_reference_rate():
    gaussians = some_gaussians(3)
    optimisers = make_optimisers(gaussians, OptimiserOptions(), extent=2.0)
    rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in optimisers.items()}
    expected = {"means": 3.2e-4, "scales": 5e-3, "quats": 1e-3, "opacities": 0.025, "sh0": 2.5e-3}
    assert rates == pytest.approx({**expected, "shN": 1.25e-4})
    assert all(optimiser.param_groups[0]["eps"] == 1e-15 for optimiser in optimisers.values())


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_rates_are_named(value):
    with pytest.raises(UserError, match="--feature_lr"):
        OptimiserOptions(feature_lr=value).check()
