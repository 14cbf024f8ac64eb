"""`benchmarks/few_views.py`: what its variants change, its tables, and a run of the smallest."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import few_views
from benchmarks.few_views import HEADER, PARTS_OF_BASE, VARIANTS, Options, Part, main
from benchmarks.guidance_pictures import LINE
from protocols import cells
from protocols.cells import Cell
from protocols.variants import read_variants
from tests.protocols.test_runner import CELL
from tests.test_full_eval import in_this_process
from training.options import Options as TrainOptions
from training.presets import read_options
from utils.files import write_json

CHANGED = {
    "no_dense_start": {"points"},
    "no_dropout": {"opacity_dropout"},
    "no_regularisers": {"opacity_reg", "scale_reg"},
    "no_low_sh": {"sh_degree"},
    "no_threshold": {"densify_grad_threshold"},
    "no_reset_limit": {"opacity_resets"},
    "no_size": {"prune_scale"},
    "with_warp": {"lambda_warp"},
    "with_pruning": {"prune_unseen", "prune_before_surface"},
    "with_exposure": {"exposure"},
    "with_more_opacity_reg": {"opacity_reg"},
    "with_far_points": {"opacity_reg", "far_points", "random_background"},
}


def values(options: TrainOptions) -> dict[str, Any]:
    """Every flag's value; flags of groups by their own name."""
    flat: dict[str, Any] = {}
    for name, value in asdict(options).items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


@pytest.mark.parametrize("views", [3, 9])
def test_a_variant_changes_its_part_of_the_base_alone(views: int) -> None:
    variants = read_variants(VARIANTS)
    found = {}
    for variant in variants.flags:
        words = ["-s", "scene", *variants.words_of(variant, "fern"), "-r", "4", "--iterations", "3000"]
        options = read_options(words, photographs=views)
        options.check()
        found[variant] = values(options)
    base, reference = found["base"], found["plain"]
    assert set(CHANGED) == set(PARTS_OF_BASE) == set(found) - {"base", "plain", "plain_dense"}
    for variant, expected in CHANGED.items():
        changed = {name for name, value in found[variant].items() if value != base[name]}
        # nine photographs have the reference's SH degree
        assert changed == (set() if views == 9 and variant == "no_low_sh" else expected)
        if variant.startswith("no_"):
            assert all(found[variant][name] == reference[name] for name in changed)
    assert {k for k, v in found["plain_dense"].items() if v != reference[k]} == {"points"}


def made_up(psnr: float, seconds: float = 1.0, lpips: float | None = 0.1) -> dict[str, Any]:
    """What of a record the tables read."""
    return {
        "scores": {"PSNR": psnr, "SSIM": psnr / 100, "LPIPS": lpips},
        "training": {"seconds": seconds},
    }


PART = Part(("a", "b"), (3,), ("plain", "plain_dense", "base"), (0, 1))


def by_name(rows: list[list[str]], header: list[str]) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def records_of(scores: dict[tuple[str, str, int], dict[str, Any]]) -> Any:
    """Records by what of a cell the tables read."""

    class Known:
        def __init__(self, scene: str, variant: str, seed: int) -> None:
            self.scene, self.variant, self.seed = scene, variant, seed

    return {Known(*key): record for key, record in scores.items()}


def test_the_table_of_the_base_has_gains_of_pairs() -> None:
    scores = {
        ("a", "plain", 0): made_up(10),
        ("a", "plain_dense", 0): made_up(20, 2.0),
        ("a", "plain_dense", 1): made_up(22, 2.0),
        ("a", "base", 0): made_up(21, 3.0, 0.2),
        ("a", "base", 1): made_up(24, 2.0, 0.3),
        ("b", "plain_dense", 0): made_up(20, lpips=None),
        ("b", "base", 0): made_up(18),
        ("b", "base", 1): made_up(99),  # its pair is not finished
    }
    rows = by_name(few_views.base_rows(records_of(scores), PART), HEADER)
    a, b, mean = rows["a"], rows["b"], rows["mean"]
    assert (a["plain"], a["plain, dense"], a["base"]) == ("10.00", "21.00 +- 1.41", "22.50 +- 2.12")
    assert a["base less plain, dense"] == "+1.50 +- 0.71"
    assert (a["SSIM, less"], a["LPIPS, less"]) == ("+0.015 +- 0.007", "+0.150 +- 0.071")
    assert (a["time"], a["seeds"]) == ("1.25", "2")
    assert (b["base less plain, dense"], b["LPIPS, less"], b["seeds"]) == ("-2.00", "-", "1")
    assert (mean["base less plain, dense"], mean["seeds"]) == ("-0.50", "1")  # of seed 0, which both have


