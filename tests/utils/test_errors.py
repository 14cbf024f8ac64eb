"""How programs end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_program_that_is_told_to_end_ends_without_a_word():
    """pycolmap, once imported, answers SIGTERM with a stack trace."""
    code = (
        "import os, signal, time, scene.colmap; from utils.errors import run_program\n"
        "run_program(lambda: [os.kill(os.getpid(), signal.SIGTERM), time.sleep(60)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=60, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, b"")


def test_an_output_that_nobody_reads_ends_without_a_word() -> None:
    program = "from utils.errors import run_program; run_program(lambda: print('x' * 10**6))"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_another_pipe_that_breaks_is_a_defect_and_keeps_its_trace_back() -> None:
    program = (
        "import os; from utils.errors import run_program; reader, writer = os.pipe(); os.close(reader)\n"
    )
    program += "run_program(lambda: os.write(writer, b'x'))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 1 and ended.stderr.startswith(b"Traceback") and b"BrokenPipe" in ended.stderr
