"""The training loop that every kind of fine-tuning shares: steps, checkpoints, validation, averages."""

from __future__ import annotations

import hashlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from utils.checkpoints import load_newest_checkpoint, save_checkpoint
from utils.errors import UserError, Warnings, demand
from utils.optional_modules import optional_module
from utils.training_log import TrainingLog

LOG_INTERVAL = 10
"""Steps between rows of the log."""


@dataclass
class TrainingOptions:
    """How long and how fast to train."""

    steps: int = 1000
    """Steps of the optimiser."""
    minutes: float = 0.0
    """Stop after so many minutes of training, if that is earlier; the rate follows. 0: no limit."""
    batch_size: int = 4
    """Pictures in one pass of the network, on each device."""
    accumulation: int = 1
    """Passes whose gradients are averaged for one step."""
    learning_rate: float = 1e-4
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up: fall to 0 along a cosine, or stay."""
    lr_warmup: int = 50
    """Steps over which the rate rises linearly."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0: not limited."""
    ema: float = 0.0
    """Decay in [0, 1) of the moving average of the weights, which is then what is saved; 0: none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format inside the networks; what is trained stays float32. auto: bfloat16 on a GPU."""
    validation_interval: int = 0
    """Steps between validations; 0: before and after training only."""
    checkpoint_interval: int = 500
    """Steps between checkpoints, of which the newest two stay; 0: only at the end."""
    tensorboard: bool = False
    """Write the log for TensorBoard too (needs the package tensorboard)."""
    seed: int = 0
    """Seed of all randomness."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        for flag in ("steps", "batch_size", "accumulation"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        for flag in ("minutes", "learning_rate", "lr_warmup", "weight_decay", "clip_norm"):
            demand(0 <= getattr(self, flag) < math.inf, flag, getattr(self, flag), "a finite number >= 0")
        for flag in ("validation_interval", "checkpoint_interval"):
            demand(getattr(self, flag) >= 0, flag, getattr(self, flag), "0 or more")
        demand(0 <= self.ema < 1, "ema", self.ema, "a number from 0, below 1")


class Task(Protocol):
    """What is trained, on what, and how it is judged.

    Attributes:
        network: those of its parameters with `requires_grad` are trained; `loss` calls it, and nothing else
            that is trained, since `fit` may wrap it for several devices.
        count: training examples.
    """

    network: nn.Module
    count: int

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """The scalar loss on the examples of (B,) int64 `rows`, with every draw from `random`, on the CPU."""
        ...

    def validate(self) -> dict[str, Any]:
        """What JSON can hold, by the held-out set's name."""
        ...


