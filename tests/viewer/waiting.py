"""Waiting for another thread in a test."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails where that takes longer than any machine should need."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
