"""The viewer's one thread: the newest of each kind, a share of the time, and no failure that ends it."""

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from viewer.worker import Worker


def test_the_newest_of_a_name_replaces_one_that_waits():
    did: list[object] = []
    gate = threading.Event()
    worker = Worker(did.append)
    worker.soon("gate", lambda: gate.wait(30))
    for number in range(100):
        worker.soon("a", partial(did.append, ("a", number)))
        worker.soon("b", partial(did.append, ("b", number)))
    gate.set()
    worker.settle()
    worker.stop()
    assert did == [("a", 99), ("b", 99)]


def test_a_failure_is_told_and_the_next_job_is_done():
    told: list[Exception] = []
    worker = Worker(told.append)
    worker.soon("bad", lambda: 1 / 0)
    worker.settle()
    worker.stop()
    assert [type(failure) for failure in told] == [ZeroDivisionError]


def test_it_rests_until_it_has_kept_to_its_share():
    now = 0.0

    def work(starts: list[float]) -> Callable[[], None]:
        def job() -> None:
            nonlocal now
            starts.append(time.monotonic())
            now += 0.01  # what the job takes, by the worker's clock

        return job

    starts: list[float] = []
    worker = Worker(lambda _: None, share=0.03, clock=lambda: now)
    for name in "abc":
        worker.soon(name, work(starts))
    time.sleep(0.01)
    worker.settle()
    worker.stop()
    assert all(later - sooner >= 0.01 / 0.03 - 0.02 for sooner, later in pairwise(starts))


def test_stopping_does_not_wait_for_the_rest():
    worker = Worker(lambda _: None, share=1e-6)
    worker.soon("short", lambda: time.sleep(0.01))
    time.sleep(0.05)
    started = time.monotonic()
    worker.stop()
    assert time.monotonic() - started < 30
