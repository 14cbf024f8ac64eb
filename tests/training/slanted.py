"""A painted wall of known depth to train on, and how far from it a trained model is."""

from pathlib import Path

import numpy as np
import pycolmap
import torch
from PIL import Image

from gaussian_renderer import render
from scene.cameras import Camera
from scene.gaussians import load_gaussians
from tests.scene.models import pinhole, write_dataset
from tests.small_scene import cpu_engine
from tools.make_depths import as_stored
from training.depth_losses import correlation, inverse_depth
from utils.errors import Warnings


def slanted(lens: pycolmap.Camera, x: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W): depth of the wall z = 5 + X / 2 from a camera at (x, 0, 0) that looks along z, and X there."""
    across = (np.arange(lens.width) + 0.5 - lens.principal_point_x) / lens.focal_length_x
    depth = np.broadcast_to((5 + x / 2) / (1 - across / 2), (lens.height, lens.width))
    return depth, x + across * depth


def write_slanted_wall(folder: Path) -> Path:
    """Four photographs of a painted wall, points about it off by up to a unit, and true depth maps."""
    lens, random = pinhole(), np.random.default_rng(0)
    places = [-0.6, -0.2, 0.2, 0.6]
    (folder / "depths").mkdir(parents=True)

    def paint(number: int, lens: pycolmap.Camera, matrix: np.ndarray) -> Image.Image:
        depth, x = slanted(lens, places[number])
        y = (np.arange(lens.height)[:, None] + 0.5 - lens.principal_point_y) / lens.focal_length_y * depth
        waves = [np.sin(3 * x + y), np.cos(4 * x - 2 * y), np.sin(2 * x + 3 * y + 1)]
        stored = as_stored(torch.from_numpy(1 / depth))
        Image.fromarray(stored).save(folder / "depths" / f"{number}.png")
        return Image.fromarray((127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8))

    x, y = random.uniform(-2.5, 3.5, 250), random.uniform(-2.2, 2.2, 250)
    points = np.c_[x, y, 5 + x / 2 + random.uniform(-1, 1, 250)]
    poses = [np.c_[np.eye(3), [-place, 0, 0]] for place in places]
    return write_dataset(
        folder, [f"{i}.png" for i in range(4)], lens=lens, paint=paint, points=points, poses=poses
    )


def depth_errors(model: Path, iteration: int) -> tuple[float, float]:
    """Means over views: the depth's difference from the truth, scene units; 1 - the correlation with it."""
    path = model / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"
    gaussians, errors, lens = load_gaussians(path, Warnings())[0], [], pinhole()
    for x in (-0.6, -0.2, 0.2, 0.6):
        pose = torch.eye(4)
        pose[0, 3] = -x
        seen = Camera("", pose, torch.from_numpy(lens.calibration_matrix()).float(), lens.width, lens.height)
        with torch.no_grad():
            found = render(
                seen, gaussians, sh_degree=0, background=torch.zeros(3), engine=cpu_engine(), depth=True
            )
        truth, surface = torch.from_numpy(slanted(lens, x)[0].copy()), found.alpha[0] > 0.5
        assert found.depth is not None
        difference = (found.depth[0] - truth).abs()[surface].mean()
        errors.append((float(difference), 1 - float(correlation(inverse_depth(found), 1 / truth, surface))))
    absolute, relative = np.mean(errors, axis=0)
    return float(absolute), float(relative)
