"""The messages between the reference's remote viewer and a training: what is asked for, what is answered.

A request is its length (4 bytes, unsigned, little-endian) and one JSON object in UTF-8. The answer is the
picture (width x height x 3 bytes, RGB, from the top) where one was asked for, then a length and the path of
the dataset, which the viewer opens to show the cameras. What comes from outside is checked before it is used.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from scene.cameras import Camera

PREFIX = 4  # bytes
LONGEST_REQUEST = 16_384  # bytes; the viewer's own have about a thousand
LARGEST_SIDE = 4096  # pixels
FARTHEST = 1e9  # scene units; its square is a float32 still
FIELD_OF_VIEW = (1e-3, 3.14)  # radians
ROUNDING = 1e-3  # by which the rows of a rotation may miss length 1 and right angles


class ProtocolError(ValueError):
    """A message that no remote viewer sends."""


@dataclass(frozen=True)
class Request:
    """A picture that a viewer asks for, and how the training is to go on.

    Attributes:
        camera: from where, OpenCV axes, with a centred principal point.
        scaling_modifier: factor on the Gaussians' deviations, above 0 to 1.
        train: go on; False: wait.
        keep_alive: go on answering after the last iteration.
    """

    camera: Camera
    scaling_modifier: float
    train: bool
    keep_alive: bool


def request_length(prefix: bytes) -> int:
    """The bytes of the request that follows its 4-byte prefix; a `ProtocolError` above `LONGEST_REQUEST`."""
    (length,) = struct.unpack("<I", prefix)
    if length > LONGEST_REQUEST:
        raise ProtocolError(f"a request of {length} bytes; at most {LONGEST_REQUEST} are read")
    return length


def parse_request(message: bytes) -> Request | None:
    """What a request says; None where its resolution is zero: the viewer has opened no scene yet.

    `z_near`, `z_far`, `shs_python`, `rot_scale_python` and `view_projection_matrix` are not read: both
    engines evaluate harmonics and covariances themselves, and the fields of view say how to project.

    Raises:
        ProtocolError: no JSON object, or a field that is missing, of another type or out of its range.
    """
    try:
        fields = json.loads(message.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ProtocolError(f"a request that is not JSON ({problem})") from None
    if not isinstance(fields, dict):
        raise ProtocolError("a request that is not a JSON object")
    width, height = (_whole(fields, f"resolution_{axis}", LARGEST_SIDE) for axis in "xy")
    if not (width and height):
        return None
    focal = [
        size / (2 * math.tan(_real(fields, f"fov_{axis}", *FIELD_OF_VIEW) / 2))
        for axis, size in (("x", width), ("y", height))
    ]
    intrinsics = torch.tensor([[focal[0], 0, width / 2], [0, focal[1], height / 2], [0, 0, 1]])
    pose = _world_to_camera(fields.get("view_matrix"))
    return Request(
        camera=Camera("remote viewer", pose, intrinsics, width, height),
        scaling_modifier=_real(fields, "scaling_modifier", 1e-6, 1),
        train=bool(_whole(fields, "train", 1)),
        keep_alive=bool(_whole(fields, "keep_alive", 1)),
    )


def answer(rgb: Tensor | None, source_path: str) -> bytes:
    """The reply to a request.

    Args:
        rgb: (3, H, W) float32, clamped to [0, 1] here and cut to 8 bits, not rounded; None: no picture.
        source_path: of the dataset; sent in UTF-8.
    """
    path = source_path.encode("utf-8", "surrogateescape")
    picture = b""
    if rgb is not None:
        picture = (rgb.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
    return picture + struct.pack("<I", len(path)) + path


def _world_to_camera(values: Any) -> Tensor:
    """(4, 4) float32 in OpenCV axes from 16 numbers, column by column in OpenGL's (y up, z back)."""
    if not (isinstance(values, list) and len(values) == 16 and all(map(_is_number, values))):
        raise ProtocolError("view_matrix is not a list of 16 numbers")
    if not all(abs(value) <= FARTHEST for value in values):
        raise ProtocolError(f"view_matrix has numbers beyond {FARTHEST:g}")
    pose = torch.tensor(values, dtype=torch.float32).reshape(4, 4).T.contiguous()
    pose[1:3] *= -1
    rotation, last = pose[:3, :3], torch.tensor([0.0, 0.0, 0.0, 1.0])
    skew = (rotation @ rotation.T - torch.eye(3)).abs().max()
    if skew > ROUNDING or torch.det(rotation) < 0 or not torch.equal(pose[3], last):
        raise ProtocolError("view_matrix is not a rotation and a translation")
    return pose


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _real(fields: Mapping[str, Any], name: str, lowest: float, highest: float) -> float:
    value = fields.get(name)
    if not (_is_number(value) and lowest <= value <= highest):  # NaN is not
        raise ProtocolError(f"{name} is not a number from {lowest:g} to {highest:g}")
    return float(value)


def _whole(fields: Mapping[str, Any], name: str, highest: int) -> int:
    value = fields.get(name)
    if not (isinstance(value, int) and 0 <= value <= highest):
        raise ProtocolError(f"{name} is not a whole number from 0 to {highest}")
    return int(value)
