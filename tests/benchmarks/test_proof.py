"""`benchmarks/proof.py`: its objects, variants and words, parts run one after the other, and its tables."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import proof
from benchmarks.kept import SIDES
from benchmarks.proof import (
    FAMILIES,
    INSTANCES,
    PARTS,
    PLAN,
    QUICK,
    REAL,
    TUNING,
    VARIANTS,
    WRONG,
    Options,
    main,
)
from benchmarks.proof_tables import Table, shown, with_sides
from protocols.cells import Cell, record_path
from protocols.variants import read_variants
from sds_guidance.models import SMALL
from tests.protocols.test_runner import CELL
from training.presets import read_options
from utils.errors import UserError

TABLE = Table(
    "Toys", {"a": "chair a", "b": "tree b"}, 3, ("base", "sds", "ism"), "base", (0, 1), "object", SIDES
)
NAMES = ("test/inside_000", "test/inside_001", "test/outside_000")


def test_objects_are_the_first_of_their_kind_and_tuning_has_its_own() -> None:
    alone = [
        it
        for it in map(PLAN.instance, range(7000, 7700))
        if it.count == 1 and not it.beside and it.size != "small"
    ]
    families: dict[str, list[int]] = {}
    instances: dict[str, int] = {}
    for it in alone:
        if it.split == "held_out_families":
            families.setdefault(it.family, []).append(it.number)
        elif it.split == "held_out_instances":
            instances.setdefault(it.family, it.number)
    assert sorted(FAMILIES) == sorted(number for numbers in families.values() for number in numbers[:2])
    assert len({PLAN.instance(number).family for number in FAMILIES[:4]}) == 4
    assert list(instances.values())[:8] == [*INSTANCES, *TUNING]
    wrong = WRONG.split()
    for it in map(PLAN.instance, FAMILIES + INSTANCES):
        assert it.family not in wrong and it.colour not in wrong


def test_parts_report_on_other_objects_than_they_are_tuned_on_with_no_fewer_trials_for_the_base() -> None:
    for name, part in PARTS.items():
        tuned = {number in TUNING for number in part.objects}
        assert tuned == {name.startswith("tuning")}
    trials = PARTS["tuning_base"].variants + PARTS["tuning_guided"].variants
    counts = {kind: sum(it.startswith(f"{kind}_") for it in trials) for kind in ("base", *proof.MODES)}
    assert {counts[mode] for mode in proof.MODES} == {6} and counts["base"] >= 6


def test_train_takes_every_variant_with_its_words(tmp_path: Path) -> None:
    proof.write_variants(tmp_path, PARTS)
    variants = read_variants(tmp_path / "variants.toml")
    used = {variant for part in (*PARTS.values(), *QUICK.values()) for variant in part.variants}
    assert set(variants.flags) == used | {"untuned", "guidance", "tried", "as_sds", "as_ism", "as_targets"}
    found = {}
    for variant in used:
        options = read_options(["-s", "scene", *variants.words_of(variant, "007227")], photographs=3)
        options.check()
        found[variant] = options
        assert options.iterations == (12_900 if variant.endswith("_long") else 3000)
        assert (options.preset == "reference") == variant.startswith("plain")
        assert (options.guidance.lambda_sds == 0) == variant.startswith(("plain", "base", "real_base"))
        if options.guidance.lambda_sds:
            assert (options.guidance.guidance_gate == "auto") == variant.endswith("_gate")
            assert options.guidance.guidance_model == "small"
    for variant in PARTS["real"].variants[2:]:
        assert found[variant].guidance == found[variant.removeprefix("real_")].guidance
    words = {name: found[name].guidance.prompt for name in ("sds", "words_none", "words_wrong", "words_both")}
    assert words == {
        "sds": "a cyan chair",
        "words_none": "",
        "words_wrong": WRONG,
        "words_both": "a cyan chair",
    }
    assert (
        "checkered cyan chair standing on a plain pale pink floor" in found["words_detailed"].guidance.prompt
    )
    for name, kind in (("words_both", "none"), ("words_both_ranked", "rank")):
        assert found[name].guidance.words.image_condition == kind
        assert Path(found[name].guidance.words.prompts_file).read_text() == f"{WRONG}\n"


def test_the_small_prior_reads_all_words_to_the_end() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(SMALL / "tokenizer")
    for number in FAMILIES + INSTANCES + TUNING:
        for text in proof.prompts(number):
            assert len(tokenizer(text).input_ids) <= tokenizer.model_max_length


def made_up(
    variant: str, scene: str, seed: int, scores: tuple[float, float, float], **more: Any
) -> dict[str, Any]:
    """What of a record the tables read; renderings are listed out of order, as a JSON file may have them."""
    per_view = dict(zip(("00000.png", "00001.png", "00002.png"), scores, strict=True))
    gate = {"gate": {"decision": more["gate"]}} if "gate" in more else {}
    record = {
        "cell": {"variant": variant, "scene": scene, "seed": seed, "views": 3},
        "scores": {"PSNR": sum(scores) / 3, "SSIM": more.get("ssim", 0.8), "LPIPS": more.get("lpips", 0.4)},
        "per_view": {"PSNR": dict(reversed(per_view.items()))},
        "settings": {"scene": {"test_photographs": list(NAMES)}},
        "training": {"seconds": 9.0, "gaussians": 7, **gate},
    }
    return dict(with_sides(record))


def cells_of(text: str, variant: str, table: Table = TABLE) -> dict[str, str]:
    """A row of a table by its header; of equal names the later with a prime."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")
    ]
    assert rows[0] == table.header
    names = [name + "'" * rows[0][:index].count(name) for index, name in enumerate(rows[0])]
    return dict(zip(names, next(row for row in rows if row[0] == variant), strict=True))


