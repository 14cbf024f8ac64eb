"""Meshes in a folder: which, how they are called, which way they face; ShapeNet's layout and names."""

import json
from pathlib import Path

import pytest

from tools.mesh_sets import shapenet
from tools.mesh_sets.finding import MeshFile, find_meshes
from utils.errors import UserError


def touch(folder: Path, *names: str) -> None:
    """Makes empty files, and their folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_meshes_are_found_in_subfolders_and_named_by_their_place(tmp_path: Path) -> None:
    touch(tmp_path, "b/chair.PLY", "a.glb", "notes.txt", "b/lamp.gltf")
    assert find_meshes(tmp_path) == [
        MeshFile(tmp_path / "a.glb", "a", front="+z"),
        MeshFile(tmp_path / "b/chair.PLY", "b/chair"),
        MeshFile(tmp_path / "b/lamp.gltf", "b/lamp", front="+z"),
    ]


def test_files_that_differ_by_their_ending_alone_keep_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.obj", "a.glb", "b.obj")
    assert [(mesh.name, mesh.front) for mesh in find_meshes(tmp_path)] == [
        ("a.glb", "+z"),
        ("a.obj", ""),
        ("b", ""),
    ]


@pytest.mark.parametrize("inside", ["models/model_normalized.obj", "model.obj"])
@pytest.mark.parametrize("start", ["", "03001627", "03001627/abc"])
def test_shapenet_is_recognised_wherever_the_folder_begins(tmp_path: Path, inside: str, start: str) -> None:
    touch(tmp_path, f"03001627/abc/{inside}")
    (mesh,) = find_meshes(tmp_path / start)
    assert (mesh.name, mesh.synset, mesh.front) == ("03001627/abc", "03001627", "-z")


def test_the_taxonomy_wins_over_the_built_in_names(tmp_path: Path) -> None:
    assert shapenet.names(tmp_path)["02958343"] == "car"
    entries = [{"synsetId": "02958343", "name": "auto_mobile,car"}, {"synsetId": "01234567", "name": "kite"}]
    (tmp_path / "taxonomy.json").write_text(json.dumps(entries))
    (tmp_path / "02958343").mkdir()
    for folder in (tmp_path, tmp_path / "02958343"):
        names = shapenet.names(folder)
        assert (names["02958343"], names["01234567"], names["03001627"]) == ("auto mobile", "kite", "chair")
    (tmp_path / "taxonomy.json").write_text('{"synsetId": 3}')
    with pytest.raises(UserError, match=r"taxonomy.json cannot be read .*synsetId and name"):
        shapenet.names(tmp_path)


def test_a_folder_without_meshes_says_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.fbx", "b.txt")
    with pytest.raises(UserError, match=r"no meshes .*\.obj, \.ply, \.glb, \.gltf, found \.fbx, \.txt"):
        find_meshes(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_meshes(tmp_path / "nowhere")
