"""How much memory the process has used."""

import resource
import sys

import torch


def peak_memory() -> dict[str, int]:
    """Peaks so far in MiB: "host" (resident set) and, where there is a GPU, "cuda" (torch's allocations)."""
    unit = 1 if sys.platform == "darwin" else 1024  # the kernel counts bytes on macOS, KiB on Linux
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20}
    if torch.cuda.is_available():
        peaks["cuda"] = torch.cuda.max_memory_allocated() // 2**20
    return peaks
