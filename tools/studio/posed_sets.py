"""Posed pictures of one object on disk, in the Blender layout that `train.py -s` reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from scene.cameras import Camera
from scene.points import save_point_cloud
from tools.studio.meshes import Mesh
from tools.studio.start_points import points_in_sight
from utils.files import write_json

SPLITS = ("train", "test")
POINTS = "points3d.ply"


def files_beside_pictures(home: Path, points: int) -> list[Path]:
    """The files that `write_poses` and, for more than 0 points, `write_points` write."""
    return [*([home / POINTS] if points else []), *(home / f"transforms_{split}.json" for split in SPLITS)]


def write_poses(home: Path, cameras: Sequence[Camera]) -> None:
    """Writes the transforms of both splits, each camera's by the folder in its name, `train/000` say."""
    for split in SPLITS:
        write_transforms(home, split, [camera for camera in cameras if _split(camera) == split])


def write_transforms(folder: Path, split: str, cameras: Sequence[Camera]) -> None:
    """Writes `transforms_<split>.json`, whole: the lens and the poses of the pictures `<camera.name>.png`.

    Args:
        split: "train" or "test".
        cameras: of one lens; a name is the picture's path below `folder`, without its ending.
    """
    frames: list[dict[str, Any]] = []
    for camera in cameras:
        to_world = camera.camera_to_world.double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"./{camera.name}", "transform_matrix": to_world.tolist()})
    angle = cameras[0].field_of_view[0]
    write_json(folder / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})


def write_points(
    home: Path,
    rng: Generator,
    scene: Any,
    surfaces: Sequence[Sequence[Mesh]],
    cameras: Sequence[Camera],
    count: int,
) -> None:
    """Writes `points3d.ply`, whole: points that the training pictures show; see `start_points`.

    Nothing is written for a count of 0, or where nothing is in sight.

    Args:
        scene: of Mitsuba, that the pictures were taken of.
        surfaces: groups of meshes, each of which gets an equal share of the points.
        cameras: of both splits; their pictures are there.
    """
    if not count:
        return
    training = [camera for camera in cameras if _split(camera) == "train"]
    images = [np.asarray(Image.open(home / f"{camera.name}.png")) for camera in training]
    shares = [len(share) for share in np.array_split(np.arange(count), len(surfaces))]
    parts = [
        points_in_sight(rng, scene, meshes, training, images, share)
        for meshes, share in zip(surfaces, shares, strict=True)
        if share
    ]
    points = sum(parts[1:], parts[0])
    if len(points):
        save_point_cloud(home / POINTS, points)


def _split(camera: Camera) -> str:
    return camera.name.split("/")[0]
