"""Photographs or a video become a posed dataset: `images/` and `sparse/0/`, as train.py reads it.

    python convert.py -s photographs
    python train.py -s photographs-posed -m output/mine --lambda_sds 0

Structure from motion by pycolmap alone, on the CPU: SIFT features, matches, incremental mapping, the largest
model kept, photographs undistorted to PINHOLE cameras. docs/capture.md says how to take them.
"""

import importlib.metadata
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scene.photographs import stored_size
from sfm.intake import find_photographs, look_at, said_of, take_in
from sfm.posed_dataset import write_dataset
from sfm.reconstruction import (
    FEWEST,
    add_features,
    find_models,
    match_pairs,
    read_models,
    sequential_pairs,
)
from sfm.registration import grouped, nothing_registered, registered, why_missing
from sfm.video_frames import write_sharpest_frames
from sfm.work_folder import finished, work_folder
from utils.errors import UserError, demand, run_program
from utils.options import parse, to_plain

CAMERA_MODELS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "FOV"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "THIN_PRISM_FISHEYE"),
)
MOST_WITH_EVERY_PAIR = {"photographs": 200, "frames": 40}  # under --matching auto
REFUSED = {
    "--no_gpu": "everything runs on the CPU",
    "--skip_matching": "poses that are already there need no convert.py; give their dataset to train.py",
    "--colmap_executable": "pycolmap is used, no COLMAP program",
    "--magick_executable": "no other program is used",
    "--resize": "use --copies 2 4 8; train.py also shrinks photographs itself (--resolution)",
}
"""Flags of the reference that this program does not honour, and what to do instead."""


@dataclass
class Options:
    """Photographs or a video in, a posed dataset out."""

    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Folder of the photographs, subfolders included (where it has a folder input/ or images/, that
    one); or a video."""
    output_path: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Folder of the new dataset; by default the source's name with -posed added."""
    frames: int = 100
    """How many frames of a video to take, the sharpest of so many equal stretches; at least 3."""
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which photographs are compared: every pair, or each with the next ones (and a few far ones, to close
    loops). auto: every pair up to 40 frames of a video or 200 photographs."""
    overlap: int = 10
    """With how many of the next photographs sequential matching compares each, at least 1."""
    camera_model: Annotated[str, tyro.conf.arg(aliases=["--camera"])] = "OPENCV"
    """COLMAP's name of the lens model to estimate: PINHOLE, SIMPLE_RADIAL, OPENCV, OPENCV_FISHEYE, ..."""
    single_camera: bool = False
    """One camera for all photographs, also where their EXIF focal lengths differ."""
    copies: tuple[int, ...] = ()
    """Also smaller photographs: 2 4 makes images_2/ and images_4/ of half and a quarter of the size."""
    seed: int = 0
    """Of the random samples in matching and mapping, 0 to 2147483647."""


@dataclass(frozen=True)
class Conversion:
    """What became of the photographs.

    Attributes:
        registered: names of those that found their place, sorted.
        missing: a sentence on what to try, for each of those that did not.
        points: how many points were triangulated.
        error: their mean reprojection error, pixels.
    """

    registered: list[str]
    missing: dict[str, str]
    points: int
    error: float


def main(options: Options) -> None:
    """Converts and reports.

    Raises:
        UserError: no usable photographs, nothing registered, or an output that is already there.
    """
    check(options)
    started = time.perf_counter()
    source = absolute(options.source_path)
    output = absolute(options.output_path or beside(source))
    for taken in (output / name for name in ("images", "sparse", *(f"images_{n}" for n in options.copies))):
        if taken.exists() or (output.exists() and not output.is_dir()):
            raise UserError(f"{taken} would be overwritten or has no place; give another --output_path")
    conversion = convert(source, output, options)
    total = len(conversion.registered) + len(conversion.missing)
    print(f"registered {len(conversion.registered)} of {total}")
    for reason, names in grouped(conversion.missing).items():
        print(f"not registered: {', '.join(names)}: {reason}")
    print(
        f"{conversion.points} points, mean reprojection error {conversion.error:.2f} pixels, "
        f"{time.perf_counter() - started:.0f} s; the dataset is {output}"
    )


