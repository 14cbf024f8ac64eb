"""--engine ray: cells on a Ray of this machine; results, failures and lost processes arrive one by one."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from full_eval import Options
from protocols import ray_engine
from protocols.cells import Cell
from tests.programs import run_program
from tests.protocols.test_runner import CELL
from utils import optional_modules
from utils.errors import UserError

CELLS = [replace(CELL, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init("local", num_cpus=1, **ray_engine.connection())
    yield
    ray.shutdown()


def test_each_cell_is_done_once_and_failures_are_named(local_ray: None, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    started = []

    def run(cell: Cell) -> dict:
        """In a process of Ray's: pickled whole."""
        if cell.seed == 1:
            raise UserError("the disk is full")
        if cell.seed == 2:
            os._exit(7)
        return {"seed": cell.seed, "folder": os.getcwd(), "process": os.getpid()}  # noqa: PTH109

    def need(cell: Cell) -> float:
        started.append((cell.seed, len(found)))
        return 1e9 if cell.seed == 3 else 0.001  # more than any machine has runs too

    found: dict[int, dict | UserError] = {}
    ray_engine.run_cells(
        CELLS,
        run,
        lambda cell, result: found.update({cell.seed: result}),
        jobs=1,
        need=need,
        gpu=True,  # there is none: none is asked for
    )
    assert started == [(0, 0), (1, 1), (2, 2), (3, 3)]  # asked just before its start
    for seed in (0, 3):
        record = found[seed]
        assert isinstance(record, dict)
        assert record["seed"] == seed and record["process"] != os.getpid()
        assert Path(record["folder"]) == tmp_path
    assert isinstance(found[1], UserError) and str(found[1]) == "the disk is full"
    assert isinstance(found[2], UserError) and str(found[2]).startswith("Ray lost it: ")


def test_a_defect_of_ours_keeps_its_trace_back(local_ray: None) -> None:
    def run(cell: Cell) -> dict:
        return {"one": 1 / 0}

    with pytest.raises(ZeroDivisionError):
        ray_engine.run_cells(CELLS[:1], run, print, jobs=1, need=lambda cell: 0.001, gpu=False)


def test_cores_are_shared_by_the_cells_of_a_machine(local_ray: None, monkeypatch) -> None:
    assert ray_engine.cores_of_a_cell(1) == ray_engine.cores_of_a_cell(4) == 1
    monkeypatch.setattr(ray_engine, "_machines", lambda: [{"CPU": 16.0}, {"CPU": 9.0}])
    assert [ray_engine.cores_of_a_cell(jobs) for jobs in (1, 4)] == [9, 2]


def test_without_ray_the_message_says_what_to_install(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optional_modules.importlib, "import_module", missing)
    with (
        pytest.raises(UserError, match=r"--engine ray needs Ray, .* pip install ray"),
        ray_engine.cluster(""),
    ):
        pass


def test_flags_of_one_engine_are_refused_with_the_other() -> None:
    with pytest.raises(UserError, match="--memory: each machine of Ray has its own budget"):
        Options(engine="ray", memory=8.0).check()
    with pytest.raises(UserError, match="--ray_address is for --engine ray"):
        Options(ray_address="host:6379").check()


@pytest.mark.slow
def test_the_program_as_a_user_runs_it(small_scene: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    (tmp_path / "variants.toml").write_text('[variants]\nplain = "--iterations 5 --lambda_sds 0"\n')
    flags = ["--scenes", small_scene, "--views", 3, "--seeds", 0, "--variants", "plain", "--device", "cpu"]
    flags += ["--variants_file", tmp_path / "variants.toml", "--lpips_net", "none"]
    flags += ["--reference_iterations", 0, "--engine", "ray", "--output", tmp_path / "eval"]
    result = run_program("full_eval.py", *flags)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "eval" / small_scene.name / "3_views/plain/seed_0.json").read_text())
    assert f"{record['scores']['PSNR']:.2f}" in result.stdout
    cores = os.cpu_count()
    assert record["settings"]["threads"] == {"torch": cores, "numba": cores}
