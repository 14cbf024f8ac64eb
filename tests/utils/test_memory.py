"""Peaks are counted in MiB, and freed memory is kept where the C library can."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.programs import ROOT
from utils.memory import peak_memory


def test_the_peak_grows_by_what_is_allocated():
    before = peak_memory()["host"]
    held = np.ones((before + 300) * 2**17)  # so many MiB of float64
    assert peak_memory()["host"] >= before + 250
    assert held[0] == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere the parent's peak is inherited")
def test_the_peak_is_not_that_of_the_process_that_started_this_one():
    held = np.ones(2**28)  # 2 GiB of float64, in the child's count of the kernel before its program begins
    code = "from utils.memory import peak_memory; print(peak_memory()['host'])"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, cwd=ROOT, check=True, text=True).stdout
    assert held[0] == 1
    assert int(found) < 1500


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has the knobs")
def test_large_arrays_come_from_kept_memory():
    """A second allocation of the same size meets pages that are there already: hardly a page fault."""
    code = """
import resource, sys
import numpy as np
from utils.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if "keep" in sys.argv: keep_freed_memory()
faults()
print(faults())
"""
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, word], capture_output=True, cwd=ROOT, check=True
            ).stdout
        )
        for word in ("keep", "give back")
    ]
    if counts[1] < 10:
        pytest.skip("this C library keeps memory by itself")
    assert counts[0] < counts[1] / 4


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident set is read from /proc")
def test_kept_memory_is_given_back_when_asked_for():
    """A hole below an array that stays: the C library gives back only what lies above everything."""
    code = """
import os
import numpy as np
from utils.memory import give_back_freed_memory, keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
keep_freed_memory()
hole, above = np.ones(2**24), np.ones(2**20)
del hole
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""
    given_back = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True, text=True
    ).stdout
    assert int(given_back) > 120  # of the hole's 128 MiB
