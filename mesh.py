"""Makes a mesh of a trained model: rendered depth is fused into a surface with the colours of the renderings.

python mesh.py -m output/fern
python mesh.py -m output/fern --voxel 0.02 --depth_limit 4 --components 1

Writes `mesh/ours_N.ply`, triangles with coloured vertices. What to expect of it: docs/rendering.md.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from rendering.model import ModelOptions, TrainedModel, load_model
from rendering.paths import camera_path
from rendering.pictures import solid_means, straight_colours
from scene.camera_paths import focus_distances
from scene.cameras import Camera
from scene.dataset import load_scene
from scene.meshes import VertexColours, save_mesh
from scene.tsdf import box_of, default_voxel, empty_volume, without_edges, world_points
from utils.depth_images import solid_depth
from utils.errors import UserError, demand, run_program
from utils.optional_modules import optional_module
from utils.options import parse

REACH = 2.0  # how far beyond what the cameras look at the mesh goes, as a factor on its distance
COARSE = 4  # of the pictures that tell where there is something: one pixel in so many, in x and y


@dataclass
class Options(ModelOptions):
    """Makes a mesh of a trained model."""

    voxel: float = 0.0
    """Side of a voxel, scene units: 0: 17 million fill what is seen, none smaller than a pixel."""
    depth_limit: float = 0.0
    """How far from a camera there is a surface, scene units; 0: twice as far as the cameras' subject."""
    components: int = 20
    """How many connected parts are kept, the largest ones; 0: all."""
    path: str = ""
    """Look from a path's cameras too: `interpolate` between the training cameras, or a recorded FILE.json."""
    frames: int = 0
    """How many cameras a path has; 0: 240, and those of a recorded path as they are."""
    output: str = ""
    """PLY file to write; empty: mesh/ours_N.ply in the model's folder."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag whose value is not allowed, and what is."""
        for flag in ("voxel", "depth_limit"):
            value = getattr(self, flag)
            demand(0 <= value < math.inf, flag, value, "a length above 0 in scene units, or 0")
        demand(self.components >= 0, "components", self.components, "a number of parts, or 0")
        demand(self.frames >= 0, "frames", self.frames, "a number of frames, or 0")


@torch.no_grad()
def main(options: Options) -> None:
    """Writes the mesh of the model that the options name."""
    options.check()
    optional_module("skimage.measure", "mesh.py needs scikit-image", "scikit-image")
    scene_options = options.scene_options()
    model = load_model(options, white_background=False)
    scene = load_scene(scene_options, seed=0)
    scene.warnings.show()
    cameras = scene.train_cameras
    limit = options.depth_limit or REACH * subject_distance(model, cameras)
    if options.path:
        size = cameras[0].width, cameras[0].height
        cameras = cameras + camera_path(options.path, cameras, size, options.frames).cameras

    coarse = [camera.resized(-(-camera.width // COARSE), -(-camera.height // COARSE)) for camera in cameras]
    points = [
        world_points(camera, depth, limit)
        for camera, depth, _ in looks(model, coarse, "looking for surfaces", options.quiet)
    ]
    if not sum(map(len, points)):
        raise UserError(
            f"--depth_limit {limit:.3g}: nothing solid is so near to a camera; give a larger one, or check "
            "with render.py --depth"
        )
    low, high = box_of(points)
    pixel = limit / REACH / float(cameras[0].intrinsics[1, 1])
    volume = empty_volume(low, high, options.voxel or default_voxel(low, high, pixel))
    for camera, depth, _ in looks(model, cameras, "fusing depth", options.quiet):
        volume.fuse(camera, without_edges(depth, camera, volume.truncation), limit)
    mesh = volume.surface().largest_parts(options.components)
    if not len(mesh.faces):
        raise UserError(f"no surface with voxels of {volume.voxel:.3g} units; give another --voxel")
    colours = VertexColours(mesh, volume.truncation)
    for camera, depth, rgb in looks(model, cameras, "taking colours", options.quiet):
        colours.add(camera, rgb, depth)
    output = Path(options.output or Path(options.model_path) / "mesh" / f"{model.name}.ply")
    save_mesh(output, colours.coloured())
    if not options.quiet:
        print(
            f"{output}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles; voxels of "
            f"{volume.voxel:.3g}, up to {limit:.3g} scene units from {len(cameras)} cameras"
        )


def subject_distance(model: TrainedModel, cameras: Sequence[Camera]) -> float:
    """How far the cameras' subject is, scene units: the median depth of solid Gaussians, over all of them."""
    positions = torch.stack([camera.position for camera in cameras])
    spread = float((positions - positions.mean(dim=0)).norm(dim=1).max())
    return float(focus_distances(cameras, torch.from_numpy(solid_means(model)).double(), spread).median())


def looks(
    model: TrainedModel, cameras: Sequence[Camera], what: str, quiet: bool
) -> Iterator[tuple[Camera, NDArray[np.float32], NDArray[np.float32]]]:
    """Each camera with the depth (H, W), 0 where nothing is solid, and the colours (3, H, W) that it sees."""
    for camera in tqdm(cameras, desc=what, disable=quiet):
        view = model.look(camera, depth=True)
        assert view.depth is not None
        rgb = straight_colours(view, model.background).numpy(force=True)
        yield camera, solid_depth(view.depth, view.alpha), rgb


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
