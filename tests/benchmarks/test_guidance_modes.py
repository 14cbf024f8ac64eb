"""`benchmarks/guidance_modes.py` on the small scene and the tiny model: measured once, paired, reported."""

import csv
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import guidance_modes, passes
from benchmarks.guidance_modes import (
    Options,
    Run,
    Setting,
    flags,
    main,
    planned,
    report,
    times,
    under_each_gate,
)
from tests.benchmarks.in_process import in_this_process
from utils.errors import UserError

PAGE = "# Page\n\n<!-- measured modes: begin -->\nold\n<!-- measured modes: end -->\nrest\n"


@pytest.fixture
def options(small_scene: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Options for two short runs of the small scene, whose programs run in this process."""
    monkeypatch.setattr(guidance_modes, "call", in_this_process)
    monkeypatch.setitem(guidance_modes.SETTINGS, "small", Setting(str(small_scene), 1, "a ball"))
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    return Options(
        data=str(tmp_path),
        output=str(tmp_path / "out"),
        scenes=("small-3",),
        modes=("none", "ism"),
        gates=("auto",),
        seeds=(0, 1),
        iterations=20,
        guidance_interval=3,
        timed_iterations=0,
        model=str(tiny_model),
        guidance_resolution=64,
        docs=str(page),
    )


def test_every_run_is_measured_once_and_reported(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(options)
    folder = tmp_path / "out" / "small-3"
    names = [f"{mode}_{seed}" for seed in (0, 1) for mode in ("none_off", "ism_auto")]
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted(names)
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}

    for seed in (0, 1):
        unguided, guided = found[f"none_off_{seed}"], found[f"ism_auto_{seed}"]
        assert guided["PSNR"] != unguided["PSNR"]
        assert (unguided["decision"], guided["decision"]) == ("", "not measured")
        assert unguided["guided_steps"] == 0 and set(unguided["passes"].values()) == {0}
        assert guided["guided_steps"] == 5  # 5, 8, ..., 17 of 20
        assert guided["passes"]["VAE encoder"] == guided["passes"]["its way back"] == 5
        assert guided["passes"]["VAE decoder"] == 0
        assert guided["passes"]["U-Net"] == sum(inversions(folder / f"ism_auto_{seed}"))
    assert not list(folder.glob("*/chkpnt*.pth"))

    text = report({run: found[run.name] for run in planned(options)}, {}, options)
    assert (tmp_path / "out" / "report.md").read_text() == text
    assert (tmp_path / "page.md").read_text() == PAGE.replace("old\n", text)
    gains = [found[f"ism_auto_{seed}"]["PSNR"] - found[f"none_off_{seed}"]["PSNR"] for seed in (0, 1)]
    row = next(line for line in text.splitlines() if line.startswith("| ism"))
    assert f"{sum(gains) / 2:+.2f} +- " in row and "auto: not measured 2" in row

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("this run was finished")

    monkeypatch.setattr(guidance_modes, "call", fail)
    main(options)
    options.iterations = 21
    with pytest.raises(UserError, match="measured with other flags"):
        main(options)


@pytest.mark.parametrize("decision", ["kept", "halved", "off"])
def test_a_gate_that_keeps_guidance_saves_the_run_without_it(
    options: Options, decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(run: Run, words: list[str], options: Options) -> dict:
        measured.append(run.gate)
        return {"PSNR": 20.0, "decision": decision if run.gate == "auto" else ""}

    monkeypatch.setattr(guidance_modes, "measure", measure)
    off, auto = (Run("small-3", "ism", gate, 0) for gate in ("off", "auto"))
    found = under_each_gate([off, auto], options)
    assert list(found) == [off, auto]
    assert measured == (["auto"] if decision == "kept" else ["auto", "off"])
    assert found[auto]["decision"] == decision
    assert found[off] == {"flags": flags(off, options), "PSNR": 20.0, "decision": ""}
    assert under_each_gate([off, auto], options) == found
    assert len(measured) == 1 + (decision != "kept")


def test_runs_at_a_time_share_the_cores(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, together, lock = [], [], threading.Lock()  # PyTorch in this process trains one at a time
    meeting = threading.Barrier(2, timeout=60)

    def call(program: str, *words: str, threads: int) -> None:
        limits.append(threads)
        if program == "train.py":
            together.append(meeting.wait())  # breaks unless two runs are under way at once
        with lock:
            in_this_process(program, *words)

    monkeypatch.setattr(guidance_modes, "call", call)
    monkeypatch.setattr(guidance_modes.os, "cpu_count", lambda: 8)
    options.modes, options.jobs = ("none",), 2
    main(options)
    assert limits == [4] * 6 and len(together) == 2


def test_steps_are_timed_by_short_runs_alone(options: Options, tmp_path: Path) -> None:
    options.seeds, options.timed_iterations = (0,), 10
    folder = tmp_path / "out" / "timed" / "small-3"
    folder.mkdir(parents=True)
    for mode, seconds, guided_steps in (("none", 0.5, 0), ("ism", 1.7, 3)):
        run = Run("small-3", mode, "off", 0)
        words = flags(run, replace(options, iterations=10))
        found = {"flags": words, "training_seconds": seconds, "guided_steps": guided_steps}
        (folder / f"{run.name}.json").write_text(json.dumps(found))
    assert times(options) == pytest.approx({("small-3", "none"): 50, ("small-3", "ism"): 400})
    main(options)
    rows = [line.split("|") for line in (tmp_path / "out" / "report.md").read_text().splitlines()[2:]]
    assert [row[7].strip() for row in rows] == ["ms", "-" * len(rows[1][7].strip()[:-1]) + ":", "50", "400"]


def figures(
    psnr: float, decision: str = "", guided_steps: int = 0, mib: int = 1000, lpips: float | None = 0.2
):
    """A run's figures; of each guided step two latents through the U-Net, and one picture into the VAE."""
    passes = {"U-Net": 2 * guided_steps, "VAE encoder": guided_steps, "its way back": 0, "VAE decoder": 0}
    return {
        **{"PSNR": psnr, "SSIM": psnr / 100, "LPIPS": lpips, "decision": decision, "passes": passes},
        **{"guided_steps": guided_steps, "memory_mib": mib},
    }


def test_the_tables_figures_are_those_of_the_records() -> None:
    """Means over seeds with their spread, gains of pairs; the passes are of all guided steps together."""
    found = {
        Run("fern-3", "none", "off", 0): figures(20.0),
        Run("fern-3", "none", "off", 1): figures(22.0, mib=1100),
        Run("fern-3", "sds", "auto", 0): figures(21.0, "kept", 10, 1200),
        Run("fern-3", "sds", "auto", 1): figures(22.0, "off", 0, 1300),
        Run("fern-3", "sds", "auto", 2): figures(26.0, "kept", 5, 1250),  # unguided it is not finished
        Run("still_life-5", "sds", "off", 0): figures(18.0, "", 4, lpips=None),
    }
    milliseconds = {("fern-3", "none"): 11.4, ("fern-3", "sds"): 180.6}
    text = report(found, milliseconds, Options(model="MODEL", iterations=500, guidance_interval=7))
    fern, still_life = text.split("**still_life**, 5 photographs at `-r 2`, ")
    assert fern.startswith(
        "**fern**, 3 photographs at `-r 4`, 500 iterations, `--guidance_model MODEL`, every 7 steps guided; "
        "mean +- standard deviation over seeds 0, 1, 2:"
    )
    assert "over seeds 0:" in still_life
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "| " in line]
    rows = [row for row in rows if row[0] in ("none", "sds")]
    assert rows == [
        ["none", "-", "21.00 +- 1.41", "0.210 +- 0.014", "0.200 +- 0.000", "-", "11", "0", "-", "-", "1100"],
        [
            *("sds", "auto: kept 2, off 1", "23.00 +- 2.65", "0.230 +- 0.026", "0.200 +- 0.000"),
            *("+0.50 +- 0.71", "181", "5", "2.00", "1.00 / 0.00 / 0.00", "1300"),
        ],
        ["sds", "off", "18.00", "0.180", "-", "-", "-", "4", "2.00", "1.00 / 0.00 / 0.00", "1000"],
    ]