def test_the_ablation_is_of_pairs_too() -> None:
    scores = {
        ("a", "base", 0): made_up(20),
        ("a", "base", 1): made_up(21),
        ("b", "base", 0): made_up(30),
        ("a", "no_size", 0): made_up(19),
        ("b", "no_size", 0): made_up(30.5),
        ("b", "no_size", 1): made_up(99),
        ("a", "no_dropout", 1): made_up(20),
    }
    ablation = Part(PART.scenes, PART.views, ("base", "no_size", "no_dropout"), PART.seeds)
    rows = few_views.ablation_rows(records_of(scores), ablation)
    assert rows == [
        ["base", "20.50 +- 0.71", "30.00", "25.25"],
        ["no_size", "-1.00", "+0.50", "-0.25"],
        ["no_dropout", "-1.00", "-", "-"],
    ]


def finished_model(
    cell: Cell, output: Path, scores: dict[str, float], grey: int, size: tuple[int, int]
) -> None:
    """What the picture takes of a finished cell; the rendering of view i is `grey` + i all over."""
    model = output / cell.name
    write_json(model / "per_view.json", {"ours_6": {"PSNR": scores}})
    for side in ("gt", "renders"):
        (model / "test" / "ours_6" / side).mkdir(parents=True)
        for number, view in enumerate(scores):
            tone = grey + number if side == "renders" else 250 + number
            Image.new("L", size, tone).save(model / "test" / "ours_6" / side / view)


def test_the_picture_shows_the_middle_view_of_every_finished_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells_of = {
        (scene, variant): replace(CELL, scene=scene, variant=variant)
        for scene in ("a", "b", "c")
        for variant in PART.variants
        if (scene, variant) != ("c", "base")
    }
    for place, (key, cell) in enumerate(cells_of.items()):
        # of plain, dense's views the third is the middle one; those of the others are in another order
        values = (30.0, 10.0, 20.0) if key[1] == "plain_dense" else (1.0, 2.0, 3.0)
        scores = {f"{number:05d}.png": value for number, value in enumerate(values)}
        finished_model(cell, tmp_path, scores, 30 * place, (64, 48) if key[0] == "a" else (40, 56))
    asked = []

    def finished(part: Part, options: Options) -> Any:
        asked.append(part)
        return dict.fromkeys(cells_of.values())

    monkeypatch.setattr(few_views, "finished", finished)
    options = Options(output=str(tmp_path), views=(9, 3), seeds=(1, 0), pictures=str(tmp_path / "all.jpg"))
    few_views.save_pictures(options)
    assert [(part.views, part.seeds) for part in asked] == [((3,), (0,))]
    sheet = np.asarray(Image.open(tmp_path / "all.jpg"))
    assert sheet.shape == (LINE + 48 + LINE + 56, 4 * 64, 3)  # without c, whose base is missing
    for top, height, place in ((LINE, 48, 0), (2 * LINE + 48, 56, 3)):
        tones = [int(sheet[top + height // 2, column * 64 + 20, 0]) for column in range(4)]
        assert tones == pytest.approx([252, *(30 * (place + step) + 2 for step in range(3))], abs=1)


def test_a_plan_runs_nothing_and_writes_nothing(
    small_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(few_views, "run_parts", None)
    options = Options(data=str(tmp_path), scenes=(str(small_scene),), views=(3,), seeds=(0,), plan_only=True)
    options.output = str(tmp_path / "out")
    main(options)
    said = capsys.readouterr().out
    # the ablation's base is the base's own
    assert "base: 3 cells, 0 done" in said and f"ablation: {len(PARTS_OF_BASE)} cells, 0 done" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_smallest_measurement(small_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "call", in_this_process)
    page = tmp_path / "page.md"
    page.write_text(
        "".join(
            f"<!-- measured {name}: begin -->\nstale\n<!-- measured {name}: end -->\n"
            for name in ("base", "ablation")
        )
    )
    options = Options(
        data=str(tmp_path),
        scenes=(str(small_scene),),
        parts=("base",),
        views=(3,),
        seeds=(0,),
        resolution=1,
        iterations=6,
        output=str(tmp_path / "out"),
        kept=str(tmp_path / "figures.csv"),
        docs=str(page),
    )
    main(options)
    text = page.read_text()
    base, ablation = text.split("<!-- measured ablation: begin -->")
    assert "stale" not in base and "**3 photographs**, `-r 1`, 6 iterations" in base
    assert ablation.startswith("\nstale\n")  # nothing but the base's own cell is finished
    report = (tmp_path / "out/report.md").read_text()
    assert report.count(str(small_scene)) >= 1

    # from the figures that were kept, another machine makes the same tables and trains nothing
    monkeypatch.setattr(cells, "call", None)
    main(replace(options, output=str(tmp_path / "elsewhere")))
    assert (tmp_path / "elsewhere/report.md").read_text() == report


def test_the_page_has_a_place_for_every_table() -> None:
    page = (VARIANTS.parents[1] / "docs" / "few-views.md").read_text()
    for block in ("measured base", "measured ablation"):
        assert page.count(f"<!-- {block}: begin -->\n") == page.count(f"<!-- {block}: end -->") == 1
