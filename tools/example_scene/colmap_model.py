"""Cameras and tracks as a binary COLMAP model, written through pycolmap."""

import tempfile
from pathlib import Path

import numpy as np
import pycolmap

from scene.cameras import Camera
from tools.example_scene.points import Tracks
from utils.files import whole_file

FILES = ("cameras.bin", "images.bin", "points3D.bin")


def write_model(folder: Path, cameras: list[Camera], tracks: Tracks) -> None:
    """Writes `cameras.bin`, `images.bin` and `points3D.bin` into `folder`, each whole.

    Args:
        cameras: of one size and one set of intrinsics; their names are the photographs'.
    """
    model = pycolmap.Reconstruction()
    matrix = cameras[0].intrinsics.double().numpy()
    parameters = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
    size = {"width": cameras[0].width, "height": cameras[0].height}
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(model="PINHOLE", params=parameters, camera_id=1, **size)
    )
    place = np.zeros(len(tracks.point), dtype=int)  # each observation's number within its image
    for number, camera in enumerate(cameras):
        mine = tracks.view == number
        place[mine] = np.arange(mine.sum())
        image = pycolmap.Image(
            name=camera.name, keypoints=tracks.pixels[mine], camera_id=1, image_id=number + 1
        )
        pose = pycolmap.Rigid3d(camera.world_to_camera.double().numpy()[:3])
        model.add_image_with_trivial_frame(image, pose)
    seen_in = [pycolmap.Track() for _ in tracks.positions]
    for point, view, index in zip(tracks.point, tracks.view, place, strict=True):
        seen_in[point].add_element(int(view) + 1, int(index))
    for position, colour, track in zip(tracks.positions, tracks.colours, seen_in, strict=True):
        model.add_point3D(position, track, colour)
    model.update_point_3d_errors()
    with tempfile.TemporaryDirectory() as draft:
        model.write_binary(draft)
        for name in FILES:
            with whole_file(folder / name) as file:
                file.write((Path(draft) / name).read_bytes())
