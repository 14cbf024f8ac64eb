"""COLMAP models, binary and text, read through pycolmap."""

import copy
from pathlib import Path

import numpy as np
import pycolmap

from scene.source import ObservedPoints, PosedPhotograph, demand_photographs
from utils.errors import UserError, Warnings

LEAST_BYTES = {"cameras.bin": 40, "images.bin": 73, "points3D.bin": 51}  # of one record


def model_folder(source: Path, warnings: Warnings) -> Path:
    """`sparse/0`, or `sparse` where the model lies directly in it.

    Raises:
        UserError: neither holds a model.
    """
    for folder in (source / "sparse" / "0", source / "sparse"):
        if any((folder / f"images{ending}").is_file() for ending in (".bin", ".txt")):
            others = [
                other.name for other in (source / "sparse").iterdir() if other.is_dir() and other.name != "0"
            ]
            if others and folder.name == "0":
                warnings.add(
                    "COLMAP made several models; sparse/0 is used and these are not", ", ".join(others)
                )
            return folder
    found = sorted(path.name for path in (source / "sparse").iterdir()) or ["nothing"]
    raise UserError(
        f"no COLMAP model (images.bin or images.txt) in {source / 'sparse' / '0'} or {source / 'sparse'}; "
        f"found {', '.join(found[:5])}. Run COLMAP's mapper, or `python convert.py`"
    )


def read_colmap(
    source: Path, images: str, warnings: Warnings
) -> tuple[list[PosedPhotograph], ObservedPoints]:
    """The photographs with a pose, sorted by name, and the model's points.

    Args:
        source: the dataset's folder, with `sparse/0` or `sparse`.
        images: the folder of the photographs, relative to `source`.
        warnings: takes what is odd but usable.

    Raises:
        UserError: no model, a damaged one, or no photograph with a pose, or a file is missing.
    """
    folder = model_folder(source, warnings)
    try:
        _check_lengths(folder)
        model = pycolmap.Reconstruction(folder)
    except (ValueError, IndexError, RuntimeError, MemoryError) as failure:
        reason = str(failure).splitlines()[0]
        raise UserError(
            f"the COLMAP model in {folder} cannot be read ({reason}); "
            "it needs cameras, images and points3D, all .bin or all .txt, as COLMAP wrote them"
        ) from failure
    lenses = {number: copy.deepcopy(camera) for number, camera in model.cameras.items()}
    names = {image_id: image.name for image_id, image in model.images.items()} | _text_names(folder)
    photographs = []
    for image_id, image in model.images.items():
        name = names[image_id]
        if not image.has_pose:
            continue
        world_to_camera = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        if not np.isfinite(world_to_camera).all():
            warnings.add("pose is not finite, the view is left out", name)
            continue
        path = source / images / name
        photographs.append(PosedPhotograph(name, path, lenses[image.camera_id], world_to_camera))
    if not photographs:
        raise UserError(
            f"the COLMAP model in {folder} has no photograph with a pose ({len(model.images)} listed); "
            "the reconstruction failed: take more overlapping photographs and run it again"
        )
    photographs.sort(key=lambda photograph: photograph.name)
    demand_photographs({each.name: each.path for each in photographs}, str(source / images))
    return photographs, _points(model, names)


def _check_lengths(folder: Path) -> None:
    """A ValueError if a binary file is too short for its claimed count, at which pycolmap reads on and on."""
    for file, least in LEAST_BYTES.items():
        path = folder / file
        if path.is_file():
            size = path.stat().st_size
            with path.open("rb") as stream:
                count = int.from_bytes(stream.read(8), "little")
            if size < 8 + count * least:
                raise ValueError(f"{file} has {size} bytes, too few for {count} records; is it cut off?")


def _text_names(folder: Path) -> dict[int, str]:
    """The photographs' names by id in a text model, blanks included, at which COLMAP's own reader stops."""
    if (folder / "images.bin").is_file():
        return {}
    lines = iter((folder / "images.txt").read_text(encoding="utf-8").splitlines())
    names = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            number, name = line.strip().split(maxsplit=9)[::9]
            names[int(number)] = name
            next(lines, None)  # the image's points
    return names


def _points(model: pycolmap.Reconstruction, names: dict[int, str]) -> ObservedPoints:
    """The model's points in the order of their ids, so that binary and text give the same rows."""
    points = sorted(model.points3D.items())
    positions = np.array([point.xyz for _, point in points], np.float64).reshape(-1, 3)
    colours = np.array([point.color for _, point in points], np.uint8).reshape(-1, 3)
    rows: dict[int, list[int]] = {image_id: [] for image_id in model.images}
    for row, (_, point) in enumerate(points):
        for image_id in {element.image_id for element in point.track.elements}:
            rows[image_id].append(row)
    seen = {name: np.array(rows[image_id], np.int64) for image_id, name in names.items()}
    return ObservedPoints(positions, colours, seen)
