"""How long cells will take, how much memory they need, and running several at a time within a budget."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from protocols.cells import Cell
from utils.errors import UserError

Records = Mapping[Cell, dict[str, Any]]

UNMEASURED_RATE = 1.5e6
"""Pixels times iterations a second of an unguided training on two cores (README, "Measured")."""
UNMEASURED_MEMORY = 3.0  # GB
START_SECONDS = 15.0  # of three processes, and the test views


def estimated_seconds(cell: Cell, records: Records) -> float:
    """How long a cell will take, by the finished ones most like it, scaled by iterations and pixels.

    Most like it are those of the same variant, then those that are guided or not as it is. Where there is
    none, a rate of plain trainings on two cores has to do, twice the time with guidance.
    """
    for alike in (lambda it: it.variant == cell.variant, lambda it: it.guided == cell.guided):
        rates = [
            record["process_seconds"] / (it.iterations * it.pixels)
            for it, record in records.items()
            if alike(it) and record["training"]["iterations_in_this_process"] == it.iterations
        ]
        if rates:
            return cell.iterations * cell.pixels * sum(rates) / len(rates)
    return START_SECONDS + cell.iterations * cell.pixels / UNMEASURED_RATE * (2 if cell.guided else 1)


def estimated_memory(cell: Cell, records: Records) -> float:
    """GB that a cell will need at most: what the hungriest finished one of its scene and variant did.

    Of another scene or variant, where there is none; before any is finished, a guess.
    """
    for alike in (lambda it: (it.scene, it.variant) == (cell.scene, cell.variant), lambda it: True):
        peaks = [
            record["training"]["peak_memory_mib"]["host"] * 2**20 / 1e9
            for it, record in records.items()
            if alike(it)
        ]
        if peaks:
            return max(peaks)
    return UNMEASURED_MEMORY


def machine_memory() -> float:
    """GB of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def run_cells(
    cells: Sequence[Cell],
    run: Callable[[Cell], dict[str, Any]],
    done: Callable[[Cell, dict[str, Any] | UserError], None],
    *,
    jobs: int,
    memory: float,
    need: Callable[[Cell], float],
) -> None:
    """Runs all cells, in their order, some at a time; one that fails does not stop the others.

    Args:
        cells: what to run.
        run: runs one; is called in threads of its own.
        done: takes a cell's result or failure, one after the other, in the calling thread.
        jobs: how many run at a time at most.
        memory: GB for those that run together; one always runs, whatever it needs.
        need: GB that one needs; asked just before its start.
    """
    waiting = deque(cells)
    running: dict[Future[dict[str, Any]], tuple[Cell, float]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            while waiting and len(running) < jobs:
                wanted = need(waiting[0])
                if running and sum(taken for _, taken in running.values()) + wanted > memory:
                    break
                cell = waiting.popleft()
                running[pool.submit(run, cell)] = (cell, wanted)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                cell, _ = running.pop(future)
                try:
                    result: dict[str, Any] | UserError = future.result()
                except UserError as failure:
                    result = failure
                done(cell, result)


def shown_time(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
