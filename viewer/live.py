"""A training as its viewers see it while it runs: copies of the Gaussians, how far it is, and pauses."""

import threading
from dataclasses import dataclass

from torch.nn import Parameter, ParameterDict


@dataclass(frozen=True)
class Snapshot:
    """The Gaussians as they were after an iteration; never changed again, so that any thread may render them.

    Attributes:
        iteration: after whose step, from 1.
        gaussians: as `scene.gaussians` describes them, without gradient, on the training's device.
    """

    iteration: int
    gaussians: ParameterDict


@dataclass(frozen=True)
class Progress:
    """How far a training is: the last iteration done (0: none), how many there will be, Gaussians now."""

    iteration: int
    iterations: int
    gaussians: int


class LiveModel:
    """What passes between the thread that trains and those of viewers, which may call at any time.

    The training calls `offer` after every step and `finish` at its end. A viewer takes the newest copy with
    `latest`, reads `progress`, and pauses the training with `hold` until its `release`. Copies are made by
    the training, and only where a viewer has asked since the last one: nobody looks, nothing is copied.
    """

    def __init__(self, iterations: int) -> None:
        self.progress = Progress(0, iterations, 0)
        self.finished = False
        self._changed = threading.Condition()
        self._asked = False
        self._snapshot: Snapshot | None = None
        self._holding: set[object] = set()

    def offer(self, iteration: int, gaussians: ParameterDict) -> None:
        """Shows viewers the Gaussians after `iteration`; returns when no viewer holds the training.

        Where there is no memory for a copy, viewers keep the one before: the training goes on.
        """
        self.progress = Progress(iteration, self.progress.iterations, len(gaussians["means"]))
        last = iteration == self.progress.iterations and self._snapshot is not None
        if not (self._asked or self._holding or last):
            return
        try:
            copies = {name: value.detach().clone() for name, value in gaussians.items()}
            frozen = {name: Parameter(copy, requires_grad=False) for name, copy in copies.items()}
            self._snapshot = Snapshot(iteration, ParameterDict(frozen))
        except (RuntimeError, MemoryError):  # the one before stays
            pass
        with self._changed:
            self._asked = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._holding)

    def finish(self) -> None:
        """Says that no iteration will follow."""
        with self._changed:
            self.finished = True
            self._changed.notify_all()

    def latest(self, wait: float = 0.0) -> Snapshot | None:
        """The newest copy, None where there is none yet; asks for a newer one if the training has gone on.

        Args:
            wait: seconds for which the newer one is waited for; 0: a later call will have it.
        """
        with self._changed:
            if not self.finished and (
                self._snapshot is None or self._snapshot.iteration < self.progress.iteration
            ):
                self._asked = True
                self._changed.wait_for(lambda: not self._asked or self.finished, wait)
            return self._snapshot

    @property
    def paused(self) -> bool:
        """Whether a viewer holds the training, which waits after the iteration that it is at."""
        return bool(self._holding)

    def hold(self, viewer: object) -> None:
        """Lets the training wait, after the iteration that it is at, until `release(viewer)`."""
        with self._changed:
            self._holding.add(viewer)

    def release(self, viewer: object) -> None:
        """Takes back what `hold(viewer)` asked for, if it did."""
        with self._changed:
            self._holding.discard(viewer)
            self._changed.notify_all()