def absolute(path: str) -> Path:
    """The path from the root, without `.` and `..`, with links left as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  (Path has no such thing)


def beside(source: Path) -> str:
    """Where the dataset of a folder or a video goes by default."""
    return str(source.parent / f"{source.stem if source.is_file() else source.name}-posed")


def check(options: Options) -> None:
    """Raises a UserError that names the first flag with a value that is not allowed."""
    demand(
        bool(options.source_path), "source_path", options.source_path, "a folder of photographs, or a video"
    )
    demand(options.frames >= FEWEST, "frames", options.frames, f"{FEWEST} or more")
    demand(options.overlap >= 1, "overlap", options.overlap, "1 or more")
    demand(
        options.camera_model in CAMERA_MODELS,
        "camera_model",
        options.camera_model,
        f"{', '.join(CAMERA_MODELS)}; others have no pinhole equivalent, which train.py needs",
    )
    demand(all(2 <= n <= 16 for n in options.copies), "copies", options.copies, "whole numbers from 2 to 16")
    demand(0 <= options.seed < 2**31, "seed", options.seed, "0 to 2147483647")


def convert(source: Path, output: Path, options: Options) -> Conversion:
    """Writes the dataset into `output`, whole or not at all; after an interruption it goes on.

    Args:
        source: a folder of photographs, or a video.
        output: must not hold what is to be written.
        options: checked.

    Raises:
        UserError: no usable photographs, or none that could be registered.
    """
    video = source.is_file()
    folder, files = (source.parent, [source]) if video else find_photographs(source)
    if not video and folder in output.parents:
        raise UserError(f"--output_path {output} is among the photographs in {folder}; choose another place")
    incoming = [] if video else look_at(folder, files)
    with work_folder(output, _asked(files, options)) as work:
        if video:
            print(f"looking for the sharpest frames of {source}")
            taken = finished(work / "photographs", lambda into: _take_frames(source, options.frames, into))
        else:
            for line in said_of(incoming):
                print(line)
            taken = finished(work / "photographs", lambda into: take_in(incoming, into))
        images, database = taken / "images", work / "database.db"
        names = [each.name for each in incoming] or sorted(path.name for path in images.iterdir())

        if options.single_camera:
            demand_one_size(images, names)
        print(f"finding features in {len(names)} photographs")
        masks = taken / "masks" if (taken / "masks").is_dir() else None
        add_features(
            database, images, names, options.camera_model, masks=masks, one_camera=options.single_camera
        )
        pairs = _pairs(names, options, "frames" if video else "photographs")
        print(f"matching {len(pairs)} pairs")
        match_pairs(database, pairs, work / "pairs.txt", options.seed)

        print("finding poses")
        mapped = finished(work / "models", lambda into: find_models(database, images, into, options.seed))
        models = read_models(mapped)
        if not models:
            raise nothing_registered(database, source)
        largest = models[0]

        print("undistorting")
        transparent = {each.name: each.file for each in incoming if each.transparent}
        posed = finished(
            work / "posed", lambda into: write_dataset(largest, images, into, transparent, options.copies)
        )
        conversion = Conversion(
            registered=registered(largest),
            missing=why_missing(database, models),
            points=largest.num_points3D(),
            error=largest.compute_mean_reprojection_error(),
        )
        put_in_place(posed, output)
    return conversion


def demand_one_size(images: Path, names: Iterable[str]) -> None:
    """Raises a UserError unless the photographs, turned upright, have one size."""
    first = {stored_size(images / name)[:2]: name for name in reversed(list(names))}
    if len(first) > 1:
        sizes = ", ".join(f"{width}x{height} ({name})" for (width, height), name in sorted(first.items()))
        raise UserError(f"--single_camera: the photographs are of several sizes, {sizes}; leave the flag out")


def put_in_place(posed: Path, output: Path) -> None:
    """Moves a dataset to its place: in one step, or, into a folder that is there, with sparse/ last.

    Without it a folder is no dataset. From another disk each part arrives as a copy under a name of its own,
    so that an interruption leaves nothing half-written under the right one.
    """
    if not output.exists():
        posed.rename(output)
        return
    for part in sorted(posed.iterdir(), key=lambda part: part.name == "sparse"):
        arriving = output / f".{part.name}.part"
        shutil.rmtree(arriving, ignore_errors=True)
        shutil.move(part, arriving)
        arriving.replace(output / part.name)


def _asked(files: Iterable[Path], options: Options) -> dict[str, object]:
    """All on which the parts of the work depend, as JSON has it."""
    states = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {"options": to_plain(options), "files": states, "pycolmap": importlib.metadata.version("pycolmap")}


def _take_frames(video: Path, count: int, into: Path) -> None:
    (into / "images").mkdir()
    names = write_sharpest_frames(video, count, into / "images")
    fewer = f"; --frames {count} wants more than it has" * (len(names) < count)
    print(f"took {len(names)} frames, from {names[0]} to {names[-1]}{fewer}")


def _pairs(names: list[str], options: Options, kind: str) -> list[tuple[str, str]]:
    every = options.matching == "exhaustive"
    if options.matching == "auto":
        every = len(names) <= MOST_WITH_EVERY_PAIR[kind]
    return list(combinations(names, 2)) if every else sequential_pairs(names, options.overlap)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options, refused=REFUSED)))
