"""The protocols of the field: scenes, photographs, sizes, backgrounds, starts and scores of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocols.poses import demand_photographs_for_poses
from scene.dataset import SceneOptions, posed_photographs, scene_kind
from scene.photographs import stored_size
from utils.errors import UserError, Warnings, demand

Split = tuple[tuple[str, ...], tuple[str, ...]]

DTU_TRAIN = (25, 22, 28, 40, 44, 48, 0, 8, 13)
DTU_EXPOSURE = (*range(3, 8), *range(16, 22), *range(36, 40))  # photographs of wrong exposure
BLENDER_TRAIN = (2, 16, 26, 55, 73, 76, 86, 93)
OUTDOORS = ["bicycle", "flowers", "garden", "stump", "treehill"]
INDOORS = ["room", "counter", "kitchen", "bonsai"]
SHIPPED_SMALLER = dict.fromkeys(OUTDOORS, "images_4") | dict.fromkeys(INDOORS, "images_2")
"""The folders that the reference's full_eval.py takes of Mip-NeRF 360, where they are there."""


def _below(folder: str, names: str) -> dict[str, str]:
    return {name: f"{folder}/{name}" for name in names.split()}


def dtu_split(folder: Path, train: Sequence[str], test: Sequence[str], views: int) -> Split:
    """The first `views` of pixelNeRF's nine photographs, and 25 others of right exposure; light 3_r5000."""
    names = [name for name in train if re.search(r"_3_r5000", name)] or list(train)
    if len(names) != 49:
        raise UserError(
            f"--protocol dtu: {folder} has {len(names)} photographs, a scan of the protocol 49 "
            "(of light 3_r5000 if there are several)"
        )
    unused = {*DTU_TRAIN, *DTU_EXPOSURE}
    held_out = tuple(name for number, name in enumerate(names) if number not in unused)
    return tuple(names[number] for number in DTU_TRAIN[:views]), held_out


def blender_split(folder: Path, train: Sequence[str], test: Sequence[str], views: int) -> Split:
    """The eight frames that DietNeRF chose, and every eighth test frame: 25 of 200."""
    if len(train) != 100 or len(test) != 200:
        raise UserError(
            f"--protocol blender8: {folder} has {len(train)} training and {len(test)} test frames, an object "
            "of the protocol 100 and 200"
        )
    return tuple(train[number] for number in BLENDER_TRAIN), tuple(test[::8])


def nested_split(folder: Path, train: Sequence[str], test: Sequence[str], views: int) -> Split:
    """The first `views` training frames, as tools/make_objects.py nests them, and all test frames."""
    if len(train) < views:
        raise UserError(
            f"--protocol objects: {folder} has {len(train)} training frames, not {views}; see docs/results.md"
        )
    return tuple(train[:views]), tuple(test)