def inversions(model: Path) -> list[int]:
    """U-Net evaluations of each guided step, by its noise level: the way to s in strides of 0.2, then t."""
    with (model / "guidance.csv").open() as file:
        rows = list(csv.DictReader(file))
    counts = []
    for row in rows:
        interval = 0.1 - 0.05 * int(row["iteration"]) / 20
        last = max(0, int(float(row["guidance_t"])) - round(1000 * interval))
        counts.append(1 + -(-last // 200) + 2)
    return counts


def test_pilot_runs_are_not_counted(small_scene: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sds_guidance.gate.FEWEST_ITERATIONS", 4)
    monkeypatch.setattr("sds_guidance.gate.FEWEST_GUIDED", 1)
    monkeypatch.setattr("sds_guidance.gate.TOLERANCE", 100.0)  # whatever guidance does, it is kept
    words = ["-s", small_scene, "-m", tmp_path / "model", "--iterations", 80, "--n_views", 3, "--quiet"]
    words += ["--guidance_model", tiny_model, "--guidance_interval", 2, "--guidance_until", 0.4]
    words += ["--guidance_resolution", 64]
    passes.main([str(tmp_path / "passes.json"), *map(str, words), "--device", "cpu"])
    assert json.loads((tmp_path / "model" / "training.json").read_text())["gate"]["decision"] == "kept"
    found = json.loads((tmp_path / "passes.json").read_text())
    assert found == {"U-Net": 16, "VAE encoder": 8, "its way back": 8, "VAE decoder": 0}


def test_each_run_has_the_flags_of_its_mode(options: Options) -> None:
    options.modes, options.inpainting_model = ("none", "rectified"), "INPAINTING"
    unguided, rectified, *_ = (flags(run, options) for run in planned(options))
    assert unguided[-2:] == ["--lambda_sds", "0"]
    assert rectified[: len(unguided) - 2] == unguided[:-2]
    assert rectified[-2:] == ["--inpainting_model", "INPAINTING"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": ("small",)}, "--scenes small: allowed is one of fern, still_life, small, a hyphen"),
        ({"scenes": ("lego-3",)}, "--scenes lego-3"),
        ({"guidance_interval": 0}, "--guidance_interval 0: allowed is 1 or more"),
        ({"jobs": 0}, "--jobs 0: allowed is 1 or more"),
        ({"modes": ("rectified",)}, "--modes rectified needs --inpainting_model"),
    ],
)
def test_flags_that_make_no_sense_are_refused_by_name(options: Options, changes, message) -> None:
    for name, value in changes.items():
        setattr(options, name, value)
    with pytest.raises(UserError, match=message):
        main(options)


def test_a_page_without_the_block_is_named(options: Options, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n")
    options.modes, options.seeds = ("none",), (0,)
    with pytest.raises(UserError, match=r"page\.md: no lines <!-- measured modes: begin -->"):
        main(options)


def test_a_program_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(UserError, match=r"nowhere\.py -m model failed with exit code 2"):
        guidance_modes.call("nowhere.py", "-m", "model")


def test_the_benchmark_itself_needs_no_torch() -> None:
    """Or a training, which outside of Linux inherits its parent's peak, would be said to need too much."""
    lines = "import sys, benchmarks.guidance_modes; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=True, cwd=guidance_modes.ROOT
    )
    assert found.stdout == "False\n"
