"""What the base for few photographs brings, and each of its parts: trainings and tables.

    python benchmarks/few_views.py --docs docs/few-views.md --pictures docs/few_views.jpg
    python benchmarks/few_views.py --plan_only
    python benchmarks/few_views.py --parts ablation --seeds 0 1
    python benchmarks/few_views.py -r 2 --iterations 7000 --output output/few_views_7000

Runs full_eval.py's cells on real scenes, part by part, without guidance, and tabulates what is finished. What
is there is not done again: a stopped measurement goes on with the same command.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import full_eval
from benchmarks.guidance_pictures import grid, held_out_scores, labelled_view, save_jpeg
from benchmarks.kept import Record, kept_records, save_figures, without_kept
from benchmarks.measured import fill
from benchmarks.parts import planned_time, run_parts
from benchmarks.programs import lpips_flags
from protocols.cells import Cell, known_record
from utils.errors import UserError, run_program
from utils.files import write_text
from utils.options import parse
from utils.tables import markdown_table, mean_and_spread

VARIANTS = ROOT / "protocols" / "few_views.toml"
SCENES = ("fern", "fox", "kitchen", "ethiopian_head")
BASELINES = ("plain", "plain_dense")
LESS = (
    "no_dense_start",
    "no_dropout",
    "no_regularisers",
    "no_low_sh",
    "no_threshold",
    "no_reset_limit",
    "no_size",
)
MORE = ("with_warp", "with_pruning", "with_exposure", "with_more_opacity_reg", "with_far_points")
PARTS_OF_BASE = LESS + MORE
Records = Mapping[Cell, Record]


@dataclass(frozen=True)
class Part:
    """Cells that are run together.

    Attributes:
        scenes: of the folder of data.
        views: numbers of training photographs, 0: all but those of the test.
        variants: of protocols/few_views.toml.
        seeds: of the trainings.
    """

    scenes: tuple[str, ...]
    views: tuple[int, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]


PARTS = {
    "base": Part(SCENES, (3, 6, 9), (*BASELINES, "base"), (0, 1, 2)),
    "all": Part(SCENES[:1], (0,), (*BASELINES, "base"), (0, 1, 2)),
    "ablation": Part(SCENES, (3, 9), ("base", *PARTS_OF_BASE), (0, 1)),
}


@dataclass
class Options:
    """Measures the base for few photographs on real scenes: against plain 3DGS, and part by part."""

    data: str = "../shared/data"
    """Folder of the scenes, whose weights/ has SqueezeNet's for LPIPS; without them there is no LPIPS."""
    scenes: tuple[str, ...] = ()
    """Of those in --data; by default each part's own."""
    parts: tuple[Literal["base", "all", "ablation"], ...] = ("base", "all", "ablation")
    """What to run, in this order; the tables are of all that was run so far."""
    views: tuple[int, ...] = ()
    """Numbers of training photographs; by default each part's own, which part all always has."""
    seeds: tuple[int, ...] = ()
    """Seeds of the trainings; by default each part's own."""
    resolution: Annotated[int, tyro.conf.arg(aliases=["-r"])] = 4
    """As train.py has it."""
    iterations: int = 3000
    """Of every training."""
    jobs: int = 1
    """As full_eval.py has it."""
    output: str = "output/few_views"
    """Folder of the cells and report.md; another one for other settings."""
    plan_only: bool = False
    """Say what would be run and how long it will take, by what is done, and stop."""
    kept: str = ""
    """A CSV of figures: cells that it has count as done, seed by seed of a part, and those that are finished
    here are added. Another machine goes on from it."""
    docs: str = ""
    """A page whose blocks of measured tables are filled, where a cell of theirs is finished; empty: none."""
    pictures: str = ""
    """A JPEG of a held-out view of each scene, of the fewest photographs and the lowest seed; empty: none."""


