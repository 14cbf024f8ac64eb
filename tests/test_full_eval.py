"""full_eval.py: cells run once, resumed, failing, tabulated in pairs, and run again for comparison."""

import json
import os
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import full_eval
import metrics
import render
import train
from full_eval import Options, main, planned
from protocols import cells, visibility
from protocols.cells import cell_from_plain
from tests.programs import run_program
from tests.small_scene import HEIGHT, WIDTH
from utils.errors import UserError
from utils.options import parse

PROGRAMS = {"train.py": train, "render.py": render, "metrics.py": metrics}
VARIANTS = """[variants]
plain = "--iterations 30 --lambda_sds 0"
brief = "--iterations 10 --lambda_sds 0"
guided = "--guidance_model small --prompt {user}"
"""


def in_this_process(program: str, words, log: Path, threads) -> None:
    """What `cells.call` does, without the seconds of a new process."""
    torch.set_num_threads(1)  # each thread has its own number, and cells run in threads
    PROGRAMS[program].main(parse(PROGRAMS[program].Options, [str(word) for word in words]))


def nothing_runs(*_: object) -> None:
    raise AssertionError("this cell was done")


@pytest.fixture
def options(small_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Two variants, two seeds, three photographs of the small scene."""
    monkeypatch.setattr(cells, "call", in_this_process)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return Options(
        scenes=(str(small_scene),),
        data=str(tmp_path),
        views=(3,),
        variants=("plain", "brief"),
        variants_file=str(tmp_path / "variants.toml"),
        seeds=(0, 1),
        lpips_net="none",
        reference_iterations=0,
        device="cpu",
        output=str(tmp_path / "eval"),
    )


def test_cells_run_once_and_come_out_again(options: Options, tmp_path: Path, monkeypatch, capsys) -> None:
    main(options)
    said = capsys.readouterr().out
    assert said.startswith("4 cells, 0 of them done; the rest takes about ")
    assert "3 to go, about" in said
    results = tmp_path / "eval" / "results.json"
    records = json.loads(results.read_text())["records"]
    names = [cell_from_plain(record["cell"]).name for record in records]
    folder = f"{Path(options.scenes[0]).name}/3_views"
    pairs = [("plain", 0), ("brief", 0), ("plain", 1), ("brief", 1)]
    assert names == [f"{folder}/{variant}/seed_{seed}" for variant, seed in pairs]
    psnr = {}
    for record, name, key in zip(records, names, pairs, strict=True):
        model = tmp_path / "eval" / name
        assert json.loads(model.with_suffix(".json").read_text()) == record
        (scores,) = json.loads((model / "results.json").read_text()).values()
        assert {metric: record["scores"][metric] for metric in scores} == scores
        psnr[key] = scores["PSNR"]
        assert record["settings"]["options"]["seed"] == key[1]
        assert record["settings"]["versions"]["torch"] and record["training"]["peak_memory_mib"]["host"]
        assert len(record["settings"]["scene"]["train_photographs"]) == 3
        assert not list(model.glob("chkpnt*.pth"))
    assert len(set(psnr.values())) == 4

    rows = [line.split("|") for line in (tmp_path / "eval" / "tables.md").read_text().splitlines()]
    plain, brief = (
        [cell.strip() for cell in row[1:-1]] for row in rows if len(row) > 2 and "2 of 2" in row[-2]
    )
    means = {name: [psnr[name, seed] for seed in (0, 1)] for name in ("plain", "brief")}
    for row, name in ((plain, "plain"), (brief, "brief")):
        assert row[:2] == [name, spread(means[name])]
        assert row[3:5] == ["-", "-"]  # there is no LPIPS
    gains = [less - more for more, less in zip(means["plain"], means["brief"], strict=True)]
    assert [plain[5], brief[5]] == ["-", spread(gains, "+")]
    assert spread(means["plain"]).replace("+-", "$\\pm$") in (tmp_path / "eval" / "tables.tex").read_text()

    monkeypatch.setattr(cells, "call", nothing_runs)
    main(options)
    options.train_flags = "--iterations 31"
    with pytest.raises(UserError, match="was run otherwise"):
        main(options)

    monkeypatch.setattr(cells, "call", in_this_process)
    capsys.readouterr()
    again = Options(from_=str(results), cell=names[1], output=options.output)
    main(again)
    assert "Versions and threads are those of then." in capsys.readouterr().out
    records[1]["scores"]["PSNR"] += 0.01
    records[1]["settings"]["versions"]["torch"] = "1.0"
    results.write_text(json.dumps({"records": records}))
    with pytest.raises(UserError, match=r"PSNR of .*brief/seed_0 did not come out again") as failure:
        main(again)
    assert "torch 1.0, now" in str(failure.value)


def spread(values: list[float], sign: str = "") -> str:
    return f"{statistics.fmean(values):{sign}.2f} +- {statistics.stdev(values):.2f}"


def test_a_failing_cell_is_named_and_the_others_go_on(options: Options, tmp_path: Path, monkeypatch) -> None:
    def fails_once(program: str, words, log: Path, threads) -> None:
        if program == "render.py" and "plain/seed_0" in log.as_posix():
            raise UserError("render.py failed with exit code 2: the disk is full")
        in_this_process(program, words, log, threads)

    monkeypatch.setattr(cells, "call", fails_once)
    options.jobs, options.train_flags = 1, "--iterations 10"
    options.variants = ("plain",)
    with pytest.raises(
        UserError, match=r"1 of 2 cells failed.*\n.*plain/seed_0: render\.py failed.*disk is full"
    ):
        main(options)
    assert "1 of 2" in (tmp_path / "eval" / "tables.md").read_text()

    trained = []

    def recording(program: str, words, log: Path, threads) -> None:
        trained.append((program, list(words)))
        in_this_process(program, words, log, threads)

    monkeypatch.setattr(cells, "call", recording)
    main(options)
    assert [program for program, _ in trained] == ["train.py", "render.py", "metrics.py"]
    assert "--resume" in trained[0][1] and trained[0][1][-9:-7] != ["--seed", "1"]
    assert "2 of 2" in (tmp_path / "eval" / "tables.md").read_text()


def test_a_plan_says_what_is_left_and_runs_nothing(options: Options, monkeypatch, capsys) -> None:
    for module in (cells, visibility):
        monkeypatch.setattr(module, "call", nothing_runs)
    options.plan_only, options.reference_iterations = True, 300
    main(options)
    assert capsys.readouterr().out.startswith("4 cells, 0 of them done; the rest takes about ")
    assert not Path(options.output).exists()


def test_what_cannot_be_used_is_found_before_the_first_cell(options: Options, monkeypatch) -> None:
    monkeypatch.setattr(cells, "call", nothing_runs)
    for changes, message in (
        ({"variants": ("plain", "other")}, "--variants other: .* has plain, brief, guided; name one"),
        ({"variants": ("guided",)}, r"variant guided wants \{user\}, which is not said for the scene small"),
        ({"train_flags": "--lambda_dssim 2"}, "--lambda_dssim 2"),
        ({"views": (99,)}, "--n_views 99: there are 9 training photographs"),
        ({"baseline": "other"}, "--baseline other: allowed is one of plain, brief"),
        ({"jobs": 0}, "--jobs 0"),
        ({"lpips_weights": "nowhere.pth"}, r"--lpips_weights nowhere\.pth: there is no such file"),
        ({"seeds": ()}, "--seeds"),
        ({"cell": "a"}, "--cell names a cell of --from"),
        ({"from_": "nowhere.json"}, r"--from nowhere\.json cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            main(Options(**{**vars(options), **changes}))


def test_words_reach_the_prompt(options: Options) -> None:
    options.variants, options.words = ("guided",), ('user=a "red" ball',)
    options.train_flags = "--negative_prompt ''"
    (cell, _) = planned(options)
    assert cell.guided and cell.iterations == 7000  # of --preset few_views
    assert cell.flags[-4:] == ("--prompt", 'a "red" ball', "--negative_prompt", "")
    chosen = full_eval.checked(cell.flags, Path(cell.source)).guidance
    assert (chosen.prompt, chosen.negative_prompt) == ('a "red" ball', "")


def test_a_size_that_is_asked_for_counts_in_the_estimate(options: Options) -> None:
    whole = planned(options)
    options.train_flags += " -r 2"
    assert [4 * cell.pixels for cell in planned(options)] == [cell.pixels for cell in whole]


def test_the_command_line_takes_from_and_flags_in_one_text() -> None:
    words = ["--from", "results.json", "--cell", "a/3_views/b/seed_0", "--train_flags=--iterations 5"]
    options = parse(Options, words)
    assert (options.from_, options.train_flags) == ("results.json", "--iterations 5")


def test_of_several_records_one_is_to_be_named(options: Options, tmp_path: Path) -> None:
    options.train_flags, options.variants, options.seeds = "--iterations 2", ("plain",), (0,)
    main(options)
    record = next((tmp_path / "eval").rglob("seed_0.json"))
    main(Options(from_=str(record), output=options.output))
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    with pytest.raises(UserError, match=r"--cell other: .* has .*/plain/seed_0; name one"):
        main(Options(from_=str(tmp_path / "eval" / "results.json"), cell="other", output=options.output))
    results["records"][0]["cell"].pop("flags")
    record.write_text(json.dumps(results))
    with pytest.raises(UserError, match="no record of full_eval"):
        main(Options(from_=str(record), output=options.output))
    with pytest.raises(UserError, match="is no record of full_eval"):
        main(options)


@pytest.mark.slow
def test_the_program_as_a_user_runs_it(small_scene: Path, tmp_path: Path) -> None:
    """Two cells at a time in processes of their own; one fails, the other's record is there."""
    (tmp_path / "variants.toml").write_text(
        '[variants]\nplain = "--iterations 5 --lambda_sds 0"\n'
        'broken = "--iterations 5 --lambda_sds 0 --init_ply /nowhere/points.ply"\n'
    )
    flags = ["--scenes", small_scene, "--views", 3, "--seeds", 0, "--variants", "plain", "broken"]
    flags += ["--variants_file", tmp_path / "variants.toml", "--lpips_net", "none", "--device", "cpu"]
    flags += ["--reference_iterations", 0]
    result = run_program("full_eval.py", *flags, "--jobs", 2, "--output", tmp_path / "eval")
    assert result.returncode == 2
    assert "1 of 2 cells failed" in result.stderr and "/nowhere/points.ply" in result.stderr
    folder = tmp_path / "eval" / small_scene.name / "3_views"
    assert "/nowhere/points.ply" in (folder / "broken" / "seed_0.log").read_text()
    assert not (folder / "broken" / "seed_0.json").exists()
    each = max((os.cpu_count() or 1) // 2, 1)
    record = json.loads((folder / "plain" / "seed_0.json").read_text())
    assert record["settings"]["threads"] == {"torch": each, "numba": each}
    assert "| plain" in result.stdout and "1 of 1" in result.stdout and "0 of 1" in result.stdout


def test_scores_by_visibility_come_from_one_model_of_all_photographs(
    options: Options, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Records of before get them too, without a training of their own; a failing model is said once."""
    options.train_flags, options.seeds = "--iterations 3", (0,)
    main(options)
    scene = tmp_path / "eval" / Path(options.scenes[0]).name
    assert "seen by" not in (tmp_path / "eval" / "tables.md").read_text()

    def fails(*_: object) -> None:
        raise UserError("train.py failed with exit code 2: the disk is full")

    options.reference_iterations = 20
    monkeypatch.setattr(cells, "call", fails)
    monkeypatch.setattr(visibility, "call", fails)
    capsys.readouterr()
    main(options)
    assert capsys.readouterr().out.count("no scores by visibility: train.py failed") == 1

    trained = []

    def recording(program: str, words, log: Path, threads) -> None:
        trained.append((program, words[words.index("-m") + 1]))
        in_this_process(program, words, log, threads)

    monkeypatch.setattr(visibility, "call", recording)
    main(options)
    assert trained == [("train.py", str(scene / "reference_20"))]
    settings = json.loads((scene / "reference_20" / "settings.json").read_text())
    assert len(settings["scene"]["train_photographs"]) == 9 + 2 and not settings["scene"]["test_photographs"]
    maps = [np.asarray(Image.open(path)) for path in sorted((scene / "3_views/seen_20").iterdir())]
    assert [count.shape for count in maps] == [(HEIGHT, WIDTH)] * 2
    assert {0, 1, 2, 3, 255} >= set(np.unique(maps)) > {3, 255}
    shares = []
    for variant in options.variants:
        found = json.loads((scene / f"3_views/{variant}/seed_0.json").read_text())["visibility"]
        assert found["iterations"] == 20 and found["several"]["PSNR"] > 0
        shares.append([found[name]["share"] for name in visibility.CLASSES])
    assert shares[0] == shares[1]
    counts = [np.mean([(count == number).mean() for count in maps]) for number in (0, 1)]
    assert shares[0][:2] == pytest.approx(counts)
    for file in ("tables.md", "tables.tex", "report.html"):
        assert "seen by several" in (tmp_path / "eval" / file).read_text()

    monkeypatch.setattr(visibility, "call", nothing_runs)
    main(options)
