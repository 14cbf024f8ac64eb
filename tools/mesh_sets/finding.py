"""The meshes of a folder: their files, what they are called in the set, and which way they face."""

import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from tools.mesh_sets import shapenet
from utils.errors import UserError

ENDINGS = (".obj", ".ply", ".glb", ".gltf")


@dataclass(frozen=True)
class MeshFile:
    """A file with a mesh.

    Attributes:
        path: the file.
        name: its place in the set: the path below the folder without ending, or ShapeNet's `synset/model`.
        synset: ShapeNet's category, empty for other files.
        front: the axis of the file that points to who looks at the front, "" where that is not known.
    """

    path: Path
    name: str
    synset: str = ""
    front: str = ""

    def rng(self, seed: int, *stream: int) -> Generator:
        """The generator of the mesh for one purpose; it depends on no other mesh."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode()), *stream])


def find_meshes(folder: Path) -> list[MeshFile]:
    """All meshes in the folder and below it, in the order of their names.

    Raises:
        UserError: there is no such folder, or no mesh in it.
    """
    if not folder.is_dir():
        raise UserError(f"--meshes {folder}: there is no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    meshes = [_described(path, folder) for path in paths if path.suffix.lower() in ENDINGS]
    if not meshes:
        others = ", ".join(sorted({path.suffix for path in paths if path.suffix})[:8]) or "no files"
        raise UserError(
            f"--meshes {folder}: there are no meshes in this folder; looked for {', '.join(ENDINGS)}, "
            f"found {others}"
        )
    times = Counter(mesh.name for mesh in meshes)
    return [
        mesh if times[mesh.name] == 1 else replace(mesh, name=mesh.path.relative_to(folder).as_posix())
        for mesh in meshes
    ]


def _described(path: Path, folder: Path) -> MeshFile:
    known = shapenet.category(path)
    if known:
        return MeshFile(path, "/".join(known), known[0], shapenet.FRONT)
    front = "+z" if path.suffix.lower() in (".glb", ".gltf") else ""  # as the format says
    return MeshFile(path, path.relative_to(folder).with_suffix("").as_posix(), front=front)
