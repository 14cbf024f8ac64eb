"""Renders a trained model: its views and camera paths as pictures and videos, with depth and alpha.

python render.py -m output/fern
python render.py -m output/fern --skip_train --orbit
python render.py -m output/fern --skip_train --skip_test --path interpolate --video --width 1280 --height 720
python render.py -m output/plush --ply plush.ply -s scenes/plush --depth --alpha

Writes `{train,test}/ours_N/{renders,gt}/00000.png`, numbered in the order of the scene's cameras, and
`orbit/ours_N.mp4`. metrics.py scores what lies under `test`. Views that the model's `exposure.json`
names are shown in the exposure of their photograph. All other files: docs/rendering.md.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from rendering.model import ModelOptions, load_model
from rendering.paths import INTERPOLATE, camera_path, orbit_path
from rendering.pictures import Painter, depths_of, write_path_video, write_views
from scene.camera_paths import framed
from scene.cameras import Camera
from scene.dataset import Scene, SceneOptions, load_scene
from scene.exposure import load_exposures
from utils.errors import UserError, demand, run_program
from utils.options import parse

WIDEST = 16384  # pixels

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
class Options(ModelOptions):
    """Renders a trained model: views, an orbit and other paths, as pictures and videos."""

    white_background: Annotated[bool, tyro.conf.arg(aliases=["-w"])] = False
    """White background, even if trained on black."""
    eval: bool = False
    """Split off test views, even if trained on all."""
    train_test_exp: bool = False
    """Train views are those of --train_test_exp, and test views count in their right half."""
    skip_train: bool = False
    """Leave the training views out."""
    skip_test: bool = False
    """Leave the test views out."""
    orbit: bool = False
    """Also write a video of a path round the scene."""
    path: str = ""
    """Also follow a path: `interpolate` (through the training cameras) or a FILE.json of view.py."""
    frames: int = 0
    """How many frames a path has; 0: 240, and those of a recorded path as they are."""
    fps: float = 0.0
    """Frames a second of videos, up to 1000; 0: 30, or what a recorded path says."""
    video: bool = False
    """Write the path as a video in place of a picture a frame."""
    width: int = 0
    """Width of all pictures, pixels; 0: by --height, or as the photographs."""
    height: int = 0
    """Height of all pictures, pixels; 0: by --width, or as the photographs."""
    scale: float = 1.0
    """Size of all pictures as a factor on the photographs', above 0 to 16."""
    depth: bool = False
    """Also write depth: PNGs of 16 bits, coloured ones, and depth.json which says what they mean."""
    alpha: bool = False
    """Also write pictures with alpha: RGBA, straight, without the background. Videos have none."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag whose value is not allowed, and what is."""
        if self.skip_train and self.skip_test and not (self.orbit or self.path):
            raise UserError(
                "--skip_train and --skip_test leave nothing to render; drop one, or give --orbit or --path"
            )
        for flag in ("width", "height"):
            value = getattr(self, flag)
            demand(0 <= value <= WIDEST, flag, value, f"1 to {WIDEST} pixels, or 0")
        demand(0 < self.scale <= 16, "scale", self.scale, "above 0, at most 16")
        if self.scale != 1 and (self.width or self.height):
            raise UserError("--scale and --width or --height both set the size; leave one out")
        demand(self.frames >= 0, "frames", self.frames, "a number of frames, or 0")
        demand(0 <= self.fps <= 1000, "fps", self.fps, "above 0 to 1000, or 0")
        demand(not self.video or bool(self.path), "video", self.video, "with --path only; --orbit is a video")

    @property
    def resizes(self) -> bool:
        """Whether pictures are of another size than the photographs."""
        return bool(self.width or self.height or self.scale != 1)

    def sized(self, camera: Camera) -> Camera:
        """The camera with pictures of the size asked for."""
        if not self.resizes:
            return camera
        factor = self.scale
        if self.width or self.height:
            factor = self.height / camera.height if self.height else self.width / camera.width
        width, height = (max(round(factor * side), 1) for side in (camera.width, camera.height))
        return framed(camera, self.width or width, self.height or height)


@torch.no_grad()
def main(options: Options) -> None:
    """Renders what the options name into the model's folder."""
    options.check()
    model_path = Path(options.model_path)
    scene_options = options.scene_options(
        white_background=options.white_background,
        eval=options.eval,
        train_test_exp=options.train_test_exp,
    )
    model = load_model(options, scene_options.white_background)
    scene = scene_to_render(options, scene_options)

    train = scene.train_cameras if scene else []
    size = options.width, options.height
    if train:
        first = options.sized(train[0])
        size = first.width, first.height
    paths = []
    if options.orbit and scene:
        paths.append(orbit_path(scene, size, options.frames))
    if options.path:
        paths.append(camera_path(options.path, train, size, options.frames))
    depth = depths_of(model, train or paths[0].cameras) if options.depth else None
    painter = Painter(model, load_exposures(model_path), depth, options.alpha)

    if scene:
        for split, cameras, skipped in (
            ("train", scene.train_cameras, options.skip_train),
            ("test", scene.test_cameras, options.skip_test),
        ):
            if not skipped:
                write_split(model_path / split, cameras, painter, options)
    for path in paths:
        folder = model_path / path.folder
        if options.video or path.folder == Path("orbit"):
            rate = options.fps or path.frames_per_second
            written = write_path_video(folder, path._replace(frames_per_second=rate), painter, options.quiet)
        else:
            written = [folder / model.name]
            write_views(written[0], path.cameras, painter, options.quiet, photographs=False)
        if not options.quiet:
            print(f"{path.folder.name}: {', '.join(map(str, written))}")


def scene_to_render(options: Options, scene_options: SceneOptions) -> Scene | None:
    """The scene; None where nothing is asked for that needs it: a recorded path of a given size is enough.

    Raises:
        UserError: it is needed, and not usable.
    """
    recorded = options.path not in ("", INTERPOLATE)
    alone = recorded and not options.orbit and options.width > 0 and options.height > 0
    if alone and (not scene_options.source_path or (options.skip_train and options.skip_test)):
        return None
    if not scene_options.source_path:
        raise UserError(
            f"--ply {options.ply} comes without cameras, and {options.model_path} holds no model that has "
            "some: give -s SCENE for those of its photographs, or --path FILE.json with --width and --height"
        )
    scene = load_scene(scene_options, seed=0)
    scene.warnings.show()
    return scene


def write_split(folder: Path, cameras: list[Camera], painter: Painter, options: Options) -> None:
    """Writes the views of a split; those of another size than the photographs into a folder beside it,
    for metrics.py to find the others only."""
    if options.resizes:
        folder = folder.with_name(f"{folder.name}_resized")
        cameras = [options.sized(camera) for camera in cameras]
    write_views(folder / painter.model.name, cameras, painter, options.quiet, photographs=not options.resizes)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options, refused=REFUSED)))
