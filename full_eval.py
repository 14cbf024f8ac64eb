"""The field's protocols: scenes x photographs x variants x seeds, trained, rendered, scored, and tabulated.

python full_eval.py --protocol llff --data data --views 3 --variants plain_7k plain_30k --seeds 0 1 2
python full_eval.py --protocol every8 --data ../shared/data --scenes fern fox --views 3 6 --variants plain_7k
python full_eval.py --from output/eval/results.json --cell fern/3_views/plain_7k/seed_0

Every cell is train.py, render.py and metrics.py as a user runs them. Its record is written when it is done;
a stopped evaluation goes on where it was. The output folder gets results.json, tables.md, tables.tex and a
page of all that, report.html.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from protocols import ray_engine
from protocols.cells import Cell, known_record, run_cell
from protocols.page import report_page
from protocols.report import latex, markdown, tables
from protocols.reproduce import recorded, reproduce
from protocols.schedule import estimated_memory, estimated_seconds, machine_memory, run_cells, shown_time
from protocols.selection import PROTOCOLS, find_scenes, prepare
from protocols.variants import DEFAULT, read_variants
from protocols.visibility import Visibility
from scene.fitting import training_size
from training.options import Options as TrainOptions
from training.presets import read_options
from utils.errors import UserError, demand, run_program
from utils.files import write_json, write_text
from utils.options import parse


@dataclass
class Options:
    """Measures variants of training on the field's scenes, or on your own, by one protocol."""

    protocol: Literal[
        "llff", "dtu", "blender8", "mip360_fsgs", "mip360_rf", "tandt_db", "objects", "every8"
    ] = "every8"
    """Which photographs train and test, at which size, scored how (docs/protocols.md)."""
    data: str = "data"
    """Folder of the protocol's scenes, as tools/download.py fills it."""
    scenes: tuple[str, ...] = ()
    """Scenes below --data, or folders of your own; by default all of the protocol, or all in --data."""
    views: tuple[int, ...] = ()
    """Numbers of training photographs, 0: all; by default the protocol's."""
    variants: tuple[str, ...] = ("plain_7k", "plain_30k")
    """Names in --variants_file, each a set of flags of train.py."""
    variants_file: str = str(DEFAULT)
    """A TOML file of variants, and of the words that their prompts take."""
    words: tuple[str, ...] = ()
    """Texts NAME=TEXT for the words of variants, such as "user=a fern" or model=small, in all scenes."""
    train_flags: str = ""
    """Further flags of train.py for every variant, which win: --train_flags="--iterations 500"."""
    baseline: str = ""
    """The variant from which differences are taken; by default the first."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    pose_source: Literal["all", "train"] = "all"
    """Poses of the dataset, from all its photographs, or SfM of the training photographs alone, against whose
    model the test photographs are localised."""
    reference_iterations: int = 3000
    """Iterations of a model of all photographs, one for each scene, whose depth says which pixels how many
    training photographs see; 0: no such model, and no scores by visibility."""
    lpips_net: Literal["vgg", "alex", "squeeze", "none"] = "vgg"
    """As metrics.py has it."""
    lpips_weights: str = ""
    """As metrics.py has it."""
    jobs: int = 1
    """How many cells run at a time on a machine; they share the processor's cores."""
    memory: float = 0.0
    """GB of main memory for cells that run together; 0: four fifths of the machine's, or with Ray what it
    says that a machine has."""
    engine: Literal["local", "ray"] = "local"
    """Where cells run: on this machine, or on a Ray cluster (docs/protocols.md)."""
    ray_address: str = ""
    """With --engine ray, the cluster's address, host:6379 say; by default one is started on this machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As train.py has it."""
    output: str = "output/eval"
    """Folder of the models, records and tables."""
    plan_only: bool = False
    """Check all flags and data, say how many cells are done and how long the rest takes, and stop."""
    from_: Annotated[str, tyro.conf.arg(name="from")] = ""
    """A results.json, or a cell's record: run a cell of it again and compare, instead of all the above."""
    cell: str = ""
    """With --from, which cell: SCENE/3_views/VARIANT/seed_0."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag whose value is not allowed."""
        demand(bool(self.variants), "variants", "", "one name or more")
        demand(bool(self.seeds) and min(self.seeds) >= 0, "seeds", str(self.seeds), "numbers from 0")
        names = ", ".join(self.variants)
        demand(self.baseline in ("", *self.variants), "baseline", self.baseline, f"one of {names}")
        iterations = self.reference_iterations
        demand(iterations >= 0, "reference_iterations", iterations, "0 (none) or more")
        if self.lpips_weights and not Path(self.lpips_weights).is_file():
            raise UserError(f"--lpips_weights {self.lpips_weights}: there is no such file; check the path")
        demand(self.jobs >= 1, "jobs", self.jobs, "1 or more")
        demand(self.memory >= 0, "memory", self.memory, "0 (most of the machine's) or more gigabytes")
        if self.engine == "ray" and self.memory:
            raise UserError("--memory: each machine of Ray has its own budget; see `ray start --memory`")
        if self.ray_address and self.engine != "ray":
            raise UserError("--ray_address is for --engine ray, which is not given")
        if self.cell and not self.from_:
            raise UserError("--cell names a cell of --from, which is not given")


