"""Writes a trained model, or a file of Gaussians, in the formats of viewers, or as a page that shows it.

python export.py -m output/fern --format html spz
python export.py someones.spz --output mine.ply

Formats: ply (the reference's), compressed_ply (SuperSplat's), splat, spz, and html: one file that shows the
model in a browser without a server or a network. Read are all of them but html. Without --output the files
stand beside the one that was read. docs/export.md says what each format loses, and which viewer takes it.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from formats.compressed_ply import degree_in_use, pack_compressed
from formats.files import SUFFIXES, format_of, read_splats
from formats.page import View, page
from formats.ply import write_ply
from formats.splat import pack_splat
from formats.splats import Splats, finite
from formats.spz import pack_spz
from scene.camera_paths import focus_distances, look_at
from scene.cameras import Camera
from scene.model_folder import CAMERAS_FILE, find_ply, read_cameras, saved_scene_options
from utils.errors import UserError, Warnings, demand, run_program
from utils.files import whole_file, write_text
from utils.options import parse

Format = Literal["ply", "compressed_ply", "splat", "spz", "html"]
MOST_POINTS = 20_000  # that tell how far a camera looks
MOST_VIEWS = 300  # of a page


@dataclass
class Options:
    """Writes a model in the formats that viewers load, or as a page that shows it."""

    file: tyro.conf.Positional[str] = ""
    """A file of Gaussians to convert: .ply, .compressed.ply, .splat or .spz; or give -m."""
    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])] = ""
    """The folder of a trained model to export."""
    iteration: int = -1
    """Which saved iteration of it; -1: the last one."""
    format: tuple[Format, ...] = ()
    """One or more of them; empty: what --output ends with."""
    output: str = ""
    """The file to write; empty: beside the one that was read, named after it."""
    sh_degree: int = 3
    """Leave SH coefficients above this degree out, 0 to 3: a smaller file, plainer reflections."""
    spz_version: Literal[3, 4] = 3
    """Of .spz: 3 is read by most viewers; 4 takes the package zstandard, and PlayCanvas asks for it."""
    start_view: str = ""
    """The photograph from whose camera an html page shows the model first; empty: the first one."""

    def check(self) -> None:
        """Raises a UserError that names the first flag whose value is not allowed, and the allowed values."""
        if bool(self.file) == bool(self.model_path):
            raise UserError("give either a file of Gaussians or a model's folder with -m")
        if not self.format and not self.output:
            raise UserError(
                f"--format: give one or more of {', '.join(SUFFIXES)}, or an --output with its ending"
            )
        if len(self.format) > 1 and self.output:
            raise UserError("--output names one file; leave it out, or give one --format")
        demand(0 <= self.sh_degree <= 3, "sh_degree", self.sh_degree, "0, 1, 2 or 3")


def main(options: Options) -> None:
    """Reads the Gaussians and writes them in each of the formats."""
    options.check()
    warnings, source = Warnings(), Path(options.file)
    if options.model_path:
        source = find_ply(Path(options.model_path), options.iteration)[1]
    formats = options.format or (format_of(Path(options.output)),)
    targets = {each: Path(options.output) if options.output else beside(source, each) for each in formats}
    for target in targets.values():
        if target.exists() and source.exists() and target.samefile(source):
            raise UserError(f"{target} is the file that is to be read; give another --output or --format")
    splats, _ = finite(read_splats(source), str(source), warnings)
    splats = splats.of_degree(min(options.sh_degree, splats.sh_degree))
    warnings.show()
    for each, target in targets.items():
        write(splats, each, target, options)
        degree = {"splat": 0, "compressed_ply": degree_in_use(splats)}.get(each, splats.sh_degree)
        sizes = [f"{path.stat().st_size / 1e6:.1f} MB" for path in (source, target)]
        print(f"{target}: {len(splats):,} Gaussians, SH degree {degree}, {sizes[1]} from {sizes[0]}")


def beside(source: Path, name: str) -> Path:
    """The file of a format beside the one that was read."""
    stem = source.name
    for suffix in sorted(SUFFIXES.values(), key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    return source.with_name(stem + SUFFIXES[name])


def write(splats: Splats, name: str, target: Path, options: Options) -> None:
    """Writes the Gaussians, all finite, in a format."""
    if name == "ply":
        write_ply(target, splats)
        return
    if name == "html":
        background = float(
            bool(options.model_path) and saved_scene_options(Path(options.model_path)).white_background
        )
        title = Path(options.model_path).resolve().name if options.model_path else Path(options.file).name
        write_text(target, page(splats, views(splats, options), title, (background, background, background)))
        return
    packers = {
        "compressed_ply": pack_compressed,
        "splat": pack_splat,
        "spz": lambda splats: pack_spz(splats, version=options.spz_version),
    }
    content = packers[name](splats)
    with whole_file(target) as file:
        file.write(content)


def views(splats: Splats, options: Options) -> list[View]:
    """What a page can go to: the model's cameras, the first one that of --start_view; or one from the front.

    Raises:
        UserError: there is no camera of that photograph.
    """
    points = torch.from_numpy(splats.means[:: math.ceil(len(splats) / MOST_POINTS)]).double()
    cameras = read_cameras(Path(options.model_path) / CAMERAS_FILE) if options.model_path else []
    names = [camera.name for camera in cameras]
    if options.start_view and options.start_view not in names:
        found = (
            f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
            or "none: only a model's folder has some"
        )
        raise UserError(f"--start_view {options.start_view}: no camera of that name; found: {found}")
    first = names.index(options.start_view) if options.start_view else 0
    cameras = (cameras[first:] + cameras[:first])[:MOST_VIEWS] or [camera_in_front(points.numpy())]
    spread = float(points.std(dim=0).norm())
    return [
        View(
            camera.world_to_camera.numpy(),
            camera.intrinsics.numpy(),
            (camera.width, camera.height),
            float(distance),
        )
        for camera, distance in zip(cameras, focus_distances(cameras, points, spread), strict=True)
    ]


def camera_in_front(points: np.ndarray) -> Camera:
    """A camera that sees the middle nine tenths of the points (P, 3), upright where y points down.

    Most programs store models so: it is how photographs' cameras look at them.
    """
    low, high = np.quantile(points, [0.05, 0.95], axis=0)
    centre = torch.from_numpy((low + high) / 2)
    distance = 2.0 * max(float(np.linalg.norm(high - low)), 1e-3)
    pose = look_at(
        centre - torch.tensor([0, 0, distance]).double(), centre, torch.tensor([0, -1, 0]).double()
    )
    lens = torch.tensor([[900.0, 0, 480], [0, 900, 360], [0, 0, 1]])
    return Camera("front", pose.float(), lens, 960, 720)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
