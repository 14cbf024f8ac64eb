"""How much memory the process has used, and keeping what it has freed."""

import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_memory() -> dict[str, int]:
    """Peaks so far in MiB: "host" (resident set) and, where there is a GPU, "cuda" (torch's allocations)."""
    peaks = {"host": _peak_resident() // 2**20}
    if torch.cuda.is_available():
        peaks["cuda"] = torch.cuda.max_memory_allocated() // 2**20
    return peaks


def _peak_resident() -> int:
    """Bytes of the process's largest resident set.

    Of Linux's two counts only that of /proc begins with the program: ru_maxrss begins with what the process
    that started it had at that moment.
    """
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024  # kB
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> None:
    """Asks the C library to keep freed memory for the next allocation instead of giving it back.

    A training step allocates and frees the same large arrays again and again; giving them back costs a page
    fault for every 4 KiB of each, a tenth to a fifth of a step. Only glibc has the knobs; elsewhere this does
    nothing. What no later array fits into is given back by `give_back_freed_memory`.
    """
    mallopt = _from_glibc("mallopt")
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h's numbers of the parameters
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
        mallopt(mmap_max, 0)


def give_back_freed_memory() -> None:
    """Gives all memory that is free at this moment back to the system, once.

    For the moments at which arrays change their sizes: the holes that the old ones leave fit nothing that
    comes later, and a process that keeps freed memory would hold them to its end. Only glibc can.
    """
    malloc_trim = _from_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def _from_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
