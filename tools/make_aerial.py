"""Makes captioned aerial pictures: fields, forest, rivers, coasts, hills, houses, from straight above.

python -m tools.make_aerial --output output/aerial

The same settings give the same set, whatever the number of workers and however often it was stopped. The
ground is made of numbers: what is learnt from it is the style of such pictures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from tools.aerial.plan import KINDS, Place, Plan
from tools.domains.sets import SetOptions, fill_set
from tools.studio.captioned_sets import write_picture
from utils.errors import run_program
from utils.options import parse


@dataclass
class Options:
    """Makes captioned aerial pictures."""

    set: SetOptions


@dataclass(frozen=True)
class Job:
    """One picture to be made, for `studio.batch`."""

    plan: Plan
    place: Place
    path: Path
    resolution: int


def take(job: Job) -> None:
    """Makes and writes a picture."""
    write_picture(job.path, job.plan.picture(job.place, job.resolution))


def files_of(job: Job) -> list[Path]:
    """The file that `take` writes."""
    return [job.path]


def main(options: Options) -> None:
    """Makes the pictures that are missing and writes the tables, also when it is stopped on the way."""
    options.set.check()
    folder = Path(options.set.output)
    plan = Plan(options.set.seed, options.set.held_out_share)
    places = [plan.place(number) for number in range(options.set.count)]
    paths = [folder / "images" / f"{place.number:06d}.png" for place in places]
    fill_set(
        options.set,
        [Job(plan, place, path, options.set.resolution) for place, path in zip(places, paths, strict=True)],
        [
            plan.row(place, path.relative_to(folder).as_posix())
            for place, path in zip(places, paths, strict=True)
        ],
        settings={},
        facts={"made_by": "tools.make_aerial", "kinds": list(KINDS)},
        work=take,
        outputs=files_of,
    )


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
