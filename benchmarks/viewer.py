"""What a viewer costs a training: the same run without one, with one at which nobody looks, and looked at.

    python benchmarks/viewer.py
    python benchmarks/viewer.py --source ../shared/data/fern --resolution 2 --iterations 3000 --rounds 2

Who looks is a client that speaks viser's protocol, has our rendering shown, and moves its camera ten times a
second; it draws nothing, as a browser on another machine costs this one nothing. The three kinds of run take
turns, their seconds of training are compared, and the models must be the same bits. Time nothing else beside.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scene.model_folder import CAMERAS_FILE, find_ply, read_cameras
from tests.viewer.fake_browser import FakeBrowser
from utils.errors import UserError, demand, run_program
from utils.options import parse
from utils.tables import markdown_table
from viewer.cameras import key_frame_of

ALONE, UNSEEN, WATCHED = KINDS = ("no viewer", "--viewer, nobody looks", "--viewer, looked at")
EVERY = 0.1  # seconds between two moves of the camera


@dataclass
class Options:
    """Trains without and with a viewer, in turns."""

    source: Path = ROOT / "examples" / "still_life"
    """The dataset."""
    resolution: int = -1
    """As of train.py: -1, 1, 2, 4, 8 or a width in pixels."""
    iterations: int = 2000
    """Of each run."""
    rounds: int = 3
    """How often each kind of run is done; the least seconds of each count."""
    output: Path = Path("output/viewer")
    """Folder of the models."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag whose value is not allowed, and what is."""
        demand(self.iterations >= 1, "iterations", self.iterations, "at least 1")
        demand(self.rounds >= 1, "rounds", self.rounds, "at least 1")


def train(options: Options, kind: str) -> tuple[float, int, bytes]:
    """Seconds of the training loop, how many pictures were sent to who looked, and the model's file."""
    model = options.output.absolute() / kind.replace(" ", "_").strip("-")
    words = ["-s", str(options.source.absolute()), "-m", str(model), "-r", str(options.resolution)]
    words += ["--iterations", str(options.iterations), "--lambda_sds", "0", "--preset", "reference"]
    words += ["--test_iterations", "-1", "--save_iterations", "-1", "--disable_viewer", "--overwrite"]
    if kind != ALONE:
        words += ["--viewer", "--viewer_port", "0"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pictures, log = 0, model.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if kind == WATCHED and (found := re.match(r"viewer: (http://\S+)", line)):
                pictures = look(found[1], model)
    if process.returncode:
        raise UserError(f"train.py {' '.join(words)} failed: see {log}")
    seconds = json.loads((model / "training.json").read_text(encoding="utf-8"))["seconds"]
    return seconds, pictures, find_ply(model, -1)[1].read_bytes()


def look(address: str, model: Path) -> int:
    """Looks from one of the dataset's cameras after the other until the training ends; counts pictures."""
    frames = [key_frame_of(camera) for camera in read_cameras(model / CAMERAS_FILE)]
    client = FakeBrowser(address, frames[0], 1280, 800)
    client.set("Our rendering", "colour")
    for frame in cycle(frames):
        if not client.connected:
            break
        client.stand_at(frame)
        time.sleep(EVERY)
    return sum(bool(message.get("updates", {}).get("_data")) for message in client.heard)


def main(options: Options) -> None:
    """Trains in turns and prints a table."""
    options.check()
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    models, pictures = set(), []
    for _ in range(options.rounds):
        for kind in KINDS:
            taken, seen, model = train(options, kind)
            seconds[kind].append(taken)
            models.add(model)
            if kind == WATCHED:
                pictures.append(seen)
            print(f"{kind}: {taken:.1f} s", flush=True)
    least = min(seconds[ALONE])
    rows = [
        [kind, f"{min(taken):.1f}", f"{np.median(taken):.1f}", f"{min(taken) / least:.3f}"]
        for kind, taken in seconds.items()
    ]
    print(markdown_table(["run", "least seconds", "median", "ratio of the least"], rows))
    print(f"pictures sent to who looked: {', '.join(map(str, pictures))} in {options.iterations} iterations")
    if len(models) > 1:
        raise UserError("the models differ: a viewer must not change what is trained")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
