"""What view.py shows: a saved model, and the cameras and photographs of its dataset if they are at hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gaussian_renderer import Engine
from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from scene.exposure import load_exposures
from scene.gaussians import load_gaussians
from scene.model_folder import CAMERAS_FILE, find_ply, read_cameras, saved_scene_options
from utils.errors import UserError, Warnings
from viewer.stage import Model
from viewer.surroundings import Surroundings


def load_model(file: str, model_path: str, iteration: int, warnings: Warnings) -> tuple[Model, bool, Path]:
    """The model to show, whether it is antialiased, and the folder for what is saved while it is shown.

    Args:
        file: of Gaussians, of any format that `formats` reads; or empty for one of the model's folder.
        model_path: that folder.
        iteration: of it; -1: the last one.

    Raises:
        UserError: there is no such file, or it holds no Gaussians that can be shown.
    """
    path, name = Path(file), Path(file).name
    folder = path.parent / f"{path.stem}_view"
    if not file:
        iteration, path = find_ply(Path(model_path), iteration)
        name, folder = f"{Path(model_path).resolve().name}, iteration {iteration}", Path(model_path) / "view"
    gaussians, info = load_gaussians(path, warnings)
    title = f"{name}: {len(gaussians['means'])} Gaussians, SH degree {info.sh_degree}"
    return Model(gaussians, title), info.antialiased, folder


def load_surroundings(
    model_path: str,
    source_path: str,
    white_background: bool,
    engine: Engine,
    antialiased: bool,
    folder: Path,
    warnings: Warnings,
) -> Surroundings:
    """The model's surroundings; where the dataset is gone, the cameras that the model's folder remembers.

    Args:
        model_path: the model's folder; empty for a file alone, which has cameras only by `source_path`.
        source_path: the dataset's folder; empty: where it was when the model was trained.
        white_background: white even where the model was trained on black.
        engine, antialiased, folder: see `Surroundings`.
        warnings: where it is said that the dataset cannot be had.
    """
    options = SceneOptions(source_path=source_path)
    cameras: list[Camera] = []
    if model_path or source_path:
        try:
            if model_path:
                options = replace(saved_scene_options(Path(model_path)), **_given(model_path, source_path))
            scene = load_scene(options, seed=0)
            warnings.extend(scene.warnings)
            cameras = scene.train_cameras + scene.test_cameras
        except UserError as missing:
            if source_path:
                raise
            warnings.add("the photographs cannot be shown", str(missing))
            cameras = read_cameras(Path(model_path) / CAMERAS_FILE)
    background = replace(options, white_background=white_background or options.white_background)
    return Surroundings(
        cameras=cameras,
        background=background.background(engine.device),
        engine=engine,
        antialiased=antialiased,
        folder=folder,
        exposures=load_exposures(Path(model_path)) if model_path else {},
    )


def _given(model_path: str, source_path: str) -> dict[str, Any]:
    """What the command line and the model's folder say of the dataset, in place of what was saved."""
    points = Path(model_path) / "input.ply"  # the file that they came from may be gone
    given = {"init_ply": str(points) if points.is_file() else ""}
    return given | ({"source_path": source_path} if source_path else {})
