"""Posed sets of procedural objects: pictures all round each, the cameras' poses, and points to start from."""

import dataclasses
from pathlib import Path

from tools.procedural.pictures import Shots, cameras, files_of, objects, stage, take
from tools.studio.posed_sets import files_beside_pictures, write_points, write_poses
from tools.studio.stage import staged

POINTS = 9  # stream of random numbers of an instance


def home_of(shots: Shots) -> Path:
    """The folder of an object, whose pictures lie in train/ and test/."""
    return shots.files[0][0].parents[1]


def files_of_posed(shots: Shots, points: int) -> list[Path]:
    """The files that `take_posed` writes."""
    return [*files_of(shots), *files_beside_pictures(home_of(shots), points)]


def take_posed(shots: Shots, points: int) -> None:
    """Renders the pictures that are not there yet, and writes so many points to start from, and the poses."""
    take(shots)
    items, setting = objects(shots.plan, shots.instance), stage(shots.plan, shots.instance)
    home = home_of(shots)
    placed = [
        dataclasses.replace(camera, name=path.relative_to(home).with_suffix("").as_posix())
        for (path, _), camera in zip(shots.files, cameras(shots, items), strict=True)
    ]
    rng = shots.plan.rng(shots.instance.number, POINTS)
    write_points(home, rng, staged(items, setting), setting.surfaces(items), placed, points)
    write_poses(home, placed)
