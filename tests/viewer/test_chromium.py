"""view.py in a real browser: what it draws is the model, and a click on a camera goes there."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_renderer import render
from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from tests.small_scene import cpu_engine, some_gaussians
from tests.viewer.chromium import Page, browser
from utils.image_metrics import psnr
from utils.images import image_tensor
from viewer.cameras import key_frame, pinhole
from viewer.panels import add_panels
from viewer.server import start_server
from viewer.stage import Model, Stage
from viewer.surroundings import Surroundings

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDTH, HEIGHT = 900, 700
TABS = ("Model", "Cameras", "Crop", "Path")
FREE = (slice(160, None), slice(None, WIDTH - 420))  # rows and columns that no panel or note covers


@pytest.fixture(scope="module")
def looked_at(
    small_scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Page, list[Camera]]]:
    """A model of degree 0 with its cameras, and a browser that stands behind them all."""
    cameras = load_scene(SceneOptions(str(small_scene)), seed=0).train_cameras
    behind = cameras[4].world_to_camera.clone()
    behind[2, 3] += 3.0
    cameras = [replace(cameras[4], name="behind", world_to_camera=behind, photograph=None), *cameras]
    folder = tmp_path_factory.mktemp("browser")
    around = Surroundings(cameras, torch.tensor([0.0, 0.2, 0.0]), cpu_engine(), False, folder / "view")
    stage = Stage(start_server("127.0.0.1", 0, "test"), around, Model(some_gaussians(), "sixty Gaussians"))
    add_panels(stage)
    with browser(stage.server.address, folder / "profile", WIDTH, HEIGHT) as page:
        yield stage, page, cameras
    stage.stop()


def window(stage: Stage, page: Page) -> Camera:
    """What the browser's window sees; where that is slow, viser draws fewer pixels and scales them up."""
    (client,) = stage.server.get_clients().values()
    return pinhole(key_frame(client.camera), *page.evaluate("[innerWidth, innerHeight]"))


def ours(stage: Stage, page: Page) -> torch.Tensor:
    """What the browser should show, by our renderer."""
    with torch.no_grad():
        return render(
            window(stage, page),
            stage.model.gaussians,
            sh_degree=0,
            background=stage.around.background,
            engine=stage.around.engine,
        ).rgb


def likeness(stage: Stage, page: Page, path: Path) -> float:
    """PSNR, dB, between the browser's window and our rendering, where nothing covers it."""
    page.screenshot(path)
    shown = image_tensor(np.asarray(Image.open(path).convert("RGB")))
    wanted = ours(stage, page)
    assert shown.shape == wanted.shape
    return psnr(shown[:, *FREE], wanted[:, *FREE].clamp(0, 1))


def eventually(condition: Callable[[], object], seconds: float = 240) -> None:
    """Returns when the condition holds; software WebGL on a busy machine takes its time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def is_open(page: Page, tab: str) -> bool:
    """Whether a tab of the panel is the one in front, after a click on it."""
    page.click_on(f"[role=tab]:nth-of-type({TABS.index(tab) + 1})")
    return page.evaluate("document.querySelector('[role=tab][aria-selected=true]').textContent") == tab


def test_the_browser_draws_the_model_and_hides_the_cameras(looked_at, tmp_path):
    stage, page, _ = looked_at
    eventually(stage.server.get_clients)
    eventually(lambda: is_open(page, "Cameras"))
    page.click_on("input[type=checkbox]")
    eventually(lambda: likeness(stage, page, tmp_path / "shown.png") > 28)
    page.click_on("input[type=checkbox]")
    eventually(lambda: likeness(stage, page, tmp_path / "cameras.png") < 25)


def test_a_click_on_a_photograph_goes_to_its_camera(looked_at, tmp_path):
    stage, page, cameras = looked_at
    (client,) = stage.server.get_clients().values()
    camera = next(camera for camera in cameras[1:] if camera.name.endswith("r_3"))
    view = window(stage, page)
    middle = camera.position + 0.05 * stage.reach * camera.world_to_camera[2, :3]
    seen = view.intrinsics @ (view.world_to_camera[:3, :3] @ middle + view.world_to_camera[:3, 3])
    x, y = (seen[:2] / seen[2]).tolist()
    page.click(x, y)
    eventually(lambda: np.allclose(client.camera.position, camera.position, atol=1e-4))
    eventually(lambda: likeness(stage, page, tmp_path / "there.png") > 28)


def test_closing_the_browser_leaves_nothing_behind(looked_at, capfd):
    stage, page, _ = looked_at
    page.call("Browser.close")
    eventually(lambda: not stage.server.get_clients())
    assert "Traceback" not in capfd.readouterr().err
