"""Photographs in, Gaussian splats out.

python train.py -s examples/still_life -m output/still_life --eval --lambda_sds 0
python train.py -s SCENE --lambda_sds 0.2 --guidance_model FOLDER --prompt "a fern in an atrium"
"""

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gaussian_renderer import Engine, Rendering, choose_engine, render
from scene.cameras import Camera
from scene.dataset import Scene
from scene.dropout import dropout_rate, opacity_factors
from scene.floaters import remove_floaters
from scene.model_folder import save_model, write_reference_files
from scene.optimisers import position_lr
from scene.training_state import TrainingState
from sds_guidance import Guidance, Run
from sds_guidance.guidance_log import GuidanceLog
from sds_guidance.pilot import Look
from training.alpha_loss import alpha_loss
from training.guidance import (
    demand_guidance,
    gated,
    make_guidance,
    settle_gate,
    settle_interval,
    view_from,
)
from training.options import MAY_DIFFER, Options
from training.presets import described, read_options
from training.start import first_state, starting_scene
from training.viewers import shown
from utils.checkpoints import load_newest_checkpoint, save_checkpoint
from utils.determinism import seed_everything, threads
from utils.errors import Warnings, run_program
from utils.image_metrics import any_counts, psnr
from utils.losses import photometric_loss
from utils.optional_modules import importable
from utils.options import add_fact, load_settings, save_settings, to_plain
from utils.run_folder import (
    clear,
    default_model_path,
    demand_same_settings,
    resumes,
    save_summary,
    versions,
)
from utils.training_log import TrainingLog
from viewer.live import LiveModel


def main(options: Options, command: Sequence[str] = ("train.py",)) -> None:
    """Trains and writes the model; `command` is the process's `sys.argv`, for messages that repeat it."""
    options.check()
    model_path = Path(options.model_path or default_model_path())
    say = (lambda *_: None) if options.quiet else print
    warnings = Warnings()
    resuming = resumes(
        model_path,
        to_plain(options),
        resume=options.resume,
        overwrite=options.overwrite,
        may_differ=MAY_DIFFER,
    )
    engine = choose_engine(options.device, say)
    seed_everything(options.seed)
    torch.autograd.set_detect_anomaly(options.detect_anomaly)

    gate = (load_settings(model_path) or {}).get("gate") if resuming else None
    run = Run(engine.device, options.seed, command, warnings, model_path, resuming, say)
    demand_guidance(options, run, gate)
    scene = starting_scene(options, engine)
    warnings.extend(scene.warnings)
    state = first_state(options, scene, engine, warnings)
    guidance = make_guidance(options, scene, run, gate)

    preset = described(options, len(scene.train_cameras))
    if not resuming:
        clear(model_path)
        facts = {"versions": versions(), "threads": threads(), "scene": scene.summary()}
        facts |= {"preset": preset, "guidance": guidance.description if guidance else None}
        save_settings(model_path, options, **facts)
    write_reference_files(model_path, scene, options.scene, options.sh_degree, options.depth.depths)
    saved = load_newest_checkpoint(model_path, warnings) if resuming else None
    if saved:
        demand_same_settings(model_path, saved["settings"], to_plain(options), MAY_DIFFER)
        state.load_state_dict(saved["training"])
        if guidance:
            guidance.load_state_dict(saved["guidance"])
    if guidance and guidance.conditioning:
        guidance.conditioning.record(model_path, state.iteration, say)
    say(
        f"{len(scene.train_cameras)} training views, {len(scene.test_cameras)} test views, "
        f"{len(state.gaussians['means'])} Gaussians from {scene.points_source}; output in {model_path}"
        + (f"; continuing after iteration {state.iteration}" if saved else "")
    )
    say(preset)
    warnings.show()
    if guidance and guidance.interval is None:
        say(settle_interval(guidance, options, state, engine))
    if guidance and not gate and options.guidance.guidance_gate == "auto":
        gate = settle_gate(guidance, options, scene, engine, train_pilot, say)
        guidance = gated(guidance, gate)
        add_fact(model_path, "gate", gate)
    with shown(options, scene, state, engine, model_path, say) as live:
        train(options, scene, state, guidance, engine, model_path, gate, live)
    warnings.show()


