"""A material: what a surface looks like, said without any renderer."""

from dataclasses import dataclass

from tools.studio.meshes import Mesh
from tools.studio.textures import Array


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface looks like, on both its sides.

    Attributes:
        colour: (H, W, 3) texture, (V, 3) colours of the mesh's vertices, or (3,) colour; sRGB in [0, 1].
        roughness: 0 is a mirror, 1 is matt.
        coat: strength of a thin, smoother layer of glaze or varnish, 0 to 1.
        metal: 0 or 1.
        relief: (H, W) in [0, 1], raised by `depth` metres: in the shading only, the mesh stays smooth.
    """

    colour: Array
    roughness: float = 0.8
    coat: float = 0.0
    metal: float = 0.0
    relief: Array | None = None
    depth: float = 0.0


Item = tuple[Mesh, Material]
