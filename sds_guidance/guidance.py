"""Guidance as the trainer sees it: which cameras it wants at a step, and the loss on their renderings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.models import find_model
from sds_guidance.options import GuidanceOptions
from sds_guidance.sds import Distilled, Prior, annealed_range, fit_to_prior, sds_gradient
from sds_guidance.weighting import RelativeWeight
from utils.errors import UserError, Warnings

if TYPE_CHECKING:
    from scene.cameras import Camera

# Offset from --seed to the guidance's own stream, so that it repeats none of the trainer's draws.
SEED_OFFSET = 0x5D5
INTERVALS = tuple(digit * 10**power for power in range(7) for digit in (1, 2, 5))


@dataclass(frozen=True)
class View:
    """A rendering that guidance asked for.

    Attributes:
        camera: one of those that `Guidance.cameras` gave.
        rgb: (3, H, W) float32 in [0, 1], with gradient.
        alpha: (1, H, W) float32 in [0, 1], with gradient.
        depth: (1, H, W) float32, scene units, with gradient.
    """

    camera: Camera
    rgb: Tensor
    alpha: Tensor
    depth: Tensor


@dataclass(frozen=True)
class GuidanceResult:
    """What guidance says of a step's views.

    Attributes:
        loss: scalar; its gradient at each `rgb` is the applied gradient, lambda and schedules included. Its
            value means nothing; `scalars["guidance_loss"]` is the number to watch.
        scalars: numbers to log, the same names at every guided step.
    """

    loss: Tensor
    scalars: dict[str, float]


class Guidance:
    """Score distillation on novel views, with schedules, the stated weight, and a state to be resumed from.

    Steps count from 1 to `iterations`. All randomness comes from a generator of its own, on the CPU; the
    global one is never touched.

    Attributes:
        interval: guide every so many steps; None until `choose_interval` has decided.
        description: what is recorded with the results: model, revision, prediction type, precision, sizes.
    """

    def __init__(
        self,
        options: GuidanceOptions,
        prior: Prior,
        states: Tensor,
        sample_camera: Callable[[torch.Generator, float], Camera],
        *,
        iterations: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """Makes the guidance of a run; `load_guidance` builds it from a model's name.

        Args:
            options: the flags, checked.
            prior: the frozen model.
            states: (2, tokens, width), text states of the negative prompt, then of the prompt.
            sample_camera: a novel camera from a generator and the run's progress in [0, 1].
            iterations: steps of the run.
            seed: the run's.
            device: where the renderings are; a CPU leaves an interval of 0 to `choose_interval`.
        """
        options.check()
        self.options = options
        self.prior = prior
        self.states = states
        self.sample_camera = sample_camera
        self.iterations = iterations
        self.generator = torch.Generator().manual_seed(seed + SEED_OFFSET)
        self.weight = RelativeWeight()
        self.interval = options.guidance_interval or (1 if device.type == "cuda" else None)
        self.first = math.floor(options.guidance_from * iterations) + 1
        self.last = math.floor(options.guidance_until * iterations)
        self.guided = 0
        self.dropped = 0
        self.description: dict[str, str | int | float] = {}

    def is_guided(self, step: int) -> bool:
        """Whether `step` is a guided one: inside the window, and the interval's turn."""
        if self.interval is None:
            raise RuntimeError("choose_interval() comes before the first step of a run on a CPU")
        return self.first <= step <= self.last and (step - self.first) % self.interval == 0

    def cameras(self, step: int) -> list[Camera]:
        """The cameras to render for this step; empty when the step is not guided."""
        if not self.is_guided(step):
            return []
        return [self.sample_camera(self.generator, step / self.iterations)]

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
        distilled = [self._distil(view, step) for view in views]
        kept = [(view, d) for view, d in zip(views, distilled, strict=True) if d.finite]
        self.guided += 1
        self.dropped += len(views) - len(kept)

        norm = math.sqrt(sum(float(d.gradient.double().square().sum()) for _, d in kept))
        factor = self._factor(photometric_norm, norm, kept[0][1].elements) if kept else 0.0
        scale = self.options.lambda_sds * self._ramp(step) * factor
        loss = sum((_with_gradient(view.rgb, scale * d.gradient) for view, d in kept), _nothing(views))
        shown = [d for _, d in kept]
        scalars = {
            "guidance_loss": _mean([d.loss for d in shown]),
            "guidance_t": _mean([d.t for d in shown]),
            "guidance_w": _mean([d.weight for d in shown]),
            "guidance_norm": norm,
            "guidance_scale": scale,
            "guidance_ratio": scale * norm / photometric_norm if photometric_norm > 0 else 0.0,
            "guidance_dropped": float(self.dropped),
            "guidance_ms": 1000 * (time.perf_counter() - started),
        }
        return GuidanceResult(loss, scalars)

    def measure(self, render: Callable[[Camera], View]) -> float:
        """Seconds that one guided view costs: rendering, prior and both ways back; changes no state of ours.

        The rendering is warmed up, since its first call may compile; a quick prior is timed three times.
        Gradients of whatever `render` draws are accumulated and are to be cleared afterwards.

        Args:
            render: the trainer's own rendering of a camera.
        """
        state = self.state_dict()
        camera = self.sample_camera(self.generator, self.first / self.iterations)
        warm = render(camera).rgb
        warm.backward(torch.zeros_like(warm))
        seconds = math.inf
        for _ in range(3):
            started = time.perf_counter()
            view = render(camera)
            gradient = self._distil(view, self.first).gradient
            view.rgb.backward(gradient)
            if gradient.is_cuda:
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
            if seconds > 2.0:
                break
        self.load_state_dict(state)
        return seconds

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
        times = len(range(self.first, self.last + 1, self.interval))
        guided, rest = times * guidance_seconds, self.iterations * step_seconds
        chosen = "" if self.options.guidance_interval else " (--guidance_interval)"
        return (
            f"guidance: one view takes {guidance_seconds:.2f} s, an unguided step {step_seconds:.3f} s; "
            f"every {self.interval} steps{chosen} from {self.first} to {self.last}: {times} views, "
            f"{_clock(guided)} of an expected {_clock(guided + rest)}. Less with a larger "
            "--guidance_interval, a smaller --guidance_resolution or fewer --iterations; "
            "--lambda_sds 0 trains without it"
        )

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs: tensors and plain numbers."""
        return {
            "generator": self.generator.get_state(),
            "weight": self.weight.state_dict(),
            "interval": self.interval,
            "guided": self.guided,
            "dropped": self.dropped,
        }

    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` gave, the interval included unless the flag names another."""
        self.generator.set_state(state["generator"])
        self.weight.load_state_dict(state["weight"])
        if not self.options.guidance_interval:
            self.interval = state["interval"]
        self.guided = int(state["guided"])
        self.dropped = int(state["dropped"])

    def _distil(self, view: View, step: int) -> Distilled:
        """The mode's gradient at one view."""
        options = self.options
        return sds_gradient(
            self.prior,
            view.rgb,
            self.states,
            annealed_range(
                step / self.iterations, options.sds_t_min, options.sds_t_max, options.sds_t_anneal
            ),
            self.generator,
            guidance_scale=options.guidance_scale,
            rescale=options.guidance_rescale,
            weighting=options.sds_weight,
            clip=options.sds_clip,
            resolution=options.guidance_resolution,
        )

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


