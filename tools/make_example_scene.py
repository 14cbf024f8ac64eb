"""Makes the example scene: path-traced photographs of a still life, their exact poses, a sparse point cloud.

python tools/make_example_scene.py --output examples/still_life
python tools/make_example_scene.py --output output/preview --samples 8 --views 6
python tools/make_example_scene.py --output output/filmed --samples 32 --video_frames 60

Needs Mitsuba 3 (`pip install mitsuba`). A view that is already there is kept, so a stopped run can go on; the
same settings give the same scene. A video is made anew unless it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from scene.camera_paths import look_at, through
from scene.cameras import Camera
from tools.example_scene.colmap_model import write_model
from tools.example_scene.courtyard import courtyard
from tools.example_scene.daylight import build
from tools.example_scene.points import find_tracks
from tools.example_scene.still_life import still_life
from tools.studio.materials import Item
from tools.studio.renderer import load_mitsuba, picture
from utils.errors import UserError, demand, run_program
from utils.files import whole_file, write_json
from utils.options import parse
from utils.video import write_video

FIELD_OF_VIEW = 55.0  # degrees, across
SETTINGS = "made_with.json"
VIDEO = "video.mp4"


@dataclass
class Options:
    """Makes the example scene."""

    output: str = "examples/still_life"
    """Folder for images/, sparse/0/ and the settings."""
    samples: int = 80
    """Light paths a pixel; the noise falls with its square root."""
    width: int = 320
    """Pixels."""
    height: int = 240
    """Pixels."""
    views: int = 30
    """Photographs, two or more."""
    seed: int = 0
    """Of the scene's irregularities, the cameras' and the points'."""
    video_frames: int = 0
    """Instead, makes video.mp4 of so many frames: past the lower photographs, back past the upper ones."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        least_values = {"samples": 1, "width": 16, "height": 16, "views": 2, "seed": 0, "video_frames": 0}
        for name, least in least_values.items():
            demand(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")


def dome(rng: Generator, views: int, width: int, height: int) -> list[Camera]:
    """Hand-held cameras on a part of a dome before the table: left to right, at three heights in turn."""
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    cameras = []
    for number in range(views):
        turn = math.radians(-70 + 140 * number / (views - 1) + rng.uniform(-1.5, 1.5))
        rise = math.radians((17, 33, 49)[number % 3] + rng.uniform(-2, 2))
        away = np.array([math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise)])
        target = np.array([0, 0, 0.15]) + rng.normal(0, 0.015, 3)
        position = target + rng.uniform(1.06, 1.18) * away
        up = np.array([0, 0, 1]) + rng.normal(0, 0.015, 3)
        pose = look_at(*(torch.from_numpy(vector) for vector in (position, target, up))).float()
        cameras.append(Camera(f"view_{number:02d}.jpg", pose, intrinsics, width, height))
    return cameras


def scene_items(seed: int) -> list[Item]:
    """Everything that stands in the scene."""
    rng = np.random.default_rng([seed, 0])
    return [*courtyard(rng), *still_life(rng)]


def keep_settings(options: Options, folder: Path) -> None:
    """Notes the settings in the folder, or makes sure that what is already there was made with the same.

    Raises:
        UserError: the folder holds a scene of other settings, or something else.
    """
    settings = {name: value for name, value in dataclasses.asdict(options).items() if name != "output"}
    if not options.video_frames:
        del settings["video_frames"]
    path = folder / SETTINGS
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != settings:
            raise UserError(
                f"{folder} holds a scene made with {found}, not with {settings}; "
                "delete it, choose another --output, or give the same settings"
            )
    elif (folder / "images").exists():
        raise UserError(f"{folder} holds images but no {SETTINGS}; delete it or choose another --output")
    else:
        write_json(path, settings)


def film(path: Path, scene: Any, cameras: Sequence[Camera], options: Options) -> None:
    """Renders a video of a walk past the cameras of the lowest row and back past those of the highest."""
    if path.is_file():
        print(f"{path} is there already")
        return
    way = through([*cameras[::3], *cameras[2::3][::-1]], options.video_frames, "frame")
    frames = (picture(scene, camera, options.samples, seed=options.seed + n) for n, camera in enumerate(way))
    write_video(path, tqdm(frames, desc="frames", unit="frame", total=len(way)))
    print(f"{path}: {len(way)} frames; place them with: python convert.py -s {path}")


def main(options: Options) -> None:
    """Renders the views that are missing, then makes the point cloud and writes the COLMAP model.

    With `video_frames`, renders the video alone.
    """
    options.check()
    load_mitsuba()
    folder = Path(options.output)
    keep_settings(options, folder)
    cameras = dome(np.random.default_rng([options.seed, 1]), options.views, options.width, options.height)
    scene = build(scene_items(options.seed))
    if options.video_frames:
        film(folder / VIDEO, scene, cameras, options)
        return
    images = []
    for number, camera in enumerate(tqdm(cameras, desc="views", unit="view")):
        path = folder / "images" / camera.name
        if not path.is_file():
            pixels = picture(scene, camera, options.samples, seed=options.seed + number)
            with whole_file(path) as file:
                Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
        images.append(np.array(Image.open(path)))
    per_view = max(options.width * options.height // 150, 40)  # corners
    tracks = find_tracks(np.random.default_rng([options.seed, 2]), scene, cameras, images, per_view)
    write_model(folder / "sparse" / "0", cameras, tracks)
    print(
        f"{folder}: {len(cameras)} views, {len(tracks.positions)} points, {len(tracks.point)} observations; "
        f"train with: python train.py -s {folder}"
    )


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
