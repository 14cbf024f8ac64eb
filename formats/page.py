"""A web page that holds a model and shows it: one file, opened from the disk, without a server or a network.

The page's model is an SPZ file, version 3, with all bits of its SH coefficients; its program is ours
(`viewer_*.js`): WebGL 2, Gaussians sorted by depth for each picture, all SH degrees.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from formats.splats import Splats
from formats.spz import TURN, pack_spz
from utils.errors import UserError

SCRIPTS = ("viewer_model.js", "viewer_renderer.js", "viewer_controls.js")
MOST_BYTES = 300_000_000
"""Of the model in the page; browsers hold text of half a gigabyte at most."""


@dataclass(frozen=True, eq=False)
class View:
    """A camera that the page can go to.

    Attributes:
        world_to_camera: (4, 4), OpenCV axes, scene units.
        intrinsics: (3, 3), in pixels of the picture.
        size: of the picture, width and height in pixels.
        distance: of what it looks at, scene units; the page turns about that point.
    """

    world_to_camera: NDArray
    intrinsics: NDArray
    size: tuple[int, int]
    distance: float


def page(splats: Splats, views: Sequence[View], title: str, background: tuple[float, float, float]) -> str:
    """The page's text.

    Args:
        splats: the model, in the axes of a PLY.
        views: at least one; the page starts at the first.
        title: of the page, plain text.
        background: red, green, blue in [0, 1].

    Raises:
        UserError: the model is too large for a page.
    """
    model = base64.b64encode(pack_spz(splats, sh_bits=(8, 8))).decode()
    if len(model) > MOST_BYTES:
        raise UserError(
            f"the page would hold {len(model) / 1e6:,.0f} MB, more than browsers take; give --sh_degree 0, "
            "or --format spz for a viewer that loads files"
        )
    ups = [-view.world_to_camera[1, :3] for view in views]
    up = np.mean(ups, axis=0) if np.linalg.norm(np.mean(ups, axis=0)) > 0.1 else ups[0]
    scene = {
        "background": list(background),
        "up": (TURN * up / np.linalg.norm(up)).tolist(),
        "cameras": [_camera(view) for view in views],
    }
    here = Path(__file__).parent
    values = {
        "title": escape(title),
        "style": Template((here / "viewer.css").read_text(encoding="utf-8")).substitute(
            background=" ".join(str(round(255 * value)) for value in background)
        ),
        "cameras": json.dumps(scene),
        "model": model,
        "script": "".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    return Template((here / "viewer.html").read_text(encoding="utf-8")).substitute(values)


def _camera(view: View) -> dict:
    """What the page's program knows of a view, in the model's axes."""
    pose = np.asarray(view.world_to_camera, np.float64)
    rotation = pose[:3, :3] * TURN
    return {
        "rotation": rotation.reshape(-1).round(7).tolist(),
        "position": (-rotation.T @ pose[:3, 3]).tolist(),
        "lens": [float(view.intrinsics[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))],
        "width": view.size[0],
        "height": view.size[1],
        "distance": view.distance,
    }
