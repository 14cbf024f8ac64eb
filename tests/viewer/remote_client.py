"""The remote viewer's side of its protocol, written from its description and not from our server."""

import contextlib
import json
import math
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

WIDTH, HEIGHT = 44, 30
FIELD_OF_VIEW = 0.9, 0.65  # radians, x then y


def opengl_view(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(4, 4), world to eye: x right, y up, looking along -z; the world's -y is up."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, -1.0, 0.0], back)
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = right, np.cross(back, right), back
    view[:3, 3] = -view[:3, :3] @ position
    return view


def opengl_projection(near: float = 0.01, far: float = 100.0) -> np.ndarray:
    """(4, 4), eye to clip space, of `FIELD_OF_VIEW`."""
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1] = (1 / math.tan(angle / 2) for angle in FIELD_OF_VIEW)
    projection[2, 2], projection[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
    projection[3, 2] = -1
    return projection


def request(view: np.ndarray | None = None, **changes: Any) -> dict[str, Any]:
    """A request with every field that the viewer sends, some changed."""
    if view is None:
        view = opengl_view(np.array([0.3, -0.5, -3.0]), np.zeros(3))
    return {
        **{"resolution_x": WIDTH, "resolution_y": HEIGHT, "train": 1, "keep_alive": 0},
        **{"fov_x": FIELD_OF_VIEW[0], "fov_y": FIELD_OF_VIEW[1], "z_near": 0.01, "z_far": 100.0},
        **{"shs_python": 0, "rot_scale_python": 0, "scaling_modifier": 1.0},
        "view_matrix": view.T.reshape(16).tolist(),
        "view_projection_matrix": (opengl_projection() @ view).T.reshape(16).tolist(),
        **changes,
    }


class Client(contextlib.AbstractContextManager):
    """A viewer that is connected."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=60)

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, fields: Mapping[str, Any]) -> None:
        """Sends a request."""
        message = json.dumps(fields).encode()
        self.socket.sendall(struct.pack("<I", len(message)) + message)

    def read(self, count: int) -> bytes:
        """So many bytes; a `ConnectionError` where fewer come."""
        result = b""
        while len(result) < count:
            part = self.socket.recv(count - len(result))
            if not part:
                raise ConnectionError(f"{len(result)} of {count} bytes")
            result += part
        return result

    def ask(self, view: np.ndarray | None = None, **changes: Any) -> tuple[np.ndarray | None, str]:
        """The picture (H, W, 3) uint8, if the resolution is not zero, and the path that came with it."""
        fields = request(view, **changes)
        self.send(fields)
        width, height = fields["resolution_x"], fields["resolution_y"]
        picture = None
        if width and height:
            picture = np.frombuffer(self.read(width * height * 3), np.uint8).reshape(height, width, 3)
        (length,) = struct.unpack("<I", self.read(4))
        return picture, self.read(length).decode()

    def was_dropped(self) -> bool:
        """Whether the other side has ended the connection, which is waited for."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
