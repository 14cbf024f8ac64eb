"""The makers of domain sets, from their command to the files: scans and aerial pictures."""

import errno
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sds_guidance.finetune.captioned import read_captioned
from tools import make_aerial, make_scans
from tools.domains.sets import SetOptions
from tools.scans import files
from utils.errors import UserError, Warnings
from utils.options import parse

MAKERS = {"scans": make_scans, "aerial": make_aerial}
WRITERS: dict[str, ModuleType] = {"scans": files, "aerial": make_aerial}


def make(kind: str, folder: Path, **changes: Any) -> None:
    """Makes five tiny pictures in this process, but for the changes."""
    shared = {"output": str(folder), "count": 5, "resolution": 32, "workers": 1, "held_out_share": 0.4}
    own = {name: changes.pop(name) for name in ("slices_per_volume", "window", "dicom") if name in changes}
    options = SetOptions(**{**shared, **changes})
    if kind == "scans":
        make_scans.main(make_scans.Options(options, **{"slices_per_volume": 2, **own}))
    else:
        make_aerial.main(make_aerial.Options(options, **own))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a set's table."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def contents(folder: Path, below: str = "") -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    found = (path for path in (folder / below).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module", params=MAKERS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A set made in one go; not to be written to."""
    folder = tmp_path_factory.mktemp(request.param) / "whole"
    make(request.param, folder)
    return request.param, folder


def test_a_set_holds_its_pictures_and_tables(whole: tuple[str, Path]) -> None:
    kind, folder = whole
    rows = rows_of(folder)
    assert len(rows) == 5
    for row in rows:
        assert row["text"] == row["expert"] != row["generic"]
        with Image.open(folder / row["file_name"]) as image:
            assert (image.mode, image.size) == ("I;16" if kind == "scans" else "RGB", (32, 32))
            assert np.asarray(image).std() > 3
    instance = "volume" if kind == "scans" else "place"
    splits: dict[int, set[str]] = {}
    for row in rows:
        splits.setdefault(row[instance], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert len(splits) == (3 if kind == "scans" else 5)
    about = json.loads((folder / "dataset.json").read_text())
    assert about["settings"]["seed"] == 0
    assert "workers" not in about["settings"]
    if kind == "scans":
        assert about["intensity_window"] == [864, 1264]
        assert [row["file_name"] for row in rows[:3]] == [
            f"images/00000{n}.png" for n in ("0_0", "0_1", "1_0")
        ]


def test_fine_tuning_reads_the_set(whole: tuple[str, Path]) -> None:
    _, folder = whole
    warnings = Warnings()
    images = read_captioned(folder, warnings)
    assert [image.caption for image in images] == [row["expert"] for row in rows_of(folder)]
    assert warnings.lines() == []


def test_a_stopped_set_ends_as_the_unbroken_one(
    whole: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, folder = whole
    written: list[Path] = []
    real = WRITERS[kind].write_picture

    def write_until_full(path: Path, pixels: np.ndarray) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "no space left", str(path))
        written.append(path)
        real(path, pixels)

    monkeypatch.setattr(WRITERS[kind], "write_picture", write_until_full)
    with pytest.raises(OSError, match="no space left"):
        make(kind, tmp_path)
    assert rows_of(tmp_path) == rows_of(folder)[:3]
    monkeypatch.undo()
    first = written[0].stat().st_mtime_ns
    make(kind, tmp_path)
    assert contents(tmp_path) == contents(folder)
    assert written[0].stat().st_mtime_ns == first


@pytest.mark.slow
def test_two_processes_make_the_same_set(whole: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = whole
    make(kind, tmp_path, workers=2)
    assert contents(tmp_path) == contents(folder)


def test_the_other_captions_rewrite_the_table_alone(whole: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = whole
    make(kind, tmp_path)
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "images").iterdir())]
    make(kind, tmp_path, captions="generic")
    rows = rows_of(tmp_path)
    assert {row["text"] for row in rows} == {rows[0]["generic"]}
    assert [{**row, "text": row["expert"]} for row in rows] == rows_of(folder)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "images").iterdir())] == before
    assert json.loads((tmp_path / "dataset.json").read_text())["captions"] == "generic"


def test_other_settings_are_refused_and_the_set_is_left_alone(whole: tuple[str, Path]) -> None:
    kind, folder = whole
    before = contents(folder)
    with pytest.raises(UserError, match="'seed': 0"):
        make(kind, folder, seed=1)
    assert contents(folder) == before


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("resolution", 31), ("seed", -1), ("workers", 0), ("held_out_share", 0.6)],
)
def test_a_number_out_of_range_is_refused_by_name(kind: str, name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--{name} {value}"):
        make(kind, tmp_path / "set", **{name: value})
    assert not (tmp_path / "set").exists()


def test_slices_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--slices_per_volume 0"):
        make("scans", tmp_path / "set", slices_per_volume=0)
    assert not (tmp_path / "set").exists()


def test_a_dicom_set_is_read_by_fine_tuning(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed (pip install pydicom)")
    make("scans", tmp_path, count=2, dicom=True, window="bone")
    rows = rows_of(tmp_path)
    assert [row["file_name"] for row in rows] == ["images/000000_0.dcm", "images/000000_1.dcm"]
    assert all(row["text"].endswith("bone window") for row in rows)
    assert json.loads((tmp_path / "dataset.json").read_text())["intensity_window"] == [-500, 1500]
    assert len(read_captioned(tmp_path, Warnings())) == 2


def test_without_pydicom_a_dicom_set_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> ModuleType:
        raise ImportError(f"no module named {name}")

    monkeypatch.setattr("utils.optional_modules.importlib.import_module", fail)
    with pytest.raises(UserError, match="pip install pydicom"):
        make("scans", tmp_path / "set", dicom=True)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("kind", MAKERS)
def test_no_renderer_is_needed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    make(kind, tmp_path, count=1)
    assert len(rows_of(tmp_path)) == 1


def test_shared_flags_have_no_prefix() -> None:
    for options in (make_scans.Options, make_aerial.Options):
        parsed: Any = parse(options, ["--output", "x", "--count", "3", "--captions", "generic"])
        assert parsed.set == SetOptions("x", count=3, captions="generic")
