"""Which kind of dataset a folder holds, told from what lies in it, and what to do where it holds none."""

import shlex
from pathlib import Path
from typing import Literal

from scene.photographs import PHOTOGRAPHS, VIDEOS
from scene.single import single_photograph
from utils.errors import UserError

Kind = Literal["colmap", "blender", "nerfstudio", "photograph"]


def scene_kind(source: Path) -> Kind:
    """Whether the folder holds a COLMAP, a Blender or a Nerfstudio dataset, or one photograph without a pose.

    It is the first of these that fits.

    Raises:
        UserError: it holds none of them, or is no folder; the message says what was looked for and found.
    """
    if source.is_file():
        advice = "give the folder of a dataset"
        if source.suffix.lower() in VIDEOS:
            advice = f"`{_convert(source)}` makes a dataset of a video"
        raise UserError(f"--source_path: no folder {source}, it is a file; {advice}")
    if not source.is_dir():
        raise UserError(f"--source_path: no folder {source}; give the folder of a dataset")
    kind = _posed(source)
    if kind:
        return kind
    if single_photograph(source):
        return "photograph"
    found = sorted(path.name for path in source.iterdir())
    raise UserError(
        f"{source} is no dataset: neither a folder sparse/ (COLMAP) nor transforms_train.json (Blender) nor "
        f"transforms.json (Nerfstudio) is in it; found {', '.join(found[:5]) or 'nothing'}"
        f"{', ...' * (len(found) > 5)}; {_advice(source)}"
    )


def _posed(folder: Path) -> Kind | None:
    """The kind of a dataset with poses; None where there is none."""
    if (folder / "sparse").is_dir():
        return "colmap"
    if (folder / "transforms_train.json").is_file():
        return "blender"
    return "nerfstudio" if (folder / "transforms.json").is_file() else None


def _advice(source: Path) -> str:
    """What to do with a folder that is no dataset: look inside, find poses, or check the path."""
    inside = [path for path in sorted(source.iterdir()) if path.is_dir() and _posed(path)]
    if inside:
        others = f" (as are {', '.join(path.name for path in inside[1:4])})" if inside[1:] else ""
        return f"its folder {inside[0].name} is one{others}: give -s {shlex.quote(str(inside[0]))}"
    folder = next((source / name for name in ("input", "images") if (source / name).is_dir()), source)
    near = [*folder.glob("*"), *folder.glob("*/*")]
    photographs = [path for path in near if path.suffix.lower() in PHOTOGRAPHS]
    videos = [path for path in sorted(source.iterdir()) if path.suffix.lower() in VIDEOS]
    if not photographs and folder == source and not videos:
        return "check the path"
    taken = source if photographs or folder != source else videos[0]
    what = f"its {len(photographs)} photographs have" if photographs else "what is there has"
    return f"{what} no poses: `{_convert(taken)}` finds them and makes a dataset of its own to train from"


def _convert(taken: Path) -> str:
    return f"python convert.py -s {shlex.quote(str(taken))}"
