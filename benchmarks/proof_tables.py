"""The proof's tables: what each variant gains, inside and outside of the photographs, what the gate did."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from benchmarks.kept import SIDES
from protocols.report import over_seeds
from utils.tables import markdown_table, mean_and_spread

Record = Mapping[str, Any]
Cells = Mapping[tuple[str, int], Record]
"""Records by scene and seed, of one variant."""
Measure = Callable[[Record], float]

KEPT = ("kept", "halved")


@dataclass(frozen=True)
class Table:
    """What a table shows.

    Attributes:
        title: what it is of.
        objects: names to show, by scene.
        views: number of training photographs.
        variants: its rows.
        baseline: the variant from which gains are taken.
        seeds: of the trainings.
        kind: "object" or "scene", what one of the objects is called.
        sides: groups of test views whose PSNR is shown apart.
    """

    title: str
    objects: Mapping[str, str]
    views: int
    variants: tuple[str, ...]
    baseline: str
    seeds: tuple[int, ...]
    kind: str
    sides: tuple[str, ...]

    @property
    def header(self) -> list[str]:
        """What its columns are called."""
        psnr = ["PSNR", *self.sides, "gain", *self.sides]
        return ["variant", *psnr, "SSIM", "LPIPS", "gained", "worst", "gate: on", "cells"]


def shown(table: Table, records: Sequence[Record]) -> str:
    """The table in Markdown with its title; empty where none of its cells is finished.

    Args:
        table: what to show.
        records: of all finished cells; see `protocols.cells.run_cell` and `with_sides`.
    """
    by_variant: dict[str, dict[tuple[str, int], Record]] = {}
    for record in records:
        cell = record["cell"]
        if cell["views"] == table.views and cell["scene"] in table.objects and cell["seed"] in table.seeds:
            by_variant.setdefault(cell["variant"], {})[cell["scene"], cell["seed"]] = record
    if not by_variant.keys() & set(table.variants):
        return ""
    baseline = by_variant.get(table.baseline, {})
    rows = [_row(variant, by_variant.get(variant, {}), baseline, table) for variant in table.variants]
    seeds = f"seed{'s' * (len(table.seeds) > 1)} {', '.join(map(str, table.seeds))}"
    objects = f"{len(table.objects)} {table.kind}{'s' * (len(table.objects) > 1)}"
    what = f"**{table.title}**, {table.views} photographs, {objects}, {seeds}"
    return f"{what}; gains less {table.baseline}'s:\n\n{markdown_table(table.header, rows)}"


def with_sides(record: Record) -> Record:
    """The record of a cell with its mean PSNR, dB, over the test views inside the triangle of the first three
    photographs, and over those outside of it; None where test views lie in no such groups."""
    return {**record, **{side: _group_mean(record, f"test/{side}_") for side in SIDES}}


def _group_mean(record: Record, beginning: str) -> float | None:
    """Mean PSNR of the test views whose photographs' names begin so; renderings are in their order."""
    names = record["settings"]["scene"]["test_photographs"]
    scores = record["per_view"]["PSNR"]
    of_files = zip(names, sorted(scores), strict=True)
    group = [scores[file] for name, file in of_files if name.startswith(beginning)]
    return statistics.fmean(group) if group else None


def _row(variant: str, own: Cells, baseline: Cells, table: Table) -> list[str]:
    """A variant's line: means over objects with their spread over seeds, gains in pairs."""
    planned = len(table.objects) * len(table.seeds)
    if not own:
        return [variant, *["-"] * (len(table.header) - 2), f"0 of {planned}"]
    measures: tuple[Measure, ...] = (_score("PSNR"), *map(itemgetter, table.sides))
    row = [variant, *(_mean(own, measure, 2) for measure in measures)]
    pairs = {key: (record, baseline[key]) for key, record in own.items() if key in baseline}
    if variant == table.baseline or not pairs:
        row += ["-"] * (len(measures) + 4)
    else:
        row += [mean_and_spread(over_seeds(_gains(pairs, measure)), 2, signed=True) for measure in measures]
        row.append(mean_and_spread(over_seeds(_gains(pairs, _score("SSIM"))), 3, signed=True))
        row += [_lpips(pairs), *_by_object(_gains(pairs, _score("PSNR")), table.objects)]
    return [*row, _gates(own), f"{len(own)} of {planned}"]


def _score(metric: str) -> Measure:
    return lambda record: record["scores"][metric]


def _mean(cells: Cells, measure: Measure, decimals: int) -> str:
    return mean_and_spread(over_seeds({key: measure(record) for key, record in cells.items()}), decimals)


def _gains(
    pairs: Mapping[tuple[str, int], tuple[Record, Record]], measure: Measure
) -> dict[tuple[str, int], float]:
    return {key: measure(record) - measure(other) for key, (record, other) in pairs.items()}


def _lpips(pairs: Mapping[tuple[str, int], tuple[Record, Record]]) -> str:
    """By how much the mean LPIPS is above the baseline's, in per cent of it."""
    both = [[record["scores"]["LPIPS"] for record in pair] for pair in pairs.values()]
    if any(None in pair for pair in both):
        return "-"
    mean, before = (statistics.fmean(column) for column in zip(*both, strict=True))
    return f"{100 * (mean / before - 1):+.0f} %"


def _by_object(gains: Mapping[tuple[str, int], float], names: Mapping[str, str]) -> tuple[str, str]:
    """How many objects gained in the mean over seeds, and the one that gained least."""
    by_scene: dict[str, list[float]] = {}
    for (scene, _), gain in gains.items():
        by_scene.setdefault(scene, []).append(gain)
    means = {scene: statistics.fmean(values) for scene, values in by_scene.items()}
    worst = min(means, key=means.__getitem__)
    gained = sum(mean > 0 for mean in means.values())
    return f"{gained} of {len(means)}", f"{means[worst]:+.2f} {names[worst]}"


def _gates(cells: Cells) -> str:
    """In how many runs the gate left guidance on, whole or halved, of those in which it measured."""
    decisions = Counter((record["training"].get("gate") or {}).get("decision") for record in cells.values())
    measured = sum(decisions[word] for word in (*KEPT, "off"))
    if measured:
        halved = f", {decisions['halved']} halved" * bool(decisions["halved"])
        return f"{sum(decisions[word] for word in KEPT)} of {measured}{halved}"
    return "not measured" if decisions["not measured"] else "-"