def test_a_table_says_gains_in_pairs_inside_and_outside() -> None:
    records = [
        *(made_up("base", "a", seed, (20, 22, 12 + seed)) for seed in (0, 1)),
        *(made_up("base", "b", seed, (20, 20, 20)) for seed in (0, 1)),
        made_up("sds", "a", 0, (21, 23, 16), ssim=0.84, lpips=0.3, gate="kept"),
        made_up("sds", "a", 1, (21, 23, 17), ssim=0.84, lpips=0.3, gate="halved"),
        made_up("sds", "b", 0, (19, 19, 19), ssim=0.80, lpips=0.4, gate="off"),
        made_up("sds", "b", 2, (99, 99, 99)),  # of another seed
        made_up("other", "a", 0, (99, 99, 99)),
    ]
    text = shown(TABLE, records)
    assert text.startswith("**Toys**, 3 photographs, 2 objects, seeds 0, 1; gains less base's:\n\n")
    base, sds, ism = (cells_of(text, variant) for variant in TABLE.variants)
    assert (base["PSNR"], base["gain"], base["cells"]) == ("19.08 +- 0.12", "-", "4 of 4")
    assert (base["inside"], base["outside"]) == ("20.50 +- 0.00", "16.25 +- 0.35")
    # gains of seed 0: a +2, b -1; inside +1, -1; outside +4, -1; seed 1 has a alone and is left out
    assert (sds["gain"], sds["inside'"], sds["outside'"]) == ("+0.50", "+0.00", "+1.50")
    assert sds["SSIM"] == "+0.020"
    assert sds["LPIPS"] == "-17 %"  # of 0.4 on the mean of the three pairs 0.3333
    assert (sds["gained"], sds["worst"]) == ("1 of 2", "-1.00 tree b")
    assert (sds["gate: on"], sds["cells"]) == ("2 of 3, 1 halved", "3 of 4")
    assert set(ism.values()) == {"ism", "-", "0 of 4"}


