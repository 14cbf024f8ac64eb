"""The maker of procedural objects, from its command to the files."""

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scene.blender import read_blender
from tools import make_objects
from tools.make_objects import Options
from tools.procedural import pictures
from tools.procedural.appearance import COLOURS, draw_colour
from tools.procedural.pictures import LOOK, Shots, body, cameras, objects, take
from tools.procedural.plan import Plan
from utils.errors import UserError, Warnings

pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")


def small(folder: Path, **changes: Any) -> Options:
    """Five tiny pictures of three instances, in this process, but for the changes."""
    views = 1 if changes.get("posed") else 2
    options = Options(str(folder), count=5, resolution=16, samples=2, workers=1, views_per_instance=views)
    return dataclasses.replace(options, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set made in one go; not to be written to."""
    folder = tmp_path_factory.mktemp("objects") / "whole"
    make_objects.main(small(folder))
    return folder


def test_a_set_holds_its_pictures_and_tables(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metadata.jsonl").read_text().splitlines()]
    names = [row["file_name"] for row in rows]
    assert names == [f"images/{n:06d}_{view}.png" for n, view in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))]
    assert rows[0]["instance"] == rows[1]["instance"]
    assert rows[0]["family"] == rows[1]["family"]
    assert rows[0]["azimuth"] != rows[1]["azimuth"]
    for row in rows:
        with Image.open(whole / row["file_name"]) as image:
            assert (image.mode, image.size) == ("RGB", (16, 16))
            assert np.asarray(image).std() > 5
    about = json.loads((whole / "dataset.json").read_text())
    assert about["settings"]["seed"] == 0
    assert "workers" not in about["settings"]
    assert not set(about["families"]) & set(about["held_out_families"])


def test_a_stopped_set_ends_as_the_unbroken_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write_until_full(path: Path, pixels: np.ndarray) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "no space left", str(path))
        written.append(path)
        real(path, pixels)

    real = pictures.write_picture
    monkeypatch.setattr(pictures, "write_picture", write_until_full)
    with pytest.raises(OSError, match="no space left"):
        make_objects.main(small(tmp_path))
    kept = (tmp_path / "metadata.jsonl").read_text().splitlines()
    assert kept == (whole / "metadata.jsonl").read_text().splitlines()[:3]
    monkeypatch.undo()
    first = written[0].stat().st_mtime_ns
    make_objects.main(small(tmp_path))
    assert contents(tmp_path) == contents(whole)
    assert written[0].stat().st_mtime_ns == first


@pytest.mark.slow
def test_two_processes_make_the_same_set(whole: Path, tmp_path: Path) -> None:
    make_objects.main(small(tmp_path, workers=2))
    assert contents(tmp_path) == contents(whole)


def test_other_settings_are_refused_and_the_set_is_left_alone(whole: Path) -> None:
    before = contents(whole)
    with pytest.raises(UserError, match="'seed': 0"):
        make_objects.main(small(whole, seed=1))
    assert contents(whole) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("still_life_share", 1.1),
        ("count", 0),
        ("resolution", 8),
        ("seed", -1),
        ("held_out_families", 30),
        ("held_out_share", 0.6),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--{name} {value}"):
        make_objects.main(small(tmp_path / "set", **{name: value}))
    assert not (tmp_path / "set").exists()


def test_posed_objects_are_datasets(tmp_path: Path) -> None:
    options = small(tmp_path, count=2, posed=True, train_views=3, test_views=2)
    make_objects.main(options)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows[:5]] == [
        *(f"000000/train/00{n}.png" for n in range(3)),
        *(f"000000/test/00{n}.png" for n in range(2)),
    ]
    assert len(rows) == 10
    train, test = read_blender(tmp_path / "000001", hold_out=True, warnings=Warnings())
    assert [photograph.name for photograph in train + test] == [
        *("train/000", "train/001", "train/002", "test/000", "test/001")
    ]
    shots = make_objects.posed_shots(options, tmp_path)[1]
    placed = cameras(shots, objects(shots.plan, shots.instance))
    for photograph, camera in zip(train + test, placed, strict=True):
        assert np.allclose(photograph.world_to_camera, camera.world_to_camera.numpy(), atol=1e-5)
    distances = [float(camera.position.sub(placed[0].position).norm()) for camera in placed[1:]]
    assert min(distances) > 0.1


def test_few_views_of_chosen_objects(tmp_path: Path) -> None:
    """Nested training views about the facing, test views named by where they are, all at one distance."""
    options = small(tmp_path, posed=True, layout="few_views", instances=(5, 3), points=0)
    options = dataclasses.replace(options, train_views=4, test_views=2)
    make_objects.main(options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["000003", "000005"]
    train, test = read_blender(tmp_path / "000003", hold_out=True, warnings=Warnings())
    assert [it.name for it in train] == [f"train/00{number}" for number in range(4)]
    assert [it.name for it in test] == ["test/inside_000", "test/outside_000"]
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert {row["instance"] for row in rows} == {3, 5}
    instance = options.plan().instance(3)
    turned = [(row["azimuth"] - instance.facing + 180) % 360 - 180 for row in rows if row["instance"] == 3]
    assert np.allclose(turned[:4], [-35, 35, 0, 0], atol=0.01)
    positions = np.stack([-it.world_to_camera[:3, :3].T @ it.world_to_camera[:3, 3] for it in train + test])
    axes = np.stack([it.world_to_camera[2, :3] for it in train + test])
    middle = np.linalg.lstsq(  # where all optical axes meet
        np.concatenate([np.eye(3) - np.outer(axis, axis) for axis in axes]),
        np.concatenate([at - axis * (axis @ at) for axis, at in zip(axes, positions, strict=True)]),
    )[0]
    assert np.ptp(np.linalg.norm(positions - middle, axis=1)) < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": (3,)}, "--instances is for posed sets; give --posed"),
        ({"layout": "few_views"}, "--layout is for posed sets; give --posed"),
        ({"train_views": 9}, "--train_views is for posed sets; give --posed"),
        ({"points": 0}, "--points is for posed sets; give --posed"),
        (
            {"posed": True, "views_per_instance": 2},
            "--views_per_instance is for captioned sets; with --posed",
        ),
        ({"posed": True, "instances": (-1,)}, "--instances"),
        ({"posed": True, "layout": "few_views"}, "--train_views 24: allowed is 3 to 9 with"),
        ({"posed": True, "layout": "few_views", "train_views": 9, "test_views": 5}, "--test_views 5"),
    ],
)
def test_flags_of_posed_sets_that_cannot_be_used(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_objects.main(small(tmp_path / "set", **changes))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("colour", COLOURS)
def test_the_rendered_colour_is_the_named_one(colour: str, tmp_path: Path) -> None:
    """The lit side of a matte ball is nearer to its colour than to any other."""
    plan = Plan(0)
    instance = dataclasses.replace(plan.instance(8), count=1, size="", facing=0.0, beside=())
    instance = dataclasses.replace(instance, family="ball", colour=colour, material="matte")
    path = tmp_path / "ball.png"
    take(Shots(plan, instance, ((path, plan.described(instance, 0, 20, 20)),), 24, 16))
    middle = np.asarray(Image.open(path))[6:18, 6:18].reshape(-1, 3) / 255
    seen = middle[np.argsort(middle.sum(axis=1))[-30:]].mean(axis=0)
    shades = {name: draw_colour(np.random.default_rng(5), name) for name in COLOURS}
    assert min(shades, key=lambda name: float(np.linalg.norm(shades[name] - seen))) == colour


def test_the_objects_of_a_still_life_stand_apart_in_their_own_colours() -> None:
    plan = Plan(2, still_life_share=1)
    for number in range(10):
        instance = plan.instance(number)
        items = objects(plan, instance)
        for which, thing in enumerate(instance.things):
            whole = body(plan, number, thing, which)
            assert len(items) >= len(whole)
            shades = [m.colour for _, m in items if m.colour.shape == (3,)]
            if thing.material == "matte":
                shade = draw_colour(plan.rng(number, LOOK, *([which] if which else [])), thing.colour)
                assert any(np.allclose(shade, found) for found in shades)


@pytest.mark.parametrize("still_lifes", [0, 1])
def test_every_object_is_inside_its_picture_and_on_the_floor(still_lifes: float) -> None:
    plan = Plan(1, still_life_share=still_lifes)
    for number in range(40):
        instance = plan.instance(number)
        view = plan.view(instance, 0)
        shots = Shots(plan, instance, ((Path("x.png"), view),), 128, 1)
        items = objects(plan, instance)
        points = np.concatenate([mesh.vertices for mesh, _ in items])
        assert points[:, 2].min() == pytest.approx(0, abs=1e-9)
        (camera,) = cameras(shots, items)
        local = points @ camera.world_to_camera.double().numpy()[:3, :3].T
        local += camera.world_to_camera.double().numpy()[:3, 3]
        pixels = local @ camera.intrinsics.double().numpy().T
        pixels = pixels[:, :2] / pixels[:, 2:]
        assert pixels.min() >= 0
        assert pixels.max() <= 128
