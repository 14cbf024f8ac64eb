"""`benchmarks/kept.py`: figures written and read again, and what they leave to be run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import full_eval
from benchmarks import kept
from benchmarks.kept import COLUMNS, kept_records, save_figures, without_kept
from protocols.cells import Cell
from tests.protocols.test_runner import CELL, record
from utils.errors import UserError

FOLDER = Path("/somewhere/measured")
FIRST = replace(CELL, flags=("--prompts_file", f"{FOLDER}/wrong.txt", "-r", "4"))
SECOND = replace(CELL, variant="base", seed=1)


def test_what_is_written_is_read_on_another_machine(tmp_path: Path) -> None:
    path = str(tmp_path / "figures.csv")
    gated: dict[str, Any] = record(SECOND, 20.25, seconds=12.5) | {"inside": 21.5, "outside": 19.0}
    gated["training"]["gate"] = {"decision": "halved"}
    save_figures(path, {FIRST: record(FIRST, 18, lpips=None), SECOND: gated}, FOLDER)
    there = Path("/elsewhere")
    moved = replace(FIRST, source="other", flags=("--prompts_file", f"{there}/wrong.txt", "-r", "4"))
    found = kept_records(
        path, [moved, SECOND, replace(SECOND, seed=2), replace(SECOND, flags=("-r", "2"))], there
    )
    assert set(found) == {moved, SECOND}
    assert found[moved]["scores"] == {"PSNR": 18, "SSIM": 0.9, "LPIPS": None}
    assert "gate" not in found[moved]["training"] and found[moved]["inside"] is None
    for part in ("scores", "training"):
        assert found[SECOND][part].items() <= gated[part].items()
    assert (found[SECOND]["inside"], found[SECOND]["outside"]) == (21.5, 19.0)
    assert (
        found[SECOND]["cell"].items() >= {"scene": "fern", "views": 3, "variant": "base", "seed": 1}.items()
    )


def test_lines_stay_until_their_cell_is_measured_again(tmp_path: Path) -> None:
    path = str(tmp_path / "figures.csv")
    otherwise = replace(FIRST, flags=("-r", "8"))
    save_figures(path, {FIRST: record(FIRST, 18), otherwise: record(otherwise, 17)}, FOLDER)
    before = Path(path).read_text()
    save_figures(path, {FIRST: record(FIRST, 18)}, FOLDER)
    assert Path(path).read_text() == before
    save_figures(path, {FIRST: record(FIRST, 19)}, FOLDER)
    assert Path(path).read_text() == before.replace(",18,", ",19,") != before


def test_without_a_file_nothing_is_known_or_written() -> None:
    assert kept_records("", [FIRST], FOLDER) == {}
    save_figures("", {FIRST: record(FIRST, 18)}, FOLDER)


@pytest.mark.parametrize("damage", ["scene,views", f"{','.join(COLUMNS)}\nfern,3,plain", "?"])
def test_another_file_is_refused_and_stays(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "figures.csv"
    path.write_text(damage)
    with pytest.raises(UserError, match=r"figures.csv: every line should have scene, views"):
        kept_records(str(path), [FIRST], FOLDER)
    with pytest.raises(UserError, match=r"figures.csv"):
        save_figures(str(path), {FIRST: record(FIRST, 18)}, FOLDER)
    assert path.read_text() == damage


def test_a_figure_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "figures.csv"
    save_figures(str(path), {FIRST: record(FIRST, 18)}, FOLDER)
    path.write_text(path.read_text().replace(",18,", ",many,"))
    with pytest.raises(UserError, match=r"a figure cannot be read: .*many"):
        kept_records(str(path), [FIRST], FOLDER)


def test_seeds_that_are_whole_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells: list[Cell] = [replace(it, seed=seed) for seed in (0, 1, 2) for it in (FIRST, SECOND)]
    monkeypatch.setattr(kept.full_eval, "planned", lambda options: cells)
    path = str(tmp_path / "figures.csv")
    evaluation = full_eval.Options(seeds=(0, 1, 2))
    parts = {"base": evaluation}
    assert without_kept(parts, "", FOLDER) == without_kept(parts, path, FOLDER) == parts
    save_figures(path, {it: record(it, 20) for it in cells if it.seed == 1 or it.variant == "base"}, FOLDER)
    assert without_kept(parts, path, FOLDER) == {"base": replace(evaluation, seeds=(0, 2))}
    save_figures(path, {it: record(it, 20) for it in cells}, FOLDER)
    assert without_kept(parts, path, FOLDER) == {}
