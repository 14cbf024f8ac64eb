"""Posed sets of procedural objects: points beside the pictures, from which train.py starts."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scene.dataset import SceneOptions, load_scene
from tests.programs import run_train
from tools.procedural.pictures import Shots
from tools.procedural.plan import Plan, View
from tools.procedural.posed import files_of_posed, take_posed
from tools.studio.batch import work_through
from tools.studio.cameras import spread_on_sphere
from tools.studio.sightings import project

pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")

COUNT = 300


def shots(folder: Path) -> Shots:
    """Four training views and one test view of an object."""
    plan = Plan(0)
    instance = plan.instance(3)
    names = [*(f"train/00{number}" for number in range(4)), "test/000"]
    views = [View(azimuth, rise, "", "") for azimuth, rise in spread_on_sphere(5, (10, 60))]
    files = tuple((folder / f"{name}.png", view) for name, view in zip(names, views, strict=True))
    return Shots(plan, instance, files, 48, 4, steady=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object's folder, with points; not to be written to."""
    folder = tmp_path_factory.mktemp("posed")
    take_posed(shots(folder), COUNT)
    return folder


def test_the_files_are_those_that_were_announced(home: Path) -> None:
    found = {path for path in home.rglob("*") if path.is_file()}
    assert found == set(files_of_posed(shots(home), COUNT))


def test_training_starts_from_the_points(home: Path, tmp_path: Path) -> None:
    model = run_train(home, tmp_path / "model", "--eval", "--iterations", 2, "--test_iterations", -1)
    settings = json.loads((model / "settings.json").read_text())
    assert settings["scene"]["points"] == f"{COUNT} points of points3d.ply"


def test_the_points_have_the_colours_of_the_pictures_and_stand_on_the_floor(home: Path) -> None:
    scene = load_scene(SceneOptions(source_path=str(home), eval=True), seed=0)
    points, near, far = scene.points, [], []
    for camera in scene.train_cameras:
        pixels, _ = project(camera, points.positions.astype(float))
        inside = (pixels > 0).all(axis=1) & (pixels < 48).all(axis=1)
        column, row = pixels[inside].astype(int).T
        shown = np.asarray(Image.open(home / f"{camera.name}.png"))[row, column].astype(float)
        near.append(np.abs(shown - points.colours[inside]).mean())
        far.append(np.abs(shown - points.colours[inside][::-1]).mean())
    assert np.mean(near) < 0.6 * np.mean(far)
    heights = points.positions[:, 2]
    assert heights.min() > -1e-6 and heights.max() <= 1
    on_floor = (heights < 1e-6).mean()
    assert on_floor == 0.5


def test_the_same_points_come_again_and_nothing_else_is_touched(home: Path, tmp_path: Path) -> None:
    take_posed(shots(tmp_path), 0)
    assert not (tmp_path / "points3d.ply").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    work_through(
        partial(take_posed, points=COUNT),
        [shots(tmp_path)],
        outputs=partial(files_of_posed, points=COUNT),
        workers=1,
    )
    assert (tmp_path / "points3d.ply").read_bytes() == (home / "points3d.ply").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before
