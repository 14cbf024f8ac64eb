"""metrics.py on small folders of images: files of the reference's form, the table, and every mistake once."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from metrics import Options, main
from train import Options as TrainOptions
from utils.errors import UserError
from utils.image_metrics import load_lpips, psnr, ssim
from utils.images import image_tensor
from utils.options import parse, save_settings

PROGRAM = Path(__file__).resolve().parents[1] / "metrics.py"


def write_images(folder: Path, count: int, noise: float, seed: int = 0, suffix: str = ".png") -> None:
    """`count` pictures, the same for the same seed but for noise of that many grey levels."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        pixels = generator.integers(40, 200, (40, 56, 3)) + generator.normal(0, 1, (40, 56, 3)) * noise
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{index:05d}{suffix}")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with two methods of three test views."""
    for method, noise in (("ours_7000", 20), ("ours_30000", 10)):
        write_images(tmp_path / "model/test" / method / "renders", 3, noise)
        write_images(tmp_path / "model/test" / method / "gt", 3, 0)
    return tmp_path / "model"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_files_have_the_references_form_and_the_right_values(model, tmp_path):
    weights = tmp_path / "squeeze.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    main(Options(model_paths=(str(model),), lpips_net="squeeze", lpips_weights=str(weights)))

    results, views = read(model / "results.json"), read(model / "per_view.json")
    assert list(results) == list(views) == ["ours_7000", "ours_30000"]
    lpips = load_lpips("squeeze", "reference", weights)
    for method, means in results.items():
        assert list(means) == list(views[method]) == ["SSIM", "PSNR", "LPIPS"]
        pairs = [
            [
                image_tensor(np.asarray(Image.open(model / "test" / method / side / f"{index:05d}.png")))
                for side in ("renders", "gt")
            ]
            for index in range(3)
        ]
        for name, metric in {"SSIM": ssim, "PSNR": psnr, "LPIPS": lpips}.items():
            expected = [metric(*pair) for pair in pairs]
            assert list(views[method][name]) == ["00000.png", "00001.png", "00002.png"]
            assert list(views[method][name].values()) == expected
            assert means[name] == pytest.approx(np.mean(expected))
    assert (model / "results.json").read_text().startswith('{\n "ours_7000": {\n  "SSIM": ')
    conventions = read(model / "metrics_conventions.json")
    assert conventions["LPIPS"] == {"version": "0.1", "net": "squeeze", "input_range": "[0, 1] (reference)"}


def test_the_conventions_say_what_the_model_rests_on(model):
    points = "120 SfM points seen in at least two of the 3 training photographs"
    scene = {"points": points, "train_photographs": ["a", "b", "c"], "test_photographs": ["d"]}
    save_settings(model, TrainOptions(), scene=scene)
    main(Options(model_paths=(str(model),), lpips_net="none"))
    conventions = read(model / "metrics_conventions.json")
    assert conventions["points"] == points
    assert (conventions["train_photographs"], conventions["test_photographs"]) == (3, 1)


def test_models_and_another_tools_images_stand_in_one_table(model, tmp_path, capsys):
    second = tmp_path / "second"
    shutil.copytree(model, second)
    # The same pictures of another tool: other endings, no common folder.
    write_images(tmp_path / "theirs", 3, 10, suffix=".bmp")
    table_file = tmp_path / "tables" / "table.md"
    main(
        Options(
            model_paths=(str(model), str(second)),
            renders=str(tmp_path / "theirs"),
            gt=str(model / "test/ours_30000/gt"),
            name="another tool",
            output=str(table_file),
            lpips_net="none",
        )
    )
    printed = capsys.readouterr().out
    assert printed == table_file.read_text()
    header, rule, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines())
    assert header == ["model", "PSNR", "SSIM", "LPIPS", "views"]
    assert set("".join(rule)) == {"-", ":"}
    labels = [f"{path} {method}" for path in (model, second) for method in ("ours_7000", "ours_30000")]
    assert [row[0] for row in rows] == [*labels, "another tool"]
    assert rows[1][1:] == rows[3][1:] == rows[4][1:]
    assert rows[0][1:] != rows[1][1:]
    results = read(model / "results.json")["ours_30000"]
    assert rows[1][1:] == [f"{results['PSNR']:.2f}", f"{results['SSIM']:.4f}", "-", "3"]


def test_without_weights_the_other_columns_are_still_there(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    main(Options(model_paths=(str(model),)))
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if "no LPIPS" in line and "--lpips_weights" in line]
    scores = read(model / "per_view.json")["ours_7000"]
    assert scores["LPIPS"] == dict.fromkeys(scores["PSNR"])
    results = read(model / "results.json")["ours_7000"]
    assert results["LPIPS"] is None
    assert results["PSNR"] > 10
    conventions = read(model / "metrics_conventions.json")
    assert conventions["LPIPS"] is None
    assert "--lpips_weights" in conventions["LPIPS_left_out"]


