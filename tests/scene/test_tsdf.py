"""Depth maps of known surfaces give these surfaces; the kernel does what a plain loop does."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scene.camera_paths import look_at
from scene.cameras import Camera
from scene.meshes import Mesh
from scene.tsdf import (
    MOST_VOXELS,
    Volume,
    box_of,
    default_voxel,
    empty_volume,
    without_edges,
    world_points,
)
from utils.errors import UserError

pytest.importorskip("skimage", reason="scikit-image is not installed (pip install scikit-image)")

CENTRE, RADIUS = np.array([0.4, -0.3, 0.2]), 1.0
SIZE = 120


def cameras_around(count: int, distance: float = 3.0) -> list[Camera]:
    """Cameras evenly over a sphere about the ball, which they look at, off-centre and with oblong pixels."""
    lens = torch.tensor([[140.0, 0, 57], [0, 130, 62], [0, 0, 1]])
    cameras = []
    for index in range(count):
        height = 1 - (2 * index + 1) / count
        angle = math.pi * (1 + math.sqrt(5)) * index
        ring = math.sqrt(1 - height**2)
        direction = torch.tensor([ring * math.cos(angle), height, ring * math.sin(angle)])
        target = torch.from_numpy(CENTRE).float()
        pose = look_at(target + distance * direction, target, torch.tensor([0.3, 0.9, 0.1]))
        cameras.append(Camera(f"view {index}", pose, lens, SIZE, SIZE))
    return cameras


def depth_of_ball(camera: Camera) -> np.ndarray:
    """(H, W) float32: depth of the ball's near side, 0 beside it."""
    rows, columns = np.indices((camera.height, camera.width)) + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.intrinsics.numpy()).T
    pose = camera.world_to_camera.double().numpy()
    centre = pose[:3, :3] @ CENTRE + pose[:3, 3]
    # |t ray - centre| = radius, the smaller t; the rays' z is 1, so t is the depth
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - RADIUS**2
    root = b**2 - a * c
    return np.where(root > 0, (b - np.sqrt(root.clip(0))) / a, 0).astype(np.float32)


def volume_of_ball(views: int, voxel: float, limit: float = 10.0) -> Volume:
    volume = empty_volume(CENTRE - 1.2, CENTRE + 1.2, voxel)
    for camera in cameras_around(views):
        volume.fuse(camera, depth_of_ball(camera), limit)
    return volume


def enclosed(mesh: Mesh) -> float:
    """The volume that the mesh encloses; above 0 if triangles turn counterclockwise seen from outside."""
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_ball_comes_back():
    voxel = 0.06
    mesh = volume_of_ball(24, voxel).surface().largest_parts(1)
    off = np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS
    assert np.abs(off).max() < voxel and np.abs(off).mean() < 0.2 * voxel
    assert mesh.areas().sum() == pytest.approx(4 * math.pi, rel=0.03)
    assert enclosed(mesh) == pytest.approx(4 / 3 * math.pi, rel=0.03)
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed


def test_the_kernel_is_a_plain_loop():
    camera = cameras_around(3)[1]
    depth = depth_of_ball(camera)
    depth[::7] = 0
    volume = empty_volume(CENTRE - 1.4, CENTRE + 1.1, 0.31)
    for given in (depth, depth + np.float32(0.2) * (depth > 0)):
        volume.fuse(camera, given, limit=3.5)
    pose, lens = camera.world_to_camera.double().numpy(), camera.intrinsics.double().numpy()
    compared = 0
    for index in np.ndindex(volume.weights.shape):
        x, y, z = pose[:3, :3] @ (volume.origin + volume.voxel * np.array(index)) + pose[:3, 3]
        column, row = math.floor(lens[0, 0] * x / z + lens[0, 2]), math.floor(lens[1, 1] * y / z + lens[1, 2])
        wanted = []
        if 0 < z <= 3.5 and 0 <= row < SIZE and 0 <= column < SIZE and depth[row, column] > 0:
            ahead = [float(depth[row, column]) + further - z for further in (0, 0.2)]
            if min(abs(each + volume.truncation) for each in ahead) < 1e-5:
                continue  # so near to the end of what is known that rounding decides
            wanted = [min(each / volume.truncation, 1) for each in ahead if each >= -volume.truncation]
        assert volume.weights[index] == len(wanted)
        assert volume.distances[index] == pytest.approx(np.mean(wanted) if wanted else 1, abs=1e-5)
        compared += len(wanted)
    assert compared > 300


