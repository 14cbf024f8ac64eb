"""Prompts ranked by CLIP: order and spread, the command on folders and scenes, and its mistakes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sds_guidance.prompt_scores import PromptScoreOptions, main, ranking
from tests.programs import ROOT
from utils.errors import UserError
from utils.options import parse


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures, one of them in a folder below, and a text."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "more/c.png"):
        pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def run(*words) -> None:
    main(parse(PromptScoreOptions, [str(word) for word in words]))


def table(text: str) -> list[tuple[float, float, str]]:
    """Mean, spread and prompt of the rows of what was printed."""
    rows = []
    for number, line in enumerate(text.splitlines()[1:], start=1):
        place, mean, _, spread, prompt = line.split(maxsplit=4)
        assert int(place) == number
        rows.append((float(mean), float(spread), prompt))
    return rows


def test_the_best_mean_comes_first_and_equal_prompts_stay_in_order():
    cosines = torch.tensor([[0.1, 0.3, 0.1, 0.2], [0.3, 0.5, 0.3, 0.2]])
    scores = ranking(["one", "two", "three", "four"], cosines)
    assert [score.prompt for score in scores] == ["two", "one", "three", "four"]
    assert [score.mean for score in scores] == pytest.approx([0.4, 0.2, 0.2, 0.2])
    assert [score.spread for score in scores] == pytest.approx([0.1, 0.1, 0.1, 0.0])
    assert ranking(["one"], cosines[:1, :1])[0].spread == 0


def test_a_picture_finds_the_prompt_whose_vector_is_its_own(folder, tiny_clip, capsys, monkeypatch):
    """With the picture's vector as the second text's, that prompt is first and its cosine 1."""

    def texts(self, prompts, warnings):
        image = torch.from_numpy(np.array(Image.open(folder / "a.png"))).permute(2, 0, 1) / 255
        vector = self.of_pictures([image])
        return torch.cat([-vector, vector])

    monkeypatch.setattr("sds_guidance.clip.Clip.of_texts", texts)
    run("--clip_model", tiny_clip, "--images", folder / "a.png", "--prompts", "another", "its own")
    assert table(capsys.readouterr().out) == [(1.0, 0.0, "its own"), (-1.0, 0.0, "another")]


def test_both_kinds_of_model_rank_alike_and_a_file_adds_prompts(folder, tiny_clip, tiny_towers, capsys):
    (folder / "prompts.txt").write_text("a blue car\n\n  fern, in a pot \n", encoding="utf-8-sig")
    words = ("--images", folder, "--prompts", "a red vase", "--prompts_file", folder / "prompts.txt")
    tables = []
    for model in (("--clip_model", tiny_clip), ("--guidance_model", tiny_towers)):
        run(*words, *model)
        printed = capsys.readouterr().out
        assert printed.startswith("3 prompts, 3 pictures: ")
        tables.append(table(printed))
    assert sorted(row[2] for row in tables[0]) == ["a blue car", "a red vase", "fern, in a pot"]
    assert [row[0] for row in tables[0]] == sorted((row[0] for row in tables[0]), reverse=True)
    for one, other in zip(sorted(tables[0]), sorted(tables[1]), strict=True):
        assert one[:2] == pytest.approx(other[:2], abs=3e-3)  # the towers are stored in half precision


@pytest.mark.parametrize(("flags", "count"), [([], 11), (["--eval"], 9), (["--eval", "--n_views", "3"], 3)])
def test_of_a_scene_the_photographs_that_train_are_scored(small_scene, tiny_clip, capsys, flags, count):
    run("-s", small_scene, "--clip_model", tiny_clip, "--prompts", "some balls", *flags)
    assert f"1 prompts, {count} pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "PICTURES"], "--prompts"),
        (["--images", "PICTURES", "--prompts", "a", " "], r"--prompts \(empty\): allowed is a text in every"),
        (["--prompts", "a"], "--images FOLDER .* or --source_path SCENE"),
        (["--images", "nowhere", "--prompts", "a"], "--images nowhere is no file or folder"),
        (["--images", "EMPTY", "--prompts", "a"], "holds no pictures; looked for .bmp"),
        (["--images", "DAMAGED", "--prompts", "a"], "DAMAGED.png cannot be read as a picture"),
        (["--images", "PICTURES", "--prompts_file", "nowhere"], "--prompts_file nowhere cannot be read"),
        (["--images", "PICTURES", "--prompts_file", "BLANK"], "has no prompt; write one a line"),
        (["--images", "PICTURES", "--prompts", "a", "--eval"], "--eval and --n_views choose among"),
        (["-s", "PICTURES", "--images", "a", "b", "--prompts", "a"], "leave one of the two out"),
        (["-s", "PICTURES", "--prompts", "a"], "is no dataset"),
        (["--images", "DEEP", "--prompts", "a"], "--intensity_window LOW HIGH"),
        (["--images", "DEEP", "--prompts", "a", "--intensity_window", "9", "1"], "allowed is LOW below HIGH"),
        (["--images", "PICTURES", "--prompts", "a", "--clip_model", "nowhere"], "--clip_model nowhere: not"),
    ],
)
def test_mistakes_are_one_message(folder, tiny_clip, tmp_path, words, message):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "DAMAGED.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (tmp_path / "BLANK").write_text("\n \n")
    Image.fromarray(np.full((30, 30), 3000, np.uint16)).save(tmp_path / "DEEP.png")
    files = {
        "PICTURES": folder,
        "EMPTY": tmp_path / "EMPTY",
        "DAMAGED": tmp_path / "DAMAGED.png",
        "BLANK": tmp_path / "BLANK",
        "DEEP": tmp_path / "DEEP.png",
    }
    model = [] if "--clip_model" in words else ["--clip_model", tiny_clip]
    with pytest.raises(UserError, match=message):
        run(*(files.get(word, word) for word in words), *model)


def test_one_of_the_two_kinds_of_model_is_needed(folder):
    with pytest.raises(UserError, match="--guidance_model or --clip_model is needed"):
        run("--images", folder, "--prompts", "a")


@pytest.mark.slow
def test_a_mistake_ends_the_program_with_code_2_and_no_trace_back(folder, tiny_model):
    command = [sys.executable, "-m", "sds_guidance.prompt_scores", "--images", str(folder), "--prompts", "a"]
    result = subprocess.run(
        [*command, "--guidance_model", str(tiny_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "--clip_model" in result.stderr and "Traceback" not in result.stderr
