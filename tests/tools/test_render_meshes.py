"""The maker of pictures of meshes, from its command to data sets that are read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import Delaunay

pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")
pytest.importorskip("trimesh", reason="trimesh is not installed (pip install trimesh)")

from scene.cameras import Camera
from scene.dataset import SceneOptions, load_scene
from tests.tools.mesh_sets.boxes import COLOURS, CORNERS, HALF, write_bad_meshes, write_box
from tools import render_meshes
from tools.render_meshes import Options
from utils.errors import UserError
from utils.options import parse

SMALL: dict[str, Any] = {"train_views": 3, "test_views": 2, "resolution": 32, "samples": 4, "workers": 1}
ENDINGS = ("obj", "ply", "glb")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The set's table."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of meshes, good and bad, and the set that was made of it; neither is to be written to."""
    meshes = tmp_path_factory.mktemp("meshes")
    for ending in ENDINGS:
        write_box(meshes / ending / f"striped_box.{ending}")
    write_box(meshes / "03001627" / "abc" / "models" / "model_normalized.obj")
    write_bad_meshes(meshes / "bad")
    folder = tmp_path_factory.mktemp("set") / "out"
    render_meshes.main(Options(str(meshes), str(folder), **SMALL))
    return meshes, folder


def in_the_set(points: np.ndarray, front: str) -> np.ndarray:
    """Points of the box where the set has them: upright, on z = 0, the longest side of length 1."""
    sign = 1 if front == "+z" else -1
    turned = np.stack([sign * points[:, 0], -sign * points[:, 2], points[:, 1] + HALF[1]], axis=1)
    return turned / (2 * HALF[1])


def pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(N, 2) where points are seen."""
    pose = camera.world_to_camera.double().numpy()
    seen = (points @ pose[:3, :3].T + pose[:3, 3]) @ camera.intrinsics.double().numpy().T
    return seen[:, :2] / seen[:, 2:]


@pytest.mark.parametrize("name", [*(f"{ending}/striped_box" for ending in ENDINGS), "03001627/abc"])
def test_the_box_is_where_the_poses_say(made: tuple[Path, Path], name: str) -> None:
    home, front = made[1] / name, "-z" if name.startswith("0") else "+z"
    scene = load_scene(SceneOptions(source_path=str(home), eval=True, init_random=100), seed=0)
    cameras = [*scene.train_cameras, *scene.test_cameras]
    assert [camera.name for camera in cameras] == [
        *(f"train/00{number}" for number in range(3)),
        *(f"test/00{number}" for number in range(2)),
    ]
    corners = in_the_set(CORNERS, front)
    outward = np.array(list(COLOURS))
    centres = in_the_set(outward * HALF, front)
    seen = 0
    for camera in cameras:
        picture = np.array(Image.open(home / f"{camera.name}.png")).astype(float)
        silhouette = picture.min(axis=2) < 187  # half white, as sRGB: every colour has a dark channel
        ys, xs = np.mgrid[:32, :32] + 0.5
        inside = Delaunay(pixels(camera, corners)).find_simplex(np.stack([xs, ys], -1)) >= 0
        assert (silhouette & inside).sum() / (silhouette | inside).sum() > 0.93
        low, high = pixels(camera, corners).min(axis=0), pixels(camera, corners).max(axis=0)
        assert np.allclose(low, [xs[silhouette].min() - 0.5, ys[silhouette].min() - 0.5], atol=1)
        assert np.allclose(high, [xs[silhouette].max() + 0.5, ys[silhouette].max() + 0.5], atol=1)
        assert low.min() > 0 and high.max() < 32
        middle = np.array([0, 0, 0.5])
        for centre, place, colour in zip(centres, pixels(camera, centres), COLOURS.values(), strict=True):
            normal = (centre - middle) / np.linalg.norm(centre - middle)
            towards = camera.position.double().numpy() - centre
            if normal @ towards / np.linalg.norm(towards) > 0.35:
                x, y = place.astype(int)
                shown = picture[y, x] / picture[y, x].max()
                assert np.array_equal(shown > 0.7, np.array(colour) > 128), (camera.name, colour, shown)
                seen += 1
    assert seen >= 8


def test_training_starts_from_points_on_the_faces_in_their_colours(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    options = Options(str(made[0] / "glb"), str(tmp_path), **{**SMALL, "train_views": 8, "points": 400})
    render_meshes.main(options)
    scene = load_scene(SceneOptions(source_path=str(tmp_path / "striped_box"), eval=True), seed=0)
    assert scene.points_source == "400 points of points3d.ply"
    middle, outward = np.array([0, 0, 0.5]), np.array(list(COLOURS))
    centres = in_the_set(outward * HALF, "+z")
    normals = (centres - middle) / np.linalg.norm(centres - middle, axis=1, keepdims=True)
    points = scene.points.positions.astype(float)
    beyond = ((points[:, None] - centres) * normals).sum(axis=-1)
    assert np.abs(beyond.max(axis=1)).max() < 1e-5  # on the outermost plane: on the box
    face = beyond.argmax(axis=1)
    towards = np.stack([camera.position.double().numpy() for camera in scene.train_cameras]) - points[:, None]
    before = (towards * normals[face][:, None]).sum(axis=-1) > 0
    assert (before.sum(axis=1) >= 2).all()
    named = np.array(list(COLOURS.values()))[face] > 128
    shown = scene.points.colours / scene.points.colours.max(axis=1, keepdims=True) > 0.7
    assert (named == shown).all(axis=1).mean() > 0.9  # near edges, pixels mix two faces
    assert len(np.unique(face)) == 4  # one side is seen by one camera, the bottom by none


def test_every_picture_is_captioned_by_name_or_category(made: tuple[Path, Path]) -> None:
    folder = made[1]
    rows = rows_of(folder)
    assert len(rows) == 4 * 5
    for row in rows:
        picture = Image.open(folder / row["file_name"])
        assert picture.mode == "RGB" and picture.size == (32, 32)
        what = "chair" if row["file_name"].startswith("0") else "striped box"
        assert f"a {what}" in row["text"] and row["family"] == what
        assert (row["view"] == "") == row["file_name"].startswith(("obj", "ply"))
    assert rows[0]["view"] == "front" and rows[0]["file_name"] == "03001627/abc/train/000.png"


def test_bad_meshes_are_listed_with_their_reasons(made: tuple[Path, Path], tmp_path: Path) -> None:
    meshes, folder = made
    skipped = json.loads((folder / "skipped.json").read_text())
    expected = write_bad_meshes(tmp_path / "bad")
    assert {Path(path).name for path in skipped} == set(expected)
    for path, reason in skipped.items():
        assert expected[Path(path).name] in reason and Path(path).parent == meshes / "bad"
    with pytest.raises(UserError, match="none of the 7 meshes"):
        render_meshes.main(Options(str(tmp_path / "bad"), str(tmp_path / "out"), **SMALL))
    assert len(json.loads((tmp_path / "out" / "skipped.json").read_text())) == 7


def test_a_stopped_set_goes_on_and_ends_alike(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(str(made[0] / "glb"), str(tmp_path / "set"), **SMALL)
    render_meshes.main(dataclasses.replace(options, output=str(tmp_path / "whole")))
    taken: list[Path] = []
    original = render_meshes.take.__globals__["write_picture"]

    def write_two(path: Path, values: np.ndarray) -> None:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(path)
        original(path, values)

    monkeypatch.setitem(render_meshes.take.__globals__, "write_picture", write_two)
    with pytest.raises(KeyboardInterrupt):
        render_meshes.main(options)
    assert len(rows_of(tmp_path / "set")) == 2 and not list((tmp_path / "set").rglob("transforms*"))
    monkeypatch.undo()
    kept = taken[0].stat().st_mtime_ns
    render_meshes.main(options)
    assert taken[0].stat().st_mtime_ns == kept
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "dataset.json":
            assert path.read_bytes() == (tmp_path / "set" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_table_captions_without_rendering_again(made: tuple[Path, Path], tmp_path: Path) -> None:
    options = Options(str(made[0] / "ply"), str(tmp_path / "set"), **SMALL)
    render_meshes.main(options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.png")}
    (tmp_path / "captions.csv").write_text("mesh,caption\nstriped_box,a gaudy box\nstriped_box,a parcel\n")
    render_meshes.main(dataclasses.replace(options, captions=str(tmp_path / "captions.csv")))
    texts = [row["text"] for row in rows_of(tmp_path / "set")]
    assert texts == ["a gaudy box", "a parcel", "a gaudy box", "a parcel", "a gaudy box"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UserError, match="holds a set made with"):
        render_meshes.main(dataclasses.replace(options, resolution=48))


def test_cameras_on_a_path_go_round_level() -> None:
    options = Options("in", "out", cameras="path", elevations=(20, 20), train_views=6, test_views=3)
    views = options.places()
    assert [view.name[:4] for view in views].count("test") == 3
    turns = np.diff([view.azimuth for view in views])
    assert np.allclose(turns, 40) and {view.elevation for view in views} == {20}
    rising = Options("in", "out", cameras="path", elevations=(0, 60), turns=2.0, train_views=11).places()
    assert np.allclose(np.diff([view.elevation for view in rising]), 60 / 19)
    assert np.allclose(np.diff([view.azimuth for view in rising]) % 360, 720 / 19)


def test_test_views_lie_between_the_others_and_every_one_once() -> None:
    views = Options("in", "out", train_views=24, test_views=8).places()
    numbers = [index for index, view in enumerate(views) if view.name.startswith("test")]
    assert len(numbers) == 8 and set(np.diff(numbers)) == {4}
    assert sorted(view.name for view in views if view.name.startswith("train")) == [
        f"train/{number:03d}" for number in range(24)
    ]


@pytest.mark.parametrize(("up", "front"), [("y", "+z"), ("y", "-x"), ("z", "-y"), ("x", "+z"), ("z", "+x")])
def test_up_goes_up_and_the_front_to_the_camera(up: str, front: str) -> None:
    mesh = render_meshes.MeshFile(Path("a.obj"), "a")
    turn = Options("in", "out", up=up, front=front).upright(mesh)  # type: ignore[arg-type]
    axes = dict(zip("xyz", np.eye(3), strict=True))
    assert np.allclose(turn @ axes[up], [0, 0, 1])
    assert np.allclose(turn @ (axes[front[1]] * (-1 if front[0] == "-" else 1)), [0, -1, 0])
    assert np.isclose(np.linalg.det(turn), 1)


def test_held_out_meshes_are_a_share_and_keep_all_their_pictures() -> None:
    meshes = [render_meshes.MeshFile(Path(f"{n}.obj"), f"cup{n}") for n in range(20)]
    options = Options("in", "out", held_out_share=0.25, **SMALL)
    rows = render_meshes.rows(options, meshes, {}, {})
    held_out = {row["instance"] for row in rows if row["split"] != "train"}
    assert len(held_out) == 5
    assert sum(row["split"] == "held_out_instances" for row in rows) == 25


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("train_views", 0),
        ("resolution", 8),
        ("elevations", (70.0, 5.0)),
        ("elevations", (0.0, 90.0)),
        ("turns", 0.0),
        ("points", -1),
        ("held_out_share", 0.9),
        ("front", "-y"),
    ],
)
def test_options_out_of_range_are_refused_by_name(flag: str, value: object) -> None:
    with pytest.raises(UserError, match=f"--{flag}"):
        dataclasses.replace(Options("in", "out"), **{flag: value}).check()  # type: ignore[arg-type]


def test_the_command_says_what_is_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["--meshes", str(tmp_path), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="there are no meshes"):
        render_meshes.main(parse(Options, words))
    assert not (tmp_path / "out").exists()
