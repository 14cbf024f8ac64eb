"""view.py's models: a folder, a folder whose dataset is gone, a file of another format; and damaged files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formats.splat import pack_splat
from scene.dataset import SceneOptions, load_scene
from scene.gaussians import NAMES, save_ply, splats_of
from scene.model_folder import read_cameras, write_reference_files
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians
from tests.viewer.fake_browser import FakeBrowser
from train import Options as TrainOptions
from utils.errors import UserError, Warnings
from utils.options import parse, save_settings
from view import Options, main
from viewer.cameras import key_frame_of
from viewer.loading import load_model, load_surroundings
from viewer.server import Server
from viewer.surroundings import Surroundings


@pytest.fixture
def model(tmp_path: Path, small_scene: Path) -> Path:
    """A model's folder as train.py leaves it, with a dataset of its own."""
    options = SceneOptions(str(shutil.copytree(small_scene, tmp_path / "data")), eval=True)
    folder = tmp_path / "model"
    save_settings(folder, TrainOptions(scene=options))
    write_reference_files(folder, load_scene(options, seed=0), options, 3, "")
    save_ply(folder / "point_cloud/iteration_70/point_cloud.ply", some_gaussians(), antialiased=True)
    return folder


def surroundings(model_path: str, warnings: Warnings, source_path: str = "") -> Surroundings:
    return load_surroundings(model_path, source_path, False, cpu_engine(), False, Path(), warnings)


def test_a_model_is_loaded_with_its_photographs(model):
    warnings = Warnings()
    shown, antialiased, folder = load_model("", str(model), -1, warnings)
    assert antialiased and folder == model / "view"
    assert shown.title == "model, iteration 70: 60 Gaussians, SH degree 3"
    assert all(torch.equal(shown.gaussians[name], some_gaussians()[name]) for name in NAMES)
    around = surroundings(str(model), warnings)
    assert len(around.cameras) == 11 and all(camera.photograph for camera in around.cameras)
    assert not warnings.kinds


def test_view_serves_the_model_until_ctrl_c(model, monkeypatch, capfd):
    notes = []

    def look_and_leave(server: Server) -> None:
        browser = FakeBrowser(server.address, key_frame_of(arc_of_cameras(1)[0]))
        browser.press("Save a screenshot")
        notes.append(browser.note("Screenshot saved"))
        browser.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "sleep_forever", look_and_leave)
    main(Options(model_path=str(model), port=0, device="cpu"))
    assert notes == [str(model / "view" / "screenshot_1.png")] and Path(notes[0]).is_file()
    said = capfd.readouterr()
    assert "http://127.0.0.1:" in said.out and "Ctrl-C ends it" in said.out and not said.err


def test_without_the_dataset_the_folders_cameras_are_shown(model, tmp_path):
    wanted = surroundings(str(model), Warnings()).cameras
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    warnings = Warnings()
    found = {camera.name: camera for camera in surroundings(str(model), warnings).cameras}
    assert "photographs cannot be shown" in warnings.lines()[0] and "data" in warnings.lines()[0]
    assert len(found) == 11
    for camera in wanted:
        other = found[camera.name]
        assert other.photograph is None and (other.width, other.height) == (camera.width, camera.height)
        assert torch.allclose(other.world_to_camera, camera.world_to_camera, atol=1e-5)
        assert torch.allclose(other.intrinsics, camera.intrinsics, atol=1e-4)
    moved = surroundings(str(model), warnings, str(tmp_path / "elsewhere"))
    assert all(camera.photograph for camera in moved.cameras)
    with pytest.raises(UserError, match="nowhere"):  # asked for by name, so no way round it
        surroundings(str(model), warnings, str(tmp_path / "nowhere"))


def test_files_of_other_formats_are_shown(tmp_path):
    path = tmp_path / "elsewhere.splat"
    path.write_bytes(pack_splat(splats_of(some_gaussians())))
    shown, _, folder = load_model(str(path), "", -1, Warnings())
    assert folder == tmp_path / "elsewhere_view" and len(shown.gaussians["means"]) == 60
    assert shown.title == "elsewhere.splat: 60 Gaussians, SH degree 0"
    assert not surroundings("", Warnings()).cameras


def test_mistakes_are_said_in_a_sentence(model, tmp_path):
    with pytest.raises(UserError, match="no such"):
        load_model(str(tmp_path / "nothing.ply"), "", -1, Warnings())
    with pytest.raises(UserError, match="holds 70"):
        load_model("", str(model), 7, Warnings())
    with pytest.raises(UserError, match="one of the two"):
        Options().check()
    with pytest.raises(UserError, match="one of the two"):
        Options("a.ply", "model").check()
    with pytest.raises(UserError, match="--port 70000"):
        Options("a.ply", port=70_000).check()


def test_the_command_line_takes_a_folder_or_a_file():
    assert parse(Options, ["a.ply", "--port", "0"]) == Options("a.ply", port=0)
    assert parse(Options, ["-m", "mine", "--iteration", "7"]) == Options(model_path="mine", iteration=7)


def test_no_cameras_file_means_no_cameras(tmp_path):
    assert read_cameras(tmp_path / "cameras.json") == []


GOOD = {
    **{"id": 0, "img_name": "a", "width": 48, "height": 40, "fx": 50.0, "fy": 50.0},
    **{"position": [0, 0, 1], "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(GOOD)), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=anything | st.lists(st.dictionaries(st.sampled_from(list(GOOD)), anything).map(lambda it: GOOD | it))
)
def test_a_damaged_cameras_file_ends_in_cameras_or_a_message(tmp_path, rows):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(rows))
    try:
        cameras = read_cameras(path)
    except UserError as mistake:
        assert "cameras.json" in str(mistake)
    else:
        assert all(camera.world_to_camera.isfinite().all() for camera in cameras)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "\xff", '[{"width": 1' + "0" * 5000 + "}]"])
def test_what_is_no_json_is_said(tmp_path, text):
    (tmp_path / "cameras.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"cameras\.json is not a list of cameras"):
        read_cameras(tmp_path / "cameras.json")
