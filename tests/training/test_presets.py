"""Presets: chosen by the number of photographs, overruled by flags, recorded, and the same when resumed."""

import json
from pathlib import Path
from statistics import fmean

import pytest
import torch

import train
from scene.gaussians import load_gaussians
from scene.split import write_split
from tests.programs import BUSY, ROOT, break_off, flat, ply, run_train
from tests.scene.models import write_dataset
from training.options import Options
from training.presets import FEW_VIEWS, UP_TO, automatic, described, read_options, values, with_values
from utils.errors import UserError
from utils.options import load_cfg_args, load_settings

SCENE = ("-s", "scene", "--n_views")
FEW = ("--preset", "few_views", "--points", "seen")
"""Few photographs without the seconds of a dense start."""


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of thirteen photographs, of which --eval leaves eleven for training."""
    return write_dataset(tmp_path_factory.mktemp("thirteen"), [f"{number:02}.png" for number in range(13)])


@pytest.mark.parametrize("flag", FEW_VIEWS)
def test_a_row_of_the_table_is_a_flag_and_changes_no_other(flag):
    before = flat(Options())
    for value in FEW_VIEWS[flag]:
        after = flat(with_values(Options(), {flag: value}))
        assert {name for name in before if before[name] != after[name]} <= {flag}
        assert after[flag] == value and type(value) is type(before[flag])
    assert before[flag] not in FEW_VIEWS[flag][:1]  # or it would not belong into the table
    assert len(FEW_VIEWS[flag]) == len(UP_TO)


@pytest.mark.parametrize(
    ("photographs", "column"), [(1, 0), (3, 0), (4, 1), (6, 1), (7, 2), (12, 2), (13, None), (400, None)]
)
def test_the_number_of_photographs_decides(photographs, column):
    options = read_options([*SCENE, str(photographs)])
    expected = {} if column is None else {flag: row[column] for flag, row in FEW_VIEWS.items()}
    preset = "reference" if column is None else "few_views"
    given = {"source_path": options.scene.source_path, "n_views": photographs, "preset": preset}
    assert flat(options) == flat(Options()) | expected | given
    options.check()


def test_photographs_are_counted_as_they_will_train(thirteen, tmp_path):
    def preset(*words: str) -> str:
        return read_options(["-s", str(thirteen), *words]).preset

    assert preset() == "reference"
    assert preset("--eval") == "few_views"
    write_split(tmp_path / "split.json", ["01.png", "02.png"], ["05.png"])
    options = read_options(["-s", str(thirteen), "--split", str(tmp_path / "split.json")])
    assert (options.preset, options.sh_degree) == ("few_views", 1)
    assert preset("--preset", "auto") == "reference"


def test_a_caller_may_say_how_many_photographs_train():
    assert read_options(["-s", "nowhere"], photographs=8).preset == "few_views"


def test_a_named_preset_holds_for_any_number():
    assert flat(read_options([*SCENE, "3", "--preset", "reference"])).items() >= (
        flat(Options()).items() - {("source_path", ""), ("n_views", 0)}
    )
    many = read_options([*SCENE, "100", "--preset", "few_views"])
    assert many.preset == "few_views" and many.sh_degree == FEW_VIEWS["sh_degree"][-1]


@pytest.mark.parametrize("flag", FEW_VIEWS)
def test_a_given_flag_wins_even_where_it_is_the_references(flag):
    value = flat(Options())[flag]
    options = read_options([*SCENE, "3", f"--{flag}", str(value)])
    assert flat(options)[flag] == value
    others = {name: row for name, row in values("few_views", 3).items() if name != flag}
    assert flat(options).items() >= others.items()
    assert f"--{flag} " not in described(options, 3)


def test_the_sentence_says_why_and_what_was_set():
    few = read_options([*SCENE, "3", "--sh_degree", "3"])
    said = described(few, 3)
    assert said.startswith("preset few_views (at most 12 photographs train): --")
    assert "--points dense" in said and "sh_degree" not in said
    assert described(Options(), 13) == "preset reference (more than 12 photographs train)"
    assert described(Options(), 12) == "preset reference (as --preset says)"
    many = read_options([*SCENE, "40", "--preset", "few_views"])
    assert described(many, 40).startswith("preset few_views (as --preset says): --")


def test_mistakes_are_found_before_photographs_are_counted(tmp_path):
    with pytest.raises(UserError, match="--sh_degree 7"):
        read_options(["-s", str(tmp_path), "--sh_degree", "7"])
    with pytest.raises(UserError, match="is no dataset"):
        read_options(["-s", str(tmp_path)])
    with pytest.raises(UserError, match="--debug is not supported"):
        read_options(["-s", str(tmp_path), "--debug"])


def test_the_choice_is_recorded_and_said(small_scene, tmp_path, capsys):
    words = ["-s", str(small_scene), "-m", str(tmp_path), "--n_views", "3", "--points", "seen"]
    words += ["--iterations", "2", "--lambda_sds", "0", "--device", "cpu"]
    train.main(read_options(words))
    settings = load_settings(tmp_path) or {}
    said = "preset few_views (at most 12 photographs train): "
    assert settings["preset"].startswith(said) and said in capsys.readouterr().out
    assert settings["options"]["preset"] == "few_views"
    assert settings["options"]["sh_degree"] == load_cfg_args(tmp_path)["sh_degree"] == 1
    assert settings["options"]["densification"]["prune_scale"] == 0
    _, info = load_gaussians(tmp_path / "point_cloud/iteration_2/point_cloud.ply")
    assert info.sh_degree == 1
    train.main(read_options([*words, "--resume"]))
    with pytest.raises(UserError, match="--sh_degree: was 1, now 3"):
        train.main(read_options([*words, "--preset", "reference", "--resume"]))


def test_resumed_equals_unbroken_with_dropout(small_scene, tmp_path):
    flags = ("--n_views", 5, "--iterations", 60, *BUSY, *FEW, "--opacity_dropout", 0.4)
    unbroken = run_train(small_scene, tmp_path / "unbroken", *flags)
    break_off(small_scene, tmp_path / "broken", *flags, at=30)
    run_train(small_scene, tmp_path / "broken", *flags, "--resume")
    assert ply(tmp_path / "broken", 60) == ply(unbroken, 60)
    assert (tmp_path / "broken/log.jsonl").read_text() == (unbroken / "log.jsonl").read_text()


def test_only_photographs_views_of_the_first_part_drop_gaussians(small_scene, tmp_path, monkeypatch):
    """Neither tests nor the last twentieth do, and more are dropped the later it is."""
    shares: list[float | None] = []
    original = train.render

    def spy(*arguments, **keywords):
        factors = keywords.get("opacity_factors")
        shares.append(None if factors is None else float((factors == 0).float().mean()))
        return original(*arguments, **keywords)

    monkeypatch.setattr(train, "render", spy)
    flags = ("--iterations", 40, "--test_iterations", 40, "--opacity_dropout", 0.8)
    run_train(small_scene, tmp_path, *flags)
    steps, after = shares[:40], shares[40:]
    assert None not in steps[:38] and steps[38:] == [None, None]
    assert len(after) == 5 and set(after) == {None}
    rates = [rate for rate in steps if rate is not None]
    assert fmean(rates[:10]) == pytest.approx(0.11, abs=0.08)
    assert fmean(rates[28:38]) == pytest.approx(0.67, abs=0.08)


def test_dropout_of_nothing_is_the_plain_training(small_scene, tmp_path):
    models = [
        run_train(small_scene, tmp_path / name, "--iterations", 12, *flags)
        for name, flags in (
            ("plain", ()),
            ("none", ("--opacity_dropout", 0)),
            ("some", ("--opacity_dropout", 0.5)),
        )
    ]
    assert ply(models[0], 12) == ply(models[1], 12) != ply(models[2], 12)
    rows = [json.loads(line) for line in (models[2] / "log.jsonl").read_text().splitlines()]
    assert torch.tensor([row["loss"] for row in rows]).isfinite().all()


def test_the_guides_table_is_the_one_in_force():
    page = (ROOT / "docs" / "few-views.md").read_text()
    page = page.partition("## The preset")[2].partition("\n## ")[0]
    table = {
        cells[1].strip(" `-"): [cell.strip() for cell in cells[2:6]]
        for line in page.splitlines()
        if len(cells := line.split("|")) == 7 and cells[1].startswith(" `--")
    }
    reference = flat(Options())
    told = {flag: [str(value) for value in (reference[flag], *row)] for flag, row in FEW_VIEWS.items()}
    assert table == told


def test_automatic_changes_between_twelve_and_thirteen():
    assert (automatic(12), automatic(13)) == ("few_views", "reference")