def test_a_table_without_lpips_gate_or_cells() -> None:
    records = [
        made_up("base", "a", 0, (20, 20, 20), lpips=None),
        made_up("sds", "a", 0, (21, 21, 21), lpips=None, gate="not measured"),
    ]
    row = cells_of(shown(TABLE, records), "sds")
    assert (row["LPIPS"], row["gate: on"], row["gain"]) == ("-", "not measured", "+1.00")
    assert shown(TABLE, []) == ""
    alone = cells_of(shown(TABLE, records[1:]), "sds")
    assert (alone["gain"], alone["PSNR"]) == ("-", "21.00")


def test_a_table_of_real_scenes_has_no_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "NAMES", ("a.jpg", "b.jpg", "c.jpg"))
    records = [made_up("base", "a", 0, (20, 20, 20)), made_up("sds", "a", 0, (21, 20, 20))]
    assert records[0]["inside"] is None and records[0]["outside"] is None
    table = replace(TABLE, objects={"a": "fern"}, seeds=(0,), kind="scene", sides=())
    text = shown(table, records)
    assert text.startswith("**Toys**, 3 photographs, 1 scene, seed 0;")
    row = cells_of(text, "sds", table)
    assert (row["PSNR"], row["gain"], row["worst"]) == ("20.33", "+0.33", "+0.33 fern")
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {len(table.header) + 1}
    assert cells_of(text, "ism", table)["cells"] == "0 of 1"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of make_objects and full_eval.py, which do nothing but leave a cell's record."""
    found: list[Any] = []

    def planned(options: Any) -> list[Cell]:
        variants = options.variants if options.output.endswith("core") else ()
        return [replace(CELL, scene=options.scenes[0], variant=variant) for variant in variants]

    def evaluates(options: Any) -> None:
        found.append(options)
        for cell in planned(options):
            path = record_path(Path(options.output), cell)
            path.parent.mkdir(parents=True)
            made = made_up(cell.variant, cell.scene, cell.seed, (20, 21, 19))
            path.write_text(json.dumps({**made, "cell": asdict(cell)}))
        if "words" in options.output:
            raise UserError("1 of 4 cells failed")

    monkeypatch.setattr(proof, "call", lambda *words: found.append(words))
    monkeypatch.setattr(proof, "pictures", lambda folder, page: "\n![picture](results_views.jpg)\n")
    monkeypatch.setattr(proof.full_eval, "planned", planned)
    monkeypatch.setattr(proof.full_eval, "main", evaluates)
    return found


