"""Renders a trained model: its training and test views as PNG files, and an orbit as a video.

python render.py -m output/fern
python render.py -m output/fern --skip_train --orbit

Writes `{train,test}/ours_N/{renders,gt}/00000.png`, numbered in the order of the scene's cameras, and
`orbit/ours_N.mp4`. metrics.py scores what lies under `test`. Views that the model's `exposure.json`
names are shown in the exposure of their photograph.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from gaussian_renderer import Rendering, choose_engine, render
from scene.camera_paths import orbit
from scene.cameras import Camera
from scene.dataset import Scene, SceneOptions, load_scene
from scene.exposure import expose, load_exposures
from scene.gaussians import load_ply
from scene.model_folder import find_ply, saved_scene_options
from utils.errors import UserError, Warnings, run_program
from utils.images import image_pixels, write_png
from utils.options import parse
from utils.video import write_video

ORBIT_FRAMES, FRAMES_PER_SECOND = 240, 30
REFUSED = {
    "--convert_SHs_python": "both engines evaluate spherical harmonics themselves",
    "--compute_cov3D_python": "both engines compute covariances themselves",
    "--debug": "leave it out",
    "--sh_degree": "the PLY says which degree it has",
    "--depths": "depth maps are for training; leave it out",
    "-d": "depth maps are for training; leave it out",
    "--data_device": "photographs are kept as bytes in main memory",
}
"""Flags of the reference that this program does not honour, and what to do instead."""


@dataclass
class Options:
    """Renders a trained model: training and test views, and an orbit."""

    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])]
    """The model's folder, as train.py or the reference wrote it."""
    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """The dataset's folder, where it is no longer the one that the model was trained on."""
    images: Annotated[str, tyro.conf.arg(aliases=["-i"])] = ""
    """Folder of the photographs inside a COLMAP dataset; empty: as trained."""
    resolution: Annotated[int, tyro.conf.arg(aliases=["-r"])] = 0
    """1, 2, 4, 8: that part of the full size; other numbers: width in pixels; 0: as trained."""
    white_background: Annotated[bool, tyro.conf.arg(aliases=["-w"])] = False
    """White background, even if trained on black."""
    eval: bool = False
    """Split off test views, even if trained on all."""
    train_test_exp: bool = False
    """Train views are those of --train_test_exp, and test views count in their right half."""
    antialiasing: bool = False
    """Dim Gaussians smaller than a pixel, even if the PLY does not say so (the reference's never does)."""
    iteration: int = -1
    """Which saved iteration to render; -1: the last one."""
    skip_train: bool = False
    """Leave the training views out."""
    skip_test: bool = False
    """Leave the test views out."""
    orbit: bool = False
    """Also write a video of a path round the scene."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render; auto takes CUDA where gsplat works."""
    quiet: bool = False
    """Print nothing but warnings and errors."""


@torch.no_grad()
def main(options: Options) -> None:
    """Renders what the options name into the model's folder."""
    if options.skip_train and options.skip_test and not options.orbit:
        raise UserError("--skip_train and --skip_test leave nothing to render; drop one, or give --orbit")
    model_path = Path(options.model_path)
    scene_options = scene_to_render(options)
    iteration, ply = find_ply(model_path, options.iteration)
    warnings = Warnings()
    gaussians, info = load_ply(ply, warnings)
    engine = choose_engine(options.device, (lambda *_: None) if options.quiet else print)
    scene = load_scene(scene_options, seed=0)
    warnings.extend(scene.warnings)
    warnings.show()

    background = scene_options.background(engine.device)
    look = partial(
        render,
        gaussians=gaussians.to(engine.device),
        sh_degree=info.sh_degree,
        background=background,
        engine=engine,
        antialiased=info.antialiased or options.antialiasing,
    )
    exposures = load_exposures(model_path)

    def picture(camera: Camera) -> Tensor:
        rgb = look(camera).rgb
        return expose(rgb, exposures[camera.name].to(rgb)) if camera.name in exposures else rgb

    for split, cameras, skipped in (
        ("train", scene.train_cameras, options.skip_train),
        ("test", scene.test_cameras, options.skip_test),
    ):
        if not skipped:
            folder = model_path / split / f"ours_{iteration}"
            render_views(picture, cameras, background, folder, options.quiet)
    if options.orbit:
        path = model_path / "orbit" / f"ours_{iteration}.mp4"
        write_video(path, orbit_frames(look, scene, options.quiet), FRAMES_PER_SECOND)
        if not options.quiet:
            print(f"orbit: {path}")


def scene_to_render(options: Options) -> SceneOptions:
    """How the model's scene was read, with what the command line says otherwise.

    The points to start from are the model's own `input.ply`: the file that they came from may be gone.
    """
    model_path = Path(options.model_path)
    names = ("source_path", "images", "resolution", "white_background", "eval", "train_test_exp")
    given = {name: value for name in names if (value := getattr(options, name))}
    points = model_path / "input.ply"
    return replace(saved_scene_options(model_path), **given, init_ply=str(points) if points.is_file() else "")


def render_views(
    picture: Callable[[Camera], Tensor],
    cameras: Sequence[Camera],
    background: Tensor,
    folder: Path,
    quiet: bool,
) -> None:
    """Writes `renders` and `gt` of the cameras into the folder, in place of what an earlier run left there.

    Both folders are there even if there are no cameras, as in the reference. Beside them lie `masks` of the
    photographs that have one: white where pixels count in a metric.
    """
    for side in ("renders", "gt", "masks"):
        shutil.rmtree(folder / side, ignore_errors=True)
    for side in ("renders", "gt"):
        (folder / side).mkdir(parents=True)
    for index, camera in enumerate(tqdm(cameras, desc=str(folder), disable=quiet)):
        target, weight = camera.own_photograph.target(background, background.device)
        write_png(folder / "renders" / f"{index:05d}.png", picture(camera))
        write_png(folder / "gt" / f"{index:05d}.png", target)
        if weight is not None:
            write_png(folder / "masks" / f"{index:05d}.png", weight.expand(3, -1, -1))


def orbit_frames(look: Callable[[Camera], Rendering], scene: Scene, quiet: bool) -> Iterator:
    """The frames of the orbit, (H, W, 3) uint8 each."""
    path = orbit(scene.train_cameras, torch.from_numpy(scene.points.positions), ORBIT_FRAMES)
    for camera in tqdm(path, desc="orbit", disable=quiet):
        yield image_pixels(look(camera).rgb)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options, refused=REFUSED)))
