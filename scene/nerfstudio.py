"""Nerfstudio datasets (and instant-ngp's): `transforms.json` with lenses, poses, masks and splits."""

import os.path
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from scene.kinds import scene_kind
from scene.measured_depths import MeasuredDepth
from scene.source import PosedPhotograph, demand_photographs
from scene.transforms import LARGEST, frame_lens, frame_pose, path_in, picture_of, read_transforms
from utils.errors import UserError, Warnings

FILE = "transforms.json"
MILLIMETRE = (
    1e-3  # a depth image's step where the file has no `depth_unit_scale_factor`, as Nerfstudio has it
)
IMAGES = "images"  # the flag's default, with which photographs are where the file says


class Nerfstudio(NamedTuple):
    """What a Nerfstudio dataset holds.

    Attributes:
        photographs: all of them, sorted by name.
        split: those to train from and those for the test, where the file lists them; else None.
        points: the file of the points to start from, where one is named; it may be missing.
    """

    photographs: list[PosedPhotograph]
    split: tuple[list[PosedPhotograph], list[PosedPhotograph]] | None
    points: Path | None


def read_nerfstudio(source: Path, images: str, warnings: Warnings) -> Nerfstudio:
    """The photographs of `transforms.json`, named by their paths below the folder that holds all of them.

    Poses and points are both taken as they stand: `applied_transform` and `applied_scale` only tell how they
    came from other coordinates.

    Args:
        source: the dataset's folder.
        images: another folder than "images" holds the photographs in place of the one in the file.
        warnings: takes what is odd but usable.

    Raises:
        UserError: the file is damaged, lists a frame twice, or a file that it names is missing.
    """
    path = source / FILE
    values, frames = read_transforms(path)
    where = [f"{path}, frame {number}" for number in range(len(frames))]
    poses = [frame_pose(frame, place) for frame, place in zip(frames, where, strict=True)]
    listed = [_whole(source, path_in(frame, "file_path")) for frame in frames]
    folder, pictures, names = _pictures(source, listed)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(
            f"{path} lists {', '.join(twice[:3])} more than once; every frame needs its own photograph"
        )
    if images != IMAGES:
        folder = source / images
        pictures = [folder / name for name in names]
    demand_photographs(dict(zip(names, pictures, strict=True)), str(folder))
    masks = [
        _named_file(source, frame, "mask_path", place) for frame, place in zip(frames, where, strict=True)
    ]
    lenses = [
        frame_lens(values | frame, picture, place)
        for frame, picture, place in zip(frames, pictures, where, strict=True)
    ]
    photographs = [PosedPhotograph(*each) for each in zip(names, pictures, lenses, poses, masks, strict=True)]
    by_file = dict(zip(listed, photographs, strict=True))
    split = _split(values, source, by_file, warnings)
    points = _named_file(source, values, "ply_file_path", str(path), there=False)
    return Nerfstudio(sorted(photographs, key=lambda each: each.name), split, points)


def depth_files(source: Path, folder: str) -> MeasuredDepth:
    """The depth images that the frames' `depth_file_path` name in a folder; none of any other dataset.

    Args:
        source: the dataset's folder.
        folder: inside it, or absolute.

    Raises:
        UserError: the file is damaged.
    """
    if scene_kind(source) != "nerfstudio":
        return MeasuredDepth({}, MILLIMETRE)
    path = source / FILE
    values, frames = read_transforms(path)
    for number, frame in enumerate(frames):
        frame_pose(frame, f"{path}, frame {number}")
    _, _, names = _pictures(source, [_whole(source, path_in(frame, "file_path")) for frame in frames])
    inside, found = Path(_whole(source, folder)), {}
    for number, (name, frame) in enumerate(zip(names, frames, strict=True)):
        file = _named_file(source, frame, "depth_file_path", f"{path}, frame {number}", there=False)
        if file and inside in Path(_whole(source, str(file))).parents:
            found[name] = file
    unit = values.get("depth_unit_scale_factor", MILLIMETRE)
    if isinstance(unit, bool) or not isinstance(unit, (int, float)) or not 0 < unit < LARGEST:
        raise UserError(f"{path}: `depth_unit_scale_factor` is {unit!r}; allowed is a number above 0")
    return MeasuredDepth(found, float(unit))


def _pictures(source: Path, listed: list[str]) -> tuple[Path, list[Path], list[str]]:
    """The folder that holds all photographs, their files, and their names below it."""
    pictures = [picture_of(source, file) for file in listed]
    folder = Path(os.path.commonpath([picture.parent for picture in pictures]))
    return folder, pictures, [picture.relative_to(folder).as_posix() for picture in pictures]


def _whole(source: Path, file_path: str) -> str:
    """The path with the dataset's folder before it and without `.` and `..`, by which frames are compared."""
    return os.path.abspath(source / file_path)  # noqa: PTH100  (Path has no such thing that leaves links alone)


def _named_file(
    source: Path, values: dict[str, Any], key: str, where: str, *, there: bool = True
) -> Path | None:
    """The file of that key; None where there is no such key.

    Raises:
        UserError: the value is no path, or there is no such file (unless it need not be `there`).
    """
    if values.get(key) is None:
        return None
    try:
        path = source / path_in(values, key)
    except (TypeError, ValueError) as failure:
        raise UserError(f"{where}: {failure}; name a file, or leave `{key}` out") from failure
    if there and not path.is_file():
        raise UserError(f"{where}: no file {path} for its `{key}`; copy it there, or leave `{key}` out")
    return path


def _split(
    values: dict[str, Any], source: Path, by_file: dict[str, PosedPhotograph], warnings: Warnings
) -> tuple[list[PosedPhotograph], list[PosedPhotograph]] | None:
    """Training and test photographs by `train_filenames` and `test_filenames`; None where nothing is listed.

    Without a list for the test that of `val_filenames` is taken; without one for training, all that no list
    has. Photographs are sorted by name.

    Raises:
        UserError: a list is none, or names a photograph that no frame has.
    """
    lists = {}
    for part in ("train", "val", "test"):
        key = f"{part}_filenames"
        if key in values:
            lists[part] = _listed(values[key], key, source, by_file)
    if not lists:
        return None
    every = sorted(by_file.values(), key=lambda each: each.name)
    others = set(every).difference(*lists.values())
    train = lists.get("train") or others
    test = lists.get("test") or lists.get("val") or others
    for photograph in train & test:
        warnings.add("listed for training and for the test", photograph.name)
    return [each for each in every if each in train], [each for each in every if each in test]


def _listed(names: Any, key: str, source: Path, by_file: dict[str, PosedPhotograph]) -> set[PosedPhotograph]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{source / FILE}: `{key}` is no list of paths; correct it, or leave it out")
    files = [_whole(source, name.replace("\\", "/")) for name in names]
    unknown = [name for name, file in zip(names, files, strict=True) if file not in by_file]
    if unknown:
        raise UserError(
            f"{source / FILE}: `{key}` lists {', '.join(unknown[:3])}{', ...' * (len(unknown) > 3)}, which "
            "no frame has as its `file_path`; correct the list, or leave it out"
        )
    return {by_file[file] for file in files}
