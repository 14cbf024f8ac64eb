"""Parts of the runner: shipped variants, estimates, memory, tables, average error, failing programs."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.cells import Cell, average_error, call
from protocols.report import latex_table, tables
from protocols.reproduce import same_number
from protocols.schedule import estimated_memory, estimated_seconds, run_cells, shown_time
from protocols.variants import DEFAULT, read_variants
from training.options import Options as TrainOptions
from utils.errors import UserError
from utils.options import parse

CELL = Cell(
    protocol="llff",
    scene="fern",
    views=3,
    variant="plain",
    seed=0,
    source="fern",
    flags=(),
    split=None,
    random_start=False,
    metrics_flags=(),
    iterations=1000,
    guided=False,
    pixels=10_000,
)


def record(
    cell: Cell, psnr: float, seconds: float = 10.0, mib: int = 1000, lpips: float | None = 0.1
) -> dict:
    """What of a record the tables and estimates read."""
    training = {"seconds": seconds, "peak_memory_mib": {"host": mib}, "gaussians": 100}
    return {
        "cell": {"scene": cell.scene, "views": cell.views, "iterations": cell.iterations},
        "scores": {"PSNR": psnr, "SSIM": 0.9, "LPIPS": lpips, "average_error": 0.1},
        "process_seconds": seconds,
        "training": {**training, "iterations_in_this_process": cell.iterations},
        "conventions": {"LPIPS": None},
        "settings": {"scene": {"points": "points"}},
    }


def test_what_only_estimates_read_makes_no_other_cell() -> None:
    assert replace(CELL, pixels=7, iterations=8, guided=True) == CELL != replace(CELL, flags=("-w",))


def test_train_takes_every_shipped_variant() -> None:
    said = {"model": "small", "user": "a fern", "inpainting_model": "folder", "conditioning": "file.json"}
    variants = read_variants(DEFAULT, [f"{name}={text}" for name, text in said.items()])
    assert {"plain_7k", "plain_30k", "sds", "ism", "targets", "rectified"} <= set(variants.flags)
    for name in variants.flags:
        options = parse(TrainOptions, ["-s", "scene", *variants.words_of(name, "fern")])
        options.check()
        assert options.iterations == (30_000 if name == "plain_30k" else 7000)
        assert options.preset == ("reference" if name.startswith(("plain", "dense")) else "few_views")
        assert (options.guidance.lambda_sds == 0) == name.startswith(("plain", "dense", "base"))
        assert options.guidance.guidance_gate == (
            "off" if options.guidance.lambda_sds and not name.endswith("_gate") else "auto"
        )
    prompts = {
        name: parse(TrainOptions, variants.words_of(name, "fern")).guidance.prompt
        for name in ("sds", "sds_no_prompt", "sds_wrong")
    }
    assert (prompts["sds"], prompts["sds_no_prompt"]) == ("a fern", "")
    assert len(set(prompts.values())) == 3


def test_words_of_a_scene_go_before_general_ones_and_flags_before_both(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text('[variants]\na = "--prompt {user}"\n[words]\nuser = "x"\n[words.fern]\nuser = "y z"\n')
    variants = read_variants(path)
    assert variants.words_of("a", "fern") == ["--prompt", "y z"]
    assert variants.words_of("a", "fox") == ["--prompt", "x"]
    assert read_variants(path, ["user=w"]).words_of("a", "fern") == ["--prompt", "w"]


def test_a_variant_may_stand_on_others(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(
        '[variants]\na = "--seed 1"\nb = "{a} --prompt {user}"\nc = "{b} --seed 2"\nd = "{e}"\ne = "{d} -w"\n'
    )
    variants = read_variants(path, ["user={a}"])  # a word's own braces stay
    assert variants.words_of("c", "fern") == ["--seed", "1", "--prompt", "{a}", "--seed", "2"]
    with pytest.raises(UserError, match="variant e names itself; write its flags out"):
        variants.words_of("e", "fern")
    with pytest.raises(UserError, match=r"variant c wants \{user\}, which is not said"):
        read_variants(path).words_of("c", "fern")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("[variants", "needs TOML"),
        ("[variants]\n", "names of variants"),
        ('[variants]\n"../a" = "b"', "names of variants"),
        ("[variants]\na = 3", "every entry is a text"),
        ('[variants]\na = "--prompt \'b"', "No closing quotation"),
    ],
)
def test_a_wrong_file_of_variants_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "variants.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_variants(path).words_of("a", "fern")


def test_words_need_a_name() -> None:
    with pytest.raises(UserError, match="--words a fern: allowed is NAME=TEXT"):
        read_variants(DEFAULT, ["a fern"])


def test_average_error_is_regnerfs() -> None:
    """20 dB: MSE 0.01; SSIM 0.91: 0.3; LPIPS 0.009: the product is 0.000027."""
    assert average_error(20, 0.91, 0.009) == pytest.approx(0.03)
    assert average_error(float("inf"), 1.0, 0.0) == 0
    assert average_error(20, 0.91, None) is None


def test_time_is_estimated_by_the_cells_most_like_it() -> None:
    guided = replace(CELL, variant="sds", guided=True)
    assert estimated_seconds(guided, {}) > estimated_seconds(CELL, {})
    other = replace(CELL, variant="other", iterations=500)
    records = {other: record(other, 20, seconds=5)}  # a second for 1e6 pixels and iterations
    assert estimated_seconds(replace(CELL, pixels=40_000), records) == pytest.approx(40)
    assert estimated_seconds(guided, records) == estimated_seconds(guided, {})
    records[CELL] = record(CELL, 20, seconds=30)
    assert estimated_seconds(replace(CELL, seed=1, iterations=2000), records) == pytest.approx(60)
    records[CELL]["training"]["iterations_in_this_process"] = 10  # it was resumed: its time says nothing
    assert estimated_seconds(CELL, records) == pytest.approx(10)
    assert [shown_time(each) for each in (90, 600, 9000)] == ["90 s", "10 min", "2.5 h"]


def test_memory_is_estimated_by_the_hungriest_cell_most_like_it() -> None:
    fox = replace(CELL, scene="fox")
    records = {CELL: record(CELL, 20, mib=1000), replace(CELL, seed=1): record(CELL, 20, mib=2000)}
    assert estimated_memory(replace(CELL, seed=2), records) == pytest.approx(2000 * 2**20 / 1e9)
    assert estimated_memory(fox, records) == estimated_memory(CELL, records)
    records[fox] = record(fox, 20, mib=500)
    assert estimated_memory(fox, records) == pytest.approx(500 * 2**20 / 1e9)


@pytest.mark.parametrize(("jobs", "memory", "most"), [(1, 9.0, 1), (3, 9.0, 3), (3, 5.0, 2), (3, 1.0, 1)])
def test_cells_run_together_within_the_memory(jobs: int, memory: float, most: int) -> None:
    running, peak, changed = 0, 0, threading.Condition()

    def run(cell: Cell) -> dict:
        nonlocal running, peak
        with changed:
            running += 1
            peak = max(peak, running)
            changed.notify_all()
            assert changed.wait_for(lambda: peak >= most, timeout=30)
        time.sleep(0.02)  # time for one too many to start
        with changed:
            running -= 1
        if cell.seed == 2:
            raise UserError("this one fails")
        return {"seed": cell.seed}

    done: dict[int, object] = {}
    cells = [replace(CELL, seed=seed) for seed in range(7)]
    run_cells(
        cells,
        run,
        lambda cell, result: done.update({cell.seed: result}),
        jobs=jobs,
        memory=memory,
        need=lambda cell: 2.0,
    )
    assert peak == most
    assert isinstance(done.pop(2), UserError)
    assert done == {seed: {"seed": seed} for seed in range(7) if seed != 2}


def test_tables_are_means_over_scenes_then_over_seeds_and_differences_of_pairs() -> None:
    """Plain: fern 20, 21 and fox 30, 33; b: one dB and three dB more, fox of seed 1 is missing."""
    planned, records = [], {}
    values = {"plain": {("fern", 0): 20, ("fern", 1): 21, ("fox", 0): 30, ("fox", 1): 33}}
    values["b"] = {("fern", 0): 21, ("fern", 1): 24, ("fox", 0): 31}
    for variant in ("plain", "b"):
        for scene in ("fern", "fox"):
            for seed in (0, 1):
                cell = replace(CELL, variant=variant, scene=scene, seed=seed)
                planned.append(cell)
                if (scene, seed) in values[variant]:
                    records[cell] = record(cell, values[variant][scene, seed])
    (_, header, rows), (title, by_scene, scene_rows) = tables(planned, records, "plain")
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert found[0]["PSNR"] == "26.00 +- 1.41"  # of 25 and 27
    assert found[0]["PSNR less plain's"] == "-" and found[0]["cells"] == "4 of 4"
    # of seed 0, which has both scenes; the fern alone would make a spread of scenes
    assert (found[1]["PSNR"], found[1]["PSNR less plain's"]) == ("26.00", "+1.00")
    assert found[1]["cells"] == "3 of 4"
    assert by_scene == ["variant", "fern", "fox"] and "PSNR of each scene" in title
    assert scene_rows == [["plain", "20.50 +- 0.71", "31.50 +- 2.12"], ["b", "22.50 +- 2.12", "31.00"]]


def test_a_score_that_is_not_known_for_all_has_no_mean() -> None:
    other = replace(CELL, seed=1)
    records = {CELL: record(CELL, 20), other: record(other, 21, lpips=None)}
    ((_, header, rows),) = tables([CELL, other], records, "plain")
    assert dict(zip(header, rows[0], strict=True))["LPIPS"] == "-"


def test_the_time_of_a_resumed_training_is_not_known() -> None:
    other = replace(CELL, seed=1)
    records = {CELL: record(CELL, 20, seconds=10), other: record(other, 21, seconds=30)}
    records[CELL]["training"]["gate"] = {"seconds": 2.0}
    ((_, header, rows),) = tables([CELL, other], records, "plain")
    assert dict(zip(header, rows[0], strict=True))["seconds"] == "21"
    records[other]["training"]["iterations_in_this_process"] = 5
    ((_, header, rows),) = tables([CELL, other], records, "plain")
    assert dict(zip(header, rows[0], strict=True))["seconds"] == "12"


def test_latex_is_escaped() -> None:
    text = latex_table(["a_b", "100 %"], [["x & y", "1.0 +- 0.1"]])
    assert text == (
        "\\begin{tabular}{lr}\na\\_b & 100 \\% \\\\\n\\hline\nx \\& y & 1.0 $\\pm$ 0.1 \\\\\n\\end{tabular}\n"
    )


def test_numbers_of_a_table_are_the_same_to_half_of_the_last_decimal() -> None:
    assert same_number(20.123, 20.127, 2) and not same_number(20.12, 20.126, 2)
    assert same_number(None, None, 3) and not same_number(None, 0.1, 3)
    assert same_number(float("inf"), float("inf"), 2)


def test_a_programs_own_message_is_quoted_in_full(tmp_path: Path) -> None:
    """Lines before it are left out, those of the message itself are not."""
    program = tmp_path / "fails.py"
    program.write_text("import sys\nprint('much else')\nsys.exit('error: other settings:\\n  --seed')\n")
    with pytest.raises(UserError, match="exit code 1: other settings:\n  --seed \\(all of it is in"):
        call(str(program), [], tmp_path / "cell.log", None)


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    with pytest.raises(UserError, match=r"nowhere\.py failed with exit code 2: .*(No such file|open file)"):
        call("nowhere.py", ["-m", "model"], log, {"torch": 1, "numba": 1})
    assert "nowhere.py" in log.read_text()
