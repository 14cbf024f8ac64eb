"""Photographs in, Gaussian splats out.

python train.py -s examples/still_life -m output/still_life --eval --lambda_sds 0
python train.py -s SCENE --lambda_sds 0.2 --guidance_model FOLDER --prompt "a fern in an atrium"
"""

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor
from torch.nn import ParameterDict
from tqdm import tqdm

from gaussian_renderer import Engine, Rendering, choose_engine, render
from scene.cameras import Camera
from scene.dataset import Scene, SceneOptions, load_scene
from scene.densification import Densification, DensificationOptions
from scene.gaussians import gaussians_from_points, is_splat_ply, load_ply, read_vertices
from scene.model_folder import save_model, write_reference_files
from scene.novel_cameras import NovelCameras
from scene.optimisers import OptimiserOptions, make_optimisers, position_lr
from scene.photographs import Photograph
from scene.training_state import TrainingState, ViewOrder
from sds_guidance import Guidance, View, load_guidance
from sds_guidance.options import GuidanceOptions
from utils.checkpoints import load_newest_checkpoint, save_checkpoint
from utils.determinism import seed_everything, threads
from utils.errors import UserError, Warnings, demand, run_program
from utils.image_metrics import any_counts, psnr
from utils.losses import photometric_loss
from utils.options import parse, save_settings, to_plain
from utils.run_folder import (
    clear,
    default_model_path,
    demand_same_settings,
    resumes,
    save_summary,
    versions,
)
from utils.training_log import TrainingLog

REFUSED = {
    "--train_test_exp": "exposure compensation is not there yet",
    "--exposure_lr_init": "exposure compensation is not there yet",
    "--exposure_lr_final": "exposure compensation is not there yet",
    "--exposure_lr_delay_steps": "exposure compensation is not there yet",
    "--exposure_lr_delay_mult": "exposure compensation is not there yet",
    "--depths": "depth supervision is not there yet",
    "-d": "depth supervision is not there yet",
    "--depth_l1_weight_init": "depth supervision is not there yet",
    "--depth_l1_weight_final": "depth supervision is not there yet",
    "--optimizer_type": "there is one optimiser, Adam, fused",
    "--data_device": "photographs are kept as bytes in main memory; --image_memory sets how much of it",
    "--position_lr_delay_mult": "it has no effect in the reference; leave it out",
    "--convert_SHs_python": "both engines evaluate spherical harmonics themselves",
    "--compute_cov3D_python": "both engines compute covariances themselves",
    "--debug": "use --detect_anomaly",
    "--debug_from": "use --detect_anomaly",
    "--ip": "there is no remote viewer yet",
    "--port": "there is no remote viewer yet",
    "--disable_viewer": "there is no remote viewer to disable; leave it out",
    "--start_checkpoint": "use --resume to continue a run, or --init_ply to start from a model",
}
"""Flags of the reference that this program does not honour, and what to do instead."""

MAY_DIFFER = frozenset(
    {"quiet", "resume", "overwrite", "detect_anomaly", "model_path", "image_memory", "test_iterations"}
    | {"save_iterations", "checkpoint_iterations", "checkpoint_interval"}
)
"""Options that do not change the result, so that a resumed run may be given others."""


