"""Makes captioned pictures of procedural objects, path-traced, with held-out instances and families.

python -m tools.make_objects --output output/objects --count 6000 --workers 2
python -m tools.make_objects --output output/posed --posed --count 4

The same settings give the same set, whatever the number of workers and however often it was stopped; what is
there is kept. With --posed every object gets a folder that `python train.py -s FOLDER/000000` reads.
Needs Mitsuba 3 (`pip install mitsuba`).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from tools.procedural.families import FAMILIES
from tools.procedural.pictures import Shots, files_of, take
from tools.procedural.plan import SPLITS, Plan, View, row
from tools.procedural.posed import files_of_posed, take_posed
from tools.studio.batch import work_through
from tools.studio.cameras import spread_on_sphere
from tools.studio.captioned_sets import fill, keep_settings
from tools.studio.few_views import TRAINING, inside_places, outside_places, training_places
from tools.studio.renderer import load_mitsuba, use_one_thread
from utils.errors import UserError, demand, run_program
from utils.options import parse


@dataclass
class Options:
    """Makes captioned pictures of procedural objects."""

    output: str
    """Folder for images/, metadata.jsonl and dataset.json."""
    count: int = 6000
    """Pictures; with --posed, objects."""
    seed: int = 0
    """Decides everything: shapes, colours, views, words, and what is held out."""
    resolution: int = 128
    """Pixels, both ways."""
    samples: int = 16
    """Light paths a pixel; the noise falls with its square root."""
    workers: int = 2
    """Processes that render; they change nothing but the time."""
    views_per_instance: int = 1
    """Pictures of the same objects, from different sides."""
    held_out_families: int = 4
    """Families that no training picture shows."""
    held_out_share: float = 0.08
    """Part of the instances in each of the two held-out splits."""
    still_life_share: float = 0.1
    """Part of the instances that are still lifes: two or three objects of different families and colours."""
    posed: bool = False
    """Write a folder for each object: pictures all round it, with the cameras' poses."""
    instances: tuple[int, ...] = ()
    """With --posed: the objects' numbers in the plan of --seed, in place of the first --count."""
    layout: Literal["round", "few_views"] = "round"
    """With --posed: pictures all round, or a few to train on before the object (docs/procedural.md)."""
    train_views: int = 24
    """With --posed: pictures to train on; with few_views 3 to 9."""
    test_views: int = 8
    """With --posed: pictures to test on, between the others; with few_views an even number: the first half
    inside the triangle of the first three training views, the others outside of it."""
    points: int = 2000
    """With --posed: points to start training from, on the surfaces; 0: none, train.py takes random ones."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        least = {"count": 1, "seed": 0, "resolution": 16, "samples": 1, "workers": 1, "views_per_instance": 1}
        for name, low in {**least, "train_views": 2, "test_views": 1, "points": 0}.items():
            demand(getattr(self, name) >= low, name, getattr(self, name), f"{low} or more")
        most = len(FAMILIES) - 1
        demand(
            0 <= self.held_out_families <= most, "held_out_families", self.held_out_families, f"0 to {most}"
        )
        demand(0 <= self.held_out_share <= 0.5, "held_out_share", self.held_out_share, "0 to 0.5")
        demand(0 <= self.still_life_share <= 1, "still_life_share", self.still_life_share, "0 to 1")
        for flag in ("instances", "layout", "train_views", "test_views", "points"):
            if getattr(self, flag) != getattr(Options, flag) and not self.posed:
                raise UserError(f"--{flag} is for posed sets; give --posed as well")
        if self.posed and self.views_per_instance != Options.views_per_instance:
            raise UserError(
                "--views_per_instance is for captioned sets; with --posed give --train_views and --test_views"
            )
        demand(min(self.instances, default=0) >= 0, "instances", str(self.instances), "numbers from 0")
        train, test, most = self.train_views, self.test_views, len(TRAINING)
        if self.layout == "few_views":
            demand(3 <= train <= most, "train_views", train, f"3 to {most} with --layout few_views")
            demand(test % 2 == 0, "test_views", test, "an even number with --layout few_views")

    def plan(self) -> Plan:
        """What the set shows."""
        return Plan(self.seed, self.held_out_families, self.held_out_share, self.still_life_share)


def captioned_shots(options: Options, folder: Path) -> list[Shots]:
    """The pictures of a captioned set: so many views of each instance, the last one's cut short."""
    plan, views = options.plan(), options.views_per_instance
    result = []
    for number in range(-(-options.count // views)):
        instance = plan.instance(number)
        files = tuple(
            (folder / "images" / f"{number:06d}_{view}.png", plan.view(instance, view))
            for view in range(min(views, options.count - number * views))
        )
        result.append(Shots(plan, instance, files, options.resolution, options.samples))
    return result


def posed_shots(options: Options, folder: Path) -> list[Shots]:
    """The pictures of posed sets, training views first."""
    plan, result = options.plan(), []
    for number in dict.fromkeys(options.instances) or range(options.count):
        instance = plan.instance(number)
        files: list[tuple[Path, View]] = []
        for name, (azimuth, elevation) in posed_places(options):
            path = folder / f"{number:06d}" / f"{name}.png"
            view = plan.described(instance, len(files), instance.facing + azimuth, elevation)
            files.append((path, view))
        shots = Shots(plan, instance, tuple(files), options.resolution, options.samples, steady=True)
        result.append(shots)
    return result


def posed_places(options: Options) -> list[tuple[str, tuple[float, float]]]:
    """Names and places of a posed set's pictures: azimuth from the instance's facing, elevation, in degrees.

    Round: a spiral of training views and one of test views. With few views, see `studio.few_views`; the
    names of test views say whether they are inside or outside.
    """
    if options.layout == "round":
        train = spread_on_sphere(options.train_views, (5, 65))
        test = spread_on_sphere(options.test_views, (5, 65), 63.0)
        groups = {"train/": train, "test/": test}
    else:
        half = options.test_views // 2
        groups = {"train/": training_places(options.train_views)}
        groups |= {"test/inside_": inside_places(half), "test/outside_": outside_places(half)}
    return [
        (f"{group}{index:03d}", place)
        for group, places in groups.items()
        for index, place in enumerate(places)
    ]


def facts(options: Options) -> dict[str, Any]:
    """What `dataset.json` says beside the settings."""
    kept, held_out = options.plan().families()
    return {
        "made_by": "tools.make_objects",
        "families": kept,
        "held_out_families": held_out,
        "splits": list(SPLITS),
        "versions": {name: importlib.metadata.version(name) for name in ("mitsuba", "numpy")},
    }


def main(options: Options) -> None:
    """Renders the pictures that are missing and writes the tables, also when it is stopped on the way."""
    options.check()
    load_mitsuba()
    folder = Path(options.output)
    no_part = {"output", "workers"} | (set() if options.posed else {"points", "instances", "layout"})
    settings = {name: value for name, value in dataclasses.asdict(options).items() if name not in no_part}
    keep_settings(folder, settings, facts(options))
    work: Callable[[Shots], None] = take
    outputs: Callable[[Shots], list[Path]] = files_of
    if options.posed:
        jobs = posed_shots(options, folder)
        work = partial(take_posed, points=options.points)
        outputs = partial(files_of_posed, points=options.points)
    else:
        jobs = captioned_shots(options, folder)
    rows = [
        row(shots.instance, view, path.relative_to(folder).as_posix())
        for shots in jobs
        for path, view in shots.files
    ]
    make = partial(
        work_through,
        work,
        jobs,
        outputs=outputs,
        workers=options.workers,
        unit="instance",
        prepare=use_one_thread,
    )
    fill(folder, rows, SPLITS, make)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