def main(options: Options) -> None:
    """Says how long the missing cells take, runs them, writes the tables after each, and prints them.

    Raises:
        UserError: a flag or the data cannot be used, which is found before the first cell runs; or cells
            failed, which are named when the others are done.
    """
    options.check()
    if options.from_:
        asked = recorded(Path(options.from_), options.cell)
        print(reproduce(asked, Path(options.output).absolute() / "again"), end="")
        return
    cells = planned(options)
    output = Path(options.output).absolute()
    found = {cell: record for cell in cells if (record := known_record(output, cell))}
    missing = [cell for cell in cells if cell not in found]
    visibility = Visibility(output, options.reference_iterations, options.device)
    time_left = left([*missing, *visibility.missing_models(cells)], found, options)
    print(f"{len(cells)} cells, {len(found)} of them done; the rest takes {time_left}", flush=True)
    if options.plan_only:
        return
    records = {cell: visibility.added(cell, record) for cell, record in found.items()}
    failures: dict[Cell, UserError] = {}

    def done(cell: Cell, result: dict[str, Any] | UserError) -> None:
        missing.remove(cell)
        if isinstance(result, UserError):
            failures[cell] = result
            print(f"{cell.name}: failed: {result}", flush=True)
        else:
            records[cell] = visibility.added(cell, result)
            write_tables(cells, records, options)
            psnr = f"{result['scores']['PSNR']:.2f} dB in {shown_time(result['process_seconds'])}"
            rest = [*missing, *visibility.missing_models(cells)]
            more = f"; {len(missing)} to go, {left(rest, records, options)}" if missing else ""
            print(f"{cell.name}: {psnr}{more}", flush=True)

    run_missing(list(missing), done, records, output, options)
    if records:
        print(write_tables(cells, records, options), end="")
    if failures:
        names = "\n  ".join(f"{cell.name}: {failure}" for cell, failure in failures.items())
        count = f"{len(failures)} of {len(cells)} cells failed"
        raise UserError(f"{count}; the same command tries them again:\n  {names}")


