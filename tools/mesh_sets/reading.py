"""Reading a mesh with its materials, through trimesh, as what the studio renders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.studio.materials import Item, Material
from tools.studio.meshes import Mesh, faceted
from tools.studio.textures import Array, encoded, linear
from utils.optional_modules import optional_module

GREY = np.array([0.7, 0.7, 0.7])  # sRGB, of a mesh that says nothing of its colour
CREASE = 35.0  # degrees between two faces, above which their common edge is sharp
SLIVER = 1e-12  # of the mesh's squared size: triangles with less area are left out


class BadMesh(Exception):
    """A mesh that cannot be rendered; the message says why."""


def load_trimesh() -> Any:
    """The module.

    Raises:
        UserError: it is not installed.
    """
    return optional_module("trimesh", "this tool reads meshes with trimesh")


def read_mesh(path: Path) -> list[Item]:
    """The parts of a mesh file, each with its material, in the file's own axes and units.

    Colours come from a texture, from the vertices or faces, or from the material; a mesh without any is grey.

    Raises:
        BadMesh: it cannot be read, has no faces, a coordinate is not a number, or it has no size.
    """
    trimesh = load_trimesh()
    try:
        scene = trimesh.load_scene(path, process=False)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as failure:  # files of others break its readers in any way
        raise BadMesh(f"cannot be read: {type(failure).__name__}: {failure}") from failure
    if not parts:
        raise BadMesh("has no faces")
    points = np.concatenate([part.vertices for part in parts])
    if not np.isfinite(points).all():
        raise BadMesh("has a coordinate that is not a finite number")
    size = float(np.ptp(points, axis=0).max())
    from_gltf = path.suffix.lower() in (".glb", ".gltf")
    items = [_item(part, size, from_gltf) for part in parts]
    items = [item for item in items if len(item[0].faces)]
    if not items:
        raise BadMesh("has no face with an area")
    return items


def _item(part: Any, size: float, from_gltf: bool) -> Item:
    """A part without its slivers, smooth but at its sharp edges."""
    kept = part.area_faces > SLIVER * size**2
    faces, visual = np.asarray(part.faces)[kept], part.visual
    uv = getattr(visual, "uv", None)
    if uv is not None and len(uv) == len(part.vertices) and np.isfinite(uv).all():
        down = np.column_stack([uv[:, 0], 1 - uv[:, 1]])
    else:
        down = None
    flat = faceted(np.asarray(part.vertices, float), faces, down)
    mesh = replace(flat, normals=_smooth_normals(flat))
    if visual.kind == "texture":
        return mesh, _material(visual.material, down is not None)
    if visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[faces.reshape(-1), :3] / 255
    elif visual.kind == "face":
        colours = np.repeat(np.asarray(visual.face_colors)[kept, :3] / 255, 3, axis=0)
    else:
        return mesh, Material(GREY, roughness=1.0)
    return mesh, Material(encoded(colours) if from_gltf else colours, roughness=1.0)


def _smooth_normals(flat: Mesh) -> Array:
    """(V, 3) normals of a mesh of separate triangles.

    At each corner it is the mean of the faces that meet there and hang together without a sharp edge. The
    file's own normals are not taken, since many files have wrong ones.
    """
    trimesh = load_trimesh()
    whole = trimesh.Trimesh(flat.vertices, flat.faces, process=False)
    whole.merge_vertices()
    blunt = whole.face_adjacency[whole.face_adjacency_angles < np.radians(CREASE)]
    patch = trimesh.graph.connected_component_labels(blunt, len(flat.faces))
    corner = np.repeat(patch, 3).astype(np.int64) * len(whole.vertices) + whole.faces.reshape(-1)
    _, group = np.unique(corner, return_inverse=True)
    weighted = flat.normals * np.repeat(whole.area_faces, 3)[:, None]
    sums = np.stack([np.bincount(group, axis) for axis in weighted.T], axis=1)[group]
    smooth = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300)
    return np.where((smooth * flat.normals).sum(axis=1, keepdims=True) > 0.1, smooth, flat.normals)


def _material(material: Any, has_uv: bool) -> Material:
    """The material of a part: a glTF one with its roughness and metal, another one matt.

    In glTF, factors are linear and multiply the texture; roughness and metal are means of their texture.
    """
    if not hasattr(material, "baseColorFactor"):
        image = getattr(material, "image", None)
        if image is not None and has_uv:
            return Material(_pixels(image), roughness=1.0)
        return Material(np.asarray(material.main_color)[:3] / 255, roughness=1.0)
    factor = material.baseColorFactor
    colour = np.ones(3) if factor is None else np.asarray(factor)[:3] / 255
    if material.baseColorTexture is not None and has_uv:
        colour = linear(_pixels(material.baseColorTexture)) * colour
    gloss = material.metallicRoughnessTexture
    means = np.ones(3) if gloss is None else _pixels(gloss).mean(axis=(0, 1))
    roughness, metal = (
        float((1.0 if value is None else value) * mean)
        for value, mean in ((material.roughnessFactor, means[1]), (material.metallicFactor, means[2]))
    )
    return Material(encoded(colour), roughness=max(roughness, 0.1), metal=metal)


def _pixels(image: Any) -> Array:
    """(H, W, 3) in [0, 1]."""
    return np.asarray(image.convert("RGB"), float) / 255
