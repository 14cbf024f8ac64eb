"""Tables of finished cells, in Markdown and LaTeX: means and spreads over seeds, differences in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.cells import Cell
from protocols.poses import FAILED, pose_lines
from protocols.schedule import Records
from protocols.visibility import CLASSES
from utils.tables import markdown_table, mean_and_spread

SCORES = (("PSNR", 2), ("SSIM", 3), ("LPIPS", 3), ("average_error", 3))
Table = tuple[str, list[str], list[list[str]]]


def tables(planned: Sequence[Cell], records: Records, baseline: str) -> list[Table]:
    """A title, a header and rows for each number of photographs, then by visibility, then for each scene.

    Between the first two stands one that counts failures, where a test photograph was not localised. That by
    visibility is there where a record has it, the last where there are several scenes.

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
        if cells[0].pose_source == "train":
            what += ", poses of the training photographs alone"
        over = f"mean +- standard deviation over seeds {seeds}"
        title = f"{what}, {len(scenes)} scene{'s' * (len(scenes) > 1)}; {over}"
        result.append((title, *_scores(cells, records, baseline)))
        if any(records[cell]["poses"]["not_localised"] for cell in posed(cells, records)):
            failed = ", ".join(f"{name} {value:g}" for name, value in FAILED.items())
            title = f"{what}, test photographs that were not localised counted as {failed}; {over}"
            result.append((title, *_with_failures(cells, records)))
        if any("visibility" in records[cell] for cell in cells if cell in records):
            by = f"{what}, PSNR by how many training photographs see a pixel; {over}"
            result.append((by, *_by_visibility(cells, records, baseline)))
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


def posed(cells: Sequence[Cell], records: Records) -> list[Cell]:
    """Those of the cells that are finished and rest on poses of the training photographs alone."""
    return [cell for cell in cells if "poses" in records.get(cell, {})]


def _with_failures(cells: Sequence[Cell], records: Records) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each variant: scores over all test photographs, localised or not."""
    rows = []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        own = [cell for cell in posed(cells, records) if cell.variant == variant]
        row = [variant]
        for name, decimals in SCORES:
            scores = {(it.scene, it.seed): records[it]["scores_with_failures"][name] for it in own}
            values = over_seeds(scores)
            row.append(mean_and_spread(values, decimals) if values else "-")
        rows.append(row)
    return ["variant", "PSNR", "SSIM", "LPIPS", "average error"], rows


def _by_visibility(
    cells: Sequence[Cell], records: Records, baseline: str
) -> tuple[list[str], list[list[str]]]:
    """Header, a row of shares, and a row for each variant: PSNR in each class, and its gain there."""
    found = {
        (it.variant, it.scene, it.seed): records[it]["visibility"]
        for it in cells
        if "visibility" in records.get(it, {})
    }
    header = ["variant"]
    shares = ["share of pixels, %"]
    rows = {variant: [variant] for variant in dict.fromkeys(cell.variant for cell in cells)}
    for name in CLASSES:
        header += [f"seen by {name}", f"{name} less {baseline}'s"]
        shares += [f"{100 * statistics.fmean(each[name]['share'] for each in found.values()):.1f}", "-"]
        psnr = {key: each[name]["PSNR"] for key, each in found.items() if each[name]["PSNR"] is not None}
        for variant, row in rows.items():
            own = {key[1:]: value for key, value in psnr.items() if key[0] == variant}
            gains = {
                key: value - psnr[baseline, *key]
                for key, value in own.items()
                if (baseline, *key) in psnr and variant != baseline
            }
            row.append(mean_and_spread(over_seeds(own), 2) if own else "-")
            row.append(mean_and_spread(over_seeds(gains), 2, signed=True) if gains else "-")
    return header, [shares, *rows.values()]


def _costs(records: Sequence[dict[str, Any]]) -> list[str]:
    """Mean seconds of training, where they are known, largest memory in GB, mean number of Gaussians."""
    if not records:
        return ["-", "-", "-"]
    training = [record["training"] for record in records]
    seconds = [each for each in map(training_seconds, records) if each is not None]
    return [
        f"{statistics.fmean(seconds):.0f}" if seconds else "-",
        f"{max(it['peak_memory_mib']['host'] for it in training) * 2**20 / 1e9:.1f}",
        f"{statistics.fmean(it['gaussians'] for it in training):.0f}",
    ]


def training_seconds(record: Mapping[str, Any]) -> float | None:
    """Seconds of a training with the gate's pilot; None of one that was stopped and resumed."""
    training = record["training"]
    if training["iterations_in_this_process"] != record["cell"]["iterations"]:
        return None
    return training["seconds"] + (training.get("gate") or {}).get("seconds", 0.0)


def over_seeds(found: Mapping[tuple[str, int], float | None]) -> list[float]:
    """For each seed the mean over its scenes; empty where a value is not known.

    A seed that has fewer scenes than another is left out: the spread would be that of scenes.

    Args:
        found: values by scene and seed.
    """
    by_seed: dict[int, list[float]] = {}
    for (_, seed), value in found.items():
        if value is None:
            return []
        by_seed.setdefault(seed, []).append(value)
    most = max(map(len, by_seed.values()), default=0)
    return [statistics.fmean(values) for values in by_seed.values() if len(values) == most]


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
        "its mean. Differences are of pairs with the same scene and seed. A row of fewer cells is of the "
        "seeds that have most of its scenes; its difference holds.",
        *pose_lines(list(records.values())),
    ]
    for net in _different(record["conventions"].get("LPIPS") for record in records.values()):
        lpips = f"{net['net']}, version {net['version']}, fed {net['input_range']}" if net else "not computed"
        lines.append(f"LPIPS: {lpips}.")
    for masks in _different(record["conventions"].get("masks") for record in records.values()):
        if masks:
            lines.append(f"Under masks: {masks}.")
    for number in _different(it["visibility"]["iterations"] for it in records.values() if "visibility" in it):
        lines.append(
            "Visibility: which surface a pixel shows, and who sees it, is measured by the depth of a plain "
            f"model of all photographs, the test's too, after {number} iterations; the same pixels for all "
            "variants. PSNR of a class is of the squared error pooled over its pixels in all test views."
        )
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
