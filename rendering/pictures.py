"""The pictures that are made of one look at a model, and their files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gaussian_renderer import Rendering
from rendering.model import TrainedModel
from rendering.paths import CameraPath
from scene.cameras import NEAR_PLANE, Camera
from scene.exposure import expose
from scene.points import PointCloud, depth_range
from utils.depth_images import SOLID, DepthScale, depth_scale, solid_depth
from utils.determinism import sigmoid
from utils.files import write_json
from utils.images import image_pixels, write_pixels, write_png
from utils.video import write_video

KINDS = ("renders", "gt", "masks", "rgba", "depth", "depth_coloured")
"""Folders of pictures that there can be."""
MOST_POINTS = 20_000  # Gaussians that tell how deep the scene is

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Painter:
    """Makes the pictures of a camera.

    Attributes:
        model: what is looked at.
        exposures: (3, 4) matrices by camera name; other cameras show the scene's own colours.
        depth: how depths are written; None: they are not.
        alpha: whether there is a picture with alpha.
    """

    model: TrainedModel
    exposures: Mapping[str, Tensor]
    depth: DepthScale | None
    alpha: bool

    def pictures(self, camera: Camera) -> dict[str, Pixels]:
        """Pixels by kind: `renders` (H, W, 3); if asked for `rgba` (H, W, 4), straight alpha; `depth` (H, W)
        uint16 and `depth_coloured` (H, W, 3)."""
        view = self.model.look(camera, depth=self.depth is not None)
        result: dict[str, Pixels] = {"renders": image_pixels(self._exposed(view.rgb, camera))}
        if self.alpha:
            colours = self._exposed(straight_colours(view, self.model.background), camera)
            alpha = image_pixels(view.alpha)
            result["rgba"] = np.concatenate([image_pixels(colours), alpha], axis=2)
        if self.depth:
            assert view.depth is not None
            depth = solid_depth(view.depth, view.alpha)
            result |= {"depth": self.depth.pixels(depth), "depth_coloured": self.depth.coloured(depth)}
        return result

    def _exposed(self, rgb: Tensor, camera: Camera) -> Tensor:
        return expose(rgb, self.exposures[camera.name].to(rgb)) if camera.name in self.exposures else rgb

    def frames(self, cameras: Sequence[Camera], kind: str, label: str, quiet: bool) -> Iterator:
        """The pictures of one kind, camera by camera."""
        for camera in tqdm(cameras, desc=label, disable=quiet):
            yield self.pictures(camera)[kind]


def straight_colours(view: Rendering, background: Tensor) -> Tensor:
    """(3, H, W): the Gaussians' colours alone, not weighed by alpha; black where nothing is.

    Args:
        view: rendered over the background.
        background: (3,).
    """
    own = view.rgb - (1 - view.alpha) * background[:, None, None]
    return torch.where(view.alpha > 0, own / view.alpha.clamp(min=1e-6), 0)


def solid_means(model: TrainedModel) -> NDArray[np.float32]:
    """(N, 3): centres of Gaussians that are solid by themselves, evenly chosen, some ten thousand at most."""
    solid = model.gaussians["means"][sigmoid(model.gaussians["opacities"]) >= SOLID].numpy(force=True)
    return solid[:: max(1, len(solid) // MOST_POINTS)]


def depths_of(model: TrainedModel, cameras: Sequence[Camera]) -> DepthScale:
    """One scale for all pictures of the scene: by the depths at which these cameras see solid Gaussians."""
    few = solid_means(model)
    near, far = depth_range(cameras, PointCloud(few, np.zeros((len(few), 3), np.uint8)))
    near = max(near, NEAR_PLANE)
    return depth_scale(near, max(far, 1.01 * near))


def write_views(
    folder: Path, cameras: Sequence[Camera], painter: Painter, quiet: bool, photographs: bool
) -> None:
    """Writes the cameras' pictures into the folder, in place of what an earlier run left there.

    The folders `renders` and `gt` are there even if there are no cameras, as in the reference.

    Args:
        folder: takes a folder for each kind, and `depth.json` which says what the depths mean.
        cameras: numbered in this order.
        photographs: write those of the cameras too, as `gt`, and as `masks` what of them counts in a metric
            (white), for those that have one.
    """
    for kind in KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)
    (folder / "depth.json").unlink(missing_ok=True)
    for kind in KINDS[: 2 if photographs else 1]:
        (folder / kind).mkdir(parents=True)
    if painter.depth:
        write_json(folder / "depth.json", painter.depth.record())
    background = painter.model.background
    for index, camera in enumerate(tqdm(cameras, desc=str(folder), disable=quiet)):
        for kind, pixels in painter.pictures(camera).items():
            write_pixels(folder / kind / f"{index:05d}.png", pixels)
        if photographs:
            target, weight = camera.own_photograph.target(background, background.device)
            write_png(folder / "gt" / f"{index:05d}.png", target)
            if weight is not None:
                write_png(folder / "masks" / f"{index:05d}.png", weight.expand(3, -1, -1))


def write_path_video(folder: Path, path: CameraPath, painter: Painter, quiet: bool) -> list[Path]:
    """Writes a path's video into the folder, and one of its depth in colours if the painter makes them.

    Returns:
        the files.
    """
    name = painter.model.name
    videos = {"renders": folder / f"{name}.mp4"}
    if painter.depth:
        videos["depth_coloured"] = folder / f"{name}_depth.mp4"
        write_json(folder / f"{name}_depth.json", painter.depth.record())
    for kind, file in videos.items():
        frames = painter.frames(path.cameras, kind, f"{path.folder.name} {kind}", quiet)
        write_video(file, frames, path.frames_per_second)
    return list(videos.values())
