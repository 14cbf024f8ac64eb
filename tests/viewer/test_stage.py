"""The panel and the scene, by a client that speaks viser's protocol: what each control does, and failures."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_renderer import render
from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from scene.gaussians import NAMES, load_gaussians
from tests.one_thread import one_thread  # noqa: F401
from tests.small_scene import cpu_engine, some_gaussians
from tests.viewer.fake_browser import FakeBrowser
from tests.viewer.waiting import until
from utils.images import image_pixels
from viewer.cameras import key_frame_of, move_to, pinhole
from viewer.panels import add_panels
from viewer.server import start_server
from viewer.stage import Model, Stage
from viewer.surroundings import Surroundings

SIZE = (80, 60)


@dataclass
class View:
    """A model in a viewer, and a browser that looks at it."""

    stage: Stage
    browser: FakeBrowser
    cameras: list[Camera]

    def seen(self, camera: Camera, width: int, height: int, **options) -> torch.Tensor:
        """The model from a camera, by the renderer itself."""
        frame = pinhole(key_frame_of(camera), width, height)
        background = self.stage.around.background
        with torch.no_grad():
            gaussians, engine = self.stage.model.gaussians, self.stage.around.engine
            return render(frame, gaussians, sh_degree=3, background=background, engine=engine, **options).rgb


@pytest.fixture
def view(small_scene: Path, tmp_path: Path) -> Iterator[View]:
    cameras = load_scene(SceneOptions(str(small_scene)), seed=0).train_cameras
    around = Surroundings(cameras, torch.zeros(3), cpu_engine(), False, tmp_path / "view")
    gaussians = some_gaussians()
    with torch.no_grad():
        gaussians["shN"].normal_(generator=torch.Generator().manual_seed(0)).mul_(0.1)
    stage = Stage(start_server("127.0.0.1", 0, "test"), around, Model(gaussians, "sixty Gaussians"))
    add_panels(stage)
    browser = FakeBrowser(stage.server.address, key_frame_of(cameras[2]), *SIZE)
    yield View(stage, browser, cameras)
    browser.vanish()
    stage.stop()


def image_in(message: dict) -> np.ndarray:
    """The picture that a message changes a part of the panel to."""
    return np.asarray(Image.open(io.BytesIO(message["updates"]["_data"])).convert("RGB")).astype(int)


def has_image(message: dict) -> bool:
    return message["type"] == "GuiUpdateMessage" and bool(message["updates"].get("_data"))


def hear_picture(view: View, width: int, height: int) -> np.ndarray:
    """The next picture of that size in the panel."""

    def fits(message: dict) -> bool:
        return has_image(message) and image_in(message).shape == (height, width, 3)

    message = view.browser.wait(fits)
    view.browser.heard.remove(message)
    return image_in(message)


def distance(picture: np.ndarray, wanted: torch.Tensor) -> float:
    """The mean difference to the wanted picture, in 255ths; JPEG's own is 1 or 2."""
    return float(np.abs(picture - image_pixels(wanted).astype(int)).mean())


def says(view: View, text: str) -> None:
    """Waits until a text of the panel begins so."""
    heard = view.browser.wait(lambda m: str(m.get("updates", {}).get("_markdown")).startswith(text))
    view.browser.heard.remove(heard)


def scene_node(view: View, name: str) -> dict:
    return view.browser.wait(lambda message: message.get("name") == name and "props" in message)


def test_what_the_browser_sees_is_rendered_with_all_degrees(view):
    view.browser.set("Our rendering", "colour")
    assert distance(hear_picture(view, 640, 480), view.seen(view.cameras[2], 640, 480)) < 4
    view.browser.stand_at(key_frame_of(view.cameras[6]))
    assert distance(hear_picture(view, 640, 480), view.seen(view.cameras[6], 640, 480)) < 4
    view.browser.set("Size", 0.5)
    half = view.seen(view.cameras[6], 640, 480, scaling_modifier=0.5)
    assert distance(hear_picture(view, 640, 480), half) < 4


