"""Generators that a block has used are where they were before it."""

import random

import numpy as np
import pytest
import torch

from scene.dataset import SceneOptions
from training.options import Options
from utils.determinism import generators_kept, seed_everything


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63 - 1])
def test_every_seed_that_the_flag_allows_can_be_taken(seed):
    Options(scene=SceneOptions(source_path="x"), seed=seed).check()
    seed_everything(seed)
    first = draws()
    seed_everything(seed)
    assert draws() == first


def test_generators_are_put_back_after_a_block_even_if_it_fails():
    seed_everything(3)
    draws()
    with generators_kept():
        expected = draws()
    with pytest.raises(KeyError), generators_kept():
        seed_everything(4)
        assert draws() != expected
        raise KeyError
    assert draws() == expected
