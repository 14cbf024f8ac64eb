"""`benchmarks/guidance_pictures.py` on the small scene and the tiny model: what is on which picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import guidance_modes, guidance_pictures
from benchmarks.guidance_modes import Setting
from benchmarks.guidance_pictures import (
    LARGEST,
    LINE,
    Options,
    grid,
    main,
    save_jpeg,
    side_by_side,
    stacked,
)
from tests.benchmarks.in_process import in_this_process
from utils.errors import UserError


def test_every_mode_has_a_figure_and_all_models_are_side_by_side(
    small_scene: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance_modes, "call", in_this_process)
    monkeypatch.setitem(guidance_modes.SETTINGS, "small", Setting(str(small_scene), 1, "a ball"))
    options = Options(
        scene="small-3",
        data=str(tmp_path),
        output=str(tmp_path / "out"),
        docs=str(tmp_path / "docs"),
        modes=("sds", "targets"),
        iterations=50,  # guided at 11, 21, 31 and 41
        guidance_log=1,
        views=5,
        model=str(tiny_model),
        guidance_resolution=64,
    )
    main(options)
    docs = {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()}
    assert sorted(docs) == ["guidance_sds.jpg", "guidance_targets.jpg", "guidance_views.jpg"]
    assert max(map(len, docs.values())) <= LARGEST
    folder = tmp_path / "out" / "small-3"
    for mode in options.modes:
        with Image.open(next((folder / f"{mode}_off_0" / "guidance").iterdir())) as sheet:
            height = 3 * sheet.height * 960 // sheet.width
        with Image.open(tmp_path / "docs" / f"guidance_{mode}.jpg") as figure:
            assert figure.size == (960, pytest.approx(height, abs=2))

    models = {name: folder / f"{name}_off_0" for name in ("none", *options.modes)}
    views = np.asarray(side_by_side(models, 5))
    assert views.shape == (2 * (40 + LINE), 4 * 48, 3)  # the scene holds two views out
    for row in range(2):
        top = row * (40 + LINE) + LINE
        shown = [views[top : top + 40, column * 48 : (column + 1) * 48] for column in range(4)]
        (test,) = (models["none"] / "test").iterdir()
        assert np.array_equal(shown[0], np.asarray(Image.open(test / "gt" / f"{row:05}.png")))
        for picture, model in zip(shown[1:], models.values(), strict=True):
            rendering = model / "test" / test.name / "renders" / f"{row:05}.png"
            assert np.array_equal(picture, np.asarray(Image.open(rendering)))

    monkeypatch.setattr(guidance_modes, "call", None)  # nothing is trained again
    main(options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()} == docs


def test_pictures_stand_one_below_the_other() -> None:
    red, blue = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (2, 3), "blue")
    sheet = np.asarray(stacked([red, blue]))
    assert sheet.shape == (5, 4, 3)
    assert (sheet[:2] == (255, 0, 0)).all()
    assert (sheet[2:, :2] == (0, 0, 255)).all() and (sheet[2:, 2:] == 255).all()


def test_pictures_of_several_sizes_stand_in_columns() -> None:
    red, blue = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (2, 3), "blue")
    sheet = np.asarray(grid([{"a": red, "b": red}, {"": blue}]))
    assert sheet.shape == (2 + 3 + 2 * LINE, 2 * 4, 3)
    assert (sheet[LINE : LINE + 2] == (255, 0, 0)).all()
    assert (sheet[-3:, :2] == (0, 0, 255)).all() and (sheet[-3:, 2:] == 255).all()


def test_a_picture_is_as_good_as_its_size_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    sizes = []
    for limit in (100_000, 2500):
        monkeypatch.setattr(guidance_pictures, "LARGEST", limit)
        save_jpeg(tmp_path / "noise.jpg", noise)
        sizes.append((tmp_path / "noise.jpg").stat().st_size)
    assert sizes[1] <= 2500 < sizes[0]
    monkeypatch.setattr(guidance_pictures, "LARGEST", 500)
    with pytest.raises(UserError, match=r"noise\.jpg would have more than 500 bytes"):
        save_jpeg(tmp_path / "noise.jpg", noise)


def test_a_run_without_sheets_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no contact sheet"):
        guidance_pictures.chosen_sheets(tmp_path)
