"""Many independent pieces of work in worker processes: progress, going on after a stop, a clean end."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from utils.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def work_through(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    outputs: Callable[[Job], Sequence[Path]],
    workers: int,
    unit: str = "picture",
    prepare: Callable[[], object] | None = None,
) -> list[Result]:
    """Does each job whose output is not there yet, and shows how far it is.

    A job is its own: what it writes depends on nothing but the job, so that any number of workers, and any
    number of stops, leave the same files. It writes its outputs whole (`utils.files.whole_file`). On an
    exception or an interruption no further job starts, those under way end, and the exception is raised.

    Args:
        work: a function of a module (spawned processes import it), or a `functools.partial` of one.
        jobs: picklable.
        outputs: the files that a job writes; a job whose files all exist is skipped.
        workers: processes; 1 works in this process.
        prepare: called in each process before its first job, `renderer.use_one_thread` say; picklable.

    Returns:
        The results of the jobs that were done now, in the order of `jobs`.

    Raises:
        UserError: a worker process was killed, as happens when memory runs out.
    """
    missing = [job for job in jobs if not all(path.is_file() for path in outputs(job))]
    bar = partial(tqdm, total=len(jobs), initial=len(jobs) - len(missing), unit=unit)
    if workers == 1 or len(missing) < 2:
        if prepare:
            prepare()
        results = []
        with bar() as progress:
            for job in missing:
                results.append(work(job))
                progress.update()
        return results
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (prepare,))
    try:
        futures: list[Future[Result]] = [pool.submit(work, job) for job in missing]
        with bar() as progress:
            for future in as_completed(futures):
                future.result()
                progress.update()
        return [future.result() for future in futures]
    except BrokenProcessPool as failure:
        raise UserError(
            "a worker process was killed (memory may have run out); what was done is kept: "
            "start again with fewer --workers"
        ) from failure
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(prepare: Callable[[], object] | None) -> None:
    """Leaves Ctrl+C to the parent, so that a picture under way is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare:
        prepare()
