"""Tables of finished cells, in Markdown and LaTeX: means and spreads over seeds, differences in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.cells import Cell
from protocols.schedule import Records
from utils.tables import markdown_table, mean_and_spread

SCORES = (("PSNR", 2), ("SSIM", 3), ("LPIPS", 3), ("average_error", 3))
Table = tuple[str, list[str], list[list[str]]]


def tables(planned: Sequence[Cell], records: Records, baseline: str) -> list[Table]:
    """A title, a header and rows for each number of photographs, and where there are several scenes for each.

    Args:
        planned: all cells, finished or not.
        records: of the finished ones.
        baseline: the variant from which others are said to differ.
    """
    result = []
    for views in dict.fromkeys(cell.views for cell in planned):
        cells = [cell for cell in planned if cell.views == views]
        seeds = ", ".join(map(str, dict.fromkeys(cell.seed for cell in cells)))
        scenes = list(dict.fromkeys(cell.scene for cell in cells))
        what = f"{cells[0].protocol}, {f'{views} photographs' if views else 'all training photographs'}"
        over = f"mean +- standard deviation over seeds {seeds}"
        title = f"{what}, {len(scenes)} scene{'s' * (len(scenes) > 1)}; {over}"
        result.append((title, *_scores(cells, records, baseline)))
        if len(scenes) > 1:
            variants = dict.fromkeys(cell.variant for cell in cells)
            rows = []
            for variant in variants:
                values = [
                    [
                        records[cell]["scores"]["PSNR"]
                        for cell in cells
                        if (cell.variant, cell.scene) == (variant, scene) and cell in records
                    ]
                    for scene in scenes
                ]
                rows.append([variant, *(mean_and_spread(each, 2) if each else "-" for each in values)])
            result.append((f"{what}, PSNR of each scene; {over}", ["variant", *scenes], rows))
    return result


def _scores(cells: Sequence[Cell], records: Records, baseline: str) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each variant, of cells of one number of photographs."""
    header = ["variant", "PSNR", "SSIM", "LPIPS", "average error", f"PSNR less {baseline}'s"]
    header += ["seconds", "GB", "Gaussians", "cells"]
    found = {(it.variant, it.scene, it.seed): records[it] for it in cells if it in records}
    rows = []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        own = {key[1:]: record for key, record in found.items() if key[0] == variant}
        gains = {
            key: record["scores"]["PSNR"] - found[baseline, *key]["scores"]["PSNR"]
            for key, record in own.items()
            if (baseline, *key) in found and variant != baseline
        }
        columns = [over_seeds({key: it["scores"][name] for key, it in own.items()}) for name, _ in SCORES]
        row = [variant]
        for values, (_, decimals) in zip(columns, SCORES, strict=True):
            row.append(mean_and_spread(values, decimals) if values else "-")
        row.append(mean_and_spread(over_seeds(gains), 2, signed=True) if gains else "-")
        planned = sum(cell.variant == variant for cell in cells)
        rows.append([*row, *_costs(list(own.values())), f"{len(own)} of {planned}"])
    return header, rows


def _costs(records: Sequence[dict[str, Any]]) -> list[str]:
    """Mean seconds of training with the gate's pilot, largest memory in GB, mean number of Gaussians.

    The seconds of a training that was stopped and resumed are not known, and left out.
    """
    if not records:
        return ["-", "-", "-"]
    training = [record["training"] for record in records]
    seconds = [
        it["seconds"] + (it.get("gate") or {}).get("seconds", 0.0)
        for it, record in zip(training, records, strict=True)
        if it["iterations_in_this_process"] == record["cell"]["iterations"]
    ]
    return [
        f"{statistics.fmean(seconds):.0f}" if seconds else "-",
        f"{max(it['peak_memory_mib']['host'] for it in training) * 2**20 / 1e9:.1f}",
        f"{statistics.fmean(it['gaussians'] for it in training):.0f}",
    ]


def over_seeds(found: Mapping[tuple[str, int], float | None]) -> list[float]:
    """For each seed the mean over its scenes; empty where a value is not known.

    Args:
        found: values by scene and seed.
    """
    by_seed: dict[int, list[float]] = {}
    for (_, seed), value in found.items():
        if value is None:
            return []
        by_seed.setdefault(seed, []).append(value)
    return [statistics.fmean(values) for values in by_seed.values()]


def markdown(found: Sequence[Table], records: Records) -> str:
    """All tables in Markdown, and how the figures were made."""
    parts = [f"**{title}**\n\n{markdown_table(header, rows)}" for title, header, rows in found]
    return "\n".join([*parts, said(records)])


def latex(found: Sequence[Table], records: Records) -> str:
    """All tables as LaTeX's `tabular`, without a package."""
    parts = [f"% {title}\n{latex_table(header, rows)}" for title, header, rows in found]
    return "\n".join([*parts, *(f"% {line}\n" for line in said(records).splitlines())])


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A `tabular` with the first column to the left and the others to the right; text is escaped."""
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    body = "\n".join([lines[0], r"\hline", *lines[1:]])
    return f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"


def said(records: Records) -> str:
    """How the figures were computed, what they rest on, and how rows of fewer cells are to be read."""
    lines = [
        "Average error: RegNeRF's, the geometric mean of MSE, sqrt(1 - SSIM) and LPIPS of each view, then "
        "its mean. Differences are of pairs with the same scene and seed. Poses: those of the dataset, from "
        "all of its photographs. A row of fewer cells is of fewer scenes or seeds; its difference holds."
    ]
    for net in _different(record["conventions"].get("LPIPS") for record in records.values()):
        lpips = f"{net['net']}, version {net['version']}, fed {net['input_range']}" if net else "not computed"
        lines.append(f"LPIPS: {lpips}.")
    for masks in _different(record["conventions"].get("masks") for record in records.values()):
        if masks:
            lines.append(f"Under masks: {masks}.")
    for points in _different(_start(record) for record in records.values()):
        lines.append(f"Start: {points}.")
    return "\n".join(lines) + "\n"


def _start(record: dict[str, Any]) -> str:
    """A cell's scene, view count, and points to start from."""
    cell = record["cell"]
    return f"{cell['scene']}, {cell['views'] or 'all'} photographs, {record['settings']['scene']['points']}"


def _different(values: Any) -> list[Any]:
    """Each value once, in order; dictionaries too."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _escaped(text: str) -> str:
    for sign in "\\&%$#_{}~^":
        text = text.replace(
            sign, {"\\": r"\textbackslash ", "~": r"\~{}", "^": r"\^{}"}.get(sign, f"\\{sign}")
        )
    return text.replace("+-", r"$\pm$")
