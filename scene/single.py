"""One photograph and nothing else: its camera stands at the origin and looks along z."""

import math
import struct
from pathlib import Path

import numpy as np
import pycolmap

from scene.fitting import UPRIGHT
from scene.photographs import EXIF_PART, PHOTOGRAPHS, read_header, stored_size
from scene.source import PosedPhotograph
from utils.errors import UserError, Warnings

DIAGONAL = math.hypot(36.0, 24.0)  # mm, of the film that EXIF's equivalent focal length refers to
FOCAL_LENGTHS = (4.0, 5000.0)  # mm on that film; what lies beyond is no lens
DEFAULT_FOCAL = 1.2  # times the longer side, as COLMAP supposes: 45 degrees across it
EQUIVALENT = 0xA405  # the EXIF tag FocalLengthIn35mmFilm


def single_photograph(folder: Path) -> Path | None:
    """The one picture of a folder, or of images/ in it, where that is there; None for none or several."""
    inside = folder / "images" if (folder / "images").is_dir() else folder
    pictures = [path for path in inside.iterdir() if path.suffix.lower() in PHOTOGRAPHS and path.is_file()]
    return pictures[0] if len(pictures) == 1 else None


def read_single(
    source: Path, hold_out: bool, warnings: Warnings
) -> tuple[list[PosedPhotograph], list[PosedPhotograph]]:
    """The photograph, with a pose and a lens of our choosing, to train from; and none for the test.

    The focal length is EXIF's, as the diagonal of 35 mm film has it (so the standard CIPA DCG-001), and 1.2
    times the longer side where there is none, with a warning. The principal point is the middle.

    Args:
        source: a folder with a `single_photograph`.
        hold_out: whether photographs are to be kept for the test, which one is not: a warning says so.
        warnings: takes what is odd but usable.

    Raises:
        UserError: the file is damaged.
    """
    path = single_photograph(source)
    assert path is not None
    if hold_out:
        warnings.add("--eval: the dataset's one photograph trains, none is left for the test")
    width, height, orientation = stored_size(path)
    if orientation not in UPRIGHT:
        warnings.add("EXIF asks to turn the picture, guidance sees it as stored; save it turned", path.name)
    equivalent = focal_length_35mm(path)
    if equivalent is None:
        focal = DEFAULT_FOCAL * max(width, height)
        angle = math.degrees(2 * math.atan(0.5 / DEFAULT_FOCAL))
        warnings.add(
            f"EXIF tells no focal length; {angle:.0f} degrees across the longer side are supposed", path.name
        )
    else:
        focal = equivalent / DIAGONAL * math.hypot(width, height)
    lens = pycolmap.Camera(
        camera_id=1,
        model="PINHOLE",
        width=width,
        height=height,
        params=[focal, focal, width / 2, height / 2],
    )
    return [PosedPhotograph(path.name, path, lens, np.eye(4))], []


def focal_length_35mm(path: Path) -> float | None:
    """EXIF's focal length in mm, of the same field of view on 35 mm film; None: unknown."""
    try:
        value = float(read_header(path).lens.get_ifd(EXIF_PART).get(EQUIVALENT, 0))
    except (UserError, ValueError, TypeError, struct.error):
        return None  # damaged tags; whether the picture is damaged shows when it is decoded
    return value if FOCAL_LENGTHS[0] <= value <= FOCAL_LENGTHS[1] else None
