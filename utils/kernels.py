"""How our Numba functions are compiled, cached and launched: one at a time, and not in silence."""

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numba
from numba.core import event

_numba_config: Any = numba.config

# Held around every call of a kernel: one of Numba's threading layers ends the process when two threads enter
# it at once (a viewer renders a snapshot while training computes a loss).
kernel_lock = threading.RLock()


class Compiler:
    """Decorators that compile the functions of one group of source files.

    Numba's own cache looks only at the file of the kernel itself, so it would not notice a changed helper in
    another file; ours lies in a folder named after the content of the whole group.

    Args:
        sources: the files whose functions call one another.
        notice: a line to say when they are first compiled; what is found in the cache says nothing.
        options: Numba's compilation options for all of them, besides `error_model`, which is "numpy".
    """

    def __init__(self, sources: Iterable[Path], notice: str, **options: Any) -> None:
        sources = sorted(sources)
        content = b"".join(source.read_bytes() for source in sources)
        self._digest = hashlib.sha256(content).hexdigest()[:16]
        self._folder = sources[0].parent
        self._options = {"error_model": "numpy", **options}
        event.register("numba:compile", _Notice({os.fspath(source) for source in sources}, notice))

    def device_function(self, function: Callable) -> Callable:
        """A compiled function for kernels to call."""
        return numba.njit(**self._options)(function)

    def kernel(self, function: Callable) -> Callable:
        """A compiled parallel function, cached on disk, that runs under `kernel_lock`."""
        return self._launcher(function, parallel=True)

    def serial_kernel(self, function: Callable) -> Callable:
        """A compiled function of one thread, otherwise like `kernel`."""
        return self._launcher(function, parallel=False)

    def _launcher(self, function: Callable, parallel: bool) -> Callable:
        before = _numba_config.CACHE_DIR
        base = Path(before) if before else self._folder / "__pycache__"
        _numba_config.CACHE_DIR = os.fspath(base / f"numba-{self._digest}")
        try:
            compiled = numba.njit(parallel=parallel, cache=True, **self._options)(function)
        finally:
            _numba_config.CACHE_DIR = before

        @functools.wraps(function)
        def launch(*arguments):
            with kernel_lock:
                return compiled(*arguments)

        return launch


def announce_compiling(say: Callable[[str], object]) -> None:
    """Lets `say` take the lines about compiling from now on; before, they go to standard error."""
    _Notice.say = staticmethod(say)


class _Notice(event.Listener):
    """Says a line once, when the first function of some files is compiled."""

    say: ClassVar[Callable[[str], object]] = staticmethod(
        functools.partial(print, file=sys.stderr, flush=True)
    )

    def __init__(self, files: set[str], line: str) -> None:
        self.files, self.line, self.said = files, line, False

    def on_start(self, happening: event.Event) -> None:
        if not self.said and happening.data["dispatcher"].py_func.__code__.co_filename in self.files:
            self.said = True
            _Notice.say(self.line)

    def on_end(self, happening: event.Event) -> None:
        pass
