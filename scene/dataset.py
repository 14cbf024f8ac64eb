"""A scene from its folder: which photographs train, which test, and the points to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
import tyro
from torch import Tensor

from scene.blender import read_blender
from scene.cameras import Camera
from scene.colmap import read_colmap
from scene.fitting import Fitting
from scene.kinds import Kind, scene_kind
from scene.nerfstudio import read_nerfstudio
from scene.photographs import PixelCache, decode_all
from scene.points import (
    FEWEST,
    NO_POINTS,
    PointCloud,
    finite_points,
    random_in_cube,
    random_in_view,
    read_points,
)
from scene.single import read_single
from scene.source import NOT_OBSERVED, ObservedPoints, PosedPhotograph
from scene.split import named
from utils.errors import UserError, Warnings, demand

Item = TypeVar("Item")
TEST_EVERY = 8
BLENDER_HALF_SIDE = 1.3  # scene units


@dataclass
class SceneOptions:
    """Where the photographs are and how they are read."""

    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Folder of the dataset: COLMAP (images/ and sparse/0/), Blender (transforms_train.json) or Nerfstudio
    (transforms.json)."""
    images: Annotated[str, tyro.conf.arg(aliases=["-i"])] = "images"
    """Folder of the photographs inside a COLMAP or Nerfstudio dataset."""
    resolution: Annotated[int, tyro.conf.arg(aliases=["-r"])] = -1
    """1, 2, 4, 8: that part of the full size; other numbers: width in pixels; -1: full, at most 1600 wide."""
    white_background: Annotated[bool, tyro.conf.arg(aliases=["-w"])] = False
    """White instead of black behind the scene and behind transparent parts of photographs."""
    eval: bool = False
    """Keep test photographs out of training: every eighth by name, or those listed for the test in
    transforms_test.json (Blender) or transforms.json (Nerfstudio)."""
    train_test_exp: bool = False
    """Learn exposures (as --exposure does), those of test photographs too: these train with their left half
    and are tested on their right one."""
    split: str = ""
    """A JSON file {"train": [names], "test": [names]} that says so, in place of --eval's rule."""
    n_views: int = 0
    """Train from this many photographs, evenly spaced over the training ones; 0: from all."""
    points: Literal["seen", "all", "dense"] = "seen"
    """With --n_views, the SfM points to start from: seen in two or more of the chosen photographs (of one:
    in it), or all; "dense" adds to those seen what multi-view stereo finds in the training photographs."""
    masks: str = "masks"
    """Folder of masks inside the dataset (white: keep), used where it exists; "" switches masks off, those of
    a transforms.json too."""
    mask_mode: Literal["ignore", "transparent", "score"] = "ignore"
    """What a mask's black part is: of no account, an empty world, or of no account in the test alone."""
    image_memory: float = 4.0
    """GB of memory for decoded photographs, at least 0; those beyond it are decoded at every use."""
    init_ply: str = ""
    """Start from the points of this PLY instead, or from the Gaussians of a file that export.py writes."""
    init_random: int = 50_000
    """How many random points to start from where the dataset has fewer than 100; at least 1."""

    def __post_init__(self) -> None:
        if self.source_path:
            self.source_path = str(Path(self.source_path).expanduser().resolve())
        if self.init_ply:
            self.init_ply = str(Path(self.init_ply).expanduser().resolve())
        if self.split:
            self.split = str(Path(self.split).expanduser().resolve())

    def check(self) -> None:
        """Raises a UserError that names the first flag whose value is not allowed, and the allowed values."""
        size, memory = self.resolution, self.image_memory
        demand(bool(self.source_path), "source_path", self.source_path, "the folder of a dataset")
        demand(bool(self.images), "images", self.images, "a folder inside the dataset")
        demand(size == -1 or size >= 1, "resolution", size, "-1, 1, 2, 4, 8 or a width in pixels")
        demand(self.n_views >= 0, "n_views", self.n_views, "0 (all) or a number of photographs")
        demand(self.points in ("seen", "all", "dense"), "points", self.points, "seen, all or dense")
        modes = ("ignore", "transparent", "score")
        demand(self.mask_mode in modes, "mask_mode", self.mask_mode, "ignore, transparent or score")
        demand(0 <= memory < float("inf"), "image_memory", memory, "0 or more gigabytes")
        demand(self.init_random >= 1, "init_random", self.init_random, "1 or more points")
        if self.train_test_exp and self.n_views:
            raise UserError(
                "--train_test_exp trains with halves of the test photographs too, which is more than the "
                f"{self.n_views} of --n_views; leave one out, or give --exposure instead"
            )

    def background(self, device: torch.device) -> Tensor:
        """(3,) float32 on the device: what lies behind the Gaussians, white or black."""
        return torch.full((3,), float(self.white_background), device=device)


