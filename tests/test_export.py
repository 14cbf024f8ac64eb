"""export.py: a model or a file of Gaussians in, files of other formats out, and every mistake of the user."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import export
from export import Options, main
from formats.files import SUFFIXES, read_splats
from formats.ply import write_ply
from formats.spz import unpack_spz
from scene.dataset import SceneOptions
from tests.formats.models import likeness, some_splats
from tests.formats.test_page import embedded
from tests.programs import run_program
from tests.small_scene import arc_of_cameras
from train import Options as TrainOptions
from utils.errors import UserError
from utils.options import parse, save_settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder with two iterations and the cameras of three photographs."""
    folder = tmp_path / "model"
    save_settings(folder, TrainOptions(scene=SceneOptions(white_background=True)))
    for iteration in (7, 30):
        splats = replace(some_splats(iteration), antialiased=True)
        write_ply(folder / f"point_cloud/iteration_{iteration}/point_cloud.ply", splats)
    rows = [
        {
            "img_name": camera.name,
            "width": camera.width,
            "height": camera.height,
            "position": camera.position.tolist(),
            "rotation": camera.camera_to_world[:3, :3].tolist(),
            "fx": float(camera.intrinsics[0, 0]),
            "fy": float(camera.intrinsics[1, 1]),
        }
        for camera in arc_of_cameras(3)
    ]
    (folder / "cameras.json").write_text(json.dumps(rows))
    return folder


def file_of(folder: Path, count: int = 50) -> Path:
    write_ply(folder / "some.ply", some_splats(count))
    return folder / "some.ply"


def run(*words: object) -> None:
    main(parse(Options, [str(word) for word in words]))


def test_a_model_is_exported_beside_its_ply(model, capsys):
    run("-m", model, "--format", "compressed_ply", "splat", "spz", "html")
    folder = model / "point_cloud" / "iteration_30"
    original = read_splats(folder / "point_cloud.ply")
    for name in ("compressed_ply", "splat", "spz"):
        again = read_splats(folder / f"point_cloud{SUFFIXES[name]}")
        assert len(again) == 30 and likeness(original, again) > 25
        assert again.antialiased == (name != "splat")
    said = capsys.readouterr().out
    assert "point_cloud.splat: 30 Gaussians, SH degree 0, 0.0 MB" in said and "degree 3" in said
    run("-m", model, "--iteration", 7, "--format", "spz", "--output", model / "seven.spz")
    assert len(read_splats(model / "seven.spz")) == 7


def test_a_page_starts_where_it_is_told(model):
    run("-m", model, "--output", model / "page.html", "--start_view", "view_1")
    text = (model / "page.html").read_text()
    scene = json.loads(embedded(text, "cameras"))
    assert scene["background"] == [1, 1, 1] and "<title>model</title>" in text
    camera = arc_of_cameras(3)[1]
    start = scene["cameras"][0]
    np.testing.assert_allclose(start["position"], camera.position.numpy() * [1, -1, -1], atol=1e-5)
    np.testing.assert_allclose(start["distance"], 3, atol=0.3)  # the cameras stand 3 units from the middle
    assert [start["width"], start["height"], len(scene["cameras"])] == [camera.width, camera.height, 3]


def test_a_page_of_a_file_alone_sees_all_of_it(tmp_path):
    splats = some_splats(200)
    write_ply(
        tmp_path / "some.ply", replace(splats, means=splats.means * 7 + np.array([100, -50, 3], np.float32))
    )
    run(tmp_path / "some.ply", "--format", "html")
    scene = json.loads(embedded((tmp_path / "some.html").read_text(), "cameras"))
    start = scene["cameras"][0]
    turned = splats.means * [7, -7, -7] + [100, 50, -3]
    seen = (turned - start["position"]) @ np.reshape(start["rotation"], (3, 3)).T
    pixels = seen[:, :2] / seen[:, 2:] * start["lens"][:2] + start["lens"][2:]
    inside = (pixels > 0).all(axis=1) & (pixels < [start["width"], start["height"]]).all(axis=1)
    assert (seen[:, 2] > 0).all() and inside.mean() > 0.98
    assert np.ptp(pixels[:, 1]) > 0.5 * start["height"]


def test_files_are_converted_from_one_format_to_another(tmp_path):
    source = file_of(tmp_path, 300)
    chain = ["a.spz", "b.compressed.ply", "c.splat", "d.ply"]
    for before, after in zip([source.name, *chain], chain, strict=False):
        run(tmp_path / before, "--output", tmp_path / after)
    assert len(read_splats(tmp_path / "d.ply")) == 300
    assert likeness(read_splats(source), read_splats(tmp_path / "b.compressed.ply")) > 32
    assert likeness(read_splats(source).of_degree(0), read_splats(tmp_path / "d.ply")) > 28


def test_sh_coefficients_are_left_out_on_demand(tmp_path):
    source = file_of(tmp_path)
    run(source, "--format", "spz", "--sh_degree", 1)
    again = unpack_spz((tmp_path / "some.spz").read_bytes(), "some")
    assert again.sh_degree == 1
    np.testing.assert_allclose(again.shN, read_splats(source).shN[:, :3], atol=1 / 32)


def test_gaussians_that_are_not_finite_are_left_out_and_said(tmp_path, capsys):
    splats = some_splats(9)
    splats.means[4] = np.nan
    write_ply(tmp_path / "some.ply", splats)
    run(tmp_path / "some.ply", "--format", "splat")
    assert len(read_splats(tmp_path / "some.splat")) == 8
    assert "1 Gaussians with values that are not finite were left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "spz"], "give either a file of Gaussians or a model's folder"),
        (["some.ply", "-m", "model", "--format", "spz"], "give either a file"),
        (["some.ply"], "--format: give one or more of ply, compressed_ply"),
        (["some.ply", "--format", "spz", "splat", "--output", "a.spz"], "--output names one file"),
        (["some.ply", "--output", "some.obj"], "its name says no format"),
        (["some.ply", "--format", "spz", "ply"], "is the file that is to be read"),
        (["some.ply", "--format", "spz", "--sh_degree", "4"], "--sh_degree 4: allowed is 0, 1, 2 or 3"),
        (["some.ply", "--format", "html", "--start_view", "a.jpg"], "only a model's folder has some"),
        (["-m", "model", "--format", "html", "--start_view", "a.jpg"], "found: view_0, view_1, view_2"),
        (["-m", "model", "--iteration", "8", "--format", "spz"], "holds 7, 30"),
        (["none.ply", "--format", "spz"], "no such file: none.ply"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(model, words, message, monkeypatch):
    monkeypatch.chdir(model.parent)
    file_of(model.parent)
    before = sorted(model.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        run(*words)
    assert message in str(caught.value)
    assert sorted(model.parent.rglob("*")) == before


def test_the_program_ends_with_code_2_at_a_file_cut_short(tmp_path):
    source = file_of(tmp_path)
    source.write_bytes(source.read_bytes()[:5000])
    done = run_program("export.py", source, "--format", "spz")
    assert done.returncode == 2 and "error: " in done.stderr and "claims 50 of 'vertex'" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "some.spz").exists()


def test_every_format_has_a_name_of_its_own():
    for name, suffix in SUFFIXES.items():
        assert export.beside(Path("a/model.compressed.ply"), name) == Path(f"a/model{suffix}")
        assert export.format_of(Path(f"MODEL{suffix.upper()}")) == name
