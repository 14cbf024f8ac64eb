"""Blender (NeRF-synthetic) datasets: `transforms_train.json`, `transforms_test.json` and their pictures."""

from collections import Counter
from pathlib import Path

from scene.source import PosedPhotograph, demand_photographs
from scene.transforms import ENDINGS, frame_lens, frame_pose, path_in, picture_of, read_transforms
from utils.errors import UserError, Warnings


def read_blender(
    source: Path, hold_out: bool, warnings: Warnings
) -> tuple[list[PosedPhotograph], list[PosedPhotograph]]:
    """Training and test photographs, in the order of the files.

    Without `hold_out` the test frames are appended to the training frames, as the reference does; a missing
    `transforms_test.json` is then no mistake.

    Raises:
        UserError: a file is missing or damaged, pictures included.
    """
    train, tests = _frames(source / "transforms_train.json"), source / "transforms_test.json"
    if not tests.is_file():
        if hold_out:
            raise UserError(f"no file {tests}; --eval needs it, without --eval all is trained on")
        return train, []
    test = _frames(tests)
    names = {photograph.name for photograph in train}
    for photograph in test:
        if photograph.name in names:
            warnings.add("listed in transforms_train.json and in transforms_test.json", photograph.name)
    if hold_out:
        return train, test
    return train + [photograph for photograph in test if photograph.name not in names], []


def _frames(path: Path) -> list[PosedPhotograph]:
    source = path.parent
    transforms, frames = read_transforms(path)
    where = [f"{path}, frame {number}" for number in range(len(frames))]
    poses = [frame_pose(frame, place) for frame, place in zip(frames, where, strict=True)]
    files = [path_in(frame, "file_path") for frame in frames]
    names = [_name(file) for file in files]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(
            f"{path} lists {', '.join(twice[:3])} more than once; every frame needs its own picture"
        )
    pictures = {name: picture_of(source, file) for name, file in zip(names, files, strict=True)}
    demand_photographs(pictures, str(source))
    return [
        PosedPhotograph(name, pictures[name], frame_lens(transforms | frame, pictures[name], place), pose)
        for name, frame, place, pose in zip(names, frames, where, poses, strict=True)
    ]


def _name(file_path: str) -> str:
    """`./train/r_0.png` and `train/r_0` are both called `train/r_0`."""
    path = Path(file_path)
    return (path.with_suffix("") if path.suffix in ENDINGS else path).as_posix()
