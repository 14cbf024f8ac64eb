"""A trained model, or Gaussians from elsewhere, ready to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor
from torch.nn import ParameterDict

from gaussian_renderer import Rendering, choose_engine, render
from scene.dataset import SceneOptions
from scene.gaussians import load_gaussians
from scene.model_folder import find_ply, saved_scene_options
from utils.errors import Warnings, demand
from utils.options import SETTINGS_FILE


@dataclass
class ModelOptions:
    """Which model, and which scene its cameras are of."""

    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])]
    """The model's folder, as train.py or the reference wrote it; results are written into it."""
    ply: str = ""
    """Gaussians of this file in place of the folder's own: .ply, .compressed.ply, .splat or .spz."""
    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """The dataset's folder, where it is no longer the one that the model was trained on."""
    images: Annotated[str, tyro.conf.arg(aliases=["-i"])] = ""
    """Folder of the photographs inside a COLMAP dataset; empty: as trained."""
    resolution: Annotated[int, tyro.conf.arg(aliases=["-r"])] = 0
    """1, 2, 4, 8: that part of the full size; other numbers: width in pixels; 0: as trained."""
    antialiasing: bool = False
    """Dim Gaussians smaller than a pixel, even if the PLY does not say so (the reference's never does)."""
    iteration: int = -1
    """Which saved iteration to take; -1: the last one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render; auto takes CUDA where gsplat works."""
    quiet: bool = False
    """Print nothing but warnings and errors."""

    def scene_options(self, **given: bool) -> SceneOptions:
        """How the scene was read that the model was trained on, with what the command line says otherwise.

        The points to start from are the model's own `input.ply`: the file that they came from may be gone.
        Gaussians from elsewhere may be given a folder that holds no model; then nothing but the flags counts.

        Args:
            given: further fields, which count where they are true.
        """
        folder = Path(self.model_path)
        trained = any((folder / name).is_file() for name in (SETTINGS_FILE, "cfg_args"))
        base = saved_scene_options(folder) if trained or not self.ply else SceneOptions()
        values: dict[str, Any] = {
            name: getattr(self, name) for name in ("source_path", "images", "resolution")
        }
        changed = {name: value for name, value in (values | given).items() if value}
        points = folder / "input.ply"
        return replace(base, **changed, init_ply=str(points) if points.is_file() else "")


@dataclass(frozen=True)
class TrainedModel:
    """Gaussians, and the way to look at them.

    Attributes:
        name: what its results are called: "ours_N" of iteration N; the file's name if it is from elsewhere.
        gaussians: on the engine's device.
        background: (3,) float32 on the engine's device.
        look: the rendering of a camera, over the background; takes `depth` as `render` does.
    """

    name: str
    gaussians: ParameterDict
    background: Tensor
    look: Callable[..., Rendering]


def load_model(options: ModelOptions, white_background: bool) -> TrainedModel:
    """The model that the options name; says which engine renders it.

    Raises:
        UserError: there is no such model, or the file of Gaussians is not usable.
    """
    name, file = find_model(options)
    warnings = Warnings()
    gaussians, info = load_gaussians(file, warnings)
    warnings.show()
    engine = choose_engine(options.device, (lambda *_: None) if options.quiet else print)
    background = SceneOptions(white_background=white_background).background(engine.device)
    gaussians = gaussians.to(engine.device)
    look = partial(
        render,
        gaussians=gaussians,
        sh_degree=info.sh_degree,
        background=background,
        engine=engine,
        antialiased=info.antialiased or options.antialiasing,
    )
    return TrainedModel(name, gaussians, background, look)


def find_model(options: ModelOptions) -> tuple[str, Path]:
    """What the model's results are called, and its file of Gaussians."""
    if options.ply:
        demand(options.iteration == -1, "iteration", options.iteration, "-1 with --ply, which is one file")
        return file_label(Path(options.ply)), Path(options.ply)
    iteration, ply = find_ply(Path(options.model_path), options.iteration)
    return f"ours_{iteration}", ply


def file_label(path: Path) -> str:
    """The file's name without its ending, good for the name of a folder."""
    return path.stem.strip(".") or "unnamed"
