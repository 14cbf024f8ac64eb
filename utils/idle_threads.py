"""Lets idle threads sleep, and says how many there are; every program imports this before torch.

Torch and Numba each keep a team of OpenMP threads that by default spin while they wait, and so take the cores
from each other: on two cores a training step is several times slower. OpenMP reads the variable on loading.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def limits(torch: int, numba: int) -> dict[str, str]:
    """The environment variables by which a process uses so many threads of Torch and of Numba."""
    return {"OMP_NUM_THREADS": str(torch), "NUMBA_NUM_THREADS": str(numba)}
