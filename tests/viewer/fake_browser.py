"""A client that speaks viser's protocol as a browser does, and draws nothing."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import viser
import zstandard
from viser import _messages
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from viewer.paths import KeyFrame


class FakeBrowser:
    """Connects, stands at a key frame in a window of so many pixels, and takes in what the server says."""

    def __init__(
        self, address: str, frame: KeyFrame, width: int = 80, height: int = 60, origin: str | None = None
    ) -> None:
        self.connection = connect(
            address.replace("http", "ws"),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol(f"viser-v{viser.__version__}")],
            compression=None,
            max_size=None,
        )
        self.width, self.height = width, height
        self.heard: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.stand_at(frame)

    def stand_at(self, frame: KeyFrame) -> None:
        """Tells the server where the browser's camera is."""
        rotation, position = frame.camera_to_world[:3, :3], frame.position
        self.say(
            _messages.ViewerCameraMessage(
                wxyz=tuple(frame.wxyz.tolist()),
                position=tuple(position.tolist()),
                fov=math.radians(frame.fov_y_degrees),
                near=0.01,
                far=1000.0,
                image_height=self.height,
                image_width=self.width,
                look_at=tuple((position + rotation[:, 2]).tolist()),
                up_direction=tuple((-rotation[:, 1]).tolist()),
            )
        )

    def say(self, message: _messages.Message) -> None:
        """Sends a message; what nobody hears any more is lost."""
        with suppress(ConnectionClosed):
            self.connection.send(msgspec.msgpack.encode(message.as_serializable_dict()))

    @property
    def connected(self) -> bool:
        """Whether the server is still there."""
        return self._thread.is_alive()

    def set(self, label: str, value: Any) -> None:
        """Changes a control of the panel; for a button, True presses it."""
        control = self.wait(lambda message: message.get("props", {}).get("label") == label)
        self.say(_messages.GuiUpdateMessage(control["uuid"], {"value": value}))

    def press(self, label: str) -> None:
        """Presses a button of the panel."""
        self.set(label, True)

    def click(self, name: str) -> None:
        """Clicks a node of the scene."""
        self.say(_messages.SceneNodeClickMessage(name, None, (0, 0, 0), (0, 0, 1), (0.5, 0.5), None))

    def wait(self, fits: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """The first message heard that fits; fails if there is none in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in list(self.heard):
                if fits(message):
                    return message
            time.sleep(0.02)
        raise AssertionError(f"not heard; {sorted({message['type'] for message in self.heard})}")

    def note(self, title: str) -> str:
        """The text of a note with that title."""
        shown = self.wait(
            lambda it: it["type"] == "NotificationShowMessage" and it["props"]["title"] == title
        )
        self.heard.remove(shown)
        return shown["props"]["body"]

    def close(self) -> None:
        """Says goodbye."""
        self.connection.close()
        self._thread.join()

    def vanish(self) -> None:
        """Is gone from one moment to the next, as when a browser is killed."""
        self.connection.socket.close()

    def _listen(self) -> None:
        unpack = zstandard.ZstdDecompressor()
        try:
            for window in self.connection:
                assert isinstance(window, bytes)
                size, packed = np.frombuffer(window[:16], "<u8").tolist()
                plain = unpack.decompress(window[16 : 16 + packed], max_output_size=size)
                self.heard += msgspec.msgpack.decode(plain)["messages"]
        except (ConnectionClosed, OSError):
            pass