def main(options: Options) -> None:
    """Runs the cells that are missing and writes the tables and the pictures.

    Raises:
        UserError: a flag or the data cannot be used; or cells failed: they are named when others are done.
    """
    folder = Path(options.output).absolute()
    wanted = {name: evaluation(asked(name, options), options) for name in options.parts}
    evaluations = without_kept(wanted, options.kept, folder)
    print(planned_time(evaluations), flush=True)
    if options.plan_only:
        return
    try:
        failures = run_parts(evaluations)
    finally:  # an interrupted measurement keeps its figures too
        records = {name: finished(asked(name, options), options) for name in PARTS}
        everything = {cell: record for part in records.values() for cell, record in part.items()}
        save_figures(options.kept, everything, folder)
    found = blocks(options, records)
    write_text(folder / "report.md", "\n".join(found.values()))
    print("\n".join(found.values()))
    if options.docs:
        for block, text in found.items():
            fill(Path(options.docs), block, text)
    if options.pictures:
        save_pictures(options)
    if failures:
        raise UserError("\n".join(failures))


def asked(name: str, options: Options) -> Part:
    """A part with the scenes, views and seeds that the options say, where they do."""
    said = {key: value for key in ("scenes", "views", "seeds") if (value := getattr(options, key))}
    if name == "all":
        said.pop("views", None)
    return replace(PARTS[name], **said)


def evaluation(part: Part, options: Options) -> full_eval.Options:
    """full_eval.py's options for a part."""
    data = Path(options.data).resolve()
    net, *weights = lpips_flags(data)[1::2]
    return full_eval.Options(
        data=str(data),
        scenes=part.scenes,
        views=part.views,
        variants=part.variants,
        variants_file=str(VARIANTS),
        train_flags=f"-r {options.resolution} --iterations {options.iterations}",
        seeds=part.seeds,
        lpips_net=net,  # type: ignore[arg-type]
        lpips_weights=weights[0] if weights else "",
        reference_iterations=0,
        jobs=options.jobs,
        output=options.output,
    )


def blocks(options: Options, records: Mapping[str, Records]) -> dict[str, str]:
    """The tables in Markdown by the block of the page; none of a block without a finished cell.

    Args:
        options: what was asked.
        records: of each part's finished cells.
    """
    how = f"`-r {options.resolution}`, {options.iterations} iterations"
    tables: dict[str, list[str]] = {"measured base": [], "measured ablation": []}
    for name in PARTS:
        part = asked(name, options)
        for views in part.views:
            its = {cell: record for cell, record in records[name].items() if cell.views == views}
            if not {cell.variant for cell in its} - ({"base"} if name == "ablation" else set()):
                continue
            count = f"{views} photographs" if views else "All photographs"
            if name == "ablation":
                rows = ablation_rows(its, part)
                header = ["variant", *part.scenes, "mean"]
                text = f"**{count}**, {how}, PSNR less the base's, dB"
                tables["measured ablation"].append(f"{text}:\n\n{markdown_table(header, rows)}")
            else:
                text = f"**{count}**, {how}:\n\n{markdown_table(HEADER, base_rows(its, part))}"
                tables["measured base"].append(text)
    return {block: "\n".join(texts) for block, texts in tables.items() if texts}


def finished(part: Part, options: Options) -> Records:
    """The records of a part's cells that are done, or kept.

    Raises:
        UserError: the data cannot be used, or there is a cell of other flags.
    """
    folder = Path(options.output).absolute()
    cells = full_eval.planned(evaluation(part, options))
    found: dict[Cell, Record | None] = {cell: known_record(folder, cell) for cell in cells}
    here = {cell: record for cell, record in found.items() if record}
    return kept_records(options.kept, cells, folder) | here


