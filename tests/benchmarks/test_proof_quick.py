"""`make proof-quick` as a whole: objects, trainings in every mode, words, tables."""

from pathlib import Path

import pytest

from benchmarks import proof
from benchmarks.proof import QUICK, Options, main
from protocols import cells
from tests.test_full_eval import in_this_process


@pytest.mark.slow
def test_the_quick_proof_fills_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mitsuba")
    monkeypatch.setattr(cells, "call", in_this_process)
    monkeypatch.setattr(proof, "QUICK_FLAGS", "--iterations 40 --init_random 500")
    monkeypatch.setitem(QUICK, "core", proof.replace(QUICK["core"], objects=QUICK["core"].objects[:1]))
    monkeypatch.setitem(QUICK, "words", proof.replace(QUICK["words"], objects=QUICK["words"].objects[:1]))
    main(Options(output=str(tmp_path), data=str(tmp_path), quick=True))
    report = (tmp_path / "quick/report.md").read_text()
    for variant in (*QUICK["core"].variants, *QUICK["words"].variants):
        (row,) = [line for line in report.splitlines() if line.startswith(f"| {variant} ")][:1]
        assert "1 of 1" in row and "nan" not in row
    assert (tmp_path / "quick/core/report.html").is_file()
