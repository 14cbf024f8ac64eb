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


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch; gsplat's splits draw from torch's."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries still draw from it)
    torch.manual_seed(seed)


def threads() -> dict[str, int]:
    """How many threads torch and Numba use; a guided run's bits depend on torch's."""
    return {"torch": torch.get_num_threads(), "numba": numba.get_num_threads()}


def sigmoid(logits: Tensor) -> Tensor:
    """1 / (1 + exp(-logits)), any shape, with bits that do not depend on the number of threads."""
    return 1 / (1 + torch.exp(-logits.clamp(min=-80)))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Runs torch's CPU work of the block in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
