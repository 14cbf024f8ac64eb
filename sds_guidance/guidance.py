"""Guidance as the trainer sees it: which cameras it wants at a step, and the loss on their renderings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sds_guidance.mode import Guided, Mode, View
from sds_guidance.options import GuidanceOptions
from sds_guidance.weighting import RelativeWeight

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.conditioning import Conditioning
    from sds_guidance.semantic_loss import SemanticConsistency

# Offset from --seed to the guidance's own stream, so that it repeats none of the trainer's draws.
SEED_OFFSET = 0x5D5
ROUNDING = 1e-6  # of a step: 0.29 of 100 steps are 28.999... in floats
INTERVALS = tuple(digit * 10**power for power in range(7) for digit in (1, 2, 5))


@dataclass(frozen=True)
class GuidanceResult:
    """What guidance says of a step's views.

    Attributes:
        loss: scalar; its gradient at each `rgb` is the applied gradient, lambda and schedules included. Its
            value means nothing; `scalars["guidance_loss"]` is the number to watch.
        scalars: numbers to log, the same names at every guided step.
        guided: what the mode said of each view, before any lambda.
    """

    loss: Tensor
    scalars: dict[str, float]
    guided: tuple[Guided, ...]


class Guidance:
    """A mode with schedules, the stated weight, and a state to be resumed from.

    Steps count from 1 to `iterations`. All randomness comes from a generator of its own, on the CPU; the
    global one is never touched.

    Attributes:
        mode: what is done at a guided step.
        seed: the run's.
        interval: guide every so many steps; None until `choose_interval` has decided.
        guided, dropped: how many steps were guided, and how many views were not finite.
        milliseconds: what the last guided step took, its renderings left out; 0 before the first.
        semantic: a loss of its own beside the mode's, at steps of its own; None: none.
        conditioning: the prompts, to be written to the run's folder; None: conditions made otherwise.
        description: what is recorded with the results: model, revision, prediction type, precision, sizes.
    """

    def __init__(
        self,
        options: GuidanceOptions,
        mode: Mode,
        conditions: Callable[[Camera, torch.Generator], Tensor],
        *,
        iterations: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """Makes the guidance of a run; `load_guidance` builds it from a model's name.

        Args:
            options: the flags, checked.
            mode: what to do at a guided step.
            conditions: for a camera, the (2, tokens, width) text states of the negative prompt, then of the
                prompt; a choice among several comes from the generator.
            iterations: steps of the run.
            seed: the run's.
            device: where the renderings are; a CPU leaves an interval of 0 to `choose_interval`.
        """
        options.check()
        self.options = options
        self.mode = mode
        self.conditions = conditions
        self.iterations = iterations
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed + SEED_OFFSET)
        self.weight = RelativeWeight()
        self.interval = options.guidance_interval or (1 if device.type == "cuda" else None)
        self.first, self.last = self._window(iterations)
        self.guided = 0
        self.dropped = 0
        self.milliseconds = 0.0
        self.semantic: SemanticConsistency | None = None
        self.conditioning: Conditioning | None = None
        self.description: dict[str, str | int | float] = {}

    def is_guided(self, step: int) -> bool:
        """Whether `step` is a guided one: inside the window, and the interval's turn."""
        if self.interval is None:
            raise RuntimeError("choose_interval() comes before the first step of a run on a CPU")
        return self.first <= step <= self.last and (step - self.first) % self.interval == 0

    def guided_steps(self, iterations: int) -> int:
        """How many steps a run of so many would guide, with the interval of this one."""
        assert self.interval is not None
        first, last = self._window(iterations)
        return len(range(first, last + 1, self.interval))

    def cameras(self, step: int) -> list[Camera]:
        """The cameras to render for this step; empty when the step is not guided."""
        if not self.is_guided(step):
            return []
        return self.mode.cameras(self.generator, step / self.iterations)

    def __call__(self, views: Sequence[View], step: int, photometric_norm: float) -> GuidanceResult:
        """The loss on the renderings of `cameras(step)`.

        A view whose gradient is not finite is dropped and counted. The gradients reach `rgb` only.

        Args:
            views: the renderings, in the order of the cameras.
            step: the same step.
            photometric_norm: L2 norm, over the image, of the photometric loss's gradient at this step's
                training rendering.
        """
        started = time.perf_counter()
        guided = tuple(self._guide(view, step) for view in views)
        kept = [(view, it) for view, it in zip(views, guided, strict=True) if it.finite]
        self.guided += 1
        self.dropped += len(views) - len(kept)

        norm = math.sqrt(sum(float(it.gradient.double().square().sum()) for _, it in kept))
        factor = self._factor(photometric_norm, norm, kept[0][1].elements) if kept else 0.0
        scale = self.options.lambda_sds * self._ramp(step) * factor
        loss = sum((_with_gradient(view.rgb, scale * it.gradient) for view, it in kept), _nothing(views))
        shown = [it for _, it in kept]
        self.milliseconds = 1000 * (time.perf_counter() - started)
        scalars = {
            "guidance_loss": _mean([it.loss for it in shown]),
            "guidance_t": _mean([it.t for it in shown]),
            "guidance_w": _mean([it.weight for it in shown]),
            "guidance_norm": norm,
            "guidance_scale": scale,
            "guidance_ratio": scale * norm / photometric_norm if photometric_norm > 0 else 0.0,
            "guidance_dropped": float(self.dropped),
            "guidance_ms": self.milliseconds,
            **(self.semantic.scalars() if self.semantic else {}),
        }
        return GuidanceResult(loss, scalars, guided)

    def measure(self, render: Callable[[Camera], View]) -> float:
        """Seconds that a guided step costs: rendering, mode and both ways back; changes no state of ours.

        The rendering is warmed up, since its first call may compile; of a quick step, three are timed and the
        median taken, since noise levels may differ in cost. Where a mode lives on what it did before, it is
        the mean over its steps. Gradients of whatever `render` draws are accumulated and are to be cleared
        afterwards.

        Args:
            render: the trainer's own rendering of a camera.
        """
        state = self.state_dict()
        progress, share = self.first / self.iterations, self.mode.fresh_share
        for camera in self.mode.cameras(self.generator, progress):
            warm = render(camera).rgb
            warm.backward(torch.zeros_like(warm))
        seconds: list[float] = []
        while len(seconds) < 3 and sum(seconds) <= 2.0:
            cameras = self.mode.cameras(self.generator, progress)
            fresh = self._seconds(render, cameras)
            again = self._seconds(render, cameras) if share < 1 else fresh
            seconds.append(share * fresh + (1 - share) * again)
        self.load_state_dict(state)
        return median(seconds)

    def choose_interval(self, guidance_seconds: float, step_seconds: float) -> int:
        """The interval of the run: the flag's, or the smallest at which guidance costs at most the rest.

        A choice made by timing belongs to the checkpoint (`state_dict` holds it), so that a resumed run
        equals the unbroken one; two machines may choose differently.

        Args:
            guidance_seconds: what `measure` gave.
            step_seconds: an unguided step.
        """
        if self.interval is None:
            self.interval = affordable_interval(guidance_seconds, step_seconds)
        return self.interval

    def plan(self, guidance_seconds: float, step_seconds: float) -> str:
        """A sentence for the user: how often, how long, and which flags change it."""
        assert self.interval is not None
        times = self.guided_steps(self.iterations)
        guided, rest = times * guidance_seconds, self.iterations * step_seconds
        chosen = "" if self.options.guidance_interval else " (--guidance_interval)"
        return (
            f"guidance: one view takes {guidance_seconds:.2f} s, an unguided step {step_seconds:.3f} s; "
            f"every {self.interval} steps{chosen} from {self.first} to {self.last}: {times} views, "
            f"{_clock(guided)} of an expected {_clock(guided + rest)}. Less with a larger "
            "--guidance_interval, a smaller --guidance_resolution or fewer --iterations; "
            "--lambda_sds 0 trains without it"
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors, plain numbers, and what the mode adds."""
        return {
            "generator": self.generator.get_state(),
            "mode": self.mode.state_dict(),
            "weight": self.weight.state_dict(),
            "semantic": self.semantic.state_dict() if self.semantic else {},
            "interval": self.interval,
            "guided": self.guided,
            "dropped": self.dropped,
        }

    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` gave, the interval included unless the flag names another."""
        self.generator.set_state(state["generator"])
        self.mode.load_state_dict(state["mode"])
        self.weight.load_state_dict(state["weight"])
        if self.semantic:
            self.semantic.load_state_dict(state["semantic"])
        if not self.options.guidance_interval:
            self.interval = state["interval"]
        self.guided = int(state["guided"])
        self.dropped = int(state["dropped"])

    def _window(self, iterations: int) -> tuple[int, int]:
        """The first and the last step, of so many, that may be guided."""
        since, until = self.options.guidance_from * iterations, self.options.guidance_until * iterations
        return math.floor(since + ROUNDING) + 1, math.floor(until + ROUNDING)

    def _seconds(self, render: Callable[[Camera], View], cameras: Sequence[Camera]) -> float:
        """How long it takes to render and guide these cameras' views, and to go all the way back."""
        started = time.perf_counter()
        for camera in cameras:
            view = render(camera)
            view.rgb.backward(self._guide(view, self.first).gradient)
            if view.rgb.is_cuda:
                torch.cuda.synchronize()
        return time.perf_counter() - started

    def _guide(self, view: View, step: int) -> Guided:
        """What the mode says of one view."""
        states = self.conditions(view.camera, self.generator)
        return self.mode(view, states, step / self.iterations, self.generator)

    def _factor(self, photometric_norm: float, norm: float, elements: int) -> float:
        """What lambda is multiplied by, according to `--sds_reduction`."""
        match self.options.sds_reduction:
            case "relative":
                return self.weight.update(photometric_norm, norm)
            case "mean":
                return 1.0 / elements
        return 1.0

    def _ramp(self, step: int) -> float:
        """The warm-up's share of the weight: linear to 1 over `--guidance_warmup` of the run."""
        steps = self.options.guidance_warmup * self.iterations
        return min(1.0, (step - self.first + 1) / steps) if steps > 0 else 1.0


def affordable_interval(guidance_seconds: float, step_seconds: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... at which guidance takes no longer than the steps between.

    Only these, so that two timings of one machine mostly choose the same.
    """
    wanted = guidance_seconds / max(step_seconds, 1e-9)
    return next((interval for interval in INTERVALS if interval >= wanted), INTERVALS[-1])


def _with_gradient(rgb: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient at `rgb` is exactly `gradient`."""
    return (rgb * gradient).sum()


def _nothing(views: Sequence[View]) -> Tensor:
    """A scalar 0 that hangs on every view, with a gradient of exactly 0 there, whatever the pixels are."""
    return torch.stack([view.rgb.flatten()[:1].sum() * 0.0 for view in views]).sum()


def _mean(values: Sequence[float]) -> float:
    """The mean; 0.0 where every view was dropped, since the log's JSON has no NaN."""
    return sum(values) / len(values) if values else 0.0


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
