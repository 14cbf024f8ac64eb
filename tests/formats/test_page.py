"""The page that shows a model: what is in it, and that a browser draws with it what our renderer draws."""

import base64
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats import page as page_module
from formats.page import View, page
from formats.splats import Splats
from formats.spz import unpack_spz
from scene.cameras import Camera
from tests.formats.models import picture, psnr, some_splats
from tests.small_scene import arc_of_cameras
from tests.viewer.chromium import Page, browser
from utils.errors import UserError

WIDTH, HEIGHT = 480, 360


def view_of(camera: Camera, distance: float = 3.0) -> View:
    return View(
        camera.world_to_camera.numpy(),
        camera.intrinsics.numpy(),
        (camera.width, camera.height),
        distance,
    )


def embedded(text: str, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', text)
    assert found
    return found[1]


def test_the_page_holds_the_model_and_asks_for_nothing():
    splats = some_splats(30)
    text = page(splats, [view_of(camera) for camera in arc_of_cameras(2)], 'a <b> & "c"', (1, 1, 1))
    again = unpack_spz(base64.b64decode(embedded(text, "model")), "page")
    np.testing.assert_allclose(again.means, splats.means, atol=1e-6)
    np.testing.assert_allclose(again.shN, splats.shN, atol=1 / 256)
    assert "default-src 'none'" in text and "://" not in text
    assert "<title>a &lt;b&gt; &amp; &quot;c&quot;</title>" in text and "rgb(255 255 255)" in text
    scene = json.loads(embedded(text, "cameras"))
    assert len(scene["cameras"]) == 2 and scene["background"] == [1, 1, 1]
    assert scene["up"][1] > 0.99  # in the page y points up


def test_a_model_too_large_for_a_page_is_refused(monkeypatch):
    monkeypatch.setattr(page_module, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than browsers take; give --sh_degree 0"):
        page(some_splats(30), [view_of(arc_of_cameras(1)[0])], "large", (0, 0, 0))


def shown(tab: Page) -> np.ndarray:
    """(H, W, 3) what the page's canvas shows, once it shows its model."""
    deadline = time.monotonic() + 120
    while (said := tab.evaluate("document.getElementById('note')?.textContent ?? 'loading'")) != "":
        assert time.monotonic() < deadline and "cannot" not in said, said
        time.sleep(0.1)
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    address = tab.evaluate("draw(view.rotation, view.position, lensInPixels()), canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def key(tab: Page, name: str) -> None:
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=name)


def write_page(path: Path, splats: Splats, cameras: list[Camera]) -> str:
    path.write_text(page(splats, [view_of(camera) for camera in cameras], path.stem, (0, 0, 0)))
    return f"{path.as_uri()}#plain"


@pytest.mark.browser
def test_a_browser_draws_what_our_renderer_draws(tmp_path):
    """From the first camera, from the next one (off-centre principal point), and of an antialiased model."""
    cameras = arc_of_cameras(2, WIDTH, HEIGHT)
    lens = cameras[1].intrinsics.clone()
    lens[0, 2] += 20
    cameras[1] = replace(cameras[1], intrinsics=lens)
    splats = some_splats(400)
    fine = replace(some_splats(400, degree=1), antialiased=True)
    fine = replace(fine, scales=fine.scales - 4)
    pages = [
        write_page(tmp_path / f"{name}.html", model, cameras) for name, model in (("a", splats), ("b", fine))
    ]
    (tmp_path / "profile").mkdir()
    with browser(pages[0], tmp_path / "profile", WIDTH, HEIGHT) as tab:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        first = shown(tab)
        tab.screenshot(tmp_path / "window.png")
        window = np.asarray(Image.open(tmp_path / "window.png").convert("RGB"))
        assert np.array_equal(window, first) and psnr(picture(splats, cameras[0]), first) > 40
        key(tab, "ArrowRight")
        assert psnr(picture(splats, cameras[1]), shown(tab)) > 40
        assert_hands_move_the_camera(tab, first)
        tab.call("Page.navigate", url=pages[1])
        likeness = psnr(picture(fine, cameras[0]), shown(tab))
        assert likeness > 40
        assert psnr(picture(replace(fine, antialiased=False), cameras[0]), shown(tab)) < likeness - 10


def assert_hands_move_the_camera(tab: Page, first: np.ndarray) -> None:
    """Dragging turns, the wheel comes nearer, and R leads back to the first camera's very picture."""
    key(tab, "r")
    assert np.array_equal(shown(tab), first)
    for kind, x in (("mousePressed", 240), ("mouseMoved", 280), ("mouseReleased", 280)):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=180, button="left", buttons=1, clickCount=1)
    turned = shown(tab)
    assert 10 < psnr(first, turned) < 30
    tab.call("Input.dispatchMouseEvent", type="mouseWheel", x=240, y=180, deltaX=0, deltaY=-300)
    nearer = shown(tab)
    assert (nearer.max(axis=2) > 60).mean() > 1.2 * (turned.max(axis=2) > 60).mean()
    key(tab, "r")
    assert np.array_equal(shown(tab), first)
