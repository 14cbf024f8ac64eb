"""The reference's remote viewer: a training answers it over TCP, from a thread and from copies."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait

import torch
from torch import Tensor
from tqdm import tqdm

from gaussian_renderer import render
from scene.gaussians import sh_degree_of
from viewer.live import LiveModel
from viewer.protocol import PREFIX, ProtocolError, Request, answer, parse_request, request_length
from viewer.surroundings import Surroundings

SHARE = 0.2  # of the time that drawing may take while the training runs
SHORTEST = 1 / 30  # seconds from one answer to the next
SILENCE = 60.0  # seconds after which a viewer that asks for nothing has gone
TRANSFER = 20.0  # seconds in which a message has to come or go whole


class RemoteViewer:
    """Answers one viewer at a time until `close`; others wait, and are answered when it has gone.

    A viewer may pause the training (`train` 0) and keep the process after the last iteration (`keep_alive` 1,
    see `linger`), both for as long as it is connected and asks. Whatever goes wrong with a viewer ends its
    connection, never the training; the first such thing is said.
    """

    def __init__(
        self, address: tuple[str, int], live: LiveModel, around: Surroundings, source_path: str
    ) -> None:
        """Listens, and answers from a thread.

        Args:
            address: IP address or name of this machine, and port; port 0: any that is free.
            live: the training.
            around: what its model stands in.
            source_path: the folder that the viewer is told to open.

        Raises:
            OSError: the address cannot be had.
        """
        self._live, self._around, self._source_path = live, around, source_path
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=4)
        self._closing, self._closed = socket.socketpair()
        self._client: socket.socket | None = None
        self._complained = False
        self._may_end = threading.Event()
        self._may_end.set()
        self._thread = threading.Thread(target=self._serve, name="remote viewer", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """The address listened on."""
        return self._listener.getsockname()[:2]

    def linger(self, say: Callable[[str], object]) -> None:
        """Waits while a viewer is connected that keeps the finished training; says so first."""
        if not self._may_end.is_set():
            say("the remote viewer is still answered: close it, or untick its keep-alive box, to end")
            self._may_end.wait()

    def close(self) -> None:
        """Ends the connection, if there is one, and gives the port back."""
        self._closing.close()
        if client := self._client:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # wakes a transfer
        self._thread.join()
        self._listener.close()
        self._closed.close()

    def _serve(self) -> None:
        while self._readable(self._listener):
            try:
                self._client, _ = self._listener.accept()
            except OSError:  # it has gone already
                continue
            with self._client as client:
                try:
                    self._talk(client)
                except ConnectionError:  # it has gone in the midst of an answer
                    pass
                except Exception as failure:  # a viewer never ends the training
                    self._complain(failure)
                finally:
                    self._live.release(self)
                    self._may_end.set()
            self._pause(3 * SHORTEST)  # or one that comes again and again would take the processor

    def _talk(self, client: socket.socket) -> None:
        """Answers a viewer until it goes."""
        while self._readable(client, SILENCE):
            prefix = _receive(client, PREFIX)
            if not prefix:
                return
            request = parse_request(_receive(client, request_length(prefix)))
            rgb, seconds = None, 0.0
            if request:
                self._steer(request)
                rgb, seconds = self._picture(request)
            client.settimeout(TRANSFER)
            client.sendall(answer(rgb, self._source_path))
            if request and request.train and not request.keep_alive:
                self._may_end.set()  # now that it has its answer
            running = not (self._live.paused or self._live.finished)
            self._pause(max(SHORTEST - seconds, seconds * (1 / SHARE - 1) if running else 0))

    def _steer(self, request: Request) -> None:
        """Lets the training go on or wait, and the process wait at its end."""
        if request.train:
            self._live.release(self)
        else:
            self._live.hold(self)
        if request.keep_alive or not request.train:
            self._may_end.clear()

    @torch.no_grad()
    def _picture(self, request: Request) -> tuple[Tensor, float]:
        """(3, H, W), the newest copy from the viewer's camera, and how long the drawing took in seconds."""
        while not (snapshot := self._live.latest(wait=0.1)):
            if self._live.finished:
                raise ProtocolError("nothing was trained that could be shown")
        started = time.monotonic()
        rendering = render(
            request.camera,
            snapshot.gaussians,
            sh_degree=sh_degree_of(snapshot.gaussians),
            background=self._around.background,
            engine=self._around.engine,
            antialiased=self._around.antialiased,
            scaling_modifier=request.scaling_modifier,
        )
        return rendering.rgb.cpu(), time.monotonic() - started

    def _readable(self, what: socket.socket, seconds: float | None = None) -> bool:
        """Waits for something to read, no longer than that; whether there is, and `close` was not called."""
        ready = wait({self._closed, what}, seconds)
        return what in ready and self._closed not in ready

    def _pause(self, seconds: float) -> None:
        """Waits, unless `close` is called."""
        wait([self._closed], max(seconds, 0))

    def _complain(self, failure: Exception) -> None:
        """Says the first thing that went wrong with a viewer."""
        if not self._complained:
            self._complained = True
            kind = "" if isinstance(failure, ProtocolError) else f"{type(failure).__name__}: "
            line = (
                f"warning: a remote viewer was disconnected: {kind}{failure}; of further ones nothing is said"
            )
            tqdm.write(line, file=sys.stderr)


def _receive(client: socket.socket, count: int) -> bytes:
    """`count` bytes, or none where the viewer has gone; a `TimeoutError` when they take too long."""
    deadline = time.monotonic() + TRANSFER
    received = bytearray()
    while len(received) < count:
        client.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = client.recv(count - len(received))
        if not part:
            return b""
        received += part
    return bytes(received)
