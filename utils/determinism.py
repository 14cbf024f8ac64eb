"""Same seed, same bits: the seed, and the operations of torch whose bits depend on the number of threads.

On the CPU an unguided run gives the same bits at any thread count. Torch's exp, its arithmetic, clamp and
fused Adam do; its sigmoid, norms and long sums do not, because they are cut among the threads.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch; gsplat's splits draw from torch's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (libraries still draw from it; it takes no more bits)
    torch.manual_seed(seed)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Puts the generators that `seed_everything` seeds back to where they were, after the block."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002


def threads() -> dict[str, int]:
    """How many threads torch and Numba use; a guided run's bits depend on torch's."""
    return {"torch": torch.get_num_threads(), "numba": numba.get_num_threads()}


def sigmoid(logits: Tensor) -> Tensor:
    """1 / (1 + exp(-logits)), any shape, with bits that do not depend on the number of threads."""
    return _Sigmoid.apply(logits)


class _Sigmoid(torch.autograd.Function):
    """In place, and with the derivative in closed form: half the passes through memory."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        result = logits.clamp(min=-80).neg_().exp_().add_(1).reciprocal_()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return (1 - result).mul_(result).mul_(gradient)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Runs torch's CPU work of the block in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
