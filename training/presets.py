"""What flags that are not given stand at: `--preset reference` is plain 3DGS, `few_views` has its own."""

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from scene.dataset import posed_photographs
from training.options import Options
from utils.errors import Warnings
from utils.options import parse
from utils.reference_flags import REFUSED

T = TypeVar("T")

FEW = 12
"""`--preset auto` is few_views for so many training photographs or fewer."""

UP_TO = (3, 6, FEW)
FEW_VIEWS: dict[str, tuple[Any, ...]] = {
    "iterations": (7000,) * 3,
    "points": ("dense",) * 3,
    "sh_degree": (1, 2, 3),
    "opacity_dropout": (0.2, 0.1, 0.1),
    "densify_grad_threshold": (0.0005,) * 3,
    "opacity_reg": (0.01,) * 3,
    "scale_reg": (0.01,) * 3,
    "opacity_resets": (1,) * 3,
    "prune_scale": (0.0,) * 3,
}
"""Flags and their values for as many photographs as `UP_TO` says; more are as the last."""


def read_options(words: Sequence[str], photographs: int | None = None) -> Options:
    """The options of train.py's command line, no preset left open: what is not given is as the preset has it.

    Args:
        words: after the program's name.
        photographs: how many train; None: as the words have it, for which poses are read where they must be.

    Raises:
        UserError: a flag is refused, or the dataset whose photographs are to be counted is not usable.
    """
    given = parse(Options, words, REFUSED, Options(preset="auto"))
    if given.preset == "reference":
        return given
    given.check()
    if photographs is None:
        photographs = given.scene.n_views or len(posed_photographs(given.scene, Warnings()).train)
    preset = automatic(photographs) if given.preset == "auto" else given.preset
    defaults = with_values(Options(), values(preset, photographs))
    return replace(parse(Options, words, REFUSED, defaults), preset=preset)


def automatic(photographs: int) -> Literal["reference", "few_views"]:
    """What `--preset auto` is for so many training photographs."""
    return "few_views" if photographs <= FEW else "reference"


def values(preset: Literal["reference", "few_views"], photographs: int) -> dict[str, Any]:
    """The flags in which a preset differs from the reference, by name."""
    if preset == "reference":
        return {}
    column = min(bisect_left(UP_TO, photographs), len(UP_TO) - 1)
    return {flag: row[column] for flag, row in FEW_VIEWS.items()}


def with_values(options: T, flags: Mapping[str, Any]) -> T:
    """A copy of a dataclass with these values; flags of its groups are named without the group."""
    changes = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = with_values(value, flags)
        elif field.name in flags:
            changes[field.name] = flags[field.name]
    return replace(options, **changes)  # type: ignore[type-var]


def described(options: Options, photographs: int) -> str:
    """A sentence for the records: which preset is in force, why, and what it set.

    Args:
        options: of `read_options`.
        photographs: how many train.
    """
    preset = options.preset
    assert preset != "auto"
    why = f"{'at most' if photographs <= FEW else 'more than'} {FEW} photographs train"
    if preset != automatic(photographs):
        why = "as --preset says"
    ours = values(preset, photographs)
    stand = [
        f"--{flag} {value}" for flag, value in ours.items() if with_values(options, {flag: value}) == options
    ]
    return f"preset {preset} ({why})" + (f": {' '.join(stand)}" if stand else "")
