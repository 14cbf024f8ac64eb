"""Guidance and the trainer: how a run's is made, how often it acts, whether it stays on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import torch

from gaussian_renderer import Engine, Rendering, render
from scene.cameras import Camera
from scene.dataset import Scene
from scene.novel_cameras import GuidanceViews, NovelCameras, between
from scene.training_state import TrainingState
from sds_guidance import Guidance, Run, View, demand_models, load_guidance
from sds_guidance.gate import plan_pilot, unmeasured
from sds_guidance.loading import pilot_guidance
from sds_guidance.pilot import Look, run_pilot
from training.options import Options
from utils.determinism import generators_kept
from utils.losses import photometric_loss


def guidance_views(options: Options, scene: Scene) -> GuidanceViews:
    """Where guidance looks, as the training cameras and the flags have it."""
    novel = NovelCameras(scene.train_cameras, scene.points.positions)
    flags = options.guidance
    return GuidanceViews(novel, flags.guidance_views, flags.guidance_distance, flags.guidance_near_plane)


def demand_guidance(options: Options, run: Run, gate: dict[str, Any] | None) -> None:
    """Raises the UserError of a model that `make_guidance` will need and that is not there."""
    if weight_in_force(options, gate):
        demand_models(options.guidance, run)


def weight_in_force(options: Options, gate: dict[str, Any] | None) -> float:
    """What the gate decided of `--lambda_sds` for a run that goes on; None: nothing yet."""
    return gate["lambda_sds"] if gate else options.guidance.lambda_sds


def make_guidance(options: Options, scene: Scene, run: Run, gate: dict[str, Any] | None) -> Guidance | None:
    """The guidance of a new run, or of one that goes on; None, nothing loaded, without any weight.

    What the gate decided for a run that goes on holds; None: it has not decided.
    """
    weight = weight_in_force(options, gate)
    if not weight:
        return None
    views = guidance_views(options, scene)
    return load_guidance(
        replace(options.guidance, lambda_sds=weight),
        run,
        cameras=scene.train_cameras,
        sample_camera=views,
        iterations=options.iterations,
        weigh_camera=views.weight,
    )


def settle_interval(guidance: Guidance, options: Options, state: TrainingState, engine: Engine) -> str:
    """Times a guided and an unguided pass on the first Gaussians, decides how often to guide, and says so."""
    background = torch.zeros(3, device=engine.device)
    look = partial(
        render, gaussians=state.gaussians, engine=engine, sh_degree=options.sh_degree, background=background
    )

    def unguided() -> float:
        started = time.perf_counter()
        camera = state.views.cameras[0]
        target, weight = camera.own_photograph.target(background, engine.device)
        photometric_loss(look(camera).rgb, target, weight, options.lambda_dssim).backward()
        return time.perf_counter() - started

    guided_seconds = guidance.measure(partial(view_from, look=look))
    unguided_seconds = min(unguided() for _ in range(3))
    for parameter in state.gaussians.values():
        parameter.grad = None
    guidance.choose_interval(guided_seconds, unguided_seconds)
    return guidance.plan(guided_seconds, unguided_seconds)


def settle_gate(
    guidance: Guidance,
    options: Options,
    scene: Scene,
    engine: Engine,
    train_pilot: Callable[[Options, Scene, Guidance | None, Engine, int], Look],
    say: Callable[[str], object],
) -> dict[str, Any]:
    """What the gate decides of a run's guidance, after pilot runs where these are worth it, for the records.

    The run is left as it was: every pilot has seeds, Gaussians and guidance of its own, and the global
    generators are put back.

    Args:
        guidance: the run's, its interval chosen.
        options, scene, engine: the run's; of the scene only training photographs are looked at.
        train_pilot: trains so many iterations without writing anything.
        say: told what the pilots cost, and what they decided.

    Returns:
        See `sds_guidance.gate.verdict`; with pilots, their "iterations", "folds" and "seconds" too.
    """
    lambda_sds = options.guidance.lambda_sds
    plan = plan_pilot(len(scene.train_cameras), options.iterations, guidance.guided_steps)
    if isinstance(plan, str):
        say(plan)
        return unmeasured(lambda_sds, plan)
    say(plan.sentence())

    def fit(cameras: Sequence[Camera], iterations: int, weight: float) -> Look:
        part = replace(scene, train_cameras=list(cameras))
        pilot = None
        if weight:
            views = guidance_views(options, part)
            pilot = pilot_guidance(
                guidance,
                cameras,
                views,
                views.weight,
                iterations=iterations,
                lambda_sds=weight,
                device=engine.device,
            )
        return train_pilot(options, part, pilot, engine, iterations)

    started = time.perf_counter()
    background = options.scene.background(engine.device)
    cameras = scene.train_cameras
    middles = halfway(cameras) if plan.folds == 1 else []
    with generators_kept():
        found = run_pilot(plan, cameras, middles, fit, lambda_sds, background)
    say(found["sentence"])
    seconds = round(time.perf_counter() - started, 1)
    return {**found, "iterations": plan.iterations, "folds": plan.folds, "seconds": seconds}


def halfway(cameras: Sequence[Camera]) -> list[Camera]:
    """The cameras in the middle between every two photographs."""
    return [
        replace(between(first, second, 0.5), name=f"the middle of {first.name} and {second.name}")
        for first, second in combinations(cameras, 2)
    ]


def gated(guidance: Guidance, gate: dict[str, Any]) -> Guidance | None:
    """The guidance that the gate's decision leaves: the same one at its new weight; None: switched off."""
    if not gate["lambda_sds"]:
        return None
    guidance.options = replace(guidance.options, lambda_sds=gate["lambda_sds"])
    return guidance


def view_from(camera: Camera, look: Callable[..., Rendering]) -> View:
    """What guidance gets to see from `camera`."""
    rendering = look(camera, depth=True)
    assert rendering.depth is not None
    return View(camera, rendering.rgb, rendering.alpha, rendering.depth)
