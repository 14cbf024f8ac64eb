"""`--engine ray`: the cells of an evaluation on the machines of a Ray cluster, or on a Ray of this machine.

Every machine needs this repository, its packages, the scenes and the output folder under the same paths, on a
shared file system say: a cell's programs write where they run, and the evaluation reads that again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocols.cells import ROOT, Cell
from utils.errors import UserError
from utils.optional_modules import optional_module

Run = Callable[[Cell], dict[str, Any]]
RETRIES = 1  # of a cell whose machine or process died; its training goes on from its checkpoint


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Is connected to Ray inside.

    Args:
        address: of a cluster, "host:6379", "auto" or "ray://host:10001"; empty: one is started here, and ends
            with the block.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_worker_niceness", "0")  # at its 15, all else on the machine goes before a cell
    ray = optional_module("ray", "--engine ray needs Ray")
    try:
        try:
            ray.init(address or "local", **connection())
        except Exception as failure:  # Ray's own are of no closer kind
            raise UserError(
                f"--ray_address {address or '(empty)'}: no connection to Ray ({failure}); check that "
                "`ray status` answers there, or leave the address out"
            ) from failure
        yield
    finally:
        ray.shutdown()


def connection() -> dict[str, Any]:
    """How `ray.init` is to be called, beside the address: workers find this repository, and are silent."""
    return {
        "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}},
        "log_to_driver": False,
        "logging_level": "error",
    }


def cores_of_a_cell(jobs: int) -> int:
    """How many cores a cell takes where each machine of the cluster runs `jobs` at a time."""
    return max(int(min(machine.get("CPU", 1) for machine in _machines())) // jobs, 1)


def run_cells(
    cells: Sequence[Cell],
    run: Run,
    done: Callable[[Cell, dict[str, Any] | UserError], None],
    *,
    jobs: int,
    need: Callable[[Cell], float],
    gpu: bool,
) -> None:
    """Runs all cells as Ray tasks, started in their order; one that fails does not stop the others.

    Inside of `cluster`. A task asks for its cores and memory, and waits where no machine has them free; one
    that needs more memory than any machine has gets the largest machine's whole.

    Args:
        cells: what to run.
        run: runs one, in a process of Ray's on some machine.
        done: takes a cell's result or failure, one after the other, in the order of finishing.
        jobs: how many run at a time on each machine at most.
        need: GB that one needs; asked just before its start.
        gpu: whether they may use a GPU, which the cells of a machine then share.
    """
    ray = optional_module("ray", "--engine ray needs Ray")
    machines = _machines()
    most = max(machine.get("memory", 0.0) for machine in machines)  # bytes
    asked: dict[str, Any] = {"num_cpus": cores_of_a_cell(jobs), "max_retries": RETRIES}
    if gpu and any(machine.get("GPU", 0) for machine in machines):
        asked["num_gpus"] = 1 / jobs
    task = ray.remote(_attempt)
    waiting = deque(cells)
    running: dict[Any, Cell] = {}
    while waiting or running:
        while waiting and len(running) < jobs * len(machines):
            cell = waiting.popleft()
            wanted = int(min(need(cell) * 1e9, most))
            future = task.options(**asked, memory=wanted).remote(run, cell, Path.cwd())
            running[future] = cell
        (finished,), _ = ray.wait(list(running), num_returns=1)
        try:
            result = ray.get(finished)
        except ray.exceptions.RayTaskError:  # a defect of ours
            raise
        except ray.exceptions.RayError as failure:
            result = UserError(f"Ray lost it: {str(failure).strip().splitlines()[0]}")
        done(running.pop(finished), result)


def _attempt(run: Run, cell: Cell, folder: Path) -> dict[str, Any] | UserError:
    """A cell's result or failure, from the folder of the evaluation, where relative paths of flags hold."""
    os.chdir(folder)
    try:
        return run(cell)
    except UserError as failure:
        return failure


def _machines() -> list[dict[str, float]]:
    """What each machine of the cluster has for tasks, by Ray's names."""
    ray = optional_module("ray", "--engine ray needs Ray")
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
