"""One thread that does a viewer's work: the newest of each kind, and no more than a share of the time."""

import threading
import time
from collections.abc import Callable


class Worker:
    """Does jobs one after another; a job takes the place of an older one of the same name that waits.

    So nothing piles up, however fast someone moves a slider, and whatever a job raises ends that job alone.

    Args:
        failed: is told what a job raised, in the worker's thread.
        share: of the time that may be worked, above 0 to 1. After a job the worker rests until it has kept to
            it: beside a training that gives it 0.03 it takes 3 % of the time, however large the model is.
        clock: seconds.
    """

    def __init__(
        self,
        failed: Callable[[Exception], None],
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed, self.share, self.clock = failed, share, clock
        self._jobs: dict[str, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="viewer", daemon=True)
        self._thread.start()

    def soon(self, name: str, job: Callable[[], object]) -> None:
        """Has the job done after those that wait already, or in place of the one of its name."""
        with self._changed:
            self._jobs[name] = job
            self._changed.notify()

    def settle(self, seconds: float = 60.0) -> None:
        """Returns when all that was asked for so far is done, or so much time has passed."""
        done = threading.Event()
        self.soon("settle", done.set)
        done.wait(seconds)

    def stop(self) -> None:
        """Ends the thread after the job that it is at; those that wait are dropped."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopping.is_set())
                if self._stopping.is_set():
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            started = self.clock()
            try:
                job()
            except Exception as failure:
                self.failed(failure)
            self._stopping.wait((self.clock() - started) * (1 / self.share - 1))
