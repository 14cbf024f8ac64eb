"""The training log: cut back where a run goes on, and the same numbers for TensorBoard, each once."""

import csv
import itertools
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.programs import run_train
from utils.errors import UserError
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


def test_what_is_no_number_is_null_in_the_log_and_empty_in_the_table(tmp_path):
    """JSON has neither NaN nor infinity, and readers in other languages stop at them."""
    log = TrainingLog(tmp_path)
    log.write(10, loss=math.nan, psnr=math.inf, gaussians=3)
    log.write(20, loss=0.5)
    log.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    strict = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert strict[0] == {"iteration": 10, "loss": None, "psnr": None, "gaussians": 3}
    assert (tmp_path / "log.csv").read_text() == "iteration,gaussians,loss\n10,3.0,\n20,,0.5\n"


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


def test_the_table_has_the_numbers_of_the_log(tmp_path):
    log = TrainingLog(tmp_path)
    log.write(0, gate="kept", weights=[0.25, 2.0])
    log.write(10, loss=0.1 + 0.2, gaussians=60)
    log.write(10, test_psnr=21.5)
    log.close()
    with (tmp_path / "log.csv").open() as file:
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    assert rows == [
        {"iteration": 0, "weights/0": 0.25, "weights/1": 2.0},
        {"iteration": 10, "loss": 0.1 + 0.2, "gaussians": 60, "test_psnr": 21.5},
    ]


class FakeWandb(ModuleType):
    """Weights & Biases as far as it is used; keeps what it is told."""

    class Error(Exception):
        """Its own failures' base."""

    def __init__(self, failure: str = "") -> None:
        super().__init__("wandb")
        self.failure, self.finished = failure, False
        self.settings: dict[str, Any] = {}
        self.rows: list[dict[str, float]] = []
        self.axes: list[tuple[str, str]] = []
        self.log = self.rows.append

    def init(self, **settings: Any) -> "FakeWandb":
        if self.failure:
            raise self.Error(self.failure)
        self.settings = settings
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes.append((name, step_metric))

    def finish(self) -> None:
        self.finished = True


def test_a_training_sends_its_log_to_weights_and_biases(small_scene, tmp_path, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    flags = ("--eval", "--iterations", 20, "--test_iterations", 20, "--wandb")
    run_train(small_scene, tmp_path / "mine", *flags)
    expected = [
        {"iteration": row.pop("iteration"), **dict(flatten(row))} for row in read_rows(tmp_path / "mine")
    ]
    assert wandb.rows == expected and {"loss", "psnr", "gaussians"} <= expected[0].keys()
    assert wandb.axes == [("*", "iteration")] and wandb.finished
    settings = wandb.settings
    assert settings["name"] == settings["group"] == "mine" and settings["dir"] == str(tmp_path / "mine")
    assert settings["config"]["iterations"] == 20 and settings["config"]["scene"]["eval"] is True


def test_without_an_account_there_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb("api_key not configured (no-tty)"))
    with pytest.raises(UserError, match=r"^--wandb: .*\(api_key not configured.*wandb login.*offline"):
        TrainingLog(tmp_path, wandb={})


def test_without_the_package_nothing_is_begun(small_scene, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it could not be imported
    with pytest.raises(UserError, match=r"^--wandb needs the package wandb, .*pip install wandb$"):
        run_train(small_scene, tmp_path / "model", "--wandb")
    assert not (tmp_path / "model").exists()


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
