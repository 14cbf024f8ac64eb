"""Depth as pictures: values times the step are the depths, colours run from near to far, nothing is black."""

import numpy as np
import pytest
import torch

from utils.depth_images import RAMP, depth_scale, solid_depth


@pytest.mark.parametrize("far", [1e-3, 0.9, 1.0, 7.3, 130.0, 8e4])
def test_the_step_is_round_and_leaves_room(far):
    scale = depth_scale(far / 9, far)
    assert f"{scale.step:.0e}"[0] in "125" and float(f"{scale.step:.0e}") == scale.step
    assert 4 * far <= 65535 * scale.step <= 4 * 2.5 * far * 1.001  # no coarser than the next round number


def test_values_times_the_step_are_depths():
    scale = depth_scale(0.5, 10.0)
    depth = np.array([[0, 1e-9, 0.5, 3.217], [10, 60, 1e6, 0]], np.float32)
    values = scale.pixels(depth)
    assert values.dtype == np.uint16 and values[0, 0] == values[1, 3] == 0
    assert values[0, 1] == 1 and values[1, 2] == 65535  # nearer than a step, farther than there are steps
    usual = (depth > 0.1) & (depth < 100)
    assert np.abs(values * scale.step - depth)[usual].max() <= 0.51 * scale.step
    assert scale.record()["scale"] == scale.step


def test_colours_run_in_inverse_depth():
    scale = depth_scale(1.0, 4.0)
    middle = 1 / ((1 + 1 / 4) / 2)
    colours = scale.coloured(np.array([[0, 0.3, 1, middle, 4, 900]], np.float32))[0]
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1].tolist() == colours[2].tolist() == RAMP[-1].tolist()
    assert colours[3].tolist() == RAMP[2].tolist()
    assert colours[4].tolist() == colours[5].tolist() == RAMP[0].tolist()


def test_what_is_half_transparent_has_no_depth():
    depth = torch.full((1, 1, 3), 2.0)
    alpha = torch.tensor([[[0.49, 0.5, 1.0]]])
    assert solid_depth(depth, alpha).tolist() == [[0, 2, 2]]
