"""The proof: does a prior of the domain help where photographs are few? Objects, trainings and tables.

    python benchmarks/proof.py --docs docs/results.md
    python benchmarks/proof.py --quick
    python benchmarks/proof.py --parts tuning_base tuning_guided
    python benchmarks/proof.py --plan_only

Renders procedural objects that the small prior was not trained on, runs full_eval.py's cells on them and on
real scenes, part by part, and tabulates. What is there is not done again: a stopped proof goes on with the
same command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import full_eval
from benchmarks.guidance_pictures import save_jpeg, side_by_side, stacked
from benchmarks.kept import SIDES, Record, kept_records, save_figures, without_kept
from benchmarks.measured import fill
from benchmarks.parts import planned_time, run_parts
from benchmarks.programs import call, lpips_flags
from benchmarks.proof_tables import Table, shown, with_sides
from protocols.cells import Cell, known_record
from tools.procedural.captions import detailed_prompt, short_prompt
from tools.procedural.plan import Plan
from utils.errors import UserError, run_program
from utils.files import write_text
from utils.options import parse

VARIANTS = ROOT / "protocols" / "proof.toml"
PLAN = Plan(seed=0)
"""That of the small prior's pictures, numbers 0 to 6999: so its four held-out families are these too."""

FAMILIES = (7224, 7227, 7004, 7162, 7233, 7682, 7650, 7216)
"""Ball, chair, rocket, tree, and a second of each: of families that the prior never saw. Like the other two
lists, the first ones from number 7000 that stand alone and are not called small."""
INSTANCES = (7000, 7020, 7060, 7071)
"""Truck, bottle, mushroom, cactus: the prior knows others of these families."""
TUNING = (7119, 7120, 7123, 7169)
"""Flower, table, hammer, guitar, likewise; settings are chosen on these alone."""
REAL = {
    "fern": "a green fern",
    "fox": "an orange fox on a wall",
    "kitchen": "a yellow toy bulldozer on a table",
    "ethiopian_head": "a brown metal head",
}
"""Real scenes, and a user's words for them; the prior knows no such thing."""
WRONG = "a blue sofa"
PICTURE = "results_views.jpg"


@dataclass(frozen=True)
class Part:
    """Cells that are run together.

    Attributes:
        objects: their numbers in the plan, or names of real scenes.
        views: numbers of training photographs.
        variants: of protocols/proof.toml; from the first, full_eval.py's own tables take differences.
        seeds: of the trainings.
    """

    objects: tuple[int, ...] | tuple[str, ...]
    views: tuple[int, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def real(self) -> bool:
        """Whether it is of real scenes."""
        return self.objects[0] in REAL


MODES = ("sds", "ism", "targets")
AGAIN = ("sds_7", "sds_8", "sds_9", "ism_7", "ism_8", "targets_7", "targets_8", "targets_9", "targets_10")
GATED = tuple(f"{mode}_gate" for mode in MODES)
WORDS = ("words_none", "words_detailed", "words_wrong", "words_both", "words_both_ranked")
PARTS = {
    "core": Part(FAMILIES + INSTANCES, (3,), ("base", "plain", "plain_dense", *MODES), (0, 1, 2)),
    "gate": Part(FAMILIES + INSTANCES, (3,), GATED, (0,)),
    "words": Part(FAMILIES, (3,), WORDS, (0,)),
    "views": Part(FAMILIES[:4], (6, 9), ("base", "plain", *MODES), (0,)),
    "long": Part(FAMILIES[:4], (3,), ("base_long", "plain_long"), (0,)),
    "real": Part(tuple(REAL), (3,), ("real_base", "plain", *(f"real_{it}" for it in MODES + GATED)), (0,)),
    "tuning_base": Part(TUNING, (3,), tuple(f"base_{trial}" for trial in range(1, 10)), (0,)),
    "tuning_guided": Part(
        TUNING[:2], (3,), ("base_2", *(f"{mode}_{trial}" for mode in MODES for trial in range(1, 7))), (0,)
    ),
    "tuning_again": Part(TUNING, (3,), AGAIN, (0,)),
}
TABLES: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "measured modes": (("core", (), "base"),),
    "measured gate": (("gate", ("base", *MODES), "base"),),
    "measured words": (("words", ("base", "sds"), "base"),),
    "measured views": (("views", (), "base"), ("long", ("base", "plain"), "base")),
    "measured real": (("real", (), "real_base"),),
    "measured tuning": (("tuning_base", (), "base_1"), ("tuning_guided", (), "base_2")),
    "measured tuning again": (("tuning_again", ("base_8",), "base_8"),),
}
"""For each block of the page: a part, the rows before its own, and the row that gains are taken from."""
QUICK = {
    "core": Part((7227, 7000), (3,), ("base", "plain", *MODES), (0,)),
    "words": Part((7227, 7000), (3,), ("words_none", "words_both_ranked"), (0,)),
}
QUICK_FLAGS = "--iterations 300 --init_random 2000"


