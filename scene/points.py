"""The points that a training starts from: of structure from motion, of a PLY, or random ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plyfile
from numpy.typing import NDArray

from formats.files import holds_splats, read_splats
from formats.splats import SH_C0
from scene.cameras import Camera
from scene.gaussians import read_vertices
from utils.errors import UserError, Warnings
from utils.files import whole_file

COLOURS = ("red", "green", "blue")
FEWEST = 100  # with fewer points than this, random ones are added


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Coloured points.

    Attributes:
        positions: (N, 3) float32, world frame, scene units.
        colours: (N, 3) uint8.
    """

    positions: NDArray[np.float32]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.positions)

    def __add__(self, other: "PointCloud") -> "PointCloud":
        return PointCloud(
            np.concatenate([self.positions, other.positions]), np.concatenate([self.colours, other.colours])
        )


NO_POINTS = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


def finite_points(
    positions: NDArray[np.floating], colours: NDArray[np.uint8], what: str, warnings: Warnings
) -> PointCloud:
    """The points whose coordinates are finite in float32; the others are dropped and warned of.

    Args:
        positions: (N, 3), any float.
        colours: (N, 3) uint8.
        what: the points' origin, for the warning.
    """
    with np.errstate(over="ignore"):
        positions = positions.astype(np.float32)
    good = np.isfinite(positions).all(axis=1)
    if not good.all():
        warnings.add(f"{what}: {np.count_nonzero(~good)} of {len(good)} have no finite position, dropped")
    return PointCloud(positions[good], colours[good])


def read_points(path: Path, warnings: Warnings) -> PointCloud:
    """The positions and colours of a PLY's vertices, grey where it has none; or of Gaussians, by SH degree 0.

    Raises:
        UserError: no such file, no PLY with x, y, z, and no file of Gaussians.
    """
    if holds_splats(path):
        splats = read_splats(path)
        levels = np.rint(255 * np.clip(0.5 + SH_C0 * np.nan_to_num(splats.sh0), 0, 1)).astype(np.uint8)
        return finite_points(splats.means, levels, f"points of {path.name}", warnings)
    vertices = read_vertices(path)
    names = {each.name for each in vertices.properties}
    if not {"x", "y", "z"} <= names:
        raise UserError(
            f"{path} has no properties x, y, z to start from; found {', '.join(sorted(names)[:5])}"
        )
    positions = np.stack([np.asarray(vertices[axis], np.float64) for axis in "xyz"], axis=1)
    colours = np.full((len(positions), 3), 128, np.uint8)
    if names.issuperset(COLOURS):
        colours = np.stack([np.asarray(vertices[colour]) for colour in COLOURS], axis=1)
        if colours.dtype.kind == "f":  # fractions, as some programs write them
            colours = np.rint(np.clip(np.nan_to_num(colours), 0, 1) * 255)
    return finite_points(positions, colours.astype(np.uint8), f"points of {path.name}", warnings)


def save_point_cloud(path: Path, points: PointCloud) -> None:
    """Writes the points as the reference's `input.ply`: binary, normals zero, colours as bytes."""
    columns = [(axis, "<f4") for axis in ("x", "y", "z", "nx", "ny", "nz")]
    rows = np.zeros(len(points), columns + [(colour, "u1") for colour in COLOURS])
    for number, axis in enumerate("xyz"):
        rows[axis] = points.positions[:, number]
    for number, colour in enumerate(COLOURS):
        rows[colour] = points.colours[:, number]
    with whole_file(path) as file:
        plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], byte_order="<").write(file)


def random_in_cube(count: int, half_side: float, seed: int) -> PointCloud:
    """Grey points, uniform in a cube round the origin; the reference's start for synthetic scenes."""
    positions = np.random.default_rng(seed).uniform(-half_side, half_side, (count, 3))
    return PointCloud(positions.astype(np.float32), np.full((count, 3), 128, np.uint8))


