"""Every mode of guidance on the same scenes, gate off and auto: held-out quality, time, passes, memory.

    python benchmarks/guidance_modes.py --data ../shared/data --output output/guidance_modes
    python benchmarks/guidance_modes.py --data ../shared/data --scenes fern-3 --modes none sds --seeds 0

Runs train.py (through `passes.py`, which counts), render.py and metrics.py as a user does, one after the
other (or some at a time, with --jobs), and prints a table. A run whose figures lie in the output folder
already is not repeated. What steps take is told by short runs at the end, one at a time: nothing else should
run then. The 42 runs of the defaults are about 80 minutes of two cores.

It does not stand on full_eval.py, whose cells know nothing of each other and go on from a checkpoint: here a
count of passes has to begin with the run, and a run without a gate takes the figures of the one whose gate
kept guidance.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measured import fill
from benchmarks.passes import PARTS
from benchmarks.programs import call, lpips_flags
from utils.errors import UserError, demand, run_program
from utils.files import write_json, write_text
from utils.options import parse
from utils.tables import markdown_table, mean_and_spread

REPORT, BLOCK = "report.md", "measured modes"


@dataclass(frozen=True)
class Setting:
    """A scene to measure on.

    Attributes:
        folder: of the photographs, below the repository or below `--data`.
        resolution: as train.py's -r has it; the pictures are then about as large as the small prior's.
        prompt: what it shows.
    """

    folder: str
    resolution: int
    prompt: str


SETTINGS = {
    "fern": Setting("fern", 4, "a fern in an atrium"),
    "still_life": Setting(
        "examples/still_life",
        2,
        "a still life of a vase of flowers, a teapot, a bowl of fruit and books on a wooden table",
    ),
}


@dataclass
class Options:
    """Trains in every mode and measures."""

    data: str = "../shared/data"
    """Folder of the scenes that do not ship with the project; LPIPS takes its weights from there too."""
    output: str = "output/guidance_modes"
    """Folder of the models, of the figures (SCENE/MODE_GATE_SEED.json) and of report.md."""
    scenes: tuple[str, ...] = ("fern-3", "still_life-5")
    """Name and number of training photographs. With six, the gate wants 6000 iterations, with five 3000."""
    modes: tuple[Literal["none", "sds", "ism", "targets", "rectified"], ...] = (
        "none",
        "sds",
        "ism",
        "targets",
    )
    """Modes of guidance; none: photographs alone."""
    gates: tuple[Literal["off", "auto"], ...] = ("off", "auto")
    """As --guidance_gate has them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run each; guided and unguided ones of one seed are compared."""
    iterations: int = 3000
    """Of every training."""
    resolution: int = 0
    """As train.py's -r has it; 0: each scene's own, small one."""
    guidance_interval: int = 10
    """Steps from one guided one to the next: a fixed number, since one that is timed varies."""
    model: str = "small"
    """The guidance model, as --guidance_model has it."""
    guidance_resolution: int = 0
    """Short side in pixels of what it sees; 0: the model's own."""
    inpainting_model: str = ""
    """The inpainting model of the same family, which the mode rectified wants."""
    jobs: int = 1
    """Runs at a time, which share the processor's cores."""
    timed_iterations: int = 300
    """Of short trainings, one at a time, that tell what a step takes; 0: none, that is not told."""
    docs: str = ""
    """A page whose block of measured modes gets the tables; empty: none."""

    def check(self) -> None:
        """Raises a `UserError` for flags that make no sense."""
        for scene in self.scenes:
            name, _, views = scene.rpartition("-")
            allowed = f"one of {', '.join(SETTINGS)}, a hyphen and a number of photographs"
            demand(name in SETTINGS and views.isdigit() and int(views) > 0, "scenes", scene, allowed)
        demand(self.jobs >= 1, "jobs", self.jobs, "1 or more")
        demand(self.timed_iterations >= 0, "timed_iterations", self.timed_iterations, "0 (none) or more")
        demand(self.guidance_interval >= 1, "guidance_interval", self.guidance_interval, "1 or more")
        if "rectified" in self.modes and not self.inpainting_model:
            raise UserError("--modes rectified needs --inpainting_model")


@dataclass(frozen=True)
class Run:
    """One training."""

    scene: str
    mode: str
    gate: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and its figures, below the scene's folder."""
        return f"{self.mode}_{self.gate}_{self.seed}"


