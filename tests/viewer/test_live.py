"""Copies for viewers: made when asked for and not otherwise, never changed, and what pausing does."""

import threading

import pytest
import torch
from torch import Tensor

from tests.small_scene import some_gaussians
from tests.viewer.waiting import until
from viewer.live import LiveModel, Progress


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every tensor that is cloned from now on."""
    cloned: list[Tensor] = []
    original = Tensor.clone

    def clone(self: Tensor) -> Tensor:
        cloned.append(self)
        return original(self)

    monkeypatch.setattr(Tensor, "clone", clone)
    return cloned


def background(task, *arguments) -> threading.Thread:
    thread = threading.Thread(target=task, args=arguments, daemon=True)
    thread.start()
    return thread


def test_nothing_is_copied_where_nobody_looks(copies):
    live, gaussians = LiveModel(5), some_gaussians()
    for iteration in range(1, 6):
        live.offer(iteration, gaussians)
    live.finish()
    assert live.progress == Progress(5, 5, 60) and not copies
    assert live.latest() is None


def test_one_copy_for_each_time_that_a_viewer_asks(copies):
    live, gaussians = LiveModel(9), some_gaussians()
    assert live.latest() is None
    for iteration in range(1, 4):
        live.offer(iteration, gaussians)
    assert len(copies) == len(gaussians)
    for _ in range(3):  # all the same question
        seen = live.latest()
        assert seen is not None and seen.iteration == 1
    for iteration in range(4, 7):
        live.offer(iteration, gaussians)
    seen = live.latest()
    assert seen is not None and seen.iteration == 4 and len(copies) == 2 * len(gaussians)


def test_a_copy_stays_as_it_was_while_training_goes_on_in_place():
    live, gaussians = LiveModel(9), some_gaussians()
    before = {name: value.detach().numpy().copy() for name, value in gaussians.items()}
    live.latest()
    live.offer(1, gaussians)
    with torch.no_grad():
        for value in gaussians.values():
            value.mul_(2).add_(1)
    seen = live.latest()
    assert seen is not None and not any(value.requires_grad for value in seen.gaussians.values())
    for name, value in before.items():
        assert (seen.gaussians[name].numpy() == value).all(), name


def test_one_who_waits_gets_the_next_iteration_and_does_not_wait_for_ever():
    live, gaussians = LiveModel(9), some_gaussians()
    assert live.latest(wait=0.01) is None
    live.offer(1, gaussians)
    live.offer(2, gaussians)
    seen: list = []
    viewer = background(lambda: seen.append(live.latest(wait=20)))
    until(lambda: live._asked)
    live.offer(3, gaussians)
    viewer.join(20)
    assert seen[0].iteration == 3
    live.finish()
    live.progress = Progress(4, 9, 60)  # as if one more had been done, of which nobody will make a copy
    assert live.latest(wait=1e9) is seen[0]


def test_the_last_iteration_is_what_stays_to_be_seen():
    live, gaussians = LiveModel(3), some_gaussians()
    live.latest()
    for iteration in (1, 2, 3):
        live.offer(iteration, gaussians)
    live.finish()
    seen = live.latest(wait=20)
    assert seen is not None and seen.iteration == 3


def test_held_by_two_the_training_waits_for_both_and_they_see_where(copies):
    live, gaussians = LiveModel(9), some_gaussians()
    for viewer in ("a", "b", "b"):
        live.hold(viewer)
    training = background(live.offer, 4, gaussians)
    until(lambda: live.progress.iteration == 4 and (seen := live.latest()) and seen.iteration == 4)
    assert live.paused and len(copies) == len(gaussians)
    live.release("a")
    live.release("nobody")
    training.join(0.05)
    assert training.is_alive() and live.paused
    live.release("b")
    training.join(20)
    assert not training.is_alive() and not live.paused


@pytest.mark.parametrize("failure", [RuntimeError("CUDA out of memory"), MemoryError()])
def test_without_memory_for_a_copy_viewers_keep_the_one_before(monkeypatch, failure):
    def fail(self):
        raise failure

    live, gaussians = LiveModel(9), some_gaussians()
    live.latest()
    live.offer(1, gaussians)
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "clone", fail)
        live.latest()
        live.offer(2, gaussians)
    seen = live.latest()
    assert seen is not None and seen.iteration == 1
    live.offer(3, gaussians)
    seen = live.latest()
    assert seen is not None and seen.iteration == 3