def fit(
    task: Task,
    options: TrainingOptions,
    folder: Path,
    *,
    accelerator: Accelerator,
    warnings: Warnings,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Trains `task.network` in place and returns the validations, the first before training, the last after.

    The network ends with the weights to be saved: the moving average's where there is one. An interrupted
    training leaves a checkpoint; resumed, it ends with the bits of the unbroken one (at the same count of
    threads and devices, and without a limit in minutes).

    Args:
        task: what is trained.
        options: checked here.
        folder: of the run; gets the checkpoints and `log.jsonl`.
        accelerator: where to train.
        warnings: takes damaged checkpoints.
        resume: go on from the newest checkpoint in the folder, or start where there is none.

    Raises:
        UserError: the loss is no longer a number.
        KeyboardInterrupt: after the checkpoint was written.
    """
    options.check()
    if options.tensorboard:
        optional_module("tensorboard", "--tensorboard needs the package tensorboard")
    run = _Run(task, options, folder, accelerator)
    if resume and (saved := load_newest_checkpoint(folder, warnings)) is not None:
        run.load(saved)
    log = None
    if accelerator.is_main_process:
        log = TrainingLog(folder, run.step, tensorboard=options.tensorboard)

    def record(values: dict[str, Any]) -> None:
        if log:
            log.write(run.step, **values)

    if not run.validations:
        record({"validation": run.validate()})
    progress = tqdm(total=options.steps, initial=run.step, desc="training", unit="step", disable=log is None)
    with _stop_asked() as stop:
        while not run.finished():
            loss, rate = run.advance()
            finished, step = run.finished(), run.step
            progress.update()
            if step % LOG_INTERVAL == 0 or finished:
                record({"loss": loss, "lr": rate, "seconds": round(run.seconds, 3)})
                progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if _due(step, options.validation_interval) or finished:
                record({"validation": run.validate()})
            if _due(step, options.checkpoint_interval) or stop.is_set() or finished:
                run.save()
            if stop.is_set() and not finished:
                progress.close()
                print(f"stopped after step {step}; the same command with --resume goes on", file=sys.stderr)
                raise KeyboardInterrupt
    progress.close()
    run.average_in()
    if log:
        log.close()
    return run.validations


class _Run:
    """The state of a training between two steps; every draw follows from the seed and the step alone."""

    def __init__(self, task: Task, options: TrainingOptions, folder: Path, accelerator: Accelerator) -> None:
        self.task, self.options, self.folder, self.accelerator = task, options, folder, accelerator
        self.named = {name: p for name, p in task.network.named_parameters() if p.requires_grad}
        self.trained = list(self.named.values())
        optimiser = torch.optim.AdamW(
            self.trained, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        task.network, self.optimiser = accelerator.prepare(task.network, optimiser)
        self.ema = EMAModel(self.trained, decay=options.ema, foreach=True) if options.ema else None
        self.dtype = compute_dtype(options.precision, accelerator.device)
        self.step = 0
        self.seconds = 0.0
        self.validations: list[dict[str, Any]] = []
        self._epoch, self._order = -1, torch.empty(0)

    def finished(self) -> bool:
        """Whether the last step, or the time, is reached."""
        return self._progress() >= 1

    def _progress(self) -> float:
        """Share of the training that is done, in [0, 1] and beyond."""
        timed = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        return max(self.step / self.options.steps, timed)

    def advance(self) -> tuple[float, float]:
        """One step of the optimiser; returns its mean loss and its learning rate."""
        started = time.perf_counter()
        rate = learning_rate(self.options, self.step, self._progress())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.task.network.train()
        passes = self.options.accumulation
        total = torch.zeros((), device=self.accelerator.device)
        for number in range(passes):
            last = number == passes - 1
            with nullcontext() if last else self.accelerator.no_sync(self.task.network):
                loss = self._loss(self.step * passes + number)
                self.accelerator.backward(loss / passes)
            total += loss.detach() / passes
        if not math.isfinite(mean := float(total)):
            raise UserError(
                f"training diverged: the loss of step {self.step + 1} is {mean}. Lower --learning_rate, or "
                f"lengthen --lr_warmup; what {self.folder} holds of the steps before is kept"
            )
        if self.options.clip_norm:
            self.accelerator.clip_grad_norm_(self.trained, self.options.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.ema:
            self.ema.step(self.trained)
        self.step += 1
        self.seconds += time.perf_counter() - started
        return mean, rate

    def _loss(self, number: int) -> Tensor:
        """The loss of the run's pass `number`, counted from 0; dropout draws from torch's own generator."""
        state = self.accelerator
        seed = mixed_seed(self.options.seed, number, state.process_index)
        torch.manual_seed(seed)
        size = self.options.batch_size
        first = (number * state.num_processes + state.process_index) * size
        rows = torch.stack([self._row(place) for place in range(first, first + size)])
        with self._autocast():
            return self.task.loss(rows, torch.Generator().manual_seed(seed))

    def _row(self, place: int) -> Tensor:
        """The example at a place of the endless sequence of shuffled epochs."""
        epoch, within = divmod(place, self.task.count)
        if epoch != self._epoch:
            random = torch.Generator().manual_seed(mixed_seed(self.options.seed, epoch, -1))
            self._epoch, self._order = epoch, torch.randperm(self.task.count, generator=random)
        return self._order[within]

    def _autocast(self) -> torch.autocast:
        return autocast(self.accelerator.device, self.dtype)

    def validate(self) -> dict[str, Any]:
        """The task's validation, of the averaged weights where there are any; kept with its step."""
        if self.ema:
            self.ema.store(self.trained)
            self.ema.copy_to(self.trained)
        self.task.network.eval()
        with torch.no_grad(), self._autocast():
            found = self.task.validate()
        if self.ema:
            self.ema.restore(self.trained)
        self.validations.append({"step": self.step, **found})
        return found

    def average_in(self) -> None:
        """Leaves the averaged weights in the network."""
        if self.ema:
            self.ema.copy_to(self.trained)
        self.task.network = self.accelerator.unwrap_model(self.task.network)

    def save(self) -> None:
        """Writes the checkpoint, in the main process."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "iteration": self.step,
            "seconds": self.seconds,
            "validations": self.validations,
            "weights": {name: p.detach() for name, p in self.named.items()},
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
        }
        save_checkpoint(self.folder, state, keep=set())

    def load(self, saved: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.step, self.seconds = saved["iteration"], saved["seconds"]
        self.validations = saved["validations"]
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(saved["weights"][name])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.ema:
            self.ema.load_state_dict(saved["ema"])
            self.ema.to(self.accelerator.device)


def learning_rate(options: TrainingOptions, step: int, progress: float) -> float:
    """The rate of the step that comes after `step` steps, `progress` in [0, 1] being the share of the run."""
    warm = min(1.0, (step + 1) / options.lr_warmup) if options.lr_warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if options.lr_schedule == "cosine" else 1.0
    return options.learning_rate * warm * fall


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What networks compute in: "auto" is bfloat16 on a GPU that has it, else float32."""
    if precision != "auto":
        return getattr(torch, precision)
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A block in which networks compute in `dtype`; nothing changes for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def mixed_seed(*numbers: int) -> int:
    """32 bits (all that torch's CPU generator takes) that differ wherever the numbers do."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "little")


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that the step is finished; a second ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread alone
        return

    def note(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
