"""COLMAP models, binary and text, read through pycolmap."""

import copy
import struct
from pathlib import Path

import numpy as np
import pycolmap

from scene.cameras import demand_rigid
from scene.source import ObservedPoints, PosedPhotograph, demand_photographs
from utils.errors import UserError, Warnings

RECORDS = {
    "cameras.bin": (40, False, "", 0),
    "rigs.bin": (8, False, "", 0),
    "frames.bin": (64, False, "<I", 16),
    "images.bin": (64, True, "<Q", 24),
    "points3D.bin": (43, False, "<Q", 8),
}
"""Of a record in a binary file: bytes at least, whether a name follows, the format of the count that follows,
and the bytes of each of so many things."""


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
        UserError: no model, a damaged one, or no photograph with a pose, a camera that is none, or a file is
            missing.
    """
    folder = model_folder(source, warnings)
    try:
        _check_lengths(folder)
        model = pycolmap.Reconstruction(folder)
        _check_lenses(folder / "cameras.bin", model)
        names = {image_id: image.name for image_id, image in model.images.items()} | _text_names(folder)
    except (ValueError, IndexError, RuntimeError, MemoryError) as failure:
        reason = str(failure).splitlines()[0]
        raise UserError(
            f"the COLMAP model in {folder} cannot be read ({reason}); "
            "it needs cameras, images and points3D, all .bin or all .txt, as COLMAP wrote them"
        ) from failure
    lenses = {number: copy.deepcopy(camera) for number, camera in model.cameras.items()}
    photographs = []
    for image_id, image in model.images.items():
        name = names[image_id]
        if not image.has_pose:
            continue
        world_to_camera = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        try:
            demand_rigid(world_to_camera, "pose")
        except ValueError as failure:
            warnings.add(f"{failure}; the view is left out", name)
            continue
        demand_lens(lenses[image.camera_id], folder)
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


def demand_lens(lens: pycolmap.Camera, folder: Path) -> None:
    """Raises a UserError unless a camera's size and focal length are above 0 and all its numbers finite."""
    focal = [lens.params[number] for number in lens.focal_length_idxs()]
    if not (min(lens.width, lens.height, *focal) > 0 and np.isfinite(lens.params).all()):
        raise UserError(
            f"camera {lens.camera_id} of the COLMAP model in {folder} is none ({lens.model_name}, "
            f"{lens.width}x{lens.height}, {lens.params_to_string()}); estimate it anew"
        )


def _check_lengths(folder: Path) -> None:
    """A ValueError if a binary file ends before its last record, at which pycolmap reads on and on."""
    for file, record in RECORDS.items():
        if (folder / file).is_file():
            content = (folder / file).read_bytes()
            if _end(content, *record) > len(content):
                raise ValueError(f"{file} ends within a record, at {len(content)} bytes; is it cut off?")


def _check_lenses(file: Path, model: pycolmap.Reconstruction) -> None:
    """A ValueError if a binary file ends within its last lens, whose missing numbers pycolmap makes up."""
    length = 8 + sum(24 + 8 * len(lens.params) for lens in model.cameras.values())
    if file.is_file() and (size := file.stat().st_size) < length:
        raise ValueError(f"{file.name} ends within a record, at {size} bytes; is it cut off?")


def _end(content: bytes, least: int, named: bool, count: str, size: int) -> int:
    """Where the records of a binary file end; any place beyond its end if it ends before."""
    end = 8
    try:
        for _ in range(struct.unpack_from("<Q", content)[0]):
            end += least
            if named:
                end = content.index(0, end) + 1
            if count:
                end += struct.calcsize(count) + size * struct.unpack_from(count, content, end)[0]
            if end > len(content):
                break
    except (struct.error, ValueError):
        return len(content) + 1
    return end


def _text_names(folder: Path) -> dict[int, str]:
    """The photographs' names by id in a text model, blanks included, at which COLMAP's own reader stops."""
    if (folder / "images.bin").is_file():
        return {}
    lines = iter((folder / "images.txt").read_text(encoding="utf-8").split("\n"))
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
