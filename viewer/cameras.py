"""Cameras between the browser, where people move them, and our renderer."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from viser import CameraHandle, ClientHandle

from scene.camera_paths import focus_distances
from scene.cameras import Camera, camera_of_view
from utils.errors import UserError
from viewer.paths import KeyFrame

OPENCV_UP = (0.0, -1.0, 0.0)
MOST_POINTS = 20_000  # that tell how far a camera looks
MOST_PIXELS = 4096  # along a picture's side


def key_frame(handle: CameraHandle) -> KeyFrame:
    """The browser's camera; viser has OpenCV axes too, w x y z and the vertical field of view in radians.

    Raises:
        UserError: what the browser says is no camera.
    """
    numbers = (*handle.wxyz, *handle.position, handle.fov)
    if not (np.isfinite(numbers).all() and np.any(handle.wxyz) and 0 < handle.fov < math.pi):
        raise UserError(f"the browser's camera has a pose or a field of view that is none: {numbers}")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(handle.wxyz, scalar_first=True).as_matrix()
    pose[:3, 3] = handle.position
    return KeyFrame(pose, math.degrees(handle.fov))


def view_of(client: ClientHandle, longest: int) -> Camera:
    """What the browser's window shows, as a camera whose picture has so many pixels along its longer side."""
    width, height = max(1, client.camera.image_width), max(1, client.camera.image_height)
    scale = min(max(longest, 1), MOST_PIXELS) / max(width, height)
    return pinhole(key_frame(client.camera), max(1, round(scale * width)), max(1, round(scale * height)))


def key_frame_of(camera: Camera) -> KeyFrame:
    """A camera as the browser can take its place: with the principal point in the middle."""
    return KeyFrame(camera.camera_to_world.double().numpy(force=True), math.degrees(camera.field_of_view[1]))


def pinhole(frame: KeyFrame, width: int, height: int) -> Camera:
    """The camera of a key frame for a picture of so many pixels, which are square."""
    return camera_of_view("browser", frame.camera_to_world, frame.fov_y_degrees, width, height)


def move_to(client: ClientHandle, frame: KeyFrame, distance: float, aspect: float | None = None) -> None:
    """Moves the browser's camera.

    Args:
        client: the browser.
        frame: where to.
        distance: how far from there lies the point that the mouse turns the view round, scene units.
        aspect: width over height of what is to be seen whole; None: what the window shows of it.
    """
    half = math.tan(math.radians(frame.fov_y_degrees) / 2)
    widened = half * max(1.0, aspect / client.camera.aspect) if aspect else half
    rotation, position = frame.camera_to_world[:3, :3], frame.position
    with client.atomic():
        client.camera.position = position
        client.camera.look_at = position + distance * rotation[:, 2]
        client.camera.up_direction = -rotation[:, 1]
        client.camera.fov = 2 * math.atan(widened)


def upright(cameras: Sequence[Camera]) -> tuple[float, float, float]:
    """The direction that is up in the cameras' mean; for none, or cameras rolled all ways, OpenCV's."""
    if cameras:
        up = -torch.stack([camera.world_to_camera[1, :3] for camera in cameras]).double().mean(dim=0)
        if float(up.norm()) > 0.1:
            x, y, z = (up / up.norm()).tolist()
            return x, y, z
    return OPENCV_UP


def reach_of(cameras: Sequence[Camera], means: Tensor) -> float:
    """How far the cameras look, scene units, above 0: the median of the Gaussians' depths before them."""
    positions = torch.stack([camera.position for camera in cameras])
    spread = float((positions - positions.mean(dim=0)).norm(dim=1).max())
    few = means.detach()[:: max(1, len(means) // MOST_POINTS)].double().cpu()
    return float(focus_distances(cameras[:10], few, spread).median())


def facing(means: Tensor) -> tuple[KeyFrame, float]:
    """A view of Gaussians of which no camera is known: from the front, as OpenCV has it; and how far it is.

    Args:
        means: (N, 3) float32, at least one.
    """
    points = means.numpy(force=True).astype(np.float64)
    middle = np.median(points, axis=0)
    radius = float(np.percentile(np.linalg.norm(points - middle, axis=1), 90)) or 1.0
    pose: NDArray[np.float64] = np.eye(4)
    pose[:3, 3] = middle - [0, 0, 2.5 * radius]
    return KeyFrame(pose, 50.0), 2.5 * radius
