"""Pictures of one mesh from all its views, and the poses: a job for `studio.batch`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scene.cameras import Camera
from tools.mesh_sets.finding import MeshFile
from tools.mesh_sets.reading import BadMesh, read_mesh
from tools.studio.cameras import fitting_distance, on_sphere
from tools.studio.captioned_sets import write_picture
from tools.studio.materials import Item
from tools.studio.meshes import normalising
from tools.studio.posed_sets import files_beside_pictures, write_points, write_poses
from tools.studio.renderer import picture
from tools.studio.stage import Stage, staged
from tools.studio.textures import Array

FILL = 0.9  # of the picture's half width, that the object takes in its largest view
POINTS = 2  # stream of random numbers of a mesh; `render_meshes` has further ones


@dataclass(frozen=True)
class View:
    """A picture to take: where the camera stands, degrees, and its name, `train/000` say."""

    name: str
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class MeshShots:
    """The pictures of one mesh.

    Attributes:
        home: the mesh's folder in the set.
        upright: (3, 3) rotation of the file's axes to z up and the front towards -y.
        resolution: pixels, both ways.
        samples: light paths a pixel.
        seed: of the light paths and the points.
        points: to start a training from; 0 for none.
    """

    mesh: MeshFile
    home: Path
    views: tuple[View, ...]
    upright: Array
    stage: Stage
    resolution: int
    samples: int
    seed: int
    points: int


def outputs_of(shots: MeshShots) -> list[Path]:
    """The files that `take` writes."""
    pictures = [shots.home / f"{view.name}.png" for view in shots.views]
    return [*pictures, *files_beside_pictures(shots.home, shots.points)]


def take(shots: MeshShots) -> tuple[Path, str]:
    """Renders and writes the pictures that are not there yet, then the points to start from and the poses.

    Returns:
        The mesh's file, and why it cannot be rendered; "" where it was.
    """
    try:
        items = standing(read_mesh(shots.mesh.path), shots.upright)
    except BadMesh as reason:
        return shots.mesh.path, str(reason)
    scene = staged(items, shots.stage, hide_lights=True)
    placed = cameras(shots, items)
    for number, camera in enumerate(placed):
        path = shots.home / f"{camera.name}.png"
        if not path.is_file():
            seed = shots.seed + number
            pixels = picture(scene, camera, shots.samples, seed, without_fireflies=True, behind=1.0)
            write_picture(path, pixels)
    rng = shots.mesh.rng(shots.seed, POINTS)
    write_points(shots.home, rng, scene, shots.stage.surfaces(items), placed, shots.points)
    write_poses(shots.home, placed)
    return shots.mesh.path, ""


def standing(items: list[Item], upright: Array) -> list[Item]:
    """The parts turned upright, standing on z = 0 about the origin, the longest side of length 1."""
    turned = [(mesh.turned(upright), material) for mesh, material in items]
    offset, factor = normalising(np.concatenate([mesh.vertices for mesh, _ in turned]))
    return [(mesh.moved(offset).scaled(factor), material) for mesh, material in turned]


def cameras(shots: MeshShots, items: list[Item]) -> list[Camera]:
    """The cameras of the views, all as far away as the largest view of the object needs."""
    points = np.unique(np.concatenate([mesh.vertices for mesh, _ in items]), axis=0)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    places = [(view.azimuth, view.elevation) for view in shots.views]
    lens = {
        "target": middle,
        "distance": max(fitting_distance(points, middle, *place, FILL) for place in places),
        "resolution": shots.resolution,
    }
    return [on_sphere(view.name, view.azimuth, view.elevation, **lens) for view in shots.views]
