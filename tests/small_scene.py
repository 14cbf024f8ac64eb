"""A small scene for tests: known Gaussians, rendered from an arc of cameras into a Blender dataset."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import ParameterDict

from gaussian_renderer import Engine, choose_engine, render
from scene.camera_paths import look_at
from scene.cameras import Camera
from scene.gaussians import gaussians_from_points
from scene.points import PointCloud, save_point_cloud

WIDTH, HEIGHT = 48, 40
FIELD_OF_VIEW = 0.9


def cpu_engine() -> Engine:
    """The CPU engine."""
    return choose_engine("cpu")


def some_gaussians(count: int = 60, seed: int = 0, sh_degree: int = 3) -> ParameterDict:
    """Opaque, coloured Gaussians within a unit ball round the origin."""
    random = np.random.default_rng(seed)
    positions = random.normal(size=(count, 3)) * 0.4
    gaussians = gaussians_from_points(
        positions, random.integers(0, 256, (count, 3), dtype=np.uint8), sh_degree=sh_degree, opacity=0.8
    )
    with torch.no_grad():
        shape = torch.from_numpy(random.normal(size=(count, 3)).astype(np.float32))
        gaussians["scales"].copy_(math.log(0.12) + 0.3 * shape)
        gaussians["quats"].copy_(torch.from_numpy(random.normal(size=(count, 4)).astype(np.float32)))
    return gaussians


def arc_of_cameras(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[Camera]:
    """Cameras on a quarter circle of radius 3, looking at the origin."""
    focal = width / (2 * math.tan(FIELD_OF_VIEW / 2))
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    cameras = []
    for i in range(count):
        angle = math.pi / 2 * (i / max(count - 1, 1) - 0.5)
        position = torch.tensor([3 * math.sin(angle), -0.5, -3 * math.cos(angle)])
        pose = look_at(position, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
        cameras.append(Camera(f"view_{i}", pose, intrinsics, width, height))
    return cameras


def write_small_scene(folder: Path, views: int = 9, points: int = 60) -> Path:
    """A Blender dataset of `views` training pictures (and two for the test) of `some_gaussians()`."""
    engine, gaussians = cpu_engine(), some_gaussians()
    for split, count in (("train", views), ("test", 2)):
        frames = []
        (folder / split).mkdir(parents=True)
        for i, camera in enumerate(
            arc_of_cameras(count + 2)[1:-1] if split == "test" else arc_of_cameras(count)
        ):
            with torch.no_grad():
                rgb = render(camera, gaussians, sh_degree=0, background=torch.zeros(3), engine=engine).rgb
            pixels = (rgb.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / split / f"r_{i}.png")
            opengl = camera.camera_to_world @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": opengl.tolist()})
        content = {"camera_angle_x": FIELD_OF_VIEW, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))
    random = np.random.default_rng(1)
    means = gaussians["means"].detach().numpy()[:points]
    noisy = means + random.normal(size=means.shape) * 0.05
    colours = random.integers(60, 200, means.shape, dtype=np.uint8)
    save_point_cloud(folder / "points3d.ply", PointCloud(noisy.astype(np.float32), colours))
    return folder
