"""train.py --viewer: browsers see the training, which they neither change nor hold up nor end."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import viewer.server
import viewer.training
from tests.one_thread import one_thread  # noqa: F401
from tests.programs import BUSY, ROOT, ply, run_train
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians
from tests.viewer.fake_browser import FakeBrowser
from tests.viewer.waiting import until
from utils.errors import UserError
from viewer.cameras import key_frame_of
from viewer.live import LiveModel
from viewer.server import Server, start_server
from viewer.surroundings import Surroundings
from viewer.training import TrainingInBrowser

FLAGS = ("--iterations", 60, *BUSY, "--viewer", "--viewer_port", 0)


@pytest.fixture
def browsers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeBrowser]]:
    """One that looks at every training that starts from now on, on its depth too."""
    connected: list[FakeBrowser] = []

    def start_and_look(*arguments: Any, **options: Any) -> Server:
        server = start_server(*arguments, **options)

        def look() -> None:
            browser = FakeBrowser(server.address, key_frame_of(arc_of_cameras(3)[1]))
            connected.append(browser)
            browser.set("Our rendering", "depth")

        threading.Thread(target=look, daemon=True).start()
        return server

    monkeypatch.setattr(viewer.server, "start_server", start_and_look)
    monkeypatch.setattr(viewer.training, "EVERY", 0.01)
    monkeypatch.setattr(viewer.training, "SHARE", 1.0)
    yield connected
    for browser in connected:
        browser.vanish()


@pytest.fixture
def slow_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that takes long enough to be seen."""
    offer = LiveModel.offer

    def slowly(self: LiveModel, iteration: int, gaussians: torch.nn.ParameterDict) -> None:
        offer(self, iteration, gaussians)
        time.sleep(0.05)

    monkeypatch.setattr(LiveModel, "offer", slowly)


def titles(browser: FakeBrowser) -> list[str]:
    """What the panel said of the training."""
    contents = (message.get("updates", {}).get("_markdown", "") for message in list(browser.heard))
    return [content for content in contents if content.startswith("Iteration")]


def test_a_training_that_is_looked_at_ends_in_the_same_bits(
    small_scene, unbroken, tmp_path, browsers, slow_offers
):
    run_train(small_scene, tmp_path, *FLAGS)
    (browser,) = browsers
    assert len(titles(browser)) >= 3 and "of 60" in titles(browser)[-1]
    assert ply(tmp_path, 60) == ply(unbroken, 60)


def test_a_viewer_that_fails_is_reported_once_and_does_not_end_it(
    small_scene, unbroken, tmp_path, browsers, slow_offers, monkeypatch, capfd
):
    monkeypatch.setattr("viewer.stage.for_browser", lambda *_: 1 / 0)
    run_train(small_scene, tmp_path, *FLAGS)
    assert browsers and ply(tmp_path, 60) == ply(unbroken, 60)
    errors = capfd.readouterr().err
    assert errors.count("the viewer failed and goes on") == errors.count("ZeroDivisionError: ") >= 1
    assert errors.count("for_browser(gaussians, size)") <= 2  # drawn at the start, and by a snapshot


def test_a_viewer_that_cannot_start_does_not_end_it(small_scene, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(viewer.server, "start_server", lambda *_, **__: 1 / 0)
    run_train(small_scene, tmp_path, "--iterations", 2, "--test_iterations", -1, "--viewer")
    assert ply(tmp_path, 2) and "the training goes on without" in capfd.readouterr().err


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingInBrowser]:
    """A training that only offers, and a viewer of it."""
    monkeypatch.setattr(viewer.training, "EVERY", 0.05)
    around = Surroundings([], torch.zeros(3), cpu_engine(), False, tmp_path / "view")
    server, live = start_server("127.0.0.1", 0, ""), LiveModel(10**6)
    result = TrainingInBrowser(server, around, live, some_gaussians())
    stop = threading.Event()

    def train() -> None:
        for iteration in range(1, 10**6):
            if stop.wait(0.01):
                return
            live.offer(iteration, some)

    some = some_gaussians()
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    yield result
    stop.set()
    result.stop()
    thread.join(20)
    assert not thread.is_alive()


def goes_on(live: LiveModel) -> bool:
    """Whether another iteration ends within a second."""
    before = live.progress.iteration
    time.sleep(1.0)
    return live.progress.iteration > before + 1


def test_nothing_is_copied_while_nobody_looks(shown):
    assert goes_on(shown.live)
    assert shown.live._snapshot is None


def test_a_browser_pauses_it_and_cannot_hold_it_by_closing(shown):
    browser = FakeBrowser(shown.stage.server.address, key_frame_of(arc_of_cameras(1)[0]))
    browser.set("Pause the training", True)
    until(lambda: shown.live.paused)
    assert not goes_on(shown.live)
    browser.set("Pause the training", False)
    until(lambda: not shown.live.paused)
    assert goes_on(shown.live)
    browser.set("Pause the training", True)
    until(lambda: shown.live.paused)
    browser.vanish()
    until(lambda: not shown.live.paused)
    assert goes_on(shown.live) and not shown.pause.value


def test_viser_is_not_loaded_without_the_flag():
    check = "import sys, train; sys.exit('viser' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=300)


def test_a_port_in_use_is_said_before_anything_is_done(small_scene, tmp_path):
    server = start_server("127.0.0.1", 0, "")
    port = server.get_port()
    try:
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is in use.*--viewer_port"):
            run_train(small_scene, tmp_path / "new", "--viewer", "--viewer_port", port)
    finally:
        server.stop()
    assert not (tmp_path / "new").exists()