def test_depth_is_shown_with_its_span(view):
    view.browser.set("Our rendering", "depth")
    picture = hear_picture(view, 640, 480)
    assert picture[0, 0].max() < 10 and picture[240, 320].max() > 60  # nothing in the corner
    label = view.browser.wait(lambda m: "scene units" in str(m.get("updates", {}).get("label")))
    near, far = (float(word) for word in label["updates"]["label"].split() if word[0].isdigit())
    assert 1.5 < near < 3 < far < 4.5  # the cameras stand 3 from the middle of a unit ball


def test_a_screenshot_is_our_rendering(view):
    view.browser.set("Longer side", 120)
    view.browser.press("Save a screenshot")
    path = Path(view.browser.note("Screenshot saved"))
    assert path == view.stage.around.folder / "screenshot_1.png"
    assert np.array_equal(np.asarray(Image.open(path)), image_pixels(view.seen(view.cameras[2], 120, 90)))
    view.browser.press("Save a screenshot")
    assert view.browser.note("Screenshot saved").endswith("screenshot_2.png")


def test_points_take_the_splats_place_at_size_0(view):
    assert scene_node(view, "/splats")["type"] == "GaussianSplatsMessage"
    view.browser.set("Size", 0.0)
    assert scene_node(view, "/points")["type"] == "PointCloudMessage"
    hidden = view.browser.wait(
        lambda m: m["type"] == "SetSceneNodeVisibilityMessage" and m["name"] == "/splats" and not m["visible"]
    )
    view.browser.heard.remove(hidden)
    view.browser.set("Size", 1.0)
    view.browser.wait(
        lambda m: m["type"] == "SetSceneNodeVisibilityMessage" and m["name"] == "/splats" and m["visible"]
    )


