"""Estimates a depth map for each photograph of a dataset, and its scale from the SfM points.

python -m tools.make_depths -s SCENE --model depth-anything/Depth-Anything-V2-Small-hf
python train.py -s SCENE --depths depths

The model is any of transformers' for depth estimation, a local folder or a hub id, in safetensors; no code of
the hub's is run. Maps are the reference's: inverse depth in PNG of 16 bits; scales go into sparse/0/.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene, posed_photographs
from scene.depth_estimation import load_estimator
from scene.depth_maps import STEPS, Parameters, parameters_file, stem
from utils.errors import UserError, Warnings, demand, run_program
from utils.files import whole_file, write_json
from utils.options import parse
from utils.warping import sample

FEWEST = 10  # points, above which a scale is estimated


@dataclass
class Options:
    """Estimates a depth map for each photograph of a dataset, and its scale from the SfM points."""

    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])]
    """Folder of the dataset: COLMAP or Blender."""
    model: str
    """A depth estimation model of transformers: a local folder or a hub id."""
    images: Annotated[str, tyro.conf.arg(aliases=["-i"])] = "images"
    """Folder of the photographs inside a COLMAP dataset."""
    depths: Annotated[str, tyro.conf.arg(aliases=["-d"])] = "depths"
    """Folder for the maps, inside the dataset or absolute."""
    device: str = "cpu"
    """Where the model computes: cpu, cuda, ..."""
    overwrite: bool = False
    """Replace maps and scales that are there."""


def main(options: Options) -> None:
    """Writes the maps, then, of a COLMAP dataset, their scales.

    Raises:
        UserError: the dataset or the model cannot be used, or maps are there already.
    """
    demand(bool(options.depths), "depths", options.depths, "a folder for the maps")
    of_scene = SceneOptions(source_path=options.source_path, images=options.images, masks="")
    source, warnings = Path(of_scene.source_path), Warnings()
    posed = posed_photographs(of_scene, warnings)
    observed = posed.observed if posed.kind == "colmap" else None
    folder = source / options.depths
    there = [path for path in (folder, parameters_file(source)) if path.exists()]
    if there and not options.overwrite:
        raise UserError(f"{there[0]} is there already; give --overwrite to replace it, or another --depths")
    estimate = load_estimator("model", options.model, options.device)
    scene = load_scene(of_scene, seed=0)
    warnings.extend(scene.warnings)
    found = {}
    for camera in tqdm(scene.train_cameras, desc="depth maps"):
        values = as_stored(estimate(camera.own_photograph.pixels().rgb))
        with whole_file(folder / f"{stem(camera)}.png") as file:
            Image.fromarray(values).save(file, format="PNG")
        if observed is not None:
            points = observed.positions[observed.seen.get(camera.name, [])]
            found[stem(camera)] = fitted(values, camera, points)
            if not found[stem(camera)].scale:
                warnings.add(f"at most {FEWEST} SfM points tell the scale, which is left open", camera.name)
    if observed is not None:
        write_json(parameters_file(source), {name: each._asdict() for name, each in found.items()})
    warnings.show()
    print(f"{len(scene.train_cameras)} depth maps in {folder}; train with --depths {options.depths}")


def as_stored(inverse: Tensor) -> NDArray[np.uint16]:
    """(H, W) uint16 of (H, W) inverse depths, their range brought to all of 16 bits.

    Raises:
        UserError: they have no range, or are not finite.
    """
    low, high = inverse.min(), inverse.max()
    if not (torch.isfinite(inverse).all() and high > low):
        raise UserError(
            "--model says the same of all pixels of a photograph, or no number "
            f"({float(low)} to {float(high)}); use another model"
        )
    return ((inverse - low) / (high - low) * (STEPS - 1)).round().numpy().astype(np.uint16)


def fitted(values: NDArray[np.uint16], camera: Camera, points: NDArray[np.float64]) -> Parameters:
    """Scale and offset that bring a map to the points' inverse depths, by medians, as the reference has them.

    scale = mad(1 / z) / mad(map), mad(v) the mean of |v - median(v)|, and offset = median(1 / z) - scale *
    median(map), over the points in the picture, at which the map is sampled bilinearly.

    Args:
        values: (H, W), the map as stored, of the camera's size.
        camera: its camera.
        points: (N, 3), world frame: the SfM points observed in the photograph.

    Returns:
        Of value / 65536; both 0 where ten points or fewer, or points at one depth, tell nothing.
    """
    pose, lens = (it.double().numpy() for it in (camera.world_to_camera, camera.intrinsics))
    local = points @ pose[:3, :3].T + pose[:3, 3]
    local = local[local[:, 2] > 0]
    pixels = (local @ lens.T)[:, :2] / local[:, 2:]
    inside = ((pixels > 0) & (pixels < (camera.width, camera.height))).all(axis=1)
    if np.count_nonzero(inside) <= FEWEST:
        return Parameters(0.0, 0.0)
    wanted = 1 / local[inside, 2]
    stored = torch.from_numpy(values.astype(np.float64) / STEPS)[None]
    given = sample(stored, torch.from_numpy(pixels[inside])[None])[0, 0].numpy()
    spread = [float(np.abs(each - np.median(each)).mean()) for each in (wanted, given)]
    if min(spread) == 0:
        return Parameters(0.0, 0.0)
    scale = spread[0] / spread[1]
    return Parameters(scale, float(np.median(wanted) - scale * np.median(given)))


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
