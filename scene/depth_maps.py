"""Depth maps given with a dataset: inverse depth in PNG files of 16 bits, and the scale of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scene.cameras import Camera
from scene.measured_depths import measured_inverse
from scene.nerfstudio import depth_files
from utils.errors import UserError, Warnings

PARAMETERS_FILE = "depth_params.json"
STEPS = 65536  # what a stored value is divided by, as the reference has it
UNLIKELY = 5.0  # times the median scale, or that part of it, from which on a scale is not relied upon


@dataclass(frozen=True, eq=False)
class DepthMap:
    """What a photograph's map says of inverse depth.

    Attributes:
        inverse: (H, W) float32 at the camera's size, at least 0; larger is nearer.
        metric: whether it is in 1 / scene units. Otherwise its scale and offset are unknown.
        known: (H, W) bool, where it says something; None: everywhere.
    """

    inverse: Tensor
    metric: bool
    known: Tensor | None = None


class Parameters(NamedTuple):
    """What brings a map's values to 1 / scene units: value * scale + offset; scale 0: it is not known."""

    scale: float
    offset: float


def load_depth_maps(
    source: Path, folder: str, cameras: Sequence[Camera], warnings: Warnings
) -> dict[str, DepthMap]:
    """The maps of the cameras' photographs, by the cameras' names.

    The format is the reference's: `folder/<photograph's name without ending>.png` (of a Blender frame
    train/r_0.png, say), one channel of 16 bits, value / 65536 inverse depth, of the photograph's shape at any
    size; of the undistorted photograph, where a lens bends straight lines. Where the dataset has
    `depth_params.json` beside its COLMAP model, maps are brought to 1 / scene units; one whose scale is
    missing, not positive, or more than five times the median scale or less than a fifth of it, is left out
    with a warning.

    In a Nerfstudio dataset, a folder in which its frames' `depth_file_path` lie holds a sensor's depths
    instead (see `measured_inverse`); a photograph whose frame names none there has no map.

    Args:
        source: the dataset's folder.
        folder: of the maps, inside the dataset or absolute.
        cameras: with photographs.
        warnings: takes what is odd but usable.

    Raises:
        UserError: a map is missing, damaged, of 8 bits, of another shape, or holds one value only; or the
            parameters cannot be read.
    """
    measured = depth_files(source, folder)
    if measured.files:
        return {
            camera.name: DepthMap(inverse, metric=True, known=known)
            for camera in cameras
            if (file := measured.files.get(camera.name))
            for inverse, known in [measured_inverse(file, measured.unit, camera)]
        }
    parameters = read_parameters(source)
    files = {camera.name: source / folder / f"{stem(camera)}.png" for camera in cameras}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        names = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        raise UserError(
            f"--depths: {len(missing)} of {len(files)} training photographs have no depth map in "
            f"{source / folder}: {names}; looked for {files[missing[0]]}. Make them with "
            f"`python -m tools.make_depths -s {source} --model FOLDER` (a depth estimation model)"
        )
    positive = [each.scale for each in parameters.values() if each.scale > 0]
    middle = float(np.median(positive)) if positive else 0.0
    maps = {}
    for camera in cameras:
        inverse = _fitted(read_map(files[camera.name]), camera, files[camera.name])
        if not middle:
            maps[camera.name] = DepthMap(inverse, metric=False)
            continue
        scale, offset = parameters.get(stem(camera), Parameters(0.0, 0.0))
        if middle / UNLIKELY <= scale <= middle * UNLIKELY:
            maps[camera.name] = DepthMap((inverse * scale + offset).clamp_min(0), metric=True)
        else:
            warnings.add(f"{PARAMETERS_FILE} has no likely scale, the depth map is left out", camera.name)
    return maps


def supposed_depth(map_: DepthMap) -> NDArray[np.float32]:
    """(H, W) depths from 1 to 10, as good as any others for a map whose scale and offset are unknown.

    The nearest and the farthest hundredth of the pixels are all as near and as far as that.
    """
    inverse = map_.inverse.numpy()
    low, high = np.percentile(inverse, [1, 99])
    nearness = np.clip((inverse - low) / max(high - low, 1 / STEPS), 0, 1)
    return (1 / (0.1 + 0.9 * nearness)).astype(np.float32)


def read_map(path: Path) -> NDArray[np.float32]:
    """(H, W) values of a map's file in [0, 1), larger is nearer.

    Raises:
        UserError: the file is damaged, not of 16 bits and one channel, or holds one value only.
    """
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise UserError(
            f"{path} cannot be read as a picture ({failure}); make the depth map anew"
        ) from failure
    if not mode.startswith("I"):
        raise UserError(
            f"{path} is no depth map: wanted is a PNG of one channel of 16 bits, found are 8 bits a channel "
            f"(mode {mode}). Make the depth maps anew with 16 bits"
        )
    if values.min() == values.max():
        raise UserError(
            f"{path} says nothing of depth: all of its values are {values.min()}; make the depth map anew"
        )
    return np.divide(values, STEPS, dtype=np.float32)


def read_parameters(source: Path) -> dict[str, Parameters]:
    """Scale and offset by photograph's name without ending; nothing where the dataset has no such file.

    Raises:
        UserError: the file is not as `tools.make_depths` and the reference write it.
    """
    path = parameters_file(source)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {
            name: Parameters(float(each["scale"]), float(each["offset"])) for name, each in content.items()
        }
        if not np.isfinite(list(found.values())).all():
            raise ValueError("a number is not finite")
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as failure:
        raise UserError(
            f'{path} cannot be read ({failure!r}); wanted is {{"photograph": {{"scale": 1, "offset": 0}}}} '
            "and so on. Make it anew, or delete it: then depths count up to scale and offset"
        ) from failure
    return found


def parameters_file(source: Path) -> Path:
    """Where a dataset has its maps' scales: beside the COLMAP model."""
    folder = source / "sparse" / "0"
    return (folder if folder.is_dir() else source / "sparse") / PARAMETERS_FILE


def stem(camera: Camera) -> str:
    """The photograph's name without its ending, as its map and its parameters are called."""
    return camera.name.removesuffix(camera.own_photograph.path.suffix)


def _fitted(values: NDArray[np.float32], camera: Camera, path: Path) -> Tensor:
    """(H, W) float32 of the map at the camera's size, bilinear.

    Raises:
        UserError: the map has another shape, not even at another scale.
    """
    height, width = values.shape
    rounded = width + height + camera.width + camera.height  # by up to a pixel, each of the sides
    if abs(width * camera.height - height * camera.width) > rounded:
        raise UserError(
            f"{path} has {width}x{height} pixels, its photograph {camera.width}x{camera.height} in training: "
            "not the same picture, not even at another scale. Make the depth map anew"
        )
    size = (camera.height, camera.width)
    return F.interpolate(
        torch.from_numpy(values)[None, None], size=size, mode="bilinear", align_corners=False
    )[0, 0]
