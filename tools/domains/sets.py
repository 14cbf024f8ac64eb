"""What the makers of domain sets share: flags, held-out instances, captions of two kinds, the work itself."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.random import Generator

from tools.studio.batch import work_through
from tools.studio.captioned_sets import fill, keep_settings
from utils.errors import demand

SPLITS = ("train", "held_out")
CHANGES_NO_PICTURE = frozenset({"output", "workers", "captions"})
"""Flags of `SetOptions` that may be given anew for a set that is there."""
SPLIT_STREAM = 0  # of an instance's random numbers; makers have further ones

Job = TypeVar("Job")


@dataclass
class SetOptions:
    """Flags that every domain set has."""

    output: str
    """Folder for images/, metadata.jsonl and dataset.json."""
    count: int = 1500
    """Pictures."""
    seed: int = 0
    """Decides everything: what is shown, from where, and what is held out."""
    resolution: int = 128
    """Pixels, both ways."""
    workers: int = 2
    """Processes; they change nothing but the time."""
    held_out_share: float = 0.1
    """Part of the instances, with all their pictures, that are held out."""
    captions: Literal["expert", "generic"] = "expert"
    """Which of each row's two captions is its "text"; another choice rewrites the table alone."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        for name, low in {"count": 1, "seed": 0, "resolution": 32, "workers": 1}.items():
            demand(getattr(self, name) >= low, name, getattr(self, name), f"{low} or more")
        demand(0 <= self.held_out_share <= 0.5, "held_out_share", self.held_out_share, "0 to 0.5")


def instance_rng(seed: int, number: int, *stream: int) -> Generator:
    """The generator of a set's instance for one purpose."""
    return np.random.default_rng([seed, number, *stream])


def split_of(seed: int, number: int, share: float) -> str:
    """ "held_out" for a share of the instances, "train" for the others."""
    return SPLITS[int(instance_rng(seed, number, SPLIT_STREAM).random() < share)]


def fill_set(
    options: SetOptions,
    jobs: Sequence[Job],
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    work: Callable[[Job], None],
    outputs: Callable[[Job], Sequence[Path]],
) -> None:
    """Makes the pictures that are missing and writes the tables, also when it is stopped on the way.

    Args:
        options: checked.
        jobs: one for each instance, for `studio.batch.work_through`, as `work` and `outputs` are.
        rows: of all pictures, each with "file_name", "expert", "generic" and "split".
        settings: what decides the pictures besides `options`; a set made with others is refused.
        facts: what `dataset.json` says besides.

    Raises:
        UserError: the folder holds another set, or something else.
    """
    folder = Path(options.output)
    shared = {
        name: value for name, value in dataclasses.asdict(options).items() if name not in CHANGES_NO_PICTURE
    }
    about = {
        "splits": list(SPLITS),
        "captions": options.captions,
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy")},
    }
    keep_settings(folder, {**shared, **settings}, {**facts, **about})
    table = [{"file_name": row["file_name"], "text": row[options.captions], **row} for row in rows]
    make = partial(work_through, work, jobs, outputs=outputs, workers=options.workers, unit="instance")
    fill(folder, table, SPLITS, make)