def test_one_side_gives_one_side():
    """What no camera saw has no surface: neither the ball's far side nor the end of what is known."""
    volume = empty_volume(CENTRE - 1.2, CENTRE + 1.2, 0.06)
    camera = cameras_around(5)[2]
    volume.fuse(camera, depth_of_ball(camera), 10)
    mesh = volume.surface()
    assert np.abs(np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS).max() < 0.12
    assert 0.2 * 4 * math.pi < mesh.areas().sum() < 0.5 * 4 * math.pi
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    normals, outwards = np.cross(b - a, c - a), a - CENTRE
    assert ((normals * outwards).sum(axis=1) > 0).mean() > 0.99


def test_nothing_beyond_the_limit():
    assert not len(volume_of_ball(6, 0.1, limit=1.5).surface().faces)
    mesh = volume_of_ball(1, 0.06, limit=2.5).surface()
    camera = cameras_around(1)[0]
    depths = mesh.vertices @ camera.world_to_camera[2, :3].numpy() + float(camera.world_to_camera[2, 3])
    assert len(mesh.faces) and depths.max() <= 2.5


def test_an_unseen_volume_has_no_surface():
    assert not len(empty_volume(np.zeros(3), np.ones(3), 0.2).surface().faces)


def test_edges_are_left_out_and_slopes_are_not():
    camera = cameras_around(1)[0]
    columns = np.indices((SIZE, SIZE))[1]
    slope = (2 + columns * 3 * 2 / 130).astype(np.float32)  # three pixels' widths a pixel at the near end
    assert np.array_equal(without_edges(slope, camera, 0.05), slope)
    step = np.where(columns < 50, 2, 3).astype(np.float32)
    step[:, 100:] = 0  # beside nothing there is no edge
    kept = without_edges(step, camera, 0.5)
    assert np.flatnonzero(kept[60] != step[60]).tolist() == [49, 50] and kept[60, 49] == kept[60, 50] == 0


def test_points_of_a_depth_map_lie_on_the_ball():
    camera = cameras_around(4)[3]
    points = world_points(camera, depth_of_ball(camera), 10)
    assert len(points) > 1000
    assert np.abs(np.linalg.norm(points - CENTRE, axis=1) - RADIUS).max() < 1e-5
    near = world_points(camera, depth_of_ball(camera), 2.3)
    assert 0 < len(near) < len(points)
    low, high = box_of([points, points[:1] + 50])  # a stray one
    assert (low < CENTRE - 0.5).all() and (high < CENTRE + 1.5).all()


def test_the_size_of_voxels():
    low, high = np.zeros(3), np.array([4.0, 2, 1])
    voxel = default_voxel(low, high, 0.001)
    assert np.prod((high - low) / voxel) == pytest.approx(2**24)
    assert default_voxel(low, high, 0.5) == 0.5
    with pytest.raises(UserError, match=r"--voxel 0.001: the box of 4 x 2 x 1 units.*Give --voxel") as said:
        empty_volume(low, high, 0.001)
    advised = float(str(said.value).split("Give --voxel ")[1].split()[0])
    assert advised**3 * MOST_VOXELS > 8
    assert empty_volume(low, high, 0.5).weights.shape == (17, 13, 11)


def test_turning_the_world_turns_the_mesh():
    """The pose counts, and nothing else: moved cameras and a moved ball give the moved mesh."""
    camera = cameras_around(1)[0]
    shift = torch.eye(4)
    way = np.array([7.0, 0, 0])
    shift[:3, 3] = -torch.from_numpy(way)
    moved = replace(camera, world_to_camera=camera.world_to_camera @ shift)
    meshes = []
    for each, origin in ((camera, CENTRE), (moved, CENTRE + way)):
        volume = empty_volume(origin - 1.2, origin + 1.2, 0.1)
        volume.fuse(each, depth_of_ball(camera), 10)
        meshes.append(volume.surface())
    assert np.allclose(meshes[0].vertices + way, meshes[1].vertices, atol=1e-3)
    assert np.array_equal(meshes[0].faces, meshes[1].faces)
