"""What a training starts from: Gaussians at the scene's points or from a file, and what goes with them."""

from pathlib import Path

from torch.nn import ParameterDict

from gaussian_renderer import Engine
from scene.dataset import Scene
from scene.densification import Densification
from scene.exposure import Exposures
from scene.gaussians import gaussians_from_points, is_splat_ply, load_ply, read_vertices
from scene.optimisers import make_optimisers
from scene.training_state import TrainingState, ViewOrder
from training.depth_losses import make_depth_losses
from training.options import Options
from utils.errors import UserError, Warnings


def first_state(options: Options, scene: Scene, engine: Engine, warnings: Warnings) -> TrainingState:
    """The state before the first iteration, on the engine's device."""
    gaussians = initial_gaussians(options, scene, warnings).to(engine.device)
    optimisers = make_optimisers(gaussians, options.optimiser, scene.extent)
    densification = Densification(
        options.densification, scene.extent, engine.name, options.scene.white_background, warnings
    )
    exposures = None
    if options.exposure.exposure or options.scene.train_test_exp:
        names = [camera.name for camera in scene.train_cameras]
        exposures = Exposures(names, options.exposure, options.iterations, engine.device)
    views = ViewOrder(scene.train_cameras, options.seed)
    background = options.scene.background(engine.device)
    depth_losses = make_depth_losses(
        options.depth, scene.source_path, scene.train_cameras, options.iterations, background, warnings
    )
    return TrainingState(gaussians, optimisers, densification, views, exposures, depth_losses)


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