def run_missing(
    missing: Sequence[Cell],
    done: Callable[[Cell, dict[str, Any] | UserError], None],
    records: dict[Cell, dict[str, Any]],
    output: Path,
    options: Options,
) -> None:
    """Runs cells on the engine that was asked for.

    Args:
        missing: the cells.
        done: takes each one's result or failure.
        records: of the finished ones, growing; memory is estimated by them.
        output: the folder of all cells.
        options: the flags.

    Raises:
        UserError: there is no Ray, or none answers.
    """

    def need(cell: Cell) -> float:
        return estimated_memory(cell, records)

    if options.engine == "ray" and missing:
        with ray_engine.cluster(options.ray_address):
            each = ray_engine.cores_of_a_cell(options.jobs)
            threads = {"torch": each, "numba": each}
            run = partial(run_cell, output=output, device=options.device, threads=threads)
            gpu = options.device != "cpu"
            ray_engine.run_cells(missing, run, done, jobs=options.jobs, need=need, gpu=gpu)
        return
    each = max((os.cpu_count() or 1) // options.jobs, 1)
    some = {"torch": each, "numba": each} if options.jobs > 1 else None
    run = partial(run_cell, output=output, device=options.device, threads=some)
    memory = options.memory or 0.8 * machine_memory()
    run_cells(missing, run, done, jobs=options.jobs, memory=memory, need=need)


def planned(options: Options) -> list[Cell]:
    """All cells, seed by seed, so that a stopped evaluation has whole tables of fewer seeds.

    Raises:
        UserError: a scene, a number of photographs, a variant or a flag of it cannot be used.
    """
    rules = PROTOCOLS[options.protocol]
    scenes = find_scenes(options.protocol, Path(options.data), options.scenes)
    variants = read_variants(Path(options.variants_file), options.words)
    metrics_flags = ["--lpips_net", options.lpips_net]
    if options.lpips_weights:
        metrics_flags += ["--lpips_weights", str(Path(options.lpips_weights).absolute())]
    metrics_flags += ["--masked_ssim", "image"] * rules.masked
    prepared = {
        (scene, views): prepare(options.protocol, folder, views, options.pose_source)
        for scene, folder in scenes.items()
        for views in options.views or rules.views
    }
    cells = []
    for (scene, views), ready in prepared.items():
        for variant in dict.fromkeys(options.variants):
            own = variants.words_of(variant, scene)
            flags = [*ready.flags, *own, *shlex.split(options.train_flags)]
            chosen = checked(flags, scenes[scene], ready.split and len(ready.split[0]))
            across, down = training_size(*ready.size, chosen.scene.resolution)
            cells.append(
                Cell(
                    protocol=options.protocol,
                    scene=scene,
                    views=views,
                    variant=variant,
                    seed=options.seeds[0],
                    source=str(scenes[scene]),
                    flags=tuple(flags),
                    split=ready.split,
                    random_start=rules.random_start,
                    metrics_flags=tuple(metrics_flags),
                    iterations=chosen.iterations,
                    guided=chosen.guidance.lambda_sds > 0,
                    pixels=across * down,
                    pose_source=options.pose_source,
                )
            )
    return [replace(cell, seed=seed) for seed in dict.fromkeys(options.seeds) for cell in cells]


def checked(flags: Sequence[str], source: Path, photographs: int | None = None) -> TrainOptions:
    """What train.py would make of the flags.

    Args:
        flags: without the scene's folder.
        source: that folder.
        photographs: how many train; None: as the flags say.

    Raises:
        UserError: a value is not allowed. An unknown flag ends the program with tyro's own message.
    """
    options = read_options(["-s", str(source), *flags], photographs)
    options.check()
    return options


def left(missing: Sequence[Cell], records: dict[Cell, dict[str, Any]], options: Options) -> str:
    """How long the missing cells and reference models will take, in words."""
    seconds = sum(estimated_seconds(cell, records) for cell in missing) / options.jobs
    rest = "by the finished ones" if records else "by a rule of thumb for two cores"
    return f"about {shown_time(seconds)} {rest}"


def write_tables(cells: Sequence[Cell], records: dict[Cell, dict[str, Any]], options: Options) -> str:
    """Writes results.json, tables and page into the output folder; returns the Markdown."""
    output = Path(options.output)
    ordered = {cell: records[cell] for cell in cells if cell in records}
    baseline = options.baseline or options.variants[0]
    found = tables(cells, ordered, baseline)
    text = markdown(found, ordered)
    results = {"pose_source": options.pose_source, "records": list(ordered.values())}
    write_json(output / "results.json", results)
    write_text(output / "tables.md", text)
    write_text(output / "tables.tex", latex(found, ordered))
    write_text(output / "report.html", report_page(found, cells, ordered, baseline, output))
    return text


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
