"""Meshes: parts by their size, colours from pictures, and files that others read."""

import math

import numpy as np
import plyfile
import pytest
import torch

from scene.camera_paths import look_at
from scene.cameras import Camera
from scene.meshes import Mesh, VertexColours, save_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def squares(*sides: float) -> Mesh:
    """Squares of these sides, one behind the other, and a vertex that no triangle uses."""
    vertices = [side * SQUARE + [0, 0, 5 * number] for number, side in enumerate(sides)]
    faces = [HALVES + 4 * number for number in range(len(sides))]
    return Mesh.of(np.concatenate([*vertices, np.full((1, 3), 9.0)]), np.concatenate(faces))


def test_parts_are_kept_by_area():
    mesh = squares(1, 3, 2)
    assert mesh.areas().tolist() == [0.5, 0.5, 4.5, 4.5, 2, 2]
    assert mesh.largest_parts(1).areas().sum() == 9
    two = mesh.largest_parts(2)
    assert sorted(two.areas().tolist()) == [2, 2, 4.5, 4.5] and len(two.vertices) == 8
    for count in (0, 3, 7):
        everything = mesh.largest_parts(count)
        assert everything.areas().tolist() == mesh.areas().tolist() and len(everything.vertices) == 12
    assert not len(Mesh.of(np.zeros((0, 3)), np.zeros((0, 3), np.int64)).largest_parts(1).faces)


def test_vertices_take_the_colours_of_the_pictures_that_show_them():
    """Two squares, one before the other: each has the colours of its own pixels, from either side."""
    lens = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    middle = torch.tensor([0.5, 0.5, 0.0])
    colours = VertexColours(squares(1, 1), tolerance=0.1)
    for distance, colour, seen in ((-4.0, (0.2, 0.4, 0.6), 4.0), (9.0, (0.6, 0.4, 0.2), 4.0)):
        where = middle + torch.tensor([0, 0, distance])
        pose = look_at(where, middle, torch.tensor([0.0, 1.0, 0.0]))
        rgb = np.ones((3, 100, 100), np.float32) * np.array(colour, np.float32)[:, None, None]
        colours.add(Camera("view", pose, lens, 100, 100), rgb, np.full((100, 100), seen, np.float32))
    result = colours.coloured().colours
    assert (result[:4] == [51, 102, 153]).all()  # at depth 4 of the first picture, at 9 of the second
    assert (result[4:8] == [153, 102, 51]).all()
    assert (result[8] == 128).all()  # no picture shows it


def test_a_colour_is_that_of_its_place_in_the_picture():
    lens = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    ramp = np.broadcast_to((np.arange(100, dtype=np.float32) + 0.5) / 100, (3, 100, 100))
    vertices = np.array([[x, 0.1, 2] for x in (-0.613, 0.0, 0.4)])
    colours = VertexColours(Mesh.of(vertices, np.array([[0, 1, 2]])), tolerance=0.1)
    depth = np.full((100, 100), 2, np.float32)
    colours.add(Camera("view", torch.eye(4), lens, 100, 100), np.ascontiguousarray(ramp), depth)
    wanted = [(50 + 100 * x / 2) / 100 for x in (-0.613, 0.0, 0.4)]
    assert np.abs(colours.coloured().colours[:, 0] / 255 - wanted).max() < 0.003


def test_the_file_is_read_by_others(tmp_path):
    mesh = squares(1, 3).largest_parts(0)
    colours = np.arange(24, dtype=np.uint8).reshape(8, 3)
    save_mesh(tmp_path / "new" / "mesh.ply", Mesh(mesh.vertices, mesh.faces, colours))
    ply = plyfile.PlyData.read(tmp_path / "new" / "mesh.ply")
    assert np.array_equal(np.stack([ply["vertex"][axis] for axis in "xyz"], axis=1), mesh.vertices)
    assert np.array_equal(np.stack(ply["face"]["vertex_indices"]), mesh.faces)
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed (pip install trimesh)")
    read = trimesh.load(tmp_path / "new" / "mesh.ply", process=False)
    assert math.isclose(read.area, 10)
    assert np.array_equal(np.asarray(read.visual.vertex_colors)[:, :3], colours)