@dataclass
class Options:
    """Measures whether a prior of the domain helps, on objects that it was not trained on and real scenes."""

    output: str = "output/proof"
    """Folder of the objects, the cells of each part, and report.md; with --quick, its subfolder quick."""
    parts: tuple[
        Literal[
            "core", "gate", "words", "views", "long", "real", "tuning_base", "tuning_guided", "tuning_again"
        ],
        ...,
    ] = ()
    """What to run, in this order; by default all but tuning, real only where --data has its scenes. The
    tables are of all parts that were run so far."""
    seeds: tuple[int, ...] = ()
    """Seeds of the trainings; by default each part's own."""
    quick: bool = False
    """Two objects of 64 pixels, 300 iterations: whether all works, in minutes. The figures mean nothing."""
    plan_only: bool = False
    """Say what would be run and how long it will take, by what is done, and stop."""
    jobs: int = 1
    """As full_eval.py has it."""
    data: str = "../shared/data"
    """Folder of the real scenes; its weights/ has SqueezeNet's for LPIPS, without which there is none."""
    kept: str = ""
    """A CSV of figures: cells that it has count as done, seed by seed of a part, and those that are finished
    here are added. Another machine goes on from it."""
    docs: str = ""
    """A page whose blocks of measured tables are filled, where a cell of theirs is finished; empty: none."""


def main(options: Options) -> None:
    """Makes the objects, runs the cells that are missing, and writes the tables.

    Raises:
        UserError: mitsuba is missing, a flag cannot be used, or cells failed: those of all parts are named
            when the others are done.
    """
    folder = Path(options.output).absolute() / ("quick" if options.quick else "")
    known = {
        name: part
        for name, part in (QUICK if options.quick else PARTS).items()
        if can_run(part, name, options)
    }
    parts = asked(known, options)
    make_objects(folder, known, options)
    write_variants(folder, known)
    wanted = {name: evaluation(folder, name, part, options) for name, part in parts.items()}
    evaluations = without_kept(wanted, options.kept, folder)
    print(planned_time(evaluations), flush=True)
    if options.plan_only:
        return
    try:
        failures = run_parts(evaluations)
    finally:  # an interrupted measurement keeps its figures too
        records = finished(folder, known | parts, options)
        save_figures(options.kept, records, folder)
    found = blocks(known | parts, list(records.values()))
    write_text(folder / "report.md", "\n".join(found.values()))
    print("\n".join(found.values()))
    if options.docs:
        if "measured modes" in found:
            found["measured modes"] += pictures(folder, Path(options.docs))
        for block, text in found.items():
            fill(Path(options.docs), block, text)
    if failures:
        raise UserError("\n".join(failures))


def can_run(part: Part, name: str, options: Options) -> bool:
    """Whether the scenes of a part are there, as objects always are, or it is asked for by name."""
    there = (Path(options.data, str(scene)).is_dir() for scene in part.objects)
    return not part.real or name in options.parts or all(there)


def asked(known: dict[str, Part], options: Options) -> dict[str, Part]:
    """The parts to run, with the seeds that the options say, where they do.

    Raises:
        UserError: --quick has none of them.
    """
    names: tuple[str, ...] = options.parts or tuple(it for it in known if not it.startswith("tuning"))
    parts = {name: known[name] for name in names if name in known}
    if not parts:
        raise UserError(f"--parts {' '.join(names)}: --quick has {', '.join(QUICK)}")
    return {name: replace(part, seeds=options.seeds or part.seeds) for name, part in parts.items()}


def numbers_of(parts: Mapping[str, Part]) -> list[int]:
    """The plan's objects that the parts are of."""
    return list(dict.fromkeys(it for part in parts.values() for it in part.objects if isinstance(it, int)))


def make_objects(folder: Path, parts: dict[str, Part], options: Options) -> None:
    """Renders the pictures of the parts' objects that are not there yet."""
    size = ["--resolution", "64", "--samples", "8", "--test_views", "8"] if options.quick else []
    words = ["--posed", "--layout", "few_views", "--points", "0", "--train_views", "9", "--test_views", "40"]
    words += [*size, "--seed", str(PLAN.seed), "--output", str(folder / "objects")]
    call("tools/make_objects.py", *words, "--instances", *map(str, numbers_of(parts)))


def write_variants(folder: Path, parts: dict[str, Part]) -> None:
    """Writes variants.toml, protocols/proof.toml with the words for each object, and the wrong words."""
    write_text(folder / "wrong.txt", f"{WRONG}\n")
    lines = [VARIANTS.read_text(encoding="utf-8"), "[words]"]
    lines += [f'wrong = "{WRONG}"', f"wrong_file = {json.dumps(str(folder / 'wrong.txt'))}"]
    for number in numbers_of(parts):
        user, detailed = prompts(number)
        lines += ["", f"[words.{scene(number)}]", f'user = "{user}"', f'detailed = "{detailed}"']
    for name, user in REAL.items():
        lines += ["", f"[words.{name}]", f'user = "{user}"']
    write_text(folder / "variants.toml", "\n".join(lines) + "\n")