@dataclass
class Scene:
    """All that a training knows of the world.

    Attributes:
        kind: "colmap", "blender", "nerfstudio", or "photograph": a single one without a pose.
        source_path: the dataset's folder.
        train_cameras, test_cameras: with photographs; sorted by name, or as listed (Blender).
        original_sizes: for each camera's name, width and height in the dataset, before --resolution.
        points: to start from, at least one.
        points_source: a sentence that says where they come from.
        extent: 1.1 times the largest distance of a training camera from the cameras' mean, scene units.
        far_points: to start from too, on no surface.
        warnings: what was odd but usable, to be shown once.
    """

    kind: Kind
    source_path: Path
    train_cameras: list[Camera]
    test_cameras: list[Camera]
    original_sizes: dict[str, tuple[int, int]]
    points: PointCloud
    points_source: str
    extent: float
    far_points: PointCloud = NO_POINTS
    warnings: Warnings = field(default_factory=Warnings)

    def summary(self) -> dict[str, Any]:
        """What was found, as JSON values, for the files that say what a result rests on."""
        return {
            "kind": self.kind,
            "train_photographs": [camera.name for camera in self.train_cameras],
            "test_photographs": [camera.name for camera in self.test_cameras],
            "points": self.points_source,
            "extent": self.extent,
        }


def load_scene(options: SceneOptions, seed: int) -> Scene:
    """The scene in the folder `options.source_path`, its photographs decoded as far as memory is granted.

    Args:
        options: the flags.
        seed: of the random points, where some are needed.

    Raises:
        UserError: a flag or the dataset is not usable; the message says what, where, and what to do.
    """
    options.check()
    warnings = Warnings()
    return scene_of(posed_photographs(options, warnings), options, seed, warnings)


def scene_of(posed: Posed, options: SceneOptions, seed: int, warnings: Warnings) -> Scene:
    """The scene of a dataset's photographs, as `load_scene` has it."""
    fitting = fitting_of(options, warnings)
    whole = replace(fitting, masks=None, own_masks=False) if options.mask_mode == "score" else fitting
    train_cameras = [whole.camera(each) for each in posed.train]
    test_cameras = [fitting.camera(each) for each in posed.test]
    if options.train_test_exp:
        tested = {each.name for each in posed.test}
        train_cameras = [half(it, "left") if it.name in tested else it for it in train_cameras]
        test_cameras = [half(it, "right") for it in test_cameras]
    decode_all([camera.photograph for camera in train_cameras + test_cameras if camera.photograph])
    points, points_source = start_points(posed, options, seed, train_cameras, warnings)
    return Scene(
        kind=posed.kind,
        source_path=Path(options.source_path),
        train_cameras=train_cameras,
        test_cameras=test_cameras,
        original_sizes=fitting.original_sizes,
        points=points,
        points_source=points_source,
        extent=scene_extent(train_cameras, points, warnings),
        warnings=warnings,
    )


