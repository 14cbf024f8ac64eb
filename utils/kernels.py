"""What all our Numba kernels share: how they are compiled, and the lock that they run under."""

import threading
from typing import Any

# Held around every call of a parallel kernel: one of Numba's threading layers ends the process when two
# threads enter it at once (a viewer renders a snapshot while training computes a loss).
kernel_lock = threading.RLock()

# Cached on disk: only the first run compiles. `contract` and `reassoc` let LLVM use fused multiply-adds and
# vector sums in an order fixed when compiling, so bits do not depend on threads; NaN and infinity keep
# their meaning.
kernel_options: dict[str, Any] = {
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}
