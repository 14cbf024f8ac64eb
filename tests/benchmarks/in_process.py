"""The programs that a benchmark calls, without the seconds of a new process each."""

import metrics
import render
import train
from benchmarks import passes
from utils.options import parse

PROGRAMS = {"train.py": train, "render.py": render, "metrics.py": metrics}


def in_this_process(program: str, *words: str, threads: int = 0) -> None:
    """What `benchmarks.guidance_modes.call` does, in this process."""
    if program == "benchmarks/passes.py":
        passes.main(words)
    else:
        PROGRAMS[program].main(parse(PROGRAMS[program].Options, words))