class Posed(NamedTuple):
    """The photographs of a dataset, nothing of them decoded yet.

    Attributes:
        kind: of the dataset.
        train, test: to train from and to keep for the test; those for the test are in both with
            `train_test_exp`.
        observed: a COLMAP model's points, none of a single photograph; None for other datasets.
        points: the file of the points to start from that goes with a Blender or a Nerfstudio dataset.
    """

    kind: Kind
    train: list[PosedPhotograph]
    test: list[PosedPhotograph]
    observed: ObservedPoints | None
    points: Path | None


def posed_photographs(options: SceneOptions, warnings: Warnings) -> Posed:
    """Which photographs train and which test, by `eval` or `split`, and `n_views`; errors of `load_scene`."""
    source = Path(options.source_path)
    kind = scene_kind(source)
    observed: ObservedPoints | None = None
    points: Path | None = None
    by_rule = options.eval and not options.split
    if kind == "colmap":
        posed, observed = read_colmap(source, options.images, warnings)
        train, test = held_out(posed) if by_rule else (posed, [])
    elif kind == "photograph":
        train, test, observed = *read_single(source, by_rule, warnings), NOT_OBSERVED
    elif kind == "nerfstudio":
        posed, split, points = read_nerfstudio(source, options.images, warnings)
        train, test = (split or held_out(posed)) if by_rule else (posed, [])
    else:
        train, test = read_blender(source, by_rule, warnings)
        points = source / "points3d.ply" if (source / "points3d.ply").is_file() else None
    if options.split:
        train, test = named(train, Path(options.split))
    if not train:
        raise UserError(f"--eval leaves no photograph of {source} to train from: it has only {len(test)}")
    if options.train_test_exp:
        names = {each.name for each in train}  # a dataset's own lists may have one for both
        train = train + [each for each in test if each.name not in names]
    return Posed(kind, evenly_spaced(train, options.n_views), test, observed, points)


def fitting_of(options: SceneOptions, warnings: Warnings) -> Fitting:
    """What makes cameras of photographs by the flags."""
    return Fitting(
        resolution=options.resolution,
        cache=PixelCache(int(options.image_memory * 1e9)),
        masks=mask_folder(Path(options.source_path), options.masks),
        own_masks=bool(options.masks),
        mask_is_alpha=options.mask_mode == "transparent",
        warnings=warnings,
    )


def half(camera: Camera, side: Literal["left", "right"]) -> Camera:
    """The camera with that half of its photograph alone to count."""
    return replace(camera, photograph=replace(camera.own_photograph, half=side))


def training_files(
    source_path: str, images: str, hold_out: bool, n_views: int, warnings: Warnings
) -> list[Path]:
    """The files of the photographs that train.py trains on with the same flags (`hold_out` is `--eval`).

    Raises:
        UserError: a flag or the dataset is not usable.
    """
    options = SceneOptions(source_path=source_path, images=images, eval=hold_out, n_views=n_views)
    options.check()
    return [photograph.path for photograph in posed_photographs(options, warnings).train]


