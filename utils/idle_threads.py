"""Lets idle threads sleep; every program imports this before torch.

Torch and Numba each keep a team of OpenMP threads that by default spin while they wait, and so take the cores
from each other: on two cores a training step is several times slower. OpenMP reads the variable on loading.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