def random_in_view(cameras: Sequence[Camera], count: int, known: PointCloud, seed: int) -> PointCloud:
    """Grey points that at least two of the cameras see (one, where there is only one camera).

    Each is drawn through a random pixel of a random camera, its depth log-uniform in `depth_range`, and kept
    if another camera has it in its picture too. Where pictures hardly overlap, points of one view fill up.

    Args:
        cameras: the training cameras.
        count: how many points.
        known: the few points that there are; they tell the depth.
        seed: of the random generator.
    """
    generator = np.random.default_rng(seed)
    near, far = depth_range(cameras, known)
    to_world = np.stack([camera.camera_to_world.numpy() for camera in cameras]).astype(np.float64)
    to_rays = np.stack([np.linalg.inv(camera.intrinsics.numpy().astype(np.float64)) for camera in cameras])
    sizes = np.array([(camera.width, camera.height) for camera in cameras])
    enough = min(2, len(cameras))
    kept: list[NDArray[np.float64]] = []
    missing = count
    for attempt in range(20):
        which = generator.integers(len(cameras), size=2 * missing)
        pixels = generator.random((2 * missing, 2)) * sizes[which]
        depths = np.exp(generator.uniform(np.log(near), np.log(far), 2 * missing))
        rays = np.einsum("nij,nj->ni", to_rays[which], np.c_[pixels, np.ones(2 * missing)])
        drawn = (
            np.einsum("nij,nj->ni", to_world[which, :3, :3], rays * depths[:, None]) + to_world[which, :3, 3]
        )
        views = sum(
            (visible(camera, drawn)[0].astype(np.int64) for camera in cameras), np.zeros(len(drawn), int)
        )
        kept.append(drawn[views >= enough if attempt < 19 else slice(None)][:missing])
        missing -= len(kept[-1])
        if missing == 0:
            break
    return PointCloud(np.concatenate(kept).astype(np.float32), np.full((count, 3), 128, np.uint8))


def unprojected(camera: Camera, depth: NDArray[np.floating], count: int) -> PointCloud:
    """The places, with their colours, that the pixels of the camera's photograph show by a depth map.

    Pixels that are masked or more than half transparent have none; of the others every k-th in either
    direction is taken, k as small as leaves at most `count`.

    Args:
        camera: with a photograph.
        depth: (H, W), scene units along the camera's z axis, above 0.
        count: at most so many points.
    """
    pixels = camera.own_photograph.pixels()
    shown = pixels.shown
    step = 1
    while np.count_nonzero(shown[::step, ::step]) > count:
        step += 1
    rows, columns = (each * step for each in np.nonzero(shown[::step, ::step]))
    positions = shown_at(camera, np.c_[columns, rows] + 0.5, depth[rows, columns])
    return PointCloud(positions.astype(np.float32), pixels.rgb[rows, columns])


def shown_at(
    camera: Camera, pixels: NDArray[np.floating], depths: NDArray[np.floating] | float
) -> NDArray[np.float64]:
    """(N, 3) float64: the places, world frame, that a camera shows at (N, 2) pixels, x then y.

    Args:
        depths: (N,) or one for all of them, scene units along the camera's z axis.
    """
    rays = np.c_[pixels, np.ones(len(pixels))] @ np.linalg.inv(camera.intrinsics.double().numpy()).T
    pose = camera.camera_to_world.double().numpy()
    return (rays * np.reshape(depths, (-1, 1))) @ pose[:3, :3].T + pose[:3, 3]


def depth_range(cameras: Sequence[Camera], known: PointCloud) -> tuple[float, float]:
    """Nearest and farthest depth, scene units, at which something is to be expected in the cameras' pictures.

    From ten known points on: their 1st and 99th percentile, over all cameras. Otherwise half and twice
    the distance of the point that the cameras look at. Cameras that look at no common point give 1 and 10
    times the largest distance between a camera and their middle (1 where they stand at one place).
    """
    depths = np.concatenate([visible(camera, known.positions)[1] for camera in cameras])
    if len(depths) >= 10:
        near, far = np.percentile(depths, [1, 99])
        return float(near), float(max(far, 1.01 * near))
    centres = np.stack([camera.position.numpy() for camera in cameras]).astype(np.float64)
    axes = np.stack([camera.camera_to_world[:3, 2].numpy() for camera in cameras]).astype(np.float64)
    # the point nearest to all optical axes: sum of (I - a a^T) (x - c) = 0
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = across.sum(axis=0)
    if np.linalg.eigvalsh(normal)[0] > 1e-3 * len(cameras):
        focus = np.linalg.solve(normal, np.einsum("nij,nj->i", across, centres))
        distance = np.median(((focus - centres) * axes).sum(axis=1))
        if distance > 0:
            return float(distance / 2), float(distance * 2)
    spread = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()) or 1.0
    return spread, 10 * spread


def visible(camera: Camera, positions: NDArray[np.floating]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which points lie in the camera's picture and in front of it, and the depths of those that do.

    Args:
        positions: (N, 3), world frame.

    Returns:
        inside: (N,) bool.
        depths: (M,) float64, scene units, of the M points inside.
    """
    pixels, depth = projected(camera, positions)
    inside = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < (camera.width, camera.height)).all(axis=1)
    return inside, depth[inside]


def projected(
    camera: Camera, positions: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a camera has points (N, 3) of the world frame.

    Returns:
        pixels: (N, 2), x then y; without meaning where the depth is not above 0.
        depths: (N,), scene units along the camera's z axis.
    """
    to_camera = camera.world_to_camera.numpy().astype(np.float64)
    local = positions @ to_camera[:3, :3].T + to_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (local @ camera.intrinsics.numpy().astype(np.float64).T)[:, :2] / local[:, 2:]
    return pixels, local[:, 2]