def save_pictures(options: Options) -> None:
    """Writes a sheet with a row for each scene whose cells are done: a photograph and the models' renderings.

    The view is the one where plain, dense has its median PSNR: neither the easiest nor the hardest. Where no
    scene is done nothing is written.

    Raises:
        UserError: as `finished`, or pictures of a finished cell are not there any more.
    """
    part = asked("base", options)
    views, seed = min(part.views), min(part.seeds)
    models: dict[str, dict[str, Path]] = {}
    for cell in finished(replace(part, views=(views,), seeds=(seed,)), options):
        models.setdefault(cell.scene, {})[cell.variant] = Path(options.output) / cell.name
    rows = []
    for scene, by_variant in models.items():
        if set(by_variant) == set(part.variants):
            scores = held_out_scores(by_variant["plain_dense"])
            view = sorted(scores, key=scores.__getitem__)[len(scores) // 2]
            shown = {variant.replace("_", ", "): by_variant[variant] for variant in part.variants}
            rows.append(labelled_view(shown, view, f"{scene}, held out"))
    if rows:
        save_jpeg(Path(options.pictures), grid(rows))


HEADER = ["scene", "plain", "plain, dense", "base", "base less plain, dense", "SSIM", "SSIM, less"]
HEADER += ["LPIPS", "LPIPS, less", "time", "seeds"]


def base_rows(records: Records, part: Part) -> list[list[str]]:
    """A line for each scene, and the mean over scenes of the base's gain for each seed.

    Args:
        records: of finished cells of one number of photographs.
        part: which scenes and seeds they are of.
    """
    found = {(it.scene, it.variant, it.seed): record for it, record in records.items()}
    rows = []
    gains: dict[int, list[float]] = {}
    for scene in part.scenes:
        scores = {
            (variant, name): [found[scene, variant, seed]["scores"][name] for seed in seeds]
            for variant in part.variants
            for name in ("PSNR", "SSIM", "LPIPS")
            if (seeds := [seed for seed in part.seeds if (scene, variant, seed) in found])
        }
        pairs = [seed for seed in part.seeds if {(scene, it, seed) for it in part.variants[1:]} <= set(found)]
        for seed in pairs:
            gains.setdefault(seed, []).append(_gain(found, scene, seed, "PSNR") or 0.0)
        rows.append(
            [
                scene,
                *(_shown(scores.get((variant, "PSNR"), []), 2) for variant in part.variants),
                _shown([_gain(found, scene, seed, "PSNR") for seed in pairs], 2, signed=True),
                _shown(scores.get(("base", "SSIM"), []), 3),
                _shown([_gain(found, scene, seed, "SSIM") for seed in pairs], 3, signed=True),
                _shown(scores.get(("base", "LPIPS"), []), 3),
                _shown([_gain(found, scene, seed, "LPIPS") for seed in pairs], 3, signed=True),
                _times(found, scene, pairs),
                str(len(pairs)),
            ]
        )
    means = [statistics.fmean(each) for each in gains.values() if len(each) == len(part.scenes)]
    if len(part.scenes) > 1:
        rows.append(["mean", "", "", "", _shown(means, 2, signed=True), *[""] * 5, str(len(means))])
    return rows


def _gain(found: Mapping[Any, Mapping[str, Any]], scene: str, seed: int, name: str) -> float | None:
    """The base's score less that of plain training from the same dense points."""
    base, dense = (found[scene, variant, seed]["scores"][name] for variant in ("base", "plain_dense"))
    return None if base is None or dense is None else base - dense


def _times(found: Mapping[Any, Mapping[str, Any]], scene: str, seeds: Sequence[int]) -> str:
    """How long the base trained, in multiples of the plain training from the same points."""
    seconds = [
        sum(found[scene, variant, seed]["training"]["seconds"] for seed in seeds)
        for variant in ("base", "plain_dense")
    ]
    return f"{seconds[0] / seconds[1]:.2f}" if seeds else "-"


def _shown(values: Sequence[float | None], decimals: int, *, signed: bool = False) -> str:
    known = [value for value in values if value is not None]
    return mean_and_spread(known, decimals, signed=signed) if known and len(known) == len(values) else "-"


def ablation_rows(records: Records, part: Part) -> list[list[str]]:
    """The base's PSNR, then for each changed base that has a cell the difference, over the seeds of both."""
    psnr = {(it.variant, it.scene, it.seed): record["scores"]["PSNR"] for it, record in records.items()}
    rows = []
    for variant in (it for it in part.variants if it in {each.variant for each in records}):
        by_scene = []
        for scene in part.scenes:
            seeds = [s for s in part.seeds if {(variant, scene, s), ("base", scene, s)} <= set(psnr)]
            before = 0.0 if variant == "base" else 1.0
            by_scene.append([psnr[variant, scene, s] - before * psnr["base", scene, s] for s in seeds])
        signed = variant != "base"
        whole = [statistics.fmean(each) for each in by_scene if each]
        mean = f"{statistics.fmean(whole):{'+' if signed else ''}.2f}" if len(whole) == len(by_scene) else "-"
        rows.append([variant, *(_shown(each, 2, signed=signed) for each in by_scene), mean])
    return rows


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
