"""benchmarks/viewer.py: a run that is looked at is timed, and has the bits of one that is not."""

import pytest

from benchmarks.viewer import ALONE, KINDS, WATCHED, Options, main, train
from tests.programs import ply, run_train
from utils.errors import UserError


@pytest.mark.slow
def test_a_run_that_is_looked_at_has_the_same_bits(small_scene, tmp_path):
    options = Options(source=small_scene, iterations=40, output=tmp_path / "output")
    seconds, pictures, model = train(options, WATCHED)
    assert seconds > 0 and pictures >= 0
    alone = run_train(small_scene, tmp_path / "alone", "--iterations", 40, "--test_iterations", -1)
    assert model == ply(alone, 40)


def test_the_table_compares_least_seconds_and_models_that_differ_are_refused(tmp_path, monkeypatch, capsys):
    taken = iter([4.0, 4.1, 4.4, 5.0, 3.9, 4.2])
    monkeypatch.setattr("benchmarks.viewer.train", lambda options, kind: (next(taken), 7, b"model"))
    main(Options(rounds=2, output=tmp_path))
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[-2].strip() for row in rows if row.startswith("| ") and "--:" not in row] == [
        *("ratio of the least", "1.000", "0.975", "1.050")
    ]
    assert rows[-1] == "pictures sent to who looked: 7, 7 in 2000 iterations"
    monkeypatch.setattr("benchmarks.viewer.train", lambda options, kind: (1.0, 0, kind.encode()))
    with pytest.raises(UserError, match="the models differ"):
        main(Options(rounds=1, output=tmp_path))
    assert KINDS[0] == ALONE


def test_a_training_that_fails_is_said(tmp_path):
    options = Options(source=tmp_path, iterations=1, output=tmp_path / "output")
    with pytest.raises(UserError, match=r"failed: see .*no_viewer\.log"):
        train(options, ALONE)
    assert "is no dataset" in (tmp_path / "output/no_viewer.log").read_text()