def main(options: Options) -> None:
    """Does the runs that are missing, writes the tables after each, and prints them at the end."""
    options.check()
    figures: dict[Run, dict[str, Any]] = {}
    runs = planned(options)
    alike = [list(group) for _, group in groupby(runs, key=lambda run: replace(run, gate=""))]
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(partial(under_each_gate, options=options), alike):
            figures |= found
            write_text(Path(options.output) / REPORT, report(figures, {}, options))
    text = report(figures, times(options), options)
    write_text(Path(options.output) / REPORT, text)
    print(text)
    if options.docs:
        fill(Path(options.docs), BLOCK, text)


def times(options: Options) -> dict[tuple[str, str], float]:
    """By scene and mode, milliseconds that a guided step takes more than another; of `none`, of a step."""
    if not options.timed_iterations:
        return {}
    short = replace(
        options,
        iterations=options.timed_iterations,
        output=str(Path(options.output) / "timed"),
        gates=("off",),
        seeds=options.seeds[:1],
        jobs=1,
    )
    found = {(run.scene, run.mode): known_or_measured(run, short) for run in planned(short)}
    result = {}
    for (scene, mode), it in found.items():
        plain = found.get((scene, "none"), {"training_seconds": math.nan})["training_seconds"]
        if mode == "none":
            result[scene, mode] = 1000 * plain / options.timed_iterations
        elif it["guided_steps"]:
            result[scene, mode] = 1000 * (it["training_seconds"] - plain) / it["guided_steps"]
    return result


def planned(options: Options) -> list[Run]:
    """All runs, seed by seed, so that an interrupted benchmark has whole tables of fewer seeds."""
    return [
        Run(scene, mode, gate, seed)
        for scene in options.scenes
        for seed in options.seeds
        for mode in options.modes
        for gate in (("off",) if mode == "none" else options.gates)
    ]


def flags(run: Run, options: Options) -> list[str]:
    """The flags of train.py that decide the result."""
    name, _, views = run.scene.rpartition("-")
    setting = SETTINGS[name]
    words = ["-r", str(options.resolution or setting.resolution), "--eval", "--n_views", views]
    words += ["--iterations", str(options.iterations), "--seed", str(run.seed)]
    if run.mode == "none":
        return [*words, "--lambda_sds", "0"]
    words += ["--guidance", run.mode, "--guidance_gate", run.gate, "--prompt", setting.prompt]
    words += ["--guidance_model", options.model, "--guidance_interval", str(options.guidance_interval)]
    words += ["--guidance_resolution", str(options.guidance_resolution)]
    if options.model == "small":  # it knows none of the default's words
        words += ["--negative_prompt", ""]
    if run.mode == "rectified":
        words += ["--inpainting_model", options.inpainting_model]
    return words


def under_each_gate(runs: Sequence[Run], options: Options) -> dict[Run, dict[str, Any]]:
    """The figures of runs that differ in the gate alone.

    Where the gate keeps guidance, its run ends with the bits of the one without a gate, which then takes its
    figures instead of training the same again (its peak memory is not told apart from the gate's pilots').
    """
    found: dict[Run, dict[str, Any]] = {}
    for run in sorted(runs, key=lambda it: it.gate == "off"):  # the one without a gate is the last
        twin = found.get(replace(run, gate="auto"), {})
        path = figures_of(run, options)
        if twin.get("decision") == "kept" and not path.is_file():
            write_json(path, {**twin, "flags": flags(run, options), "decision": ""})
        found[run] = known_or_measured(run, options)
    return {run: found[run] for run in runs}


def figures_of(run: Run, options: Options) -> Path:
    """The file of a run's figures."""
    return Path(options.output) / run.scene / f"{run.name}.json"