def train(
    options: Options,
    scene: Scene,
    state: TrainingState,
    guidance: Guidance | None,
    engine: Engine,
    model_path: Path,
    gate: dict[str, Any] | None,
    live: LiveModel,
) -> None:
    """The loop: step, report, test, save, show, densify, checkpoint. `gate` is what was decided on guidance.

    As in the reference, an iteration is tested and saved before its densification or opacity reset; so `live`
    shows it, too.
    """
    gaussians = state.gaussians
    board = importable("torch.utils.tensorboard")
    wandb = to_plain(options) if options.wandb else None
    log = TrainingLog(model_path, resumed_after=state.iteration, tensorboard=board, wandb=wandb)
    guidance_log = GuidanceLog(model_path, options.guidance.guidance_log, resumed_after=state.iteration)
    if gate and not state.iteration:
        log.write(0, gate=gate["decision"], lambda_sds=gate["lambda_sds"])
    remaining = range(state.iteration + 1, options.iterations + 1)
    progress = tqdm(remaining, initial=state.iteration, total=options.iterations, disable=options.quiet)
    started = time.perf_counter()

    for iteration in progress:
        step = take_step(options, scene.extent, state, guidance, engine, guidance_log)
        if iteration % 10 == 0 or step.guided:
            report(progress, log, state, step, guidance.milliseconds if guidance else 0.0)
        if iteration in options.test_iterations:
            background = options.scene.background(engine.device)
            see = seeing(options, state, engine, iteration, background)
            evaluate(see, state, background, scene, log, options.quiet)
        if iteration in (*options.save_iterations, options.iterations):
            save_model(model_path, iteration, gaussians, options.antialiasing)
            if state.exposures:
                state.exposures.save(model_path)
        live.offer(iteration, gaussians)
        densify(options, state, step, engine)
        if is_checkpoint(options, iteration):
            checkpoint(options, state, guidance, model_path)
        del step  # or its rendering would lie beside the next one's way back

    log.close()
    if remaining or not (model_path / "training.json").exists():
        count, seconds = len(gaussians["means"]), time.perf_counter() - started
        save_summary(model_path, state.iteration, count, len(remaining), seconds, gate)


@dataclass(frozen=True)
class Step:
    """An iteration, its densification still to come.

    Attributes:
        rendering: of a training view, before the step.
        rgb: (3, H, W), the same in [0, 1], as its photograph was exposed.
        target, weight: its photograph, and how much each pixel counts; see `Photograph.target`.
        loss: scalar, photometric, regularisation, and those on depth.
        guided: the scalars of guidance; empty where it had no turn.
        means_lr: rate at which positions moved, scene units.
    """

    rendering: Rendering
    rgb: Tensor
    target: Tensor
    weight: Tensor | None
    loss: Tensor
    guided: dict[str, float]
    means_lr: float


def take_step(
    options: Options,
    extent: float,
    state: TrainingState,
    guidance: Guidance | None,
    engine: Engine,
    guidance_log: GuidanceLog | None = None,
) -> Step:
    """The next iteration: view, render, photometric loss, depth losses, guidance, optimisers."""
    iteration, gaussians, densification = state.iteration + 1, state.gaussians, state.densification
    means_lr = position_lr(options.optimiser, iteration, extent)
    background = options.scene.background(engine.device)
    if options.random_background:
        background = state.views.random_colour().to(engine.device)

    camera = state.views.next()
    see = seeing(options, state, engine, iteration, options.scene.background(engine.device))
    rate = dropout_rate(options.opacity_dropout, iteration, options.iterations)
    factors = None
    if rate:
        factors = opacity_factors(len(gaussians["means"]), rate, state.views.generator).to(engine.device)
    absgrad = options.densification.absgrad
    rendering = see(camera, background=background, absgrad=absgrad, opacity_factors=factors)
    rendering.rgb.retain_grad()
    target, weight = camera.own_photograph.target(background, engine.device)
    rgb = state.exposed(camera, rendering.rgb).clamp(0, 1)
    loss = photometric_loss(rgb, target, weight, options.lambda_dssim)
    if options.lambda_alpha:
        loss = loss + options.lambda_alpha * alpha_loss(rendering.alpha, camera.own_photograph.pixels())
    loss = loss + densification.regularisation(gaussians)
    densification.before_backward(rendering.info)
    loss.backward()
    if state.depth_losses:
        loss = loss.detach() + state.depth_losses(iteration, camera, see)

    guided = guide(guidance, guidance_log, see, iteration, rendering.rgb) if guidance else {}
    state.step(means_lr)
    state.iteration = iteration
    return Step(rendering, rgb, target, weight, loss, guided, means_lr)


def densify(options: Options, state: TrainingState, step: Step, engine: Engine) -> None:
    """What follows an iteration's step: statistics, growth, pruning, floaters."""
    state.densification.after_step(
        state.gaussians, state.optimisers, state.iteration, step.rendering.info, step.means_lr
    )
    if options.floaters.due(state.iteration):
        see = seeing(options, state, engine, state.iteration, options.scene.background(engine.device))
        remove_floaters(options.floaters, see, state)


