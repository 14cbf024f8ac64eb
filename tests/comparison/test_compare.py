"""compare.py as a program: every mistake is said once, and make demo's commands are understood."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import metrics
import render
import train
from compare import Options
from sds_guidance.options import GuidanceOptions
from tests.comparison.made_up import HEIGHT, WIDTH, Reader, compare, photograph, read, score
from tests.programs import ROOT, run_program
from utils.errors import UserError
from utils.files import write_json
from utils.options import parse
from utils.reference_flags import REFUSED


def break_folder(model: Path) -> None:
    shutil.rmtree(model)


def break_results(model: Path) -> None:
    (model / "results.json").unlink()


def break_json(model: Path) -> None:
    (model / "per_view.json").write_text('{"ours_70": ')


def break_form(model: Path) -> None:
    write_json(model / "per_view.json", {"ours_30": {}})


def break_list(model: Path) -> None:
    write_json(model / "results.json", [1])


def break_names(model: Path) -> None:
    for side in ("renders", "gt"):
        (model / f"test/ours_70/{side}/00002.png").unlink()
    score(model)


def break_sizes(model: Path) -> None:
    for path in model.glob("test/*/*/*.png"):
        Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(path)
    score(model)


def break_photographs(model: Path) -> None:
    for path in model.glob("test/*/*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    score(model)


def break_conventions(model: Path) -> None:
    conventions = read(model / "metrics_conventions.json")
    write_json(model / "metrics_conventions.json", {**conventions, "SSIM": "7 x 7 windows"})


def break_scores(model: Path) -> None:
    path = model / "test/ours_70/renders/00001.png"
    Image.fromarray(photograph(1) // 2).save(path)


def break_renders(model: Path) -> None:
    shutil.rmtree(model / "test")


def break_one_picture(model: Path) -> None:
    for side in ("renders", "gt"):
        (model / f"test/ours_70/{side}/00001.png").unlink()


def break_image(model: Path) -> None:
    (model / "test/ours_70/renders/00001.png").write_text("no picture")


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (break_folder, "guided does not exist; check -m"),
        (break_results, "no results.json in .*run render.py and metrics.py first: python render.py -m"),
        (break_json, "per_view.json is not valid JSON .*python metrics.py -m"),
        (break_form, "do not belong together .*python metrics.py -m"),
        (break_list, "results.json holds no JSON object; run again"),
        (break_names, "different held-out views: 3 and 2, 00002.png in one only"),
        (break_sizes, "00000.png is 56 x 40 pixels in .*, 28 x 20 in .*--resolution"),
        (break_photographs, "00000.png is not the same photograph"),
        (break_conventions, r"computed differently \(SSIM .*python metrics.py -m .*plain .*guided"),
        (break_scores, "00001.png was changed after it was scored"),
        (break_renders, "no pictures in .*python render.py -m"),
        (break_one_picture, "lacks 00001.png"),
        (break_image, "00001.png cannot be read as an image"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_page(models, output, breaking, words):
    breaking(models[1])
    with pytest.raises(UserError, match=words):
        compare(models, output)
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("count", "names", "words"),
    [
        (0, (), "0 model folders given; give one to 6"),
        (7, (), "7 model folders given"),
        (2, ("a",), "1 names for 2 model folders"),
        (1, ("a", "b"), "2 names for 1 model folders"),
        (2, ("a", "a"), "a name of its own, found a, a"),
        (2, (), "a name of its own, found plain, plain"),
    ],
)
def test_names_and_models_have_to_agree(models, output, count, names, words):
    with pytest.raises(UserError, match=words):
        compare([models[0]] * count, output, *names)
    assert not output.parent.exists()


def test_the_program_runs_and_ends_as_the_others_do(models, output):
    flags = ("-m", *models, "--names", "plain", "guided", "--output", output)
    ended = run_program("compare.py", *flags)
    assert ended.returncode == 0, ended.stderr
    assert f"{output}: 2 models, 3 views" in ended.stdout and len(Reader(output).pictures) == 18
    before = output.read_bytes()
    (models[1] / "results.json").unlink()
    ended = run_program("compare.py", *flags)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no results.json") and "Traceback" not in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert output.read_bytes() == before and [path.name for path in output.parent.iterdir()] == ["index.html"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("guided", ["", "output/demo/guided"])
def test_the_commands_of_make_demo_are_understood(guided):
    """With the small prior's weights, and in a checkout without them; whether or not make runs the tests."""
    said = subprocess.run(
        ["make", "-n", "demo", "DEMO_ITERATIONS=40", f"DEMO_GUIDED={guided}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in said.splitlines() if re.match(r"\S+python \S+\.py ", line)]
    *trainings, scores, pages = commands
    runs = [parse(train.Options, words[1:], REFUSED) for words in trainings]
    plain = runs[-1]
    assert (plain.guidance.lambda_sds, plain.iterations) == (0, 40)
    assert [run.guidance.guidance_model for run in runs[:-1]] == (["small"] if guided else [])
    for run in runs[:-1]:
        assert run.guidance.lambda_sds == GuidanceOptions.lambda_sds
        assert (run.model_path, run.guidance) != (plain.model_path, plain.guidance)
        run.model_path, run.guidance = plain.model_path, plain.guidance
        assert plain == run  # nothing else differs
    page = parse(Options, pages[1:])
    assert page.model_paths == parse(metrics.Options, scores[1:]).model_paths
    assert page.model_paths == (plain.model_path, *([guided] if guided else []))
    loop = re.search(r"for model in (.*) ?; do \S+python render\.py (.*) \|\|", said)
    assert loop and tuple(loop[1].split()) == page.model_paths
    assert parse(render.Options, loop[2].replace("$model", guided or "x").split(), render.REFUSED).orbit
    assert page.output in said.splitlines()[-1]