def test_parts_run_in_their_order_and_failures_come_last(asked: list[Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\n" for name in proof.TABLES))
    options = Options(
        output=str(tmp_path / "out"), data=str(tmp_path), parts=("words", "core"), docs=str(page)
    )
    with pytest.raises(UserError, match="words: 1 of 4 cells failed"):
        main(options)
    objects, words, core = asked
    numbers = [str(number) for part in PARTS.values() for number in part.objects if number not in REAL]
    assert list(objects[objects.index("--instances") + 1 :]) == list(dict.fromkeys(numbers))
    assert words.output.endswith("/words") and core.output.endswith("/core")
    assert (core.lpips_net, core.train_flags, core.seeds) == ("none", "", (0, 1, 2))
    assert core.reference_iterations == 0
    assert core.scenes == tuple(f"{number:06d}" for number in FAMILIES + INSTANCES)
    text = page.read_text()
    assert text.count("old") == len(proof.TABLES) - 1  # the other tables would have nothing but rows of core
    assert "**Held-out families**, 3 photographs, 8 objects, seeds 0, 1, 2" in text
    assert text.count("(results_views.jpg)") == 1
    assert (tmp_path / "out" / "report.md").read_text().count("Held-out families") == 1


def test_figures_are_kept_and_an_interrupted_measurement_keeps_its_own(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluates = proof.full_eval.main

    def interrupted(options: Any) -> None:
        evaluates(options)
        raise KeyboardInterrupt

    kept = tmp_path / "figures.csv"
    options = Options(str(tmp_path / "out"), parts=("core",), seeds=(0,), kept=str(kept), data=str(tmp_path))
    monkeypatch.setattr(proof.full_eval, "main", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(options)
    found = kept.read_text().splitlines()
    assert len(found) == 1 + len(PARTS["core"].variants) and "007224,3,base,0,20.0," in found[1]
    # elsewhere nothing is left to do but the tables
    asked.clear()
    main(replace(options, output=str(tmp_path / "elsewhere")))
    assert len(asked) == 1 and "--posed" in asked[0]
    assert "1 of 8" in (tmp_path / "elsewhere/report.md").read_text()
    assert kept.read_text().splitlines() == found


def test_the_picture_shows_a_view_inside_and_one_outside_of_each_family(tmp_path: Path) -> None:
    """Renderings of one grey a variant, in the order of the label, beside the white photograph."""
    page = tmp_path / "page.md"
    for place, variant in enumerate(("plain", "base", *proof.MODES)):
        assert proof.pictures(tmp_path, page) == ""
        cell = tmp_path / "core" / "007227" / "3_views" / variant
        for side, grey in (("gt", 255), ("renders", 40 * place)):
            folder = cell / "seed_0" / "test" / "ours_9" / side
            folder.mkdir(parents=True)
            for view in range(4):
                Image.new("L", (64, 64), grey).save(folder / f"{view:05d}.png")
        scores = {"ours_9": {"PSNR": {f"{view:05d}.png": 20.0 for view in range(4)}}}
        (cell / "seed_0" / "per_view.json").write_text(json.dumps(scores))
    assert "(results_views.jpg)" in proof.pictures(tmp_path, page)
    with Image.open(tmp_path / "results_views.jpg") as sheet:
        assert sheet.size == (6 * 64, 2 * (64 + 20))
        middles = [sheet.convert("L").getpixel((column * 64 + 32, 52)) for column in range(6)]
    assert middles == pytest.approx([255, 0, 40, 80, 120, 160], abs=4)


def test_real_scenes_are_measured_where_they_are_there(asked: list[Any], tmp_path: Path) -> None:
    options = Options(output=str(tmp_path / "out"), data=str(tmp_path / "data"))
    with pytest.raises(UserError, match="words: 1 of 4 cells failed"):
        main(options)
    everywhere = ["core", "gate", "words", "views", "long"]
    assert [Path(each.output).name for each in asked[1:]] == everywhere
    for name in REAL:
        (tmp_path / "data" / name).mkdir(parents=True)
    asked.clear()
    with pytest.raises(UserError, match="words: 1 of 4 cells failed"):
        main(replace(options, output=str(tmp_path / "again")))
    assert [Path(each.output).name for each in asked[1:]] == [*everywhere, "real"]
    real = asked[-1]
    assert (real.protocol, real.data, real.scenes) == ("every8", str(tmp_path / "data"), tuple(REAL))
    assert real.train_flags == "-r 4"
    variants = read_variants(tmp_path / "again" / "variants.toml")
    assert "a green fern" in variants.words_of("real_sds", "fern")


def test_real_scenes_asked_for_by_name_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "call", lambda *words: None)
    with pytest.raises(UserError, match=r"fern"):
        main(Options(output=str(tmp_path), data=str(tmp_path / "none"), parts=("real",)))


def test_quick_and_plan_only(asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(Options(output=str(tmp_path), data=str(tmp_path), quick=True, plan_only=True, seeds=(7,)))
    (objects,) = asked
    assert objects[-2:] == ("7227", "7000") and "64" in objects
    assert "core: 5 cells, 0 done" in capsys.readouterr().out
    with pytest.raises(UserError, match="--parts long: --quick has core, words"):
        main(Options(output=str(tmp_path), quick=True, parts=("long",)))


def test_the_page_has_a_place_for_every_table() -> None:
    page = (VARIANTS.parents[1] / "docs" / "results.md").read_text()
    for block in proof.TABLES:
        assert page.count(f"<!-- {block}: begin -->\n") == page.count(f"<!-- {block}: end -->") == 1
