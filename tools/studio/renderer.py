"""Pictures of meshes, and rays into them, through Mitsuba 3 (a dependency of the tools alone)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter

from scene.cameras import Camera
from tools.studio.materials import Item, Material
from tools.studio.meshes import Mesh
from tools.studio.textures import Array, encoded, linear
from utils.optional_modules import optional_module

VERTEX_COLOUR = "vertex_colour"


def load_mitsuba() -> Any:
    """The module, set to its scalar RGB variant, the one that needs nothing beside the package.

    Raises:
        UserError: it is not installed.
    """
    mitsuba = optional_module("mitsuba", "this tool needs the renderer Mitsuba 3")
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def use_one_thread() -> None:
    """Keeps the renderer to one thread, where several processes are the parallelism."""
    load_mitsuba()
    import drjit  # noqa: PLC0415  # comes with Mitsuba, which is optional

    drjit.set_thread_count(1)


def texture(mitsuba: Any, values: Array) -> dict[str, Any]:
    """A Mitsuba texture of an sRGB colour or picture, or of the mesh's vertex colours."""
    if values.ndim == 1:
        return {"type": "rgb", "value": linear(values).tolist()}
    if values.ndim == 2:
        return {"type": "mesh_attribute", "name": VERTEX_COLOUR}
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
    if material.colour.ndim == 2:
        result.add_attribute(VERTEX_COLOUR, 3, linear(material.colour).astype(np.float32).ravel())
    buffers = mitsuba.traverse(result)
    buffers["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    buffers["vertex_normals"] = mesh.normals.astype(np.float32).ravel()
    buffers["vertex_texcoords"] = mesh.uv.astype(np.float32).ravel()
    buffers["faces"] = mesh.faces.astype(np.uint32).ravel()
    buffers.update()
    return result


def assembled(items: list[Item], lights: dict[str, Any], max_depth: int, hide_lights: bool = False) -> Any:
    """The Mitsuba scene of the items under the lights, path-traced.

    Args:
        lights: Mitsuba dictionaries of emitters, by name; empty for a scene that only rays are sent into.
        max_depth: edges of the longest light path; 2 is direct light alone.
        hide_lights: cameras do not see the lights, nor a lit surround; see `picture`, `behind`.
    """
    mitsuba = load_mitsuba()
    shapes = {f"item_{number:03d}": shape(mitsuba, *item) for number, item in enumerate(items)}
    integrator = {"type": "path", "max_depth": max_depth, "hide_emitters": hide_lights}
    return mitsuba.load_dict({"type": "scene", "integrator": integrator, **lights, **shapes})


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
                "pixel_format": "rgba",
                "component_format": "float32",
                "rfilter": {"type": "gaussian", "stddev": 0.5},
            },
            "sampler": {"type": "multijitter"},
        }
    )


def picture(
    scene: Any,
    camera: Camera,
    samples: int,
    seed: int,
    without_fireflies: bool = False,
    behind: float = 0.0,
) -> np.ndarray:
    """(H, W, 3) uint8: what the camera sees, path-traced, sRGB-encoded.

    Args:
        samples: light paths a pixel; the noise falls with its square root.
        without_fireflies: no pixel is brighter than the brightest of its neighbours, in any channel; for few
            samples, where single paths off shiny surfaces leave white specks.
        behind: grey level, 0 to 1, where the camera sees neither a surface nor a light.
    """
    mitsuba = load_mitsuba()
    radiance = np.array(mitsuba.render(scene, sensor=sensor(mitsuba, camera), spp=samples, seed=seed))
    background = np.float32(linear(np.array(behind)))
    shown = np.clip(radiance[..., :3] + (1 - radiance[..., 3:]) * background, 0, 1)
    if without_fireflies:
        around = np.ones((3, 3, 1), bool)
        around[1, 1] = False
        shown = np.minimum(shown, maximum_filter(shown, footprint=around))
    return np.round(encoded(shown) * 255).astype(np.uint8)


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
