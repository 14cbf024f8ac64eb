"""Pictures of the example scene, and rays into it, through Mitsuba 3 (a dependency of this tool alone)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from scene.cameras import Camera
from tools.example_scene.materials import Item, Material
from tools.example_scene.meshes import Mesh
from tools.example_scene.textures import Array, coordinates, smooth_step
from utils.errors import UserError


def load_mitsuba() -> Any:
    """The module, set to its scalar RGB variant, the one that needs nothing beside the package.

    Raises:
        UserError: it is not installed.
    """
    try:
        mitsuba = importlib.import_module("mitsuba")
    except ImportError as failure:
        raise UserError(
            f"making the example scene needs the renderer Mitsuba 3, which cannot be imported ({failure}); "
            "run: pip install mitsuba"
        ) from failure
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def sky() -> Array:
    """(64, 128, 3) float32 linear radiance, rows from the zenith down: blue sky, bright haze, warm ground."""
    down, across = coordinates(64, 128)
    zenith, haze, ground = (
        np.array([0.30, 0.50, 0.95]),
        np.array([0.95, 0.95, 0.92]),
        np.array([0.34, 0.29, 0.24]),
    )
    height = np.cos(np.pi * down)[..., None]
    above = haze + (zenith - haze) * np.clip(height, 0, 1) ** 0.6
    light = np.where(height > 0, above, ground)
    glow = smooth_step(0.35, 0.0, np.hypot((across - 0.25 + 0.5) % 1 - 0.5, 0.7 * (down - 0.3)))
    return (light * (1 + 1.2 * glow[..., None])).astype(np.float32)


def texture(mitsuba: Any, values: Array) -> dict[str, Any]:
    """A Mitsuba texture of an sRGB colour or picture."""
    if values.ndim == 1:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return {"type": "rgb", "value": linear.tolist()}
    pixels = np.ascontiguousarray(np.round(values * 255).astype(np.uint8))
    return {"type": "bitmap", "bitmap": mitsuba.Bitmap(pixels)}


def surface(mitsuba: Any, material: Material) -> Any:
    """The Mitsuba BSDF of a material."""
    bsdf: dict[str, Any] = {"type": "diffuse", "reflectance": texture(mitsuba, material.colour)}
    if material.roughness < 0.85:
        bsdf = {
            "type": "principled",
            "base_color": texture(mitsuba, material.colour),
            "roughness": material.roughness,
            "metallic": material.metal,
            "clearcoat": material.coat,
            "clearcoat_gloss": 0.75,
        }
    if material.relief is not None:
        height = np.ascontiguousarray(material.relief[..., None].astype(np.float32))
        relief = {"type": "bitmap", "bitmap": mitsuba.Bitmap(height), "raw": True}
        bsdf = {"type": "bumpmap", "relief": relief, "scale": material.depth, "bsdf": bsdf}
    return mitsuba.load_dict({"type": "twosided", "bsdf": bsdf})


def shape(mitsuba: Any, mesh: Mesh, material: Material) -> Any:
    """The Mitsuba mesh of an item."""
    properties = mitsuba.Properties()
    properties["bsdf"] = surface(mitsuba, material)
    result = mitsuba.Mesh(
        "mesh",
        len(mesh.vertices),
        len(mesh.faces),
        properties,
        has_vertex_normals=True,
        has_vertex_texcoords=True,
    )
    buffers = mitsuba.traverse(result)
    buffers["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    buffers["vertex_normals"] = mesh.normals.astype(np.float32).ravel()
    buffers["vertex_texcoords"] = mesh.uv.astype(np.float32).ravel()
    buffers["faces"] = mesh.faces.astype(np.uint32).ravel()
    buffers.update()
    return result


def build(items: list[Item]) -> Any:
    """The Mitsuba scene: the items under a hazy sky and a soft, warm sun."""
    mitsuba = load_mitsuba()
    transform = mitsuba.ScalarTransform4f
    parts: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 5},
        "sky": {
            "type": "envmap",
            "bitmap": mitsuba.Bitmap(sky()),
            "to_world": transform().rotate([1, 0, 0], 90),
            "scale": 0.48,
        },
        "sun": {
            "type": "rectangle",
            "to_world": transform().look_at(origin=[-2.3, -0.6, 2.9], target=[0, 0, 0], up=[0, 0, 1])
            @ transform().scale(0.30),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [112.0, 93.0, 68.0]}},
        },
    }
    for number, (mesh, material) in enumerate(items):
        parts[f"item_{number:03d}"] = shape(mitsuba, mesh, material)
    return mitsuba.load_dict(parts)


def sensor(mitsuba: Any, camera: Camera) -> Any:
    """The Mitsuba sensor of a camera with square pixels and a centred principal point."""
    # Mitsuba's camera looks along +z as ours does, but its x points left and its y up.
    to_world = camera.camera_to_world.double().numpy() @ np.diag([-1.0, -1.0, 1.0, 1.0])
    return mitsuba.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(camera.field_of_view[0])),
            "fov_axis": "x",
            "near_clip": 0.01,
            "far_clip": 100.0,
            "to_world": mitsuba.ScalarTransform4f(to_world),
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "pixel_format": "rgb",
                "component_format": "float32",
                "rfilter": {"type": "gaussian", "stddev": 0.5},
            },
            "sampler": {"type": "multijitter"},
        }
    )


def picture(scene: Any, camera: Camera, samples: int, seed: int) -> np.ndarray:
    """(H, W, 3) uint8: what the camera sees, path-traced, sRGB-encoded."""
    mitsuba = load_mitsuba()
    radiance = np.array(mitsuba.render(scene, sensor=sensor(mitsuba, camera), spp=samples, seed=seed))
    linear = np.clip(radiance, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)


def first_hits(scene: Any, origins: Array, directions: Array) -> tuple[Array, Array]:
    """Where rays first meet a surface.

    Args:
        origins: (N, 3) world frame, metres.
        directions: (N, 3) of unit length.

    Returns:
        distances: (N,) metres; infinite for a ray that leaves the scene.
        normals: (N, 3) unit length, of the triangle that is met; zero for a ray that leaves.
    """
    mitsuba = load_mitsuba()
    distances, normals = np.full(len(origins), np.inf), np.zeros((len(origins), 3))
    for index, (origin, direction) in enumerate(zip(origins.tolist(), directions.tolist(), strict=True)):
        hit = scene.ray_intersect(mitsuba.Ray3f(origin, direction))
        if hit.is_valid():
            distances[index], normals[index] = hit.t, np.array(hit.n)
    return distances, normals
