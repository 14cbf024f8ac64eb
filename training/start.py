"""What a training starts from: Gaussians at the scene's points or from a file, and what goes with them."""

from pathlib import Path

from torch.nn import ParameterDict

from formats.files import holds_splats
from gaussian_renderer import Engine
from scene.dataset import Scene, load_scene, scene_extent
from scene.densification import Densification
from scene.depth_maps import load_depth_maps, supposed_depth
from scene.exposure import Exposures
from scene.far_points import far_points
from scene.gaussians import gaussians_from_points, load_gaussians, with_sh_degree
from scene.optimisers import make_optimisers
from scene.points import FEWEST, unprojected
from scene.training_state import TrainingState, ViewOrder
from training.alpha_loss import demand_alpha
from training.depth_losses import make_depth_losses
from training.novel_depth import depth_model, make_novel_depth_loss
from training.options import Options
from utils.errors import UserError, Warnings


def starting_scene(options: Options, engine: Engine) -> Scene:
    """The scene of the flags; a single photograph without a pose starts from its depth map, if it has one.

    Raises:
        UserError: as `load_scene`, `demand_alpha`, `load_depth_maps` and, before these, `depth_model` do.
    """
    if options.depth.depth_model:
        depth_model(options.depth.depth_model, engine.device)  # a mistake is told before a dense start
    scene = load_scene(options.scene, options.seed)
    if options.lambda_alpha:
        demand_alpha(scene.train_cameras)
    if scene.kind == "photograph" and options.depth.depths and not options.scene.init_ply:
        folder, cameras = options.depth.depths, scene.train_cameras
        (map_,) = load_depth_maps(scene.source_path, folder, cameras, scene.warnings).values()
        points = unprojected(cameras[0], supposed_depth(map_), options.scene.init_random)
        if len(points) >= FEWEST:
            scene.points, scene.points_source = points, f"{len(points)} points at the depths of --depths"
            scene.extent = scene_extent(cameras, points, Warnings())  # load_scene has warned
    if options.far_points and not starts_from_gaussians(options):
        scene.far_points = far_points(scene.train_cameras, scene.points, options.far_points)
    if len(scene.far_points):
        scene.points_source += f", and {len(scene.far_points)} far ones"
    return scene


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
        options.depth,
        scene.source_path,
        scene.train_cameras,
        options.iterations,
        background,
        warnings,
        novel=make_novel_depth_loss(options, scene, engine.device),
    )
    return TrainingState(gaussians, optimisers, densification, views, exposures, depth_losses)


def starts_from_gaussians(options: Options) -> bool:
    """Whether `--init_ply` names a file of Gaussians, not one of points."""
    return bool(options.scene.init_ply) and holds_splats(Path(options.scene.init_ply))


def initial_gaussians(options: Options, scene: Scene, warnings: Warnings) -> ParameterDict:
    """Gaussians from the scene's points, or those of `--init_ply` if it holds Gaussians."""
    if starts_from_gaussians(options):
        gaussians, info = load_gaussians(Path(options.scene.init_ply), warnings)
        if info.sh_degree > options.sh_degree:
            raise UserError(
                f"--init_ply {options.scene.init_ply} has SH degree {info.sh_degree}, "
                f"but --sh_degree is {options.sh_degree}; give --sh_degree {info.sh_degree}"
            )
        return with_sh_degree(gaussians, options.sh_degree)
    opacity, scale = options.densification.initial
    points = scene.points + scene.far_points
    return gaussians_from_points(
        points.positions,
        points.colours,
        sh_degree=options.sh_degree,
        extent=scene.extent,
        opacity=opacity,
        scale=scale,
    )
