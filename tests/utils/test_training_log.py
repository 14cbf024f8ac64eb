"""The training log: cut back where a run goes on, and the same numbers for TensorBoard, each once."""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.programs import run_train
from utils.optional_modules import importable
from utils.training_log import TrainingLog, flatten


def read_rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: by name, steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of events that are begun within one second are told apart as if they had their own."""
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    clock = itertools.count(1_700_000_000)
    monkeypatch.setattr(writer, "time", SimpleNamespace(time=lambda: next(clock)))


def test_the_log_is_cut_behind_the_checkpoint(tmp_path):
    log = TrainingLog(tmp_path)
    for iteration in (10, 20, 30):
        log.write(iteration, loss=1 / iteration)
    log.close()
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text() + '{"iteration": 40, "lo')  # killed in the midst of a row
    TrainingLog(tmp_path, resumed_after=20).close()
    assert [row["iteration"] for row in read_rows(tmp_path)] == [10, 20]
    TrainingLog(tmp_path).close()
    assert path.read_text() == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.usefixtures("seconds")
def test_a_resumed_run_continues_its_curves_without_what_was_trained_again(tmp_path):
    """Killed after 40 without closing anything, resumed from 20; then begun anew from nothing."""
    killed = TrainingLog(tmp_path, tensorboard=True)
    for iteration in (0, 10, 20, 30, 40):
        killed.write(iteration, loss=iteration / 8, gate="kept")
    resumed = TrainingLog(tmp_path, resumed_after=20, tensorboard=True)
    resumed.write(30, loss=-1.0)
    resumed.close()
    expected = [(0, 0.0), (10, 1.25), (20, 2.5), (30, -1.0)]
    assert scalars(tmp_path) == {"loss": expected}
    assert [(row["iteration"], row["loss"]) for row in read_rows(tmp_path)] == expected

    restarted = TrainingLog(tmp_path, tensorboard=True)
    restarted.write(0, loss=7.0)
    restarted.close()
    assert scalars(tmp_path) == {"loss": [(0, 7.0)]}


def test_nested_values_are_flattened_for_tensorboard():
    values = {"a": {"b": [1, 2.5]}, "c": 3, "d": "words"}
    assert dict(flatten(values)) == {"a/b/0": 1.0, "a/b/1": 2.5, "c": 3.0}


def test_a_training_shows_its_log_in_tensorboard(small_scene, tmp_path):
    pytest.importorskip("tensorboard")
    run_train(small_scene, tmp_path, "--eval", "--iterations", 20, "--test_iterations", 20)
    logged = [(row["iteration"], name, value) for row in read_rows(tmp_path) for name, value in row.items()]
    shown = {(step, name): value for name, curve in scalars(tmp_path).items() for step, value in curve}
    assert {"loss", "psnr", "gaussians", "test_psnr"} <= {name for _, name in shown}
    numbers = {(step, name): value for step, name, value in logged if name != "iteration"}
    assert shown == pytest.approx(numbers, rel=1e-6)


def test_without_tensorboard_a_training_is_the_same_but_for_its_curves(small_scene, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it could not be imported
    assert not importable("torch.utils.tensorboard") and importable("json")
    run_train(small_scene, tmp_path, "--iterations", 10, "--test_iterations", -1)
    assert [row["iteration"] for row in read_rows(tmp_path)] == [10]
    assert not (tmp_path / "tensorboard").exists()