def test_a_click_on_a_camera_goes_there_and_compares(view):
    frustum = scene_node(view, "/cameras/7")
    assert frustum["type"] == "CameraFrustumMessage" and frustum["props"]["_image_data"]
    view.browser.click("/cameras/7")
    times = 640 // 80  # small pictures are shown large
    both = hear_picture(view, 48 * times, 80 * times)[times // 2 :: times, times // 2 :: times]
    taken, background = view.cameras[7].own_photograph.target(torch.zeros(3))[0], torch.zeros(3)
    ours = render(
        view.cameras[7], view.stage.model.gaussians, sh_degree=3, background=background, engine=cpu_engine()
    ).rgb
    assert distance(both[:40], taken) < 6 and distance(both[40:], ours) < 6
    view.browser.wait(lambda m: m.get("updates", {}).get("value") == view.cameras[7].name)
    (client,) = view.stage.server.get_clients().values()
    pose = key_frame_of(view.cameras[7])
    assert np.allclose(client.camera.position, pose.position, atol=1e-5)
    assert np.isclose(abs(client.camera.wxyz @ pose.wxyz), 1, atol=1e-5)


def test_a_photograph_wider_than_the_window_is_seen_whole(view):
    until(view.stage.server.get_clients)
    (client,) = view.stage.server.get_clients().values()
    frame = key_frame_of(view.cameras[0])
    move_to(client, frame, distance=3.0, aspect=2 * SIZE[0] / SIZE[1])
    assert np.tan(client.camera.fov / 2) == pytest.approx(2 * np.tan(np.radians(frame.fov_y_degrees) / 2))
    move_to(client, frame, distance=3.0, aspect=0.5)
    assert client.camera.fov == pytest.approx(np.radians(frame.fov_y_degrees))


def test_what_is_in_the_box_is_shown_and_saved(view):
    means = view.stage.model.gaussians["means"].detach()
    view.browser.set("Crop", True)
    view.browser.set("Sides", [0.4, 0.5, 20.0])
    view.browser.press("Save what is inside")
    note = view.browser.note("Saved")
    saved, _ = load_gaussians(view.stage.around.folder / "cropped_1.ply")
    box = view.stage.box
    assert box is not None and box.size.tolist() == [0.4, 0.5, 20.0]
    inside = ((means - torch.from_numpy(box.centre)).abs() <= torch.from_numpy(box.size) / 2).all(dim=1)
    assert 0 < inside.sum() < 60 and note.startswith(f"{int(inside.sum())} Gaussians")
    for name in NAMES:
        assert torch.equal(saved[name], view.stage.model.gaussians[name][inside])
    assert torch.equal(view.stage.shown()["means"], means[inside])
    view.browser.set("Crop", False)
    view.browser.set("Our rendering", "colour")
    assert distance(hear_picture(view, 640, 480), view.seen(view.cameras[2], 640, 480)) < 4


def test_an_empty_box_shows_nothing_and_breaks_nothing(view):
    view.browser.set("Our rendering", "depth")
    hear_picture(view, 640, 480)
    view.browser.set("Crop", True)
    view.browser.set("Sides", [1e-6, 1e-6, 1e-6])
    while hear_picture(view, 640, 480).max() > 10:
        pass
    view.browser.set("Crop", False)
    assert hear_picture(view, 640, 480).max() > 60


def test_a_path_is_recorded_from_the_browsers_camera(view):
    view.browser.press("Save the path")
    assert "two key frames" in view.browser.note("Not done")
    for count, number in enumerate((2, 4, 6), start=1):
        view.browser.stand_at(key_frame_of(view.cameras[number]))
        time.sleep(0.2)
        view.browser.press("Add this view")
        says(view, f"Key frames: {count}")
    view.browser.press("Remove the last one")
    says(view, "Key frames: 2")
    view.browser.set("Seconds between", 1.0)
    view.browser.press("Save the path")
    path = Path(view.browser.note("Path saved").split(": ")[1])
    content = json.loads(path.read_text())
    assert content["fps"] == 30 and len(content["frames"]) == 31
    for frame, number in ((content["frames"][0], 2), (content["frames"][-1], 4)):
        wanted = key_frame_of(view.cameras[number])
        assert np.allclose(frame["camera_to_world"], wanted.camera_to_world, atol=1e-6)
        assert frame["fov_y_degrees"] == pytest.approx(wanted.fov_y_degrees)


def test_a_place_that_cannot_be_written_to_is_said(view):
    view.stage.around.folder.write_text("a file where the folder would be")
    view.browser.press("Save a screenshot")
    assert "view" in view.browser.note("Not done")


def test_a_camera_that_is_none_is_said(view):
    view.browser.stand_at(replace(key_frame_of(view.cameras[0]), fov_y_degrees=float("nan")))
    view.browser.press("Save a screenshot")
    assert "field of view" in view.browser.note("Not done")


def test_a_defect_is_printed_once_and_the_viewer_goes_on(view, monkeypatch, capfd):
    monkeypatch.setattr("viewer.stage.render", lambda *_, **__: 1 / 0)
    for _ in range(3):
        view.browser.press("Save a screenshot")
        assert "ZeroDivisionError" in view.browser.note("Failed")
    assert capfd.readouterr().err.count("the viewer failed") == 1
    monkeypatch.undo()
    view.browser.press("Save a screenshot")
    assert view.browser.note("Screenshot saved")


def test_a_browser_that_vanishes_leaves_the_viewer_to_others(view):
    view.browser.set("Our rendering", "colour")
    for number in range(8):
        view.browser.stand_at(key_frame_of(view.cameras[number]))
    view.browser.press("Save a screenshot")
    view.browser.vanish()
    other = FakeBrowser(view.stage.server.address, key_frame_of(view.cameras[1]), *SIZE)
    view.browser = other
    other.press("Save a screenshot")
    assert view.browser.note("Screenshot saved").endswith((".png",))
    view.browser.stand_at(key_frame_of(view.cameras[5]))
    other.wait(has_image)
