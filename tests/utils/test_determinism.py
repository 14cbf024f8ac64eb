"""Generators that a block has used are where they were before it."""

import random

import numpy as np
import pytest
import torch

from utils.determinism import generators_kept, seed_everything


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


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