def test_equal_images_have_infinite_psnr(model):
    gt = str(model / "test/ours_7000/gt")
    shutil.rmtree(model / "test/ours_7000/renders")
    shutil.copytree(gt, model / "test/ours_7000/renders")
    main(Options(model_paths=(str(model),), lpips_net="none"))
    assert read(model / "results.json")["ours_7000"]["PSNR"] == math.inf


def test_alpha_is_dropped_as_in_the_reference(model):
    main(Options(model_paths=(str(model),), lpips_net="none"))
    before = read(model / "per_view.json")
    for path in model.glob("test/*/renders/*.png"):
        image = Image.open(path).convert("RGBA")
        image.putalpha(7)
        image.save(path)
    main(Options(model_paths=(str(model),), lpips_net="none"))
    assert read(model / "per_view.json") == before


def add_masks(method: Path, black: list[str]) -> None:
    """A mask for each of three views: white, or all black where the name says so."""
    (method / "masks").mkdir()
    for name in ("00000.png", "00001.png", "00002.png"):
        Image.new("L", (56, 40), 0 if name in black else 255).save(method / "masks" / name)


def test_a_view_without_a_pixel_that_counts_is_left_out_and_named(model, capsys):
    add_masks(model / "test/ours_7000", black=["00001.png"])
    main(Options(model_paths=(str(model),), lpips_net="none"))
    warning = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warning) == 1 and "ours_7000/masks/00001.png" in warning[0]
    means, views = (read(model / name)["ours_7000"] for name in ("results.json", "per_view.json"))
    for metric in ("PSNR", "SSIM"):
        assert list(views[metric]) == ["00000.png", "00002.png"]
        assert means[metric] == pytest.approx(np.mean(list(views[metric].values())))


def break_masks(model: Path) -> None:
    add_masks(model / "test/ours_7000", black=["00000.png", "00001.png", "00002.png"])


def break_nothing_rendered(model: Path) -> None:
    shutil.rmtree(model / "test")


def break_pair(model: Path) -> None:
    (model / "test/ours_7000/gt/00001.png").unlink()


def break_size(model: Path) -> None:
    path = model / "test/ours_7000/renders/00002.png"
    Image.open(path).resize((55, 40)).save(path)


def break_image(model: Path) -> None:
    path = model / "test/ours_7000/renders/00002.png"
    path.write_bytes(path.read_bytes()[:300])


def break_text(model: Path) -> None:
    (model / "test/ours_7000/gt/00000.png").write_text("not an image")


def break_depth(model: Path) -> None:
    path = model / "test/ours_7000/gt/00000.png"
    Image.fromarray(np.zeros((40, 56), np.uint16)).save(path)


def break_empty(model: Path) -> None:
    for path in model.glob("test/*/*/*.png"):
        path.unlink()


def break_folder(model: Path) -> None:
    shutil.rmtree(model)


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (break_folder, "does not exist"),
        (break_nothing_rendered, "python render.py -m"),
        (break_pair, "lacks 1 of 3 images: 00001"),
        (break_size, "55 x 40"),
        (break_image, "00002.png cannot be read"),
        (break_text, "00000.png cannot be read"),
        (break_depth, "more than 8 bits"),
        (break_empty, "test set is empty"),
        (break_masks, "masks of all 3 views of ours_7000 are black"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(model, breaking, words):
    breaking(model)
    with pytest.raises(UserError, match=words):
        main(Options(model_paths=(str(model),), lpips_net="none"))
    assert not list(model.glob("*.json"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(), "nothing to score"),
        (Options(renders="somewhere"), "go together"),
        (Options(model_paths=("model",), name="theirs"), "--renders"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        main(options)


def test_two_files_of_one_name_are_refused(tmp_path):
    write_images(tmp_path / "theirs", 1, 0)
    write_images(tmp_path / "gt", 1, 0)
    Image.open(tmp_path / "gt/00000.png").save(tmp_path / "gt/00000.jpg")
    with pytest.raises(UserError, match="one name"):
        main(Options(renders=str(tmp_path / "theirs"), gt=str(tmp_path / "gt"), lpips_net="none"))


def test_the_command_line_is_the_references():
    options = parse(Options, ["-m", "output/a", "output/b", "--lpips_net", "alex"])
    assert options.model_paths == ("output/a", "output/b")
    assert parse(Options, ["--model_paths", "one"]).model_paths == ("one",)
    assert (options.lpips_net, options.lpips_range) == ("alex", "reference")


def test_the_program_ends_with_code_2_and_no_trace_back(tmp_path):
    command = [sys.executable, str(PROGRAM), "-m", str(tmp_path / "nothing")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: model folder")
    assert "Traceback" not in ended.stderr
