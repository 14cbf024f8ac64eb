"""Programs settle how idle threads wait before torch is loaded, which reads it once."""

import subprocess
import sys

import pytest

from tests.programs import ROOT


@pytest.mark.parametrize(
    "program",
    ["train", "render", "metrics", "compare", "sds_guidance.finetune.__main__", "sds_guidance.prompt_scores"],
)
def test_idle_threads_sleep_in_every_program(program):
    code = (
        f"import {program}, os, sys; names = list(sys.modules); "
        "print(os.environ['OMP_WAIT_POLICY'], names.index('utils.idle_threads') < names.index('torch'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.split() == ["passive", "True"]
