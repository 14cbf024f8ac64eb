"""Protocols: the photographs that train.py trains and tests on, against lists worked out by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from protocols.selection import PROTOCOLS, find_scenes, prepare
from scene.dataset import SceneOptions, posed_photographs
from scene.fitting import training_size
from scene.split import write_split
from tests.scene.models import pinhole, write_dataset
from training.options import Options
from utils.errors import UserError, Warnings
from utils.options import parse


def train_options(protocol: str, folder: Path, views: int) -> SceneOptions:
    """The scene's options that train.py gets from a protocol."""
    ready = prepare(protocol, folder, views)
    words = [*ready.flags]
    if ready.split:
        write_split(folder / "split.json", *ready.split)
        words += ["--split", str(folder / "split.json")]
    return parse(Options, ["-s", str(folder), *words]).scene


def chosen(protocol: str, folder: Path, views: int) -> tuple[list[str], list[str]]:
    """Names of the photographs that train.py then trains and tests on."""
    posed = posed_photographs(train_options(protocol, folder, views), Warnings())
    return [it.name for it in posed.train], [it.name for it in posed.test]


def colmap(folder: Path, names: Sequence[str]) -> Path:
    """A COLMAP dataset of photographs of these names, 64 x 48."""
    return write_dataset(folder, names)


def numbered(count: int) -> list[str]:
    return [f"{number:03}.png" for number in range(count)]


def of(numbers: Sequence[int]) -> list[str]:
    return [f"{number:03}.png" for number in numbers]


def blender(folder: Path, train: int, test: int) -> Path:
    """A Blender dataset of so many frames, all of one picture."""
    folder.mkdir(parents=True)
    Image.new("RGBA", (16, 16)).save(folder / "picture.png")
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir()
        frames = [{"file_path": f"./{split}/r_{i}", "transform_matrix": pose} for i in range(count)]
        for i in range(count):
            (folder / split / f"r_{i}.png").hardlink_to(folder / "picture.png")
        content = {"camera_angle_x": 0.7, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))
    return folder


def test_llff(tmp_path: Path) -> None:
    """Of 20 photographs: test 0, 8, 16; of the 17 others 0, 8, 16 for three, and so on."""
    fern = colmap(tmp_path / "fern", numbered(20))
    test = of([0, 8, 16])
    assert chosen("llff", fern, 3) == (of([1, 10, 19]), test)
    # ramp 0 3.2 6.4 9.6 12.8 16 -> 0 3 6 10 13 16 of 1-7, 9-15, 17-19
    assert chosen("llff", fern, 6) == (of([1, 4, 7, 12, 15, 19]), test)
    assert chosen("llff", fern, 9) == (of([1, 3, 5, 7, 10, 12, 14, 17, 19]), test)


def test_dtu(tmp_path: Path) -> None:
    """First n of the nine; test: 49 less 3-7, 16-21, 36-39 and the nine; light 3 only."""
    names = [f"rect_{view:03}_{light}_r5000.png" for view in range(1, 50) for light in (3, 6)]
    scan = colmap(tmp_path / "scan30", names)
    test = [1, 2, 9, 10, 11, 12, 14, 15, 23, 24, 26, 27, 29, 30, 31, 32, 33, 34, 35, 41, 42, 43, 45, 46, 47]
    for views, train in (
        (1, [25]),
        (3, [22, 25, 28]),
        (6, [22, 25, 28, 40, 44, 48]),
        (9, [0, 8, 13, 22, 25, 28, 40, 44, 48]),
    ):
        expected = [[f"rect_{number + 1:03}_3_r5000.png" for number in it] for it in (train, test)]
        assert list(chosen("dtu", scan, views)) == expected
    options = train_options("dtu", scan, 3)
    assert options.mask_mode == "score" and not options.white_background
    with pytest.raises(UserError, match=r"--views 10: allowed is 1, 2, .* with --protocol dtu"):
        prepare("dtu", scan, 10)


def test_dtu_wants_a_whole_scan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 20 photographs, a scan of the protocol 49"):
        prepare("dtu", colmap(tmp_path / "scan8", numbered(20)), 3)


def test_blender8(tmp_path: Path) -> None:
    """Frames 2 16 26 55 73 76 86 93; test 0, 8, ..., 192; white, 400 px, never enlarged."""
    lego = blender(tmp_path / "lego", 100, 200)
    train, test = chosen("blender8", lego, 8)
    assert train == [f"train/r_{number}" for number in (2, 16, 26, 55, 73, 76, 86, 93)]
    assert test == [f"test/r_{8 * number}" for number in range(25)]
    options = train_options("blender8", lego, 8)
    assert options.white_background and options.resolution == 16
    assert PROTOCOLS["blender8"].random_start
    with pytest.raises(UserError, match="has 99 training and 200 test frames"):
        prepare("blender8", blender(tmp_path / "less", 99, 200), 8)


def test_objects(tmp_path: Path) -> None:
    """The first n training frames, all test frames, at their own size on their own background."""
    chair = blender(tmp_path / "007227", 7, 4)
    test = [f"test/r_{number}" for number in range(4)]
    for views in (3, 6):
        assert chosen("objects", chair, views) == ([f"train/r_{number}" for number in range(views)], test)
    options = train_options("objects", chair, 3)
    assert not options.white_background and options.resolution == -1
    with pytest.raises(UserError, match="has 7 training frames, not 9"):
        prepare("objects", chair, 9)
    with pytest.raises(UserError, match=r"--views 4: allowed is 3, 6, 9 with --protocol objects"):
        prepare("objects", chair, 4)
    with pytest.raises(UserError, match=r"no dataset in .*; make them with: python benchmarks/proof\.py"):
        find_scenes("objects", tmp_path / "007227" / "test", ())


