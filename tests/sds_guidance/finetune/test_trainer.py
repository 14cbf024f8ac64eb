"""The loop: resumed equals unbroken, the rate, stopping, averages, accumulation; on a line to be fitted."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from sds_guidance.finetune.trainer import TrainingOptions, fit, learning_rate
from utils.checkpoints import checkpoint_iterations
from utils.errors import UserError, Warnings


class Line:
    """y = 2 x - 1, to be learnt from noisy examples by a network of one weight and one bias."""

    count = 10

    def __init__(self, at_step=lambda calls: None):
        torch.manual_seed(5)
        self.network = torch.nn.Linear(1, 1)
        self.at_step = at_step
        self.calls = 0
        self.seen = []

    def loss(self, rows, random):
        self.calls += 1
        self.seen += rows.tolist()
        self.at_step(self.calls)
        x = rows[:, None] / self.count
        return (self.network(x) - (2 * x - 1 + 0.01 * torch.randn(x.shape, generator=random))).square().mean()

    def validate(self):
        return {"bias": {"error": [abs(float(self.network.bias) + 1)]}}


def run(folder, task, resume=False, **flags):
    options = TrainingOptions(**{"steps": 8, "learning_rate": 0.1, "lr_warmup": 2, "batch_size": 3} | flags)
    accelerator = Accelerator(cpu=True)
    validations = fit(task, options, folder, accelerator=accelerator, warnings=Warnings(), resume=resume)
    return SimpleNamespace(
        validations=validations, weights=[p.item() for p in task.network.parameters()], task=task
    )


def interrupt_at(call):
    def at_step(calls):
        if calls == call:
            os.kill(os.getpid(), signal.SIGINT)

    return at_step


@pytest.mark.parametrize("flags", [{}, {"ema": 0.9, "validation_interval": 3}, {"accumulation": 2}])
def test_an_interrupted_training_resumed_ends_with_the_bits_of_the_unbroken_one(tmp_path, flags):
    unbroken = run(tmp_path / "unbroken", Line(), **flags)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", Line(interrupt_at(5 * flags.get("accumulation", 1))), **flags)
    assert checkpoint_iterations(tmp_path / "broken") == [5]
    resumed = run(tmp_path / "broken", Line(), resume=True, **flags)
    assert resumed.weights == unbroken.weights
    assert resumed.validations == unbroken.validations
    assert resumed.task.calls == 3 * flags.get("accumulation", 1)
    logs = [(tmp_path / name / "log.jsonl").read_text().count("\n") for name in ("unbroken", "broken")]
    assert logs[0] == logs[1]


def test_every_example_is_seen_once_an_epoch(tmp_path):
    task = run(tmp_path, Line(), steps=10, batch_size=3).task
    for epoch in range(3):
        assert sorted(task.seen[10 * epoch : 10 * (epoch + 1)]) == list(range(10))
    assert task.seen[:10] != task.seen[10:20]


def test_two_passes_of_accumulation_are_one_of_twice_the_batch(tmp_path):
    class Noiseless(Line):
        def loss(self, rows, random):
            x = rows[:, None] / self.count
            return (self.network(x) - (2 * x - 1)).square().mean()

    whole = run(tmp_path / "whole", Noiseless(), batch_size=4, clip_norm=0.3)
    halves = run(tmp_path / "halves", Noiseless(), batch_size=2, accumulation=2, clip_norm=0.3)
    assert halves.weights == pytest.approx(whole.weights, abs=1e-5)


def test_the_saved_average_follows_its_formula(tmp_path):
    weights = []

    class Watched(Line):
        def loss(self, rows, random):
            weights.append([p.item() for p in self.network.parameters()])
            return super().loss(rows, random)

    averaged = run(tmp_path / "a", Watched(), ema=0.5).weights
    plain = run(tmp_path / "b", Line()).weights
    expected = weights[1]  # the average starts as the weights after the first step
    for step, now in enumerate([*weights[2:], plain], start=1):
        decay = min(0.5, (1 + step) / (10 + step))  # diffusers lets the average start fast
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
    assert averaged == pytest.approx(expected, abs=1e-5)


def test_the_line_is_learnt_and_validated_before_and_after(tmp_path):
    done = run(tmp_path, Line(), steps=200)
    assert done.weights == pytest.approx([2, -1], abs=0.05)
    assert [found["step"] for found in done.validations] == [0, 200]
    assert done.validations[1]["bias"]["error"][0] < done.validations[0]["bias"]["error"][0]


def test_the_rate_rises_over_the_warm_up_and_falls_to_nothing():
    options = TrainingOptions(steps=100, learning_rate=1.0, lr_warmup=10)
    rates = [learning_rate(options, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    options.lr_schedule = "constant"
    assert learning_rate(options, 99, 0.99) == 1.0


def test_a_limit_in_minutes_ends_the_training_and_is_kept_through_a_resume(tmp_path):
    done = run(tmp_path, Line(), steps=10**9, minutes=0.2 / 60)
    steps = done.validations[-1]["step"]
    assert 1 < steps < 10**6
    again = run(tmp_path, Line(), resume=True, steps=10**9, minutes=0.2 / 60)
    assert again.task.calls == 0
    assert again.weights == done.weights


def test_a_diverged_training_stops_with_a_message_and_keeps_its_checkpoint(tmp_path):
    class Diverging(Line):
        def loss(self, rows, random):
            return super().loss(rows, random) * (float("nan") if self.calls == 5 else 1)

    with pytest.raises(UserError, match=r"loss of step 5 is nan.*--learning_rate"):
        run(tmp_path, Diverging(), checkpoint_interval=2)
    assert checkpoint_iterations(tmp_path) == [2, 4]


def test_tensorboard_gets_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    run(tmp_path, Line(), steps=20, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [10, 20]
    assert [event.step for event in events.Scalars("validation/bias/error/0")] == [0, 20]


@pytest.mark.parametrize("flags", [{"steps": 0}, {"learning_rate": float("nan")}, {"ema": 1.0}])
def test_senseless_values_are_refused_by_name(flags):
    with pytest.raises(UserError, match=f"--{next(iter(flags))}"):
        TrainingOptions(**flags).check()
