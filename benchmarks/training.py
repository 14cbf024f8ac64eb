"""Whole trainings on real scenes: quality on held-out views, iterations a second, memory.

    python benchmarks/training.py --data ../shared/data --output output/benchmark
    python benchmarks/training.py --data ../shared/data --only fern fern-3

Runs train.py, render.py and metrics.py as a user does, one after the other, and prints a table; a run
whose figures lie in the output folder already is not repeated. Time nothing else at the same moment.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.programs import call, lpips_flags
from utils.errors import run_program
from utils.files import write_json
from utils.options import parse
from utils.tables import markdown_table

FERN = ("fern", "-r", "2", "--eval", "--iterations", "7000")
RUNS: dict[str, tuple[str, ...]] = {
    "fern": FERN,
    "fern-3": (*FERN, "--n_views", "3"),
    "fern-6": (*FERN, "--n_views", "6"),
    "fern-9": (*FERN, "--n_views", "9"),
    "fox": ("fox", "-r", "270", "--eval", "--iterations", "2000"),
}
"""Name, dataset and flags of every run; the regression test uses the same."""


@dataclass
class Options:
    """Trains on real scenes and measures."""

    data: Path
    """Folder of the scenes; LPIPS takes its weights from there too (weights/squeezenet1_1_fp16.pth)."""
    output: Path = Path("output/benchmark")
    """Folder of the models and of the figures (NAME.json)."""
    only: tuple[str, ...] = tuple(RUNS)
    """Runs to do."""
    seed: int = 0
    """Seed of the trainings."""


def measure(name: str, data: Path, output: Path, seed: int) -> dict[str, float]:
    """Trains, renders and scores one run; returns and writes its figures."""
    dataset, *flags = RUNS[name]
    model = output / name
    common = ["--device", "cpu", "--quiet"]
    started = time.perf_counter()
    call(
        "train.py",
        *("-s", str(data / dataset), "-m", str(model), *flags, *common, "--lambda_sds", "0"),
        *("--preset", "reference", "--seed", str(seed), "--overwrite"),
        *("--test_iterations", "-1", "--save_iterations", "-1"),
    )
    seconds = time.perf_counter() - started
    call("render.py", "-m", str(model), "--skip_train", *common)
    call("metrics.py", "-m", str(model), *lpips_flags(data))
    (scores,) = json.loads((model / "results.json").read_text()).values()
    training = json.loads((model / "training.json").read_text())
    figures = {
        **scores,
        "gaussians": training["gaussians"],
        "iterations_per_second": training["iterations_per_second"],
        "training_seconds": training["seconds"],
        "process_seconds": round(seconds, 1),
        "memory_mib": training["peak_memory_mib"]["host"],
    }
    write_json(output / f"{name}.json", {"flags": [dataset, *flags], "seed": seed, **figures})
    return figures


def main(options: Options) -> None:
    """Does the runs that are missing and prints all."""
    rows = []
    for name in options.only:
        path = options.output / f"{name}.json"
        figures = json.loads(path.read_text()) if path.exists() else measure(
            name, options.data.absolute(), options.output.absolute(), options.seed
        )  # fmt: skip
        lpips = figures.get("LPIPS")
        rows.append(
            [
                name,
                f"{figures['PSNR']:.2f}",
                f"{figures['SSIM']:.4f}",
                "-" if lpips is None else f"{lpips:.4f}",
                str(figures["gaussians"]),
                f"{figures['iterations_per_second']:.1f}",
                f"{figures['process_seconds']:.0f}",
                str(figures["memory_mib"]),
            ]
        )
        header = ["run", "PSNR", "SSIM", "LPIPS", "Gaussians", "it/s", "seconds", "MiB"]
        print(markdown_table(header, rows), flush=True)


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
