"""Photographs become a posed dataset: `images/` and `sparse/0/`, as train.py reads it.

    python convert.py -s photographs
    python train.py -s photographs-posed -m output/mine

Structure from motion by pycolmap alone, on the CPU: SIFT features, every pair matched, incremental mapping,
the largest model kept, photographs undistorted to PINHOLE cameras. Photographs are used as stored; an EXIF
orientation turns nothing.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pycolmap
import tyro

from scene.photographs import stored_size
from scene.structure_from_motion import FEWEST, largest_model
from utils.errors import UserError, demand, run_program
from utils.options import parse

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
REFUSED = {
    "--no_gpu": "everything runs on the CPU",
    "--skip_matching": "poses that are already there need no convert.py; give their dataset to train.py",
    "--camera": "a camera with distortion (OPENCV) is estimated, and photographs are undistorted",
    "--colmap_executable": "pycolmap is used, no COLMAP program",
    "--magick_executable": "no other program is used",
    "--resize": "train.py shrinks photographs itself (--resolution)",
}
"""Flags of the reference that this program does not honour, and what to do instead."""


@dataclass
class Options:
    """Photographs in, a posed dataset out."""

    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Folder of the photographs, subfolders included; where it has a folder input/ or images/, that one."""
    output_path: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Folder of the new dataset; by default the source's name with -posed added."""
    seed: int = 0
    """Of the random samples in matching and mapping, at least 0."""


@dataclass(frozen=True)
class Conversion:
    """What became of the photographs.

    Attributes:
        output: the dataset's folder.
        registered: names of the photographs that found their place, sorted.
        missing: names of those that did not.
        points: how many points were triangulated.
        error: their mean reprojection error, pixels.
    """

    output: Path
    registered: list[str]
    missing: list[str]
    points: int
    error: float


def main(options: Options) -> None:
    """Converts and reports.

    Raises:
        UserError: no usable photographs, nothing registered, or an output that is already there.
    """
    demand(bool(options.source_path), "source_path", options.source_path, "the folder of your photographs")
    demand(options.seed >= 0, "seed", options.seed, "0 or more")
    started = time.perf_counter()
    source = Path(options.source_path).expanduser().absolute()
    output = source.with_name(f"{source.name}-posed")
    if options.output_path:
        output = Path(options.output_path).expanduser().absolute()
    for taken in (output / "images", output / "sparse"):
        if taken.exists() or (output.exists() and not output.is_dir()):
            raise UserError(f"{taken} would be overwritten or has no place; give another --output_path")
    folder, names = find_photographs(source)
    conversion = convert(folder, names, output, options.seed)
    total = len(conversion.registered) + len(conversion.missing)
    print(f"registered {len(conversion.registered)} of {total}")
    if conversion.missing:
        print(f"not registered: {', '.join(conversion.missing)}")
        print("  (too blurred, or too little in common with the others: add photographs in between)")
    print(
        f"{conversion.points} points, mean reprojection error {conversion.error:.2f} pixels, "
        f"{time.perf_counter() - started:.0f} s; the dataset is {output}"
    )


def find_photographs(source: Path) -> tuple[Path, list[str]]:
    """Folder and sorted names of the photographs: in `input/`, in `images/`, or in the folder itself.

    Raises:
        UserError: no such folder, fewer than three photographs, or a damaged one.
    """
    if not source.is_dir():
        raise UserError(f"--source_path: no folder {source}; give the folder of your photographs")
    folder = next((source / part for part in ("input", "images") if (source / part).is_dir()), source)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if len(files) < FEWEST:
        endings = sorted({path.suffix or path.name for path in folder.iterdir()})
        raise UserError(
            f"{folder} has {len(files)} photographs ({', '.join(ENDINGS)}; found: "
            f"{', '.join(endings[:8]) or 'nothing'}); at least {FEWEST} are needed, better 20 or more"
        )
    for file in files:
        stored_size(file)  # names a damaged file now
    return folder, [file.relative_to(folder).as_posix() for file in files]


def convert(folder: Path, names: list[str], output: Path, seed: int) -> Conversion:
    """Writes `output/images` and `output/sparse/0`, both whole or not at all.

    Args:
        folder: of the photographs.
        names: theirs, relative to it.
        output: must not hold `images` or `sparse`.
        seed: of the random samples.

    Raises:
        UserError: no photographs could be registered.
    """
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        work = Path(temporary)
        model = largest_model(folder, names, work, seed)
        (work / "model").mkdir()
        model.write(work / "model")
        print("undistorting")
        pycolmap.undistort_images(work / "posed", work / "model", folder, jpeg_quality=97)
        (work / "posed/sparse").rename(work / "0")
        (work / "posed/sparse").mkdir()
        (work / "0").rename(work / "posed/sparse/0")
        output.mkdir(exist_ok=True)
        for part in ("images", "sparse"):
            (work / "posed" / part).rename(output / part)
    registered = sorted(image.name for image in model.images.values() if image.has_pose)
    return Conversion(
        output=output,
        registered=registered,
        missing=sorted(set(names) - set(registered)),
        points=model.num_points3D(),
        error=model.compute_mean_reprojection_error(),
    )


if __name__ == "__main__":
    run_program(lambda: main(parse(Options, refused=REFUSED)))
