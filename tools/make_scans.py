"""Makes captioned scan-like pictures: slices of computed phantoms as a CT scanner would show them.

python -m tools.make_scans --output output/scans
python -m sds_guidance.finetune -d output/scans --intensity_window 864 1264 --resolution 128 ...

They are PNG of 16 bits whose values are Hounsfield units plus 1024, or DICOM (--dicom; needs pydicom). The
same settings give the same set, whatever the number of workers and however often it was stopped. Phantoms are
no patients: what is learnt from them is the style of such pictures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from tools.domains.sets import SetOptions, fill_set
from tools.scans.files import OFFSET, Slices, files_of, load_pydicom, stored_window, take
from tools.scans.plan import Plan
from utils.errors import demand, run_program
from utils.options import parse


@dataclass
class Options:
    """Makes captioned scan-like pictures, from phantoms."""

    set: SetOptions
    slices_per_volume: int = 3
    """Slices of each phantom; all are of the same split."""
    window: Literal["soft-tissue", "brain", "lung", "bone"] = "soft-tissue"
    """The window in which the set is to be seen, which captions name; pixels are the same."""
    dicom: bool = False
    """Write DICOM instead of PNG."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        self.set.check()
        demand(1 <= self.slices_per_volume <= 20, "slices_per_volume", self.slices_per_volume, "1 to 20")


def jobs_of(options: Options) -> list[Slices]:
    """The slices of each patient; the last one's are cut short."""
    shared, each = options.set, options.slices_per_volume
    plan = Plan(shared.seed, each, shared.held_out_share, options.window)
    images = Path(shared.output) / "images"
    suffix = "dcm" if options.dicom else "png"
    jobs = []
    for number in range(-(-shared.count // each)):
        present = range(min(each, shared.count - number * each))
        files = tuple(images / f"{number:06d}_{which}.{suffix}" for which in present)
        jobs.append(Slices(plan, plan.patient(number), files, shared.resolution))
    return jobs


def main(options: Options) -> None:
    """Makes the pictures that are missing and writes the tables, also when it is stopped on the way."""
    options.check()
    if options.dicom:
        load_pydicom()
    jobs = jobs_of(options)
    folder = Path(options.set.output)
    rows = [
        row
        for job in jobs
        for row in job.plan.rows(job.patient, [path.relative_to(folder).as_posix() for path in job.files])
    ]
    window = stored_window(options.window, options.dicom)
    stored = "DICOM" if options.dicom else f"Hounsfield units plus {OFFSET}"
    fill_set(
        options.set,
        jobs,
        rows,
        settings={
            "slices_per_volume": options.slices_per_volume,
            "window": options.window,
            "dicom": options.dicom,
        },
        facts={"made_by": "tools.make_scans", "stored": stored, "intensity_window": window},
        work=take,
        outputs=files_of,
    )
    print(f"fine-tune with --intensity_window {window[0]} {window[1]} --resolution {options.set.resolution}")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