def prompts(number: int) -> tuple[str, str]:
    """A person's words for an object, and those in the style of a language model."""
    it = PLAN.instance(number)
    detailed = detailed_prompt(it.family, it.colour, it.material, it.size, it.floor)
    return short_prompt(it.family, it.colour), detailed


def scene(it: int | str) -> str:
    """What full_eval.py calls an object, or a real scene: its folder."""
    return f"{it:06d}" if isinstance(it, int) else it


def evaluation(folder: Path, name: str, part: Part, options: Options) -> full_eval.Options:
    """full_eval.py's options for a part."""
    data = Path(options.data).absolute()
    net, *weights = lpips_flags(data)[1::2]
    return full_eval.Options(
        protocol="every8" if part.real else "objects",
        data=str(data if part.real else folder / "objects"),
        scenes=tuple(map(scene, part.objects)),
        views=part.views,
        variants=part.variants,
        variants_file=str(folder / "variants.toml"),
        train_flags=QUICK_FLAGS if options.quick else "-r 4" * part.real,
        seeds=part.seeds,
        lpips_net=net,  # type: ignore[arg-type]
        lpips_weights=weights[0] if weights else "",
        reference_iterations=0,  # inside and outside say here what visibility says elsewhere
        jobs=options.jobs,
        output=str(folder / name),
    )


def finished(folder: Path, parts: Mapping[str, Part], options: Options) -> dict[Cell, Record]:
    """The records of the parts' cells that are finished, also by earlier calls, or kept.

    Raises:
        UserError: there is a cell of other flags.
    """
    found: dict[Cell, Record] = {}
    for name, part in parts.items():
        cells = full_eval.planned(evaluation(folder, name, part, options))
        here = {cell: record for cell in cells if (record := known_record(folder / name, cell))}
        found |= kept_records(options.kept, cells, folder)
        found |= {cell: with_sides(record) for cell, record in here.items()}
    return found


def blocks(parts: dict[str, Part], records: Sequence[Record]) -> dict[str, str]:
    """The tables in Markdown by the block of the page; none of a block without a finished cell."""
    found = {
        block: [
            text
            for name, before, first in rows
            if name in parts
            for text in part_tables(parts[name], before, first, records)
        ]
        for block, rows in TABLES.items()
    }
    return {block: "\n".join(texts) for block, texts in found.items() if texts}


def part_tables(part: Part, before: tuple[str, ...], baseline: str, records: Sequence[Record]) -> list[str]:
    """A part's tables in Markdown, for each number of photographs and group of objects; none without cells
    of its own variants.

    Args:
        part: whose variants are the rows.
        before: variants of other parts, which come first.
        baseline: the variant from which gains are taken.
        records: of all finished cells.
    """
    own = [record["cell"] for record in records if record["cell"]["variant"] in part.variants]
    groups: dict[str, Sequence[int | str]]
    groups = {"Held-out families": FAMILIES, "Held-out instances": INSTANCES, "Tuning objects": TUNING}
    groups["Real photographs"] = tuple(REAL)
    kind, sides = ("scene", ()) if part.real else ("object", SIDES)
    variants = before + part.variants
    tables = [
        Table(title, named(part, group), views, variants, baseline, part.seeds, kind, sides)
        for views in part.views
        for title, group in groups.items()
        if any(cell["views"] == views and cell["scene"] in named(part, group) for cell in own)
    ]
    return [text for table in tables if (text := shown(table, records))]


def named(part: Part, group: Sequence[int | str]) -> dict[str, str]:
    """The part's objects that are of a group: what to call them, by scene."""
    return {
        scene(it): f"{PLAN.instance(it).family} {it}" if isinstance(it, int) else it
        for it in part.objects
        if it in group
    }


def pictures(folder: Path, page: Path) -> str:
    """Writes results_views.jpg beside the page; returns the line that shows it, empty where no cell is there.

    Of the first object of each held-out family: a view inside and one outside, photograph and renderings of
    seed 0 without guidance and in every mode.
    """
    rows = []
    for number in FAMILIES[:4]:
        cells = folder / "core" / scene(number) / "3_views"
        models = {variant: cells / variant / "seed_0" for variant in ("plain", "base", *MODES)}
        if all((model / "per_view.json").is_file() for model in models.values()):
            rows.append(side_by_side(models, 2))
    if not rows:
        return ""
    save_jpeg(page.with_name(PICTURE), stacked(rows))
    return f"\n![Views inside and outside: photograph, plain, base, sds, ism, targets]({PICTURE})\n"


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
