"""Reading meshes: shapes, colours of every kind, normals, and files that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed (pip install trimesh)")

from tests.tools.mesh_sets.boxes import COLOURS, HALF, write_bad_meshes, write_box  # noqa: E402
from tools.mesh_sets.reading import BadMesh, read_mesh  # noqa: E402
from tools.studio.materials import Item  # noqa: E402
from tools.studio.textures import encoded  # noqa: E402


def colours_of(item: Item) -> np.ndarray:
    """(V, 3) the colour of each vertex, whatever it comes from."""
    mesh, material = item
    if material.colour.ndim == 3:
        height, width = material.colour.shape[:2]
        return material.colour[(mesh.uv[:, 1] * height).astype(int), (mesh.uv[:, 0] * width).astype(int)]
    return np.broadcast_to(material.colour, mesh.vertices.shape)


@pytest.mark.parametrize("ending", ["obj", "ply", "glb", "gltf"])
def test_a_box_keeps_its_shape_its_colours_and_its_edges(tmp_path: Path, ending: str) -> None:
    items = read_mesh(write_box(tmp_path / f"box.{ending}"))
    vertices = np.concatenate([mesh.vertices for mesh, _ in items])
    normals = np.concatenate([mesh.normals for mesh, _ in items])
    colours = np.concatenate([colours_of(item) for item in items])
    assert len(vertices) == 36 and np.allclose(np.abs(vertices), HALF, atol=1e-6)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    for outward, colour in COLOURS.items():
        face = normals @ np.array(outward) > 0.999
        assert face.sum() == 6 and np.allclose((vertices[face] / HALF) @ outward, 1, atol=1e-5)
        wanted = np.array(colour) / 255
        wanted = encoded(wanted) if ending in ("glb", "gltf") else wanted  # glTF's factors are linear
        assert np.allclose(colours[face], wanted, atol=0.01)


def test_faces_keep_their_colours(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.visual.face_colors = [[10 * number, 0, 0, 255] for number in range(12)]
    box.export(tmp_path / "box.ply")
    ((_, material),) = read_mesh(tmp_path / "box.ply")
    assert np.allclose(material.colour[:, 0] * 25.5, np.repeat(np.arange(12), 3))


@pytest.mark.parametrize("ending", ["ply", "glb"])
def test_vertices_keep_their_colours(tmp_path: Path, ending: str) -> None:
    """Red rises with x and green with y; glTF stores linear values, PLY those of a screen."""
    box = trimesh.creation.box()
    box.visual.vertex_colors = [[200 * (x > 0), 100 * (y > 0), 50, 255] for x, y, _ in box.vertices]
    box.export(tmp_path / f"box.{ending}")
    ((mesh, material),) = read_mesh(tmp_path / f"box.{ending}")
    x, y, _ = mesh.vertices.T
    wanted = np.stack([200 * (x > 0), 100 * (y > 0), np.full_like(x, 50)], axis=1) / 255
    assert np.allclose(material.colour, encoded(wanted) if ending == "glb" else wanted)


def test_a_round_surface_is_smooth_and_its_rim_sharp(tmp_path: Path) -> None:
    trimesh.creation.cylinder(0.5, 1.0).export(tmp_path / "can.obj")
    ((mesh, _),) = read_mesh(tmp_path / "can.obj")
    level = np.abs(mesh.normals[:, 2]) < 0.5
    outward = mesh.vertices[level] * [1, 1, 0] / 0.5
    assert level.any() and ((mesh.normals[level] * outward).sum(axis=1) > 0.998).all()
    assert np.allclose(np.abs(mesh.normals[~level, 2]), 1)


def test_roughness_and_metal_come_with_gltf(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(1)
    shiny = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[255, 255, 255, 255], roughnessFactor=0.25, metallicFactor=1.0
    )
    ball.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(ball.vertices), 2)), material=shiny)
    ball.export(tmp_path / "ball.glb")
    ((_, material),) = read_mesh(tmp_path / "ball.glb")
    assert (material.roughness, material.metal) == (0.25, 1.0)


def test_nodes_of_a_scene_stand_where_they_should(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(box, transform=trimesh.transformations.scale_matrix(2))
    scene.export(tmp_path / "two.glb")
    widths = sorted(mesh.vertices[:, 0].tolist() for mesh, _ in read_mesh(tmp_path / "two.glb"))
    assert [(min(x), max(x)) for x in widths] == [(-1, 1), (4.5, 5.5)]


def test_bad_meshes_say_why(tmp_path: Path) -> None:
    for name, reason in write_bad_meshes(tmp_path).items():
        with pytest.raises(BadMesh, match=reason):
            read_mesh(tmp_path / name)