def test_mip360_fsgs(tmp_path: Path) -> None:
    """Of 25 photographs: test 0, 8, 16, 24; 12 of the 21 others; from the folder of an eighth's size."""
    garden = colmap(tmp_path / "garden", numbered(25))
    with pytest.raises(UserError, match="has no folder images_8; the protocol takes the smaller"):
        prepare("mip360_fsgs", garden, 12)
    (garden / "images").rename(garden / "images_8")
    # ramp of 20/11: 0 1.8 3.6 5.5 7.3 9.1 10.9 12.7 14.5 16.4 18.2 20 -> 0 2 4 5 7 9 11 13 15 16 18 20
    rest = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23]
    train = [rest[number] for number in (0, 2, 4, 5, 7, 9, 11, 13, 15, 16, 18, 20)]
    assert chosen("mip360_fsgs", garden, 12) == (of(train), of([0, 8, 16, 24]))
    assert train_options("mip360_fsgs", garden, 12).images == "images_8"


def test_mip360_rf(tmp_path: Path) -> None:
    garden = colmap(tmp_path / "garden", numbered(20))
    (garden / "images").rename(garden / "images_4")
    with pytest.raises(UserError, match=r"no .*train_test_split_6\.json; ReconFusion's lists are published"):
        prepare("mip360_rf", garden, 6)
    (garden / "train_test_split_3.json").write_text('{"train_ids": [13, 4, 9], "test_ids": [0, 8, 16]}')
    assert chosen("mip360_rf", garden, 3) == (of([4, 9, 13]), of([0, 8, 16]))
    (garden / "train_test_split_3.json").write_text('{"train_ids": [20], "test_ids": [0]}')
    with pytest.raises(UserError, match="needs the lists `train_ids` and `test_ids`, numbers of the 20"):
        prepare("mip360_rf", garden, 3)


@pytest.mark.parametrize("protocol", ["tandt_db", "every8"])
def test_dense(tmp_path: Path, protocol: str) -> None:
    truck = colmap(tmp_path / "truck", numbered(18))
    rest = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17]
    assert chosen(protocol, truck, 0) == (of(rest), of([0, 8, 16]))
    assert train_options(protocol, truck, 0).resolution == -1


def test_every8_takes_the_smaller_photographs_that_ship_with_mip_nerf_360(tmp_path: Path) -> None:
    for name, images in (("garden", "images_4"), ("kitchen", "images_2")):
        scene = colmap(tmp_path / name, numbered(9))
        assert train_options("every8", scene, 0).images == "images"
        (scene / "images").rename(scene / images)
        assert train_options("every8", scene, 0).images == images


@pytest.mark.parametrize(("width", "height", "size"), [(4032, 3024, (504, 378)), (448, 336, (448, 336))])
def test_llff_is_504_wide_and_never_enlarged(tmp_path: Path, width: int, height: int, size) -> None:
    lens = pinhole(width=width, height=height)
    scene = write_dataset(tmp_path / "scene", numbered(9)[:2], lens=lens)
    ready = prepare("llff", scene, 1)
    assert ready.size == (width, height)
    assert training_size(*ready.size, size[0]) == size
    assert ready.flags[ready.flags.index("-r") + 1] == str(size[0])


def test_each_protocol_has_the_scenes_of_its_papers() -> None:
    counts = {name: len(rules.homes) for name, rules in PROTOCOLS.items()}
    assert counts == {
        **{"llff": 8, "dtu": 15, "blender8": 8, "mip360_fsgs": 9, "mip360_rf": 9, "tandt_db": 4},
        "objects": 0,
        "every8": 0,
    }


def test_missing_scenes_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "tandt" / "truck").mkdir(parents=True)
    with pytest.raises(UserError) as failure:
        find_scenes("tandt_db", tmp_path, ())
    assert "3 of 4 scenes are not in" in str(failure.value)
    assert "train, drjohnson, playroom" in str(failure.value)
    assert f"python -m tools.download tandt_db -o {tmp_path}" in str(failure.value)
    assert find_scenes("tandt_db", tmp_path, ("truck",)) == {"truck": tmp_path / "tandt" / "truck"}
    with pytest.raises(UserError, match=r"scan8, scan21.*roboimagedata"):
        find_scenes("dtu", tmp_path, ())


def test_scenes_of_ones_own(tmp_path: Path) -> None:
    for name in ("b", "a"):
        colmap(tmp_path / name, numbered(2))
    (tmp_path / "other").mkdir()
    assert list(find_scenes("every8", tmp_path, ())) == ["a", "b"]
    assert find_scenes("llff", tmp_path, ("b",)) == {"b": tmp_path / "b"}
    assert find_scenes("llff", tmp_path / "none", (str(tmp_path / "b"),)) == {"b": tmp_path / "b"}
    with pytest.raises(UserError, match="two scenes are called b"):
        find_scenes("llff", tmp_path, ("b", str(tmp_path / "b")))
    with pytest.raises(UserError, match="no dataset in"):
        find_scenes("every8", tmp_path / "other", ())


@pytest.mark.data
def test_the_real_scenes(data_root: Path) -> None:
    fern = find_scenes("every8", data_root, ("fern",))["fern"]
    train, test = chosen("every8", fern, 3)
    names = sorted(path.name for path in (fern / "images").iterdir())
    assert test == names[::8] and train == [names[1], names[10], names[19]]
    assert train_options("llff", fern, 3).resolution == 504
    with pytest.raises(UserError, match="has 64 training and 12 test frames"):
        prepare("blender8", data_root / "lego_blender", 8)