def listed_split(folder: Path, train: Sequence[str], test: Sequence[str], views: int) -> Split:
    """What `train_test_split_N.json` in the scene's folder lists, as numbers of the sorted names."""
    path = folder / f"train_test_split_{views}.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        chosen = [tuple(train[int(number)] for number in listed[key]) for key in ("train_ids", "test_ids")]
    except FileNotFoundError:
        raise UserError(
            f"--protocol mip360_rf: no {path}; ReconFusion's lists are published on its project page "
            "(https://reconfusion.github.io) and inside stable-virtual-camera's benchmark archive"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as failure:
        raise UserError(
            f"{path} cannot be used ({failure!r}); it needs the lists `train_ids` and `test_ids`, numbers of "
            f"the {len(train)} photographs by name"
        ) from None
    return chosen[0], chosen[1]


@dataclass(frozen=True)
class Protocol:
    """What a protocol prescribes.

    Attributes:
        data: what to do where its scenes are missing.
        homes: for each scene its folder below --data; empty: any dataset.
        views: numbers of training photographs, 0: all.
        allowed_views: those that it knows; empty: any number.
        split: names for training and test, of the dataset's; None: train.py's --eval and --n_views.
        width: at most so many pixels, never enlarged; -1: train.py's own rule.
        images: folder of the photographs.
        white: the background.
        random_start: from random points in the box [-1, 1]^3, instead of the dataset's points.
        masked: scored within masks that training does not see.
    """

    data: str
    homes: Mapping[str, str]
    views: tuple[int, ...]
    allowed_views: tuple[int, ...] = ()
    split: Callable[[Path, Sequence[str], Sequence[str], int], Split] | None = None
    width: int = -1
    images: str = SceneOptions.images
    white: bool = False
    random_start: bool = False
    masked: bool = False


MIP360 = _below("mipnerf360", " ".join([*OUTDOORS, *INDOORS]))
FETCH_MIP360 = "fetch them with: python -m tools.download 360_v2 360_extra_scenes -o DATA"
PROTOCOLS = {
    "llff": Protocol(
        data="fetch them with: python -m tools.download nerf_llff_data -o DATA",
        homes=_below("nerf_llff_data", "fern flower fortress horns leaves orchids room trex"),
        views=(3, 6, 9),
        width=504,
    ),
    "dtu": Protocol(
        data="DTU's rectified photographs are at https://roboimagedata.compute.dtu.dk/?page_id=36; each scan "
        "has to become a COLMAP dataset (images/, sparse/0/) with the object's masks in masks/",
        homes={
            f"scan{number}": f"dtu/scan{number}"
            for number in (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)
        },
        views=(3, 6, 9),
        allowed_views=tuple(range(1, 10)),
        split=dtu_split,
        width=400,
        masked=True,
    ),
    "blender8": Protocol(
        data="fetch them with: python -m tools.download nerf_synthetic -o DATA",
        homes=_below("nerf_synthetic", "chair drums ficus hotdog lego materials mic ship"),
        views=(8,),
        allowed_views=(8,),
        split=blender_split,
        width=400,
        white=True,
        random_start=True,
    ),
    "mip360_fsgs": Protocol(data=FETCH_MIP360, homes=MIP360, views=(12, 24), images="images_8"),
    "mip360_rf": Protocol(
        data=FETCH_MIP360,
        homes=MIP360,
        views=(3, 6, 9),
        allowed_views=(3, 6, 9),
        split=listed_split,
        images="images_4",
    ),
    "tandt_db": Protocol(
        data="fetch them with: python -m tools.download tandt_db -o DATA",
        homes=_below("tandt", "truck train") | _below("db", "drjohnson playroom"),
        views=(0,),
    ),
    "objects": Protocol(
        data="make them with: python benchmarks/proof.py (docs/results.md)",
        homes={},
        views=(3,),
        allowed_views=(3, 6, 9),
        split=nested_split,
    ),
    "every8": Protocol(data="", homes={}, views=(0,)),
}


@dataclass(frozen=True)
class Prepared:
    """A scene as a protocol has it.

    Attributes:
        flags: of train.py, beside those of variant and seed.
        split: what --split has to name; None: the flags say it.
        size: width and height of a photograph as it is stored, pixels.
    """

    flags: tuple[str, ...]
    split: Split | None
    size: tuple[int, int]


def find_scenes(protocol: str, data: Path, scenes: Sequence[str]) -> dict[str, Path]:
    """The scenes' folders by name.

    Args:
        protocol: a name in `PROTOCOLS`.
        data: the folder of the protocol's scenes.
        scenes: names below `data`, or folders of own scenes; empty: all of the protocol.

    Raises:
        UserError: one is missing (the message says where to get it), or two have one name.
    """
    homes = PROTOCOLS[protocol].homes
    if not scenes and not homes:
        scenes = [str(path) for path in sorted(data.glob("*")) if _is_dataset(path)]
        if not scenes:
            advice = PROTOCOLS[protocol].data or "name folders of datasets with --scenes"
            raise UserError(f"--data: no dataset in {data}; {advice}")
    wanted = list(scenes or homes)
    found: dict[str, Path] = {}
    missing = []
    for scene in wanted:
        candidates = [data / homes[scene]] if scene in homes else []
        folder = next((path for path in (*candidates, data / scene, Path(scene)) if path.is_dir()), None)
        if folder is None:
            missing.append(scene)
        elif folder.resolve().name in found:
            raise UserError(f"--scenes: two scenes are called {folder.resolve().name}; rename a folder")
        else:
            found[folder.resolve().name] = folder.resolve()
    if missing:
        advice = PROTOCOLS[protocol].data.replace("DATA", str(data)) or "check --data and --scenes"
        raise UserError(
            f"--protocol {protocol}: {len(missing)} of {len(wanted)} scenes are not in {data}: "
            f"{', '.join(missing)}. {advice[0].upper()}{advice[1:]}; or choose others with --scenes"
        )
    return found


def prepare(
    protocol: str, folder: Path, views: int, pose_source: Literal["all", "train"] = "all"
) -> Prepared:
    """The flags with which a scene is trained and tested under a protocol.

    Args:
        protocol: a name in `PROTOCOLS`.
        folder: of the scene.
        views: number of training photographs, 0: all.
        pose_source: "train" has every photograph named, as not all of them may find a pose.

    Raises:
        UserError: the protocol has no such number, or the dataset is not of its kind or has no photographs
            to find poses from.
    """
    rules = PROTOCOLS[protocol]
    demand(
        views in (rules.allowed_views or (views,)) and views >= 0,
        "views",
        views,
        f"{', '.join(map(str, rules.allowed_views)) or '0 (all) or more'} with --protocol {protocol}",
    )
    images = _images(protocol, folder)
    if images != SceneOptions.images and not (folder / images).is_dir():
        raise UserError(
            f"--protocol {protocol}: {folder} has no folder {images}; the protocol takes the smaller "
            "photographs that ship with the dataset"
        )
    by_rule = not rules.split
    options = SceneOptions(
        source_path=str(folder),
        images=images,
        eval=by_rule or scene_kind(folder) == "blender",
        n_views=views if by_rule else 0,
    )
    posed = posed_photographs(options, Warnings())
    width, height, _ = stored_size(posed.train[0].path)
    resolution = rules.width if rules.width == -1 else min(rules.width, width)
    flags = ["-i", images, "-r", str(resolution)]
    split = None
    names = [[each.name for each in photographs] for photographs in (posed.train, posed.test)]
    if rules.split:
        split = rules.split(folder, names[0], names[1], views)
    elif pose_source == "train":
        split = tuple(names[0]), tuple(names[1])
    else:
        flags += ["--eval", "--n_views", str(views)]
    if pose_source == "train" and split:
        demand_photographs_for_poses(folder, posed.kind, *split)
    flags += ["-w"] * rules.white
    flags += ["--mask_mode", "score"] * rules.masked
    return Prepared(tuple(flags), split, (width, height))


def _images(protocol: str, folder: Path) -> str:
    """The folder of photographs; with every8, Mip-NeRF 360's smaller ones where they lie in the scene."""
    smaller = SHIPPED_SMALLER.get(folder.name, "")
    if protocol == "every8" and smaller and (folder / smaller).is_dir():
        return smaller
    return PROTOCOLS[protocol].images


def _is_dataset(path: Path) -> bool:
    files = ("transforms_train.json", "transforms.json")
    return (path / "sparse").is_dir() or any((path / file).is_file() for file in files)
