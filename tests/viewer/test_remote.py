"""The remote viewer beside a training: what it sees, how it steers, and that it can do no harm."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train
import viewer.remote
import viewer.watching
from gaussian_renderer import render
from tests.programs import BUSY, PLAIN, ply, run_train
from tests.small_scene import cpu_engine, some_gaussians
from tests.viewer.remote_client import Client, request
from tests.viewer.waiting import until
from training.presets import read_options
from viewer.live import LiveModel
from viewer.protocol import answer, parse_request
from viewer.remote import RemoteViewer
from viewer.surroundings import Surroundings
from viewer.watching import ViewerOptions, watched

LOOPBACK = "127.0.0.1"


def around() -> Surroundings:
    return Surroundings([], torch.tensor([0.1, 0.2, 0.3]), cpu_engine(), True, Path("nowhere"))


class Trainer:
    """A training that only offers, in a thread, as fast as it can."""

    def __init__(self, live: LiveModel) -> None:
        self.live, self.gaussians, self.stop = live, some_gaussians(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        for iteration in range(1, self.live.progress.iterations + 1):
            if self.stop.wait(0.001):
                return
            self.live.offer(iteration, self.gaussians)

    def goes_on(self) -> None:
        """Fails unless it does."""
        before = self.live.progress.iteration
        until(lambda: self.live.progress.iteration > before + 2)

    def stands(self) -> None:
        """Fails unless it comes to rest."""

        def rests() -> bool:
            before = self.live.progress.iteration
            time.sleep(0.1)
            return self.live.progress.iteration == before

        until(rests)


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    trainer = Trainer(LiveModel(10**9))
    yield trainer
    trainer.stop.set()
    trainer.thread.join(20)
    assert not trainer.thread.is_alive()


@pytest.fixture
def remote(trainer: Trainer) -> Iterator[RemoteViewer]:
    remote = RemoteViewer((LOOPBACK, 0), trainer.live, around(), "/data/Gärten")
    yield remote
    remote.close()


def test_a_viewer_sees_what_our_renderer_makes_of_its_view(trainer, remote):
    for scaling in (1.0, 0.3):
        asked = parse_request(str(request(scaling_modifier=scaling)).replace("'", '"').encode())
        assert asked is not None
        with torch.no_grad():
            expected = render(
                asked.camera,
                trainer.gaussians,
                sh_degree=3,
                background=torch.tensor([0.1, 0.2, 0.3]),
                engine=cpu_engine(),
                antialiased=True,
                scaling_modifier=scaling,
            ).rgb
        with Client(remote.address) as client:
            picture, path = client.ask(scaling_modifier=scaling)
        assert picture is not None and path == "/data/Gärten"
        assert picture.tobytes() == answer(expected, "")[:-4]
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_it_sees_the_training_go_on(trainer, remote):
    with Client(remote.address) as client:
        before, _ = client.ask()
        with torch.no_grad():
            trainer.gaussians["sh0"].neg_()
        for _ in range(20):
            after, _ = client.ask()
            if not np.array_equal(before, after):
                return
    pytest.fail("the same picture for ever")


def test_a_viewer_without_a_scene_gets_the_path_and_steers_nothing(trainer, remote):
    with Client(remote.address) as client:
        assert client.ask(resolution_x=0, resolution_y=0, train=0) == (None, "/data/Gärten")
        assert client.ask(resolution_y=0, train=0) == (None, "/data/Gärten")
        trainer.goes_on()


def test_train_0_pauses_and_train_1_or_leaving_goes_on(trainer, remote):
    with Client(remote.address) as client:
        client.ask()
        trainer.goes_on()
        client.ask(train=0)
        assert trainer.live.paused
        client.ask(train=0)
        trainer.stands()
        client.ask(train=1)
        trainer.goes_on()
        client.ask(train=0)
    trainer.goes_on()


def test_a_second_viewer_is_answered_when_the_first_has_gone(trainer, remote):
    with Client(remote.address) as second_to_be, Client(remote.address) as other:
        second_to_be.ask()
        other.send(request())
        other.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.socket.recv(1)
        second_to_be.socket.close()
        other.socket.settimeout(20)
        assert len(other.read(10)) == 10


HOSTILE = {
    "four gigabytes": struct.pack("<I", 2**32 - 1) + b"{",
    "no JSON": struct.pack("<I", 6) + b"GET / ",
    "a browser": b"GET / HTTP/1.1\r\nHost: localhost:6009\r\n\r\n",
    "nothing": struct.pack("<I", 0),
    "nested": struct.pack("<I", 9000) + b"[" * 9000,
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_ends_its_connection_and_nothing_else(trainer, remote, capsys, sent):
    for _ in range(3):
        with Client(remote.address) as client:
            client.ask(train=0)
            client.socket.sendall(sent)
            assert client.was_dropped()
    trainer.goes_on()
    with Client(remote.address) as client:
        assert client.ask()[0] is not None
    said = capsys.readouterr().err
    assert said.count("warning: a remote viewer was disconnected: a request ") == 1


def test_a_huge_picture_is_refused_before_it_is_drawn(trainer, remote, capsys):
    with Client(remote.address) as client:
        client.send(request(resolution_x=100_000, resolution_y=100_000))
        assert client.was_dropped()
    assert "resolution_x is not a whole number from 0 to 4096" in capsys.readouterr().err
    trainer.goes_on()


@pytest.mark.parametrize("begun", [b"", b"\x10", b"\x10\0\0\0{"], ids=["silent", "prefix", "message"])
def test_one_who_stops_in_the_midst_is_dropped_in_time(trainer, remote, monkeypatch, begun):
    monkeypatch.setattr(viewer.remote, "SILENCE", 0.1)
    monkeypatch.setattr(viewer.remote, "TRANSFER", 0.1)
    with Client(remote.address) as client:
        client.ask(train=0)
        client.socket.sendall(begun)
        assert client.was_dropped()
    trainer.goes_on()


@pytest.mark.parametrize("begun", [b"\x10", b"\x10\0\0\0{"], ids=["prefix", "message"])
def test_one_who_leaves_in_the_midst_of_a_message(trainer, remote, begun):
    with Client(remote.address) as client:
        client.socket.sendall(begun)
    with Client(remote.address) as client:
        assert client.ask()[0] is not None


def test_one_who_never_reads_is_dropped_in_time(trainer, remote, monkeypatch):
    monkeypatch.setattr(viewer.remote, "TRANSFER", 0.2)
    with Client(remote.address) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(request(resolution_x=2000, resolution_y=1000, train=0))  # more than a kernel keeps
        until(lambda: trainer.live.paused)
        until(lambda: not trainer.live.paused)
        trainer.goes_on()


def test_one_who_leaves_without_reading(trainer, remote):
    for _ in range(3):
        with Client(remote.address) as client:
            client.send(request(train=0))
    with Client(remote.address) as client:
        assert client.ask()[0] is not None
    trainer.goes_on()


def test_a_frame_that_fails_ends_the_connection_only(trainer, remote, capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(viewer.remote, "render", fail)
    with Client(remote.address) as client:
        client.send(request())
        assert client.was_dropped()
    with Client(remote.address) as client:
        assert client.ask(resolution_x=0) == (None, "/data/Gärten")
    assert "disconnected: RuntimeError: CUDA out of memory" in capsys.readouterr().err
    trainer.goes_on()


def test_closing_ends_a_connection_that_waits_and_gives_the_port_back(trainer):
    remote = RemoteViewer((LOOPBACK, 0), trainer.live, around(), "/data")
    address = remote.address
    with Client(address) as client:
        client.ask(train=0)
        remote.close()
        assert client.was_dropped() and not trainer.live.paused
    with pytest.raises(ConnectionRefusedError):
        Client(address)
    RemoteViewer(address, trainer.live, around(), "/data").close()


def test_drawing_takes_a_share_of_the_time_while_training_runs(trainer, remote, monkeypatch):
    """Six pictures that take 20 ms or more each."""

    def slow(*arguments, **words):
        time.sleep(0.02)
        return render(*arguments, **words)

    monkeypatch.setattr(viewer.remote, "render", slow)
    monkeypatch.setattr(viewer.remote, "SHORTEST", 0.0)
    took = {}
    with Client(remote.address) as client:
        for running in (1, 0):
            client.ask(train=running)
            started = time.monotonic()
            for _ in range(6):
                client.ask(train=running)
            took[running] = time.monotonic() - started
    assert took[1] > 6 * 0.02 / viewer.remote.SHARE
    assert took[0] < took[1]


def test_a_port_that_is_taken_is_said_and_training_goes_on(small_scene, tmp_path, capsys):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        options = replace(
            plain_options(small_scene, tmp_path, 2), viewers=ViewerOptions(port=port), quiet=False
        )
        train.main(options)
    assert f"remote viewer: none, 127.0.0.1:{port} cannot be had" in capsys.readouterr().out
    assert ply(tmp_path, 2)


@pytest.mark.parametrize("ip", ["203.0.113.7", "no such host", "x" * 70, "::1%nothing"])
def test_an_address_that_is_not_ours_is_said(ip):
    said: list[str] = []
    with watched(ViewerOptions(ip=ip, port=0), 1, around(), "data", said.append) as live:
        live.offer(1, some_gaussians())
    assert len(said) == 1 and said[0].startswith(f"remote viewer: none, {ip}:0 cannot be had (")


def plain_options(source: Path, model: Path, iterations: int) -> train.Options:
    words = ["-s", str(source), "-m", str(model), *PLAIN, "--iterations", str(iterations), *map(str, BUSY)]
    return read_options(words)


@pytest.mark.parametrize("last", [{"keep_alive": 0}, None], ids=["unticked", "gone"])
def test_it_keeps_a_finished_training_while_it_wants_to_and_no_longer(last):
    said: list[str] = []
    seen, gaussians = threading.Event(), some_gaussians()

    def training() -> None:
        with watched(ViewerOptions(port=0), 10**9, around(), "data", said.append) as live:
            while not seen.wait(0.001):
                live.offer(live.progress.iteration + 1, gaussians)

    thread = threading.Thread(target=training, daemon=True)
    thread.start()
    until(lambda: said)
    with Client((LOOPBACK, int(said[0].rsplit(":", 1)[1]))) as client:
        client.ask(keep_alive=1)
        seen.set()
        until(lambda: len(said) == 2)
        assert said[1].startswith("the remote viewer is still answered")
        for train_on in (1, 0, 1):
            assert client.ask(keep_alive=1, train=train_on)[0] is not None
        thread.join(0.1)
        assert thread.is_alive()
        if last:
            client.ask(**last)
            thread.join(20)
            assert not thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()


def test_a_training_that_fails_ends_although_a_viewer_would_keep_it():
    said: list[str] = []
    with (
        pytest.raises(ZeroDivisionError),
        watched(ViewerOptions(port=0), 5, around(), "data", said.append) as live,
    ):
        live.latest()
        live.offer(1, some_gaussians())
        with Client((LOOPBACK, int(said[-1].rsplit(":", 1)[1]))) as client:
            client.ask(keep_alive=1)
            1 / 0  # noqa: B018


def test_a_run_that_is_looked_at_ends_with_the_bits_of_one_that_is_not(
    small_scene, unbroken, tmp_path, monkeypatch
):
    """A client asks for pictures all the time, from changing places, and pauses the training now and then."""
    answering: list[RemoteViewer] = []

    class Watched(RemoteViewer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            answering.append(self)
            thread.start()
            assert begun.wait(20)

    pictures: list[np.ndarray | None] = []
    begun = threading.Event()

    def look() -> None:
        with Client(answering[0].address) as client:
            begun.set()
            while len(pictures) < 10_000:
                try:
                    n = len(pictures)
                    pictures.append(
                        client.ask(train=int(n % 5 != 4), scaling_modifier=0.5 + 0.05 * (n % 10))[0]
                    )
                except ConnectionError:
                    return

    thread = threading.Thread(target=look, daemon=True)
    monkeypatch.setattr(viewer.watching, "RemoteViewer", Watched)
    monkeypatch.setattr(viewer.remote, "SHARE", 1.0)
    monkeypatch.setattr(viewer.remote, "SHORTEST", 0.0)
    train.main(replace(plain_options(small_scene, tmp_path, 60), viewers=ViewerOptions(port=0)))
    thread.join(20)
    assert len({picture.tobytes() for picture in pictures if picture is not None}) > 10
    assert ply(tmp_path, 60) == ply(unbroken, 60)
    assert (tmp_path / "log.jsonl").read_text() == (unbroken / "log.jsonl").read_text()


def test_a_run_may_go_on_under_another_address(small_scene, tmp_path):
    run_train(small_scene, tmp_path, "--iterations", 2, "--test_iterations", -1, "--port", 7000)
    run_train(small_scene, tmp_path, "--iterations", 2, "--test_iterations", -1, "--ip", "::1", "--resume")