def train_pilot(
    options: Options, scene: Scene, guidance: Guidance | None, engine: Engine, iterations: int
) -> Look:
    """A short training from the run's seed that writes nothing; how its model is seen."""
    options = replace(options, iterations=iterations)
    seed_everything(options.seed)
    state = first_state(options, scene, engine, Warnings())
    while state.iteration < iterations:
        densify(options, state, take_step(options, scene.extent, state, guidance, engine), engine)
    look = seeing(options, state, engine, iterations, options.scene.background(engine.device))
    return partial(view_from, look=look)


def seeing(
    options: Options, state: TrainingState, engine: Engine, iteration: int, background: Tensor
) -> Callable[..., Rendering]:
    """`render` of a camera over this background, with the SH degree of the iteration."""
    return partial(
        render,
        gaussians=state.gaussians,
        engine=engine,
        antialiased=options.antialiasing,
        sh_degree=active_sh_degree(iteration, options.sh_degree),
        background=background,
    )


def guide(
    guidance: Guidance, log: GuidanceLog | None, see: Callable[..., Rendering], iteration: int, rgb: Tensor
) -> dict[str, float]:
    """Adds guidance's gradients, if this iteration has any, beside those of `rgb`; returns its scalars."""
    scalars: dict[str, float] = {}
    if guidance.semantic and (camera := guidance.semantic.camera(iteration)):
        guidance.semantic(see(camera).rgb).backward()
        scalars = guidance.semantic.scalars()
    cameras = guidance.cameras(iteration)
    if not cameras:
        return scalars
    assert rgb.grad is not None
    views = [view_from(camera, see) for camera in cameras]
    result = guidance(views, iteration, photometric_norm=float(rgb.grad.norm()))
    result.loss.backward()
    if log:
        log.write(iteration, guidance.guided, views, result)
    return result.scalars


def active_sh_degree(iteration: int, highest: int) -> int:
    """The degree in use at `iteration` (from 1): one more every thousand iterations."""
    return min(iteration // 1000, highest)


def is_checkpoint(options: Options, iteration: int) -> bool:
    """Whether a checkpoint is written after this iteration; the last one always has one."""
    regular = options.checkpoint_interval and iteration % options.checkpoint_interval == 0
    return bool(regular) or iteration in (*options.checkpoint_iterations, options.iterations)


def checkpoint(options: Options, state: TrainingState, guidance: Guidance | None, model_path: Path) -> None:
    """Writes all that a resumed run needs to go on after this iteration."""
    everything = {
        "iteration": state.iteration,
        "training": state.state_dict(),
        "guidance": guidance.state_dict() if guidance else {},
        "settings": to_plain(options),
    }
    save_checkpoint(model_path, everything, keep=set(options.checkpoint_iterations))


def report(progress: tqdm, log: TrainingLog, state: TrainingState, step: Step, milliseconds: float) -> None:
    """A row in the log; loss, PSNR, count and guidance's time beside the bar; new warnings above it."""
    value, count = float(step.loss.detach()), len(state.gaussians["means"])
    quality = psnr(step.rgb, step.target, step.weight)
    log.write(state.iteration, loss=value, psnr=quality, gaussians=count, **step.guided)
    beside = {"loss": f"{value:.4f}", "psnr": f"{quality:.2f}", "gaussians": count}
    if milliseconds:
        beside["guidance"] = f"{milliseconds:.0f} ms"
    progress.set_postfix(beside, refresh=False)
    if state.densification.warnings.kinds:
        with tqdm.external_write_mode(sys.stderr):
            state.densification.warnings.show()


@torch.no_grad()
def evaluate(
    see: Callable[[Camera], Rendering],
    state: TrainingState,
    background: Tensor,
    scene: Scene,
    log: TrainingLog,
    quiet: bool,
) -> None:
    """Logs, and says unless `quiet`, the mean PSNR of test and of five training views with any pixel."""
    five = [scene.train_cameras[i % len(scene.train_cameras)] for i in (5, 10, 15, 20, 25)]  # reference's
    for split, cameras in (("test", scene.test_cameras), ("train", five)):
        values = []
        for camera in cameras:
            target, weight = camera.own_photograph.target(background, background.device)
            if any_counts(weight):
                values.append(psnr(state.exposed(camera, see(camera).rgb).clamp(0, 1), target, weight))
        if values:
            mean = sum(values) / len(values)
            log.write(state.iteration, **{f"{split}_psnr": mean})
            if not quiet:
                tqdm.write(
                    f"iteration {state.iteration}: {split} PSNR {mean:.2f} dB over {len(values)} views"
                )


if __name__ == "__main__":
    run_program(lambda: main(read_options(sys.argv[1:]), sys.argv))