@dataclass
class Options:
    """Trains a 3D Gaussian Splatting model on photographs, guided by a latent diffusion model."""

    scene: SceneOptions = field(default_factory=SceneOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    densification: DensificationOptions = field(default_factory=DensificationOptions)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)

    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])] = ""
    """Output folder; empty: a new one under ./output."""
    iterations: int = 30_000
    """Training iterations."""
    sh_degree: int = 3
    """Highest degree of the spherical harmonics, 0 to 3; the active degree rises every 1000 iterations."""
    lambda_dssim: float = 0.2
    """Weight of 1 - SSIM against L1 in the photometric loss, 0 to 1."""
    random_background: bool = False
    """A new background colour every iteration."""
    antialiasing: bool = False
    """Dim Gaussians that are smaller than a pixel (Mip-Splatting); the PLY says so to viewers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA where gsplat works."""
    seed: int = 0
    """Seed of all randomness."""
    test_iterations: tuple[int, ...] = (7000, 30_000)
    """Iterations at which PSNR is measured on test views and five training views; -1: never."""
    save_iterations: tuple[int, ...] = (7000, 30_000)
    """Iterations at which the PLY is saved; the last one always is."""
    checkpoint_iterations: tuple[int, ...] = ()
    """Iterations whose checkpoint is kept for good."""
    checkpoint_interval: int = 1000
    """Iterations between checkpoints, of which the newest two stay; 0: only at the end."""
    resume: bool = False
    """Go on from the newest checkpoint in --model_path, or start where there is none."""
    overwrite: bool = False
    """Replace a run that lies in --model_path."""
    detect_anomaly: bool = False
    """Let torch name the operation that made a NaN (slow)."""
    quiet: bool = False
    """Print nothing but warnings and errors."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag with a value that is not allowed."""
        for group in (self.scene, self.optimiser, self.densification, self.guidance):
            group.check()
        demand(self.iterations >= 1, "iterations", self.iterations, "at least 1")
        demand(0 <= self.sh_degree <= 3, "sh_degree", self.sh_degree, "0, 1, 2 or 3")
        demand(0 <= self.lambda_dssim <= 1, "lambda_dssim", self.lambda_dssim, "0 to 1")
        demand(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 - 1")
        often = self.checkpoint_interval
        demand(often >= 0, "checkpoint_interval", often, "0 (only at the end) or more")


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

    scene = load_scene(options.scene, options.seed)
    warnings.extend(scene.warnings)
    gaussians = initial_gaussians(options, scene, warnings).to(engine.device)
    optimisers = make_optimisers(gaussians, options.optimiser, scene.extent)
    densification = Densification(
        options.densification, scene.extent, engine.name, options.scene.white_background, warnings
    )
    views = ViewOrder(scene.train_cameras, options.seed)
    state = TrainingState(gaussians, optimisers, densification, views)
    guidance = make_guidance(options, scene, engine, command, warnings)

    if not resuming:
        clear(model_path)
        facts = {"versions": versions(), "threads": threads(), "scene": scene.summary()}
        save_settings(model_path, options, **facts, guidance=guidance.description if guidance else None)
    write_reference_files(model_path, scene, options.scene, options.sh_degree)
    saved = load_newest_checkpoint(model_path, warnings) if resuming else None
    if saved:
        demand_same_settings(model_path, saved["settings"], to_plain(options), MAY_DIFFER)
        state.load_state_dict(saved["training"])
        if guidance:
            guidance.load_state_dict(saved["guidance"])
    say(
        f"{len(scene.train_cameras)} training views, {len(scene.test_cameras)} test views, "
        f"{len(state.gaussians['means'])} Gaussians from {scene.points_source}; output in {model_path}"
        + (f"; continuing after iteration {state.iteration}" if saved else "")
    )
    warnings.show()
    if guidance and guidance.interval is None:
        say(settle_interval(guidance, options, state, engine))
    train(options, scene, state, guidance, engine, model_path)
    warnings.show()


def train(
    options: Options,
    scene: Scene,
    state: TrainingState,
    guidance: Guidance | None,
    engine: Engine,
    model_path: Path,
) -> None:
    """The loop: view, render, photometric loss, guidance, step, report, test, save, densify, checkpoint.

    As in the reference, an iteration is tested and saved before its densification or opacity reset.
    """
    gaussians, densification = state.gaussians, state.densification
    look = partial(render, gaussians=gaussians, engine=engine, antialiased=options.antialiasing)
    usual_background = torch.full((3,), float(options.scene.white_background), device=engine.device)
    log = TrainingLog(model_path, resumed_after=state.iteration)
    remaining = range(state.iteration + 1, options.iterations + 1)
    progress = tqdm(remaining, initial=state.iteration, total=options.iterations, disable=options.quiet)
    started = time.perf_counter()

    for iteration in progress:
        means_lr = position_lr(options.optimiser, iteration, scene.extent)
        sh_degree = active_sh_degree(iteration, options.sh_degree)
        background = usual_background
        if options.random_background:
            background = state.views.random_colour().to(engine.device)

        camera = state.views.next()
        see = partial(look, sh_degree=sh_degree, background=background)
        rendering = see(camera, absgrad=options.densification.absgrad)
        rendering.rgb.retain_grad()
        target, weight = photograph(camera).target(background, engine.device)
        loss = photometric_loss(rendering.rgb.clamp(max=1), target, weight, options.lambda_dssim)
        loss = loss + densification.regularisation(gaussians)
        densification.before_backward(rendering.info)
        loss.backward()

        guided = guide(guidance, see, iteration, rendering.rgb) if guidance else {}
        state.step(means_lr)
        state.iteration = iteration

        if iteration % 10 == 0 or guided:
            report(progress, log, state, loss, psnr(rendering.rgb.clamp(max=1), target, weight), guided)
        if iteration in options.test_iterations:
            plain = partial(look, sh_degree=sh_degree, background=usual_background)
            evaluate(plain, usual_background, scene, log, iteration, options.quiet)
        if iteration in (*options.save_iterations, options.iterations):
            save_model(model_path, iteration, gaussians, options.antialiasing)
        densification.after_step(gaussians, state.optimisers, iteration, rendering.info, means_lr)
        if is_checkpoint(options, iteration):
            checkpoint(options, state, guidance, model_path)

    log.close()
    if remaining or not (model_path / "training.json").exists():
        count, seconds = len(state.gaussians["means"]), time.perf_counter() - started
        save_summary(model_path, state.iteration, count, len(remaining), seconds)


def guide(guidance: Guidance, see: Callable[..., Rendering], iteration: int, rgb: Tensor) -> dict[str, float]:
    """Adds guidance's gradients, if this iteration has any, beside those of `rgb`; returns its scalars."""
    cameras = guidance.cameras(iteration)
    if not cameras:
        return {}
    assert rgb.grad is not None
    views = [view_from(camera, see) for camera in cameras]
    result = guidance(views, iteration, photometric_norm=float(rgb.grad.norm()))
    result.loss.backward()
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


def make_guidance(
    options: Options, scene: Scene, engine: Engine, command: Sequence[str], warnings: Warnings
) -> Guidance | None:
    """The guidance that the options ask for; None, and no library of it loaded, where its weight is zero."""
    if not options.guidance.lambda_sds:
        return None
    return load_guidance(
        options.guidance,
        cameras=scene.train_cameras,
        sample_camera=NovelCameras(scene.train_cameras, scene.points.positions),
        iterations=options.iterations,
        seed=options.seed,
        device=engine.device,
        argv=command,
        warnings=warnings,
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
        target, weight = photograph(camera).target(background, engine.device)
        photometric_loss(look(camera).rgb, target, weight, options.lambda_dssim).backward()
        return time.perf_counter() - started

    guided_seconds = guidance.measure(partial(view_from, look=look))
    unguided_seconds = min(unguided() for _ in range(3))
    for parameter in state.gaussians.values():
        parameter.grad = None
    guidance.choose_interval(guided_seconds, unguided_seconds)
    return guidance.plan(guided_seconds, unguided_seconds)


def view_from(camera: Camera, look: Callable[..., Rendering]) -> View:
    """What guidance gets to see from `camera`."""
    rendering = look(camera, depth=True)
    assert rendering.depth is not None
    return View(camera, rendering.rgb, rendering.alpha, rendering.depth)


def photograph(camera: Camera) -> Photograph:
    """The camera's photograph, which every camera of a scene has."""
    assert camera.photograph is not None
    return camera.photograph


def initial_gaussians(options: Options, scene: Scene, warnings: Warnings) -> ParameterDict:
    """Gaussians from the scene's points, or those of `--init_ply` if it holds Gaussians."""
    if options.scene.init_ply and is_splat_ply(read_vertices(Path(options.scene.init_ply))):
        gaussians, info = load_ply(Path(options.scene.init_ply), warnings)
        if info.sh_degree != options.sh_degree:
            raise UserError(
                f"--init_ply {options.scene.init_ply} has SH degree {info.sh_degree}, "
                f"but --sh_degree is {options.sh_degree}; give --sh_degree {info.sh_degree}"
            )
        return gaussians
    opacity, scale = options.densification.initial
    return gaussians_from_points(
        scene.points.positions,
        scene.points.colours,
        sh_degree=options.sh_degree,
        extent=scene.extent,
        opacity=opacity,
        scale=scale,
    )


def report(
    progress: tqdm,
    log: TrainingLog,
    state: TrainingState,
    loss: Tensor,
    quality: float,
    guided: dict[str, float],
) -> None:
    """A row in the log; loss, PSNR and count beside the bar; and warnings that have come up, above it."""
    value, count = float(loss.detach()), len(state.gaussians["means"])
    log.write(state.iteration, loss=value, psnr=quality, gaussians=count, **guided)
    progress.set_postfix(loss=f"{value:.4f}", psnr=f"{quality:.2f}", gaussians=count, refresh=False)
    if state.densification.warnings.kinds:
        with tqdm.external_write_mode(sys.stderr):
            state.densification.warnings.show()


@torch.no_grad()
def evaluate(
    look: Callable[[Camera], Rendering],
    background: Tensor,
    scene: Scene,
    log: TrainingLog,
    iteration: int,
    quiet: bool,
) -> None:
    """Logs, and says unless `quiet`, the mean PSNR of test and of five training views with any pixel."""
    five = [scene.train_cameras[i % len(scene.train_cameras)] for i in (5, 10, 15, 20, 25)]  # reference's
    for split, cameras in (("test", scene.test_cameras), ("train", five)):
        values = []
        for camera in cameras:
            target, weight = photograph(camera).target(background, background.device)
            if any_counts(weight):
                values.append(psnr(look(camera).rgb.clamp(0, 1), target, weight))
        if values:
            mean = sum(values) / len(values)
            log.write(iteration, **{f"{split}_psnr": mean})
            if not quiet:
                tqdm.write(f"iteration {iteration}: {split} PSNR {mean:.2f} dB over {len(values)} views")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options, refused=REFUSED), sys.argv))
