"""A box with a face of another colour on each side, in the three formats and with three kinds of colour."""

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

HALF = np.array([0.5, 0.8, 0.3])  # of the box's sides, y up
COLOURS = {  # outward direction of a face, and its colour
    (1, 0, 0): (230, 20, 20),
    (-1, 0, 0): (20, 230, 20),
    (0, 1, 0): (20, 20, 230),
    (0, -1, 0): (230, 230, 20),
    (0, 0, 1): (230, 20, 230),
    (0, 0, -1): (20, 230, 230),
}
CORNERS = HALF * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


def _faces() -> list[trimesh.Trimesh]:
    """Six separate squares, counter-clockwise from outside."""
    result = []
    for outward in COLOURS:
        normal = np.array(outward)
        side = np.roll(normal, 1)
        other = np.cross(normal, side)
        corners = [normal + a * side + b * other for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        result.append(trimesh.Trimesh(HALF * corners, [[0, 1, 2], [0, 2, 3]], process=False))
    return result


def write_box(path: Path) -> Path:
    """Writes the box: .glb and .gltf with materials, .ply with vertex colours, .obj with a texture."""
    faces = _faces()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ply":
        for face, colour in zip(faces, COLOURS.values(), strict=True):
            face.visual = trimesh.visual.ColorVisuals(face, vertex_colors=[(*colour, 255)] * 4)
        trimesh.util.concatenate(faces).export(path)
    elif path.suffix == ".obj":
        # the six colours in two rows of three; the pictures' first row is at v = 1
        atlas = np.array(list(COLOURS.values()), np.uint8).reshape(2, 3, 3).repeat(8, 0).repeat(8, 1)
        image = Image.fromarray(atlas)
        for number, face in enumerate(faces):
            row, column = divmod(number, 3)
            uv = [[(column + 0.5) / 3, 1 - (row + 0.5) / 2]] * 4
            face.visual = trimesh.visual.TextureVisuals(uv=uv, image=image)
        trimesh.util.concatenate(faces).export(path)
    else:
        scene = trimesh.Scene()
        for face, colour in zip(faces, COLOURS.values(), strict=True):
            material = trimesh.visual.material.PBRMaterial(baseColorFactor=(*colour, 255), metallicFactor=0.0)
            face.visual = trimesh.visual.TextureVisuals(uv=np.zeros((4, 2)), material=material)
            scene.add_geometry(face)
        scene.export(path)
    return path


def write_bad_meshes(folder: Path) -> dict[str, str]:
    """Writes meshes that cannot be rendered; returns a part of what must be said of each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.glb").write_bytes(b"glTF and no more")
    (folder / "empty.obj").write_text("")
    (folder / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n0 0 0\n"
    )
    (folder / "nan.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n")
    (folder / "index.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 9\n")
    (folder / "line.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    (folder / "dot.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    return {
        "broken.glb": "cannot be read",
        "empty.obj": "no faces",
        "points.ply": "no faces",
        "nan.obj": "not a finite number",
        "index.obj": "cannot be read",
        "line.obj": "no face with an area",
        "dot.obj": "no face with an area",
    }
