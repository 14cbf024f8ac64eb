"""Small COLMAP datasets made through pycolmap, whose every number is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pycolmap
from PIL import Image

POINTS = np.random.default_rng(5).uniform(-0.8, 0.8, (150, 3))
Paint = Callable[[int, pycolmap.Camera, np.ndarray], Image.Image]


def pinhole(width=64, height=48, fx=70.0, fy=72.0, cx=30.0, cy=26.0) -> pycolmap.Camera:
    """A PINHOLE camera whose principal point is off the middle."""
    return pycolmap.Camera(camera_id=1, model="PINHOLE", width=width, height=height, params=[fx, fy, cx, cy])


def pose(number: float, count: int) -> np.ndarray:
    """(3, 4) world to camera: on an arc of 80 degrees, 4 units from the origin, looking at it."""
    angle = np.radians(80 * number / max(count - 1, 1) - 40)
    centre = np.array([4 * np.sin(angle), 0.4, -4 * np.cos(angle)])
    forward = -centre / np.linalg.norm(centre)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.c_[rotation, -rotation @ centre]


def flat(number: int, lens: pycolmap.Camera, matrix: np.ndarray) -> Image.Image:
    """A picture of one colour that tells the number of its view."""
    return Image.new("RGB", (lens.width, lens.height), (10 * number, 250 - 10 * number, 77))


def observed(lens: pycolmap.Camera, matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) pixels of world points, through the lens with its distortion."""
    return lens.img_from_cam(points @ matrix[:, :3].T + matrix[:, 3])


def write_dataset(
    folder: Path,
    names: Sequence[str],
    *,
    lens: pycolmap.Camera | None = None,
    paint: Paint | None = flat,
    points: np.ndarray = POINTS,
    seen_by: Callable[[int], Sequence[int]] | None = None,
    text: bool = False,
    model: str = "sparse/0",
    poses: Sequence[np.ndarray] | None = None,
) -> Path:
    """A dataset whose view number i is called `names[i]` and stands at `pose(i, len(names))`.

    Args:
        paint: draws view i; None writes no photographs.
        seen_by: the views that observed point number j; all of them by default.
    """
    lens = lens or pinhole()
    poses = poses or [pose(number, len(names)) for number in range(len(names))]
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(lens)
    tracks: list[list[tuple[int, int]]] = [[] for _ in points]
    for number, name in enumerate(names):
        image = pycolmap.Image(name=name, camera_id=1, image_id=number + 1)
        pixels = observed(lens, poses[number], points) if len(points) else np.zeros((0, 2))
        keep = [row for row in range(len(points)) if seen_by is None or number in seen_by(row)]
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(pixels[row]) for row in keep])
        for place, row in enumerate(keep):
            tracks[row].append((number + 1, place))
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(poses[number]))
        if paint:
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            paint(number, lens, poses[number]).save(path)
    for row, elements in enumerate(tracks):
        track = pycolmap.Track()
        for image_id, place in elements:
            track.add_element(image_id, place)
        reconstruction.add_point3D(points[row], track, np.array([row, 2, 255 - row], np.uint8))
    (folder / model).mkdir(parents=True)
    (reconstruction.write_text if text else reconstruction.write_binary)(folder / model)
    return folder