def held_out(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Training and test items: of the sorted items, numbers 0, 8, 16, ... are for the test."""
    train = [item for number, item in enumerate(items) if number % TEST_EVERY]
    return train, list(items[::TEST_EVERY])


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items from first to last by the `llff` rule, a linear ramp rounded; all of them for 0.

    Raises:
        UserError: there are not so many.
    """
    if count > len(items):
        raise UserError(
            f"--n_views {count}: there are {len(items)} training photographs; ask for at most so many"
        )
    if count == 0:
        return list(items)
    return [items[round(number)] for number in np.linspace(0, len(items) - 1, count)]


def mask_folder(source: Path, name: str) -> Path | None:
    """The folder of the masks, or None where there are none.

    Raises:
        UserError: a folder other than the default was asked for and is not there.
    """
    folder = source / name
    if name and folder.is_dir():
        return folder
    if name not in ("", SceneOptions.masks):
        raise UserError(f'--masks: no folder {folder}; name a folder inside the dataset, or "" for no masks')
    return None


def start_points(
    posed: Posed,
    options: SceneOptions,
    seed: int,
    cameras: Sequence[Camera],
    warnings: Warnings,
) -> tuple[PointCloud, str]:
    """The points to start from and a sentence that says what they are.

    Args:
        posed: the dataset.
        cameras: the training cameras.

    Raises:
        UserError: a PLY to start from is missing or has no usable point.
    """
    ply, dense = Path(options.init_ply) if options.init_ply else posed.points, options.points == "dense"
    if ply and (options.init_ply or not dense):
        points = read_points(ply, warnings)
        if not len(points):
            raise UserError(
                f"{ply} has no point with a finite position to start from; give another --init_ply"
            )
        if options.n_views and not options.init_ply:
            warnings.add(
                f"{ply.name} does not say which photographs saw a point: it may hold more than the "
                f"{options.n_views} of --n_views show; start from other points with --init_ply"
            )
        return points, f"{len(points)} points of {ply.name}"
    if posed.kind == "blender" and not dense:
        points = random_in_cube(options.init_random, BLENDER_HALF_SIDE, seed)
        side = f"[-{BLENDER_HALF_SIDE}, {BLENDER_HALF_SIDE}]"
        return points, f"{len(points)} random points in the cube {side}^3"

    points, what = observed_points(posed, options, cameras, warnings)
    if len(cameras) == 1 and not len(points):
        points = random_in_view(cameras, options.init_random, points, seed)
        return points, f"{len(points)} random points in the photograph's view"
    if dense:
        from scene.dense import dense_points  # noqa: PLC0415  (loads kernels)

        seen = len(points)
        points = dense_points(cameras, points)
        what = f"points ({len(points) - seen} of dense stereo, {seen} {what})"
    if len(points) >= FEWEST:
        return points, f"{len(points)} {what}"
    added = random_in_view(cameras, options.init_random, points, seed)
    more = f"{len(added)} random points in the training cameras' view"
    if posed.observed is None and not dense:  # a dataset without points, not a reconstruction that failed
        return added, more
    warnings.add(
        f"only {len(points)} {what}: {options.init_random} random ones in the cameras' view are added"
    )
    return points + added, f"{len(points)} {what} and {more}"


def observed_points(
    posed: Posed, options: SceneOptions, cameras: Sequence[Camera], warnings: Warnings
) -> tuple[PointCloud, str]:
    """The SfM points that `options.points` asks for, and what they are; none of a dataset without."""
    observed = posed.observed or NOT_OBSERVED
    chosen, what = np.ones(len(observed.positions), bool), "SfM points"
    few = options.n_views or options.split
    if options.points == "dense" or (few and options.points == "seen"):
        chosen = observed.observations([camera.name for camera in cameras]) >= min(2, len(cameras))
        what = f"SfM points seen in at least two of the {len(cameras)} training photographs"
        if len(cameras) == 1:
            what = "SfM points seen in the training photograph (others, which do not train, told their depth)"
    return finite_points(observed.positions[chosen], observed.colours[chosen], "SfM points", warnings), what


def scene_extent(cameras: Sequence[Camera], points: PointCloud, warnings: Warnings) -> float:
    """The scene's size, scene units, that scales learning rates and densification; always above 0.

    1.1 times the largest distance of a camera from the cameras' mean, as the reference. Where the cameras
    stand at one place (closer together than a thousandth of the points' distance; one or two, that may be a
    pair of eyes, than a tenth) that says nothing, and 1.1 times the median distance of the points from there
    is taken.
    """
    centres = np.stack([camera.position.numpy() for camera in cameras]).astype(np.float64)
    middle = centres.mean(axis=0)
    extent = 1.1 * float(np.linalg.norm(centres - middle, axis=1).max())
    distance = float(np.median(np.linalg.norm(points.positions - middle, axis=1)))
    if extent > (1e-3 if len(cameras) > 2 else 0.1) * distance:
        return extent
    warnings.add(
        "the training cameras stand at one place; the scene's size is taken from the points' distance"
    )
    return 1.1 * distance or 1.0