def load_guidance(
    options: GuidanceOptions,
    *,
    cameras: Sequence[Camera],
    sample_camera: Callable[[torch.Generator, float], Camera],
    iterations: int,
    seed: int,
    device: torch.device,
    argv: Sequence[str],
    warnings: Warnings,
) -> Guidance:
    """The guidance that the flags ask for: model found, prompts encoded, networks loaded.

    The text encoder is gone before the U-Net comes, and the VAE's decoder goes at once. torch's global random
    generators are left as they were.

    Args:
        options: the flags.
        cameras: the training cameras; their size decides what the model sees.
        sample_camera, iterations, seed, device: see `Guidance`.
        argv: `sys.argv`, for the unguided command in an error.
        warnings: takes notices (a mapped model id, a prompt cut).

    Raises:
        UserError: a flag's value, a model that cannot be found, is incomplete or is of a kind not supported.
    """
    options.check()
    found = find_model(options.guidance_model, argv, warnings, options.guidance_revision)

    # Only now: these bring diffusers and transformers.
    from sds_guidance.embedding import read_embedding  # noqa: PLC0415
    from sds_guidance.lora import read_lora  # noqa: PLC0415
    from sds_guidance.prior import choose_precision, load_prior  # noqa: PLC0415
    from sds_guidance.text import encode_prompts  # noqa: PLC0415

    dtype = choose_precision(options.guidance_precision, device, found.folder)
    prompts = [options.negative_prompt, options.prompt]
    lora = read_lora(Path(options.guidance_lora)) if options.guidance_lora else None
    placeholder = read_embedding(Path(options.guidance_embedding)) if options.guidance_embedding else None
    if placeholder and not any(placeholder.token in prompt for prompt in prompts):
        raise UserError(
            f"--guidance_embedding {options.guidance_embedding} teaches the word {placeholder.token}, but "
            f"--prompt {options.prompt!r} does not contain it"
        )
    with torch.random.fork_rng():
        states = encode_prompts(
            found.folder, prompts, device, dtype, warnings, lora=lora, placeholder=placeholder
        )
        prior = load_prior(found.folder, device, dtype, checkpoint_encoder=device.type == "cuda", lora=lora)
    prior.free_decoder()
    options = replace(options, guidance_resolution=options.guidance_resolution or prior.resolution)

    guidance = Guidance(
        options, prior, states, sample_camera, iterations=iterations, seed=seed, device=device
    )
    seen = fit_to_prior(
        torch.zeros(3, cameras[0].height, cameras[0].width), options.guidance_resolution, prior.size_multiple
    )
    guidance.description = {
        "model": found.name,
        "revision": found.revision,
        "lora": options.guidance_lora,
        "embedding": options.guidance_embedding,
        "prediction_type": prior.prediction_type,
        "precision": str(dtype).removeprefix("torch."),
        "picture_width": seen.shape[3],
        "picture_height": seen.shape[2],
    }
    return guidance


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
