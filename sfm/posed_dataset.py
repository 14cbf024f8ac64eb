"""The dataset that train.py reads: undistorted photographs, their PINHOLE model, smaller copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pycolmap
from PIL import Image

from scene.photographs import read_image, read_upright, save_picture
from scene.undistort import is_pinhole, undistorted


def write_dataset(
    model: pycolmap.Reconstruction,
    photographs: Path,
    into: Path,
    transparent: Mapping[str, Path],
    copies: Sequence[int],
) -> None:
    """Writes `into/images`, `into/sparse/0`, and `into/images_N` for every N of `copies`.

    Args:
        model: as structure from motion made it.
        photographs: the folder of those that it was made from.
        into: an empty folder.
        transparent: the files, as they came, of photographs that have an alpha channel, by their names in the
            model. They keep it.
        copies: by what width and height are divided.
    """
    raw = into / "raw"
    (raw / "model").mkdir(parents=True)
    model.write(raw / "model")
    pycolmap.undistort_images(raw / "posed", raw / "model", photographs, jpeg_quality=97)
    (into / "sparse").mkdir()
    (raw / "posed/sparse").rename(into / "sparse/0")
    (raw / "posed/images").rename(into / "images")
    shutil.rmtree(raw)
    for image in model.images.values():
        if image.has_pose and image.name in transparent:
            picture = read_upright(transparent[image.name])
            if not is_pinhole(image.camera):
                picture = undistorted(picture, image.camera)
            save_picture(picture, into / "images" / image.name)
    for factor in copies:
        write_copies(into / "images", into / f"images_{factor}", factor)


def write_copies(images: Path, smaller: Path, factor: int) -> None:
    """Writes every picture of a folder at 1 / factor of its size (Lanczos), under the same name."""

    def one(path: Path) -> None:
        picture = read_image(path)
        size = max(round(picture.width / factor), 1), max(round(picture.height / factor), 1)
        save_picture(picture.resize(size, Image.Resampling.LANCZOS), smaller / path.relative_to(images))

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        list(pool.map(one, sorted(path for path in images.rglob("*") if path.is_file())))
