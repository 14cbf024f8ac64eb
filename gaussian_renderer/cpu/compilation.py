"""How the engine's functions are compiled, cached and launched: one at a time, and not in silence."""

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from utils.kernels import kernel_lock

_numba_config: Any = numba.config

device_function = numba.njit(error_model="numpy")


def kernel(function: Callable) -> Callable:
    """A compiled parallel function, cached on disk, that runs under the engine's lock."""
    return _launcher(function, parallel=True)


def serial_kernel(function: Callable) -> Callable:
    """A compiled function of one thread, otherwise like `kernel`."""
    return _launcher(function, parallel=False)


def _launcher(function: Callable, parallel: bool) -> Callable:
    with _cache_of_this_version():
        compiled = numba.njit(parallel=parallel, cache=True, error_model="numpy")(function)

    @functools.wraps(function)
    def launch(*arguments):
        with kernel_lock:
            return compiled(*arguments)

    return launch


class _cache_of_this_version:
    """While entered, Numba caches in a folder named after the content of all the engine's sources.

    Numba's own cache looks only at the file of the function itself, so it would not notice a changed
    helper in another file.
    """

    def __enter__(self) -> None:
        self.before = _numba_config.CACHE_DIR
        base = Path(self.before) if self.before else Path(__file__).parent / "__pycache__"
        _numba_config.CACHE_DIR = os.fspath(base / f"numba-{_fingerprint()}")

    def __exit__(self, *exception) -> None:
        _numba_config.CACHE_DIR = self.before


@functools.cache
def _fingerprint() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


class _Notice(event.Listener):
    """Says once that the engine is being compiled; a function found in the cache says nothing."""

    said = False

    def on_start(self, happening) -> None:
        module = happening.data["dispatcher"].py_func.__module__
        if not self.said and module.startswith(__package__):
            self.said = True
            print(
                "compiling the CPU rasteriser (once per machine, about 30 s) ...", file=sys.stderr, flush=True
            )

    def on_end(self, happening) -> None:
        pass


event.register("numba:compile", _Notice())
