"""The published figures of real trainings: 0.2 dB less is a defect."""

import json

import pytest

from benchmarks.training import RUNS, measure
from tests.programs import ROOT

FIGURES = json.loads((ROOT / "benchmarks" / "figures.json").read_text())


def test_every_figure_names_the_run_it_was_measured_with():
    for name, figures in FIGURES.items():
        assert figures["flags"] == list(RUNS[name])


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["fox", *(pytest.param(name, marks=pytest.mark.long) for name in FIGURES if name != "fox")]
)
def test_a_training_is_as_good_as_published(name, data_root, tmp_path):
    measured = measure(name, data_root, tmp_path, seed=FIGURES[name]["seed"])
    assert measured["PSNR"] > FIGURES[name]["PSNR"] - 0.2
    assert measured["memory_mib"] < 2048
