"""A textured wall and a ball before it, ray-cast from any camera: every depth is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache

WIDTH, HEIGHT, FOCAL = 256, 200, 230.0
BALL, RADIUS = np.array([0.3, 0.1, 0.0]), 0.6
NORMAL = np.array([0.25, -0.15, -1.0]) / np.linalg.norm([0.25, -0.15, -1.0])
WALL = 1.2  # the wall is where NORMAL . x = -WALL
LATTICE = np.random.default_rng(3).random((32, 32, 32))


def texture(positions: np.ndarray) -> np.ndarray:
    """(N, 3) colours in [0, 1] of a solid noise of three octaves at (N, 3) positions."""
    channels = []
    for channel in range(3):
        octaves = [
            map_coordinates(LATTICE, (positions.T + 7 * channel) * scale, order=1, mode="grid-wrap") / scale
            for scale in (5.0, 11.0, 23.0)
        ]
        channels.append(sum(octaves) / sum(1 / scale for scale in (5.0, 11.0, 23.0)))
    return np.clip(1.8 * (np.stack(channels, axis=1) - 0.5) + 0.5, 0, 1)


def depths_along(camera: Camera) -> np.ndarray:
    """(H, W) distances along the axis at which the camera's pixels meet the ball or the wall."""
    directions, origin = rays(camera)
    wall = (-WALL - NORMAL @ origin) / (directions @ NORMAL)
    half = directions @ (origin - BALL)
    square = (directions**2).sum(axis=-1)
    under = half**2 - square * ((origin - BALL) @ (origin - BALL) - RADIUS**2)
    ball = (-half - np.sqrt(np.maximum(under, 0))) / square
    return np.where(under > 0, np.minimum(ball, wall), wall)


def rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) directions of depth 1 through the pixels' centres, and the (3,) origin, world frame."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    local = local @ np.linalg.inv(camera.intrinsics.double().numpy()).T
    return local @ camera.world_to_camera[:3, :3].double().numpy(), camera.position.double().numpy()


def distance_to_surface(positions: np.ndarray) -> np.ndarray:
    """(N,) distances of world points from the nearer one of wall and ball."""
    wall = np.abs(positions @ NORMAL + WALL)
    return np.minimum(wall, np.abs(np.linalg.norm(positions - BALL, axis=1) - RADIUS))


def camera_at(number: int, x: float, y: float) -> Camera:
    """A camera 3.5 units before the ball that looks at the origin."""
    centre = np.array([x, y, -3.5])
    forward = -centre / np.linalg.norm(centre)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    intrinsics = np.array([[FOCAL, 0, 120.0], [0, FOCAL, 105.0], [0, 0, 1]])
    return Camera(
        f"{number}.png",
        torch.from_numpy(matrix).float(),
        torch.from_numpy(intrinsics).float(),
        WIDTH,
        HEIGHT,
    )


PLACES = [(-0.6, 0.0), (0.0, 0.2), (0.6, 0.0)]
Paint = Callable[[np.ndarray], np.ndarray]


def world(
    folder: Path, paint: Paint = texture, exposures: tuple[float, ...] = (1.0, 0.8, 1.2)
) -> list[Camera]:
    """Three cameras with their photographs, written to the folder, each with its exposure."""
    cache, cameras = PixelCache(10**8), []
    for number, (place, exposure) in enumerate(zip(PLACES, exposures, strict=True)):
        camera = camera_at(number, *place)
        directions, origin = rays(camera)
        surface = (origin + depths_along(camera)[..., None] * directions).reshape(-1, 3)
        colours = paint(surface).reshape(HEIGHT, WIDTH, 3) * 0.8 * exposure
        Image.fromarray(np.rint(255 * colours.clip(0, 1)).astype(np.uint8)).save(folder / camera.name)
        photograph = Photograph(folder / camera.name, WIDTH, HEIGHT, cache)
        cameras.append(
            Camera(camera.name, camera.world_to_camera, camera.intrinsics, WIDTH, HEIGHT, photograph)
        )
    return cameras