def known_or_measured(run: Run, options: Options, more: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of a run, from their file or measured now.

    Args:
        run, options: decide the flags of train.py.
        more: further ones.

    Raises:
        UserError: the file holds figures of other flags.
    """
    path, words = figures_of(run, options), [*flags(run, options), *more]
    if not path.is_file():
        print(f"{run.scene}: {run.name}", flush=True)
        figures = {"flags": words, **measure(run, words, options)}
        write_json(path, figures)
        return figures
    figures = json.loads(path.read_text(encoding="utf-8"))
    if figures["flags"] != words:
        raise UserError(
            f"{path} was measured with other flags:\n  {' '.join(figures['flags'])}\nand now they are\n  "
            f"{' '.join(words)}\nChoose another --output"
        )
    return figures


def measure(run: Run, words: Sequence[str], options: Options) -> dict[str, Any]:
    """Trains with these flags, renders and scores one run; its figures.

    The model stays in the output folder, without its checkpoint.
    """
    setting = SETTINGS[run.scene.rpartition("-")[0]]
    source = ROOT / setting.folder
    if not source.is_dir():
        source = Path(options.data).absolute() / setting.folder
    model = Path(options.output).absolute() / run.scene / run.name
    common = ["-m", str(model), "--device", "cpu", "--quiet"]
    counts = model.with_suffix(".passes")
    program = ["train.py"] if run.mode == "none" else ["benchmarks/passes.py", str(counts)]
    once = ["--overwrite", "--test_iterations", "-1", "--save_iterations", "-1", "--checkpoint_interval", "0"]
    each = max((os.cpu_count() or 1) // options.jobs, 1)
    run_one = partial(call, threads=each if options.jobs > 1 else 0)
    run_one(*program, "-s", str(source), "--preset", "reference", *words, *common, *once)
    run_one("render.py", "--skip_train", *common)
    run_one("metrics.py", "-m", str(model), *lpips_flags(Path(options.data).absolute()))
    for checkpoint in model.glob("chkpnt*.pth"):
        checkpoint.unlink()
    (scores,) = json.loads((model / "results.json").read_text()).values()
    training = json.loads((model / "training.json").read_text())
    return {
        **scores,
        "gaussians": training["gaussians"],
        "decision": training.get("gate", {}).get("decision", ""),
        "training_seconds": training["seconds"],
        "guided_steps": guided_steps(model / "guidance.csv"),
        "passes": json.loads(counts.read_text()) if counts.is_file() else dict.fromkeys(PARTS, 0),
        "memory_mib": training["peak_memory_mib"]["host"],
    }


def guided_steps(table: Path) -> int:
    """How many rows of guided steps a run wrote."""
    return len(table.read_text().splitlines()) - 1 if table.is_file() else 0


def report(
    figures: dict[Run, dict[str, Any]], milliseconds: dict[tuple[str, str], float], options: Options
) -> str:
    """A table for each scene in Markdown, of the runs' figures and of `times`."""
    header = ["mode", "gate", "PSNR", "SSIM", "LPIPS", "PSNR, less none's", "ms", "guided steps"]
    header += ["U-Net", "VAE: in / back / out", "MiB"]
    parts = []
    for scene in dict.fromkeys(run.scene for run in figures):
        name, _, views = scene.rpartition("-")
        groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        for run, found in figures.items():
            if run.scene == scene:
                groups.setdefault((run.mode, run.gate), {})[run.seed] = found
        unguided = groups.get(("none", "off"), {})
        rows = [
            _row(mode, gate, by_seed, unguided, milliseconds.get((scene, mode), math.nan))
            for (mode, gate), by_seed in groups.items()
        ]
        resolution = options.resolution or SETTINGS[name].resolution
        seeds = ", ".join(map(str, sorted({seed for by_seed in groups.values() for seed in by_seed})))
        parts.append(
            f"**{name}**, {views} photographs at `-r {resolution}`, {options.iterations} iterations, "
            f"`--guidance_model {options.model}`, every {options.guidance_interval} steps guided; "
            f"mean +- standard deviation over seeds {seeds}:\n\n{markdown_table(header, rows)}"
        )
    return "\n".join(parts)


def _row(
    mode: str,
    gate: str,
    by_seed: dict[int, dict[str, Any]],
    unguided: dict[int, dict[str, Any]],
    milliseconds: float,
) -> list[str]:
    """A mode's line under one gate."""
    runs = list(by_seed.values())
    gains = [it["PSNR"] - unguided[seed]["PSNR"] for seed, it in by_seed.items() if seed in unguided]
    lpips = [it["LPIPS"] for it in runs]
    steps = sum(it["guided_steps"] for it in runs)
    unet, *vae = (sum(it["passes"][part] for it in runs) / max(steps, 1) for part in PARTS)
    decisions = Counter(it["decision"] for it in runs if it["decision"])
    decided = ", ".join(f"{word} {times}" for word, times in decisions.items())
    return [
        mode,
        "-" if mode == "none" else f"{gate}: {decided}" if decided else gate,
        mean_and_spread([it["PSNR"] for it in runs], 2),
        mean_and_spread([it["SSIM"] for it in runs], 3),
        "-" if None in lpips else mean_and_spread(lpips, 3),
        mean_and_spread(gains, 2, signed=True) if gains and mode != "none" else "-",
        "-" if math.isnan(milliseconds) else f"{milliseconds:.0f}",
        f"{steps / len(runs):.0f}",
        f"{unet:.2f}" if steps else "-",
        " / ".join(f"{number:.2f}" for number in vae) if steps else "-",
        f"{max(it['memory_mib'] for it in runs)}",
    ]


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
