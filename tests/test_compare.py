"""compare.py on made-up models: the page has the files' figures and pictures; every mistake is said once."""

import base64
import io
import json
import math
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from PIL import Image

import comparison.media
import comparison.page
import metrics
import render
import train
from compare import Options, main
from comparison.gains import gain_sentence, paired_gain, signed
from comparison.media import PICTURE_BYTES, VIDEO_BYTES, View, levels, views_that_fit
from comparison.settings import shown
from scene.dataset import SceneOptions
from sds_guidance.options import GuidanceOptions
from tests.programs import ROOT, run_program
from utils.errors import UserError
from utils.files import write_json
from utils.options import parse, save_settings
from utils.run_folder import save_summary
from utils.video import write_video

WIDTH, HEIGHT = 56, 40
NAMES = ["view_00.jpg", "view_08.jpg", "view_16.jpg"]
PROMPT = "a vase & two <red> apples"


class Reader(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        tags: in order.
        text: all of it.
        tables: rows of cells.
        pictures: by what is said of them, decoded; their size is what the page says.
        videos: their addresses.
        addresses: all that a browser would fetch.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.pictures: dict[str, Image.Image] = {}
        self.videos: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "poster")]
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "td" | "th":
                self.tables[-1][-1].append("")
            case "video":
                self.videos.append(found["src"])
            case "img":
                picture = Image.open(io.BytesIO(decoded(found["src"])))
                assert picture.size == (int(found["width"]), int(found["height"]))
                assert found["alt"] not in self.pictures
                self.pictures[found["alt"]] = picture

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data.strip()

    def row(self, table: int, name: str) -> dict[str, str]:
        """The cells of a named row by the heading of their column."""
        header, *rows = self.tables[table]
        (cells,) = (cells for cells in rows if cells[0] == name)
        return dict(zip(header, cells, strict=True))


RESULTS, SETTINGS, VIEWS, ALL_SETTINGS = range(4)


def decoded(address: str) -> bytes:
    """The bytes of a data address."""
    head, content = address.split(",", 1)
    assert head.startswith("data:") and head.endswith(";base64")
    return base64.b64decode(content, validate=True)


def photograph(index: int) -> np.ndarray:
    """A smooth picture with a little noise, (H, W, 3) uint8."""
    random = np.random.default_rng(index)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = 120 + 60 * np.sin(rows / 9 + index)[..., None] * np.cos(columns[..., None] / (8 + np.arange(3)))
    return np.clip(smooth + random.normal(0, 3, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def write_pictures(model: Path, noise: float, iteration: int = 70) -> None:
    """What render.py leaves: noisy photographs as renderings, and a short orbit."""
    random = np.random.default_rng(round(10 * noise))
    method = model / f"test/ours_{iteration}"
    for side in ("renders", "gt"):
        (method / side).mkdir(parents=True)
    for index in range(len(NAMES)):
        pixels = photograph(index)
        noisy = np.clip(pixels + random.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(method / "gt" / f"{index:05d}.png")
        Image.fromarray(noisy).save(method / "renders" / f"{index:05d}.png")
    write_video(model / f"orbit/ours_{iteration}.mp4", [photograph(index) for index in range(4)])


def write_training(model: Path, lambda_sds: float = 0.0, iteration: int = 70, seed: int = 5) -> None:
    """What train.py leaves, the Gaussians aside."""
    guidance = GuidanceOptions(lambda_sds=lambda_sds, guidance_model="small", prompt=PROMPT)
    scene = SceneOptions(source_path="/home/somebody/still_life", eval=True, n_views=2)
    found = {"points": "120 SfM points", "train_photographs": ["a", "b"], "test_photographs": NAMES}
    made = {"model": "small", "revision": "local-0123"} if lambda_sds else None
    options = train.Options(scene=scene, guidance=guidance, iterations=iteration, seed=seed)
    save_settings(model, options, scene=found, guidance=made)
    save_summary(model, iteration, gaussians=23456, iterations=iteration, seconds=187.4)
    rows = [{"iteration": step} | ({"guidance_loss": 1.0} if lambda_sds else {}) for step in range(1, 8)]
    (model / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_model(model: Path, noise: float, lambda_sds: float = 0.0) -> Path:
    """A model's folder as train.py, render.py and metrics.py leave it."""
    write_pictures(model, noise)
    write_training(model, lambda_sds)
    score(model)
    return model


def score(*models: Path) -> None:
    metrics.main(metrics.Options(model_paths=tuple(map(str, models)), lpips_net="none"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "plain", 20)
    write_model(folder / "guided", 12, lambda_sds=0.2)
    return folder


@pytest.fixture
def models(made: Path, tmp_path: Path) -> list[Path]:
    """An unguided model, and a guided one with less noise, to do with as one likes."""
    shutil.copytree(made, tmp_path / "models")
    return [tmp_path / "models/plain", tmp_path / "models/guided"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "pages" / "index.html"


def compare(models: list[Path], output: Path, *names: str) -> Reader:
    main(Options(tuple(map(str, models)), names, str(output)))
    return Reader(output)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_page_has_the_figures_of_the_files(models, output):
    page = compare(models, output, "plain", "with prior")
    scores = [read(model / "per_view.json")["ours_70"] for model in models]
    for name, model in zip(("plain", "with prior"), models, strict=True):
        means = read(model / "results.json")["ours_70"]
        assert page.row(RESULTS, name) == {
            "Model": name,
            "PSNR, dB": f"{means['PSNR']:.2f}",
            "SSIM": f"{means['SSIM']:.4f}",
            "Gaussians": "23,456",
            "Iterations": "70",
            "Training, s": "187",
        }
    for index, name in enumerate(NAMES):
        psnrs, ssims = ([each[metric][f"{index:05d}.png"] for each in scores] for metric in ("PSNR", "SSIM"))
        row = page.row(VIEWS, name)
        for model, psnr, ssim in zip(("plain", "with prior"), psnrs, ssims, strict=True):
            assert (row[f"{model} PSNR"], row[f"{model} SSIM"]) == (f"{psnr:.2f}", f"{ssim:.4f}")
            assert f"{model} {psnr:.2f} dB, SSIM {ssim:.4f}" in page.text
        assert row["with prior minus plain, dB"] == f"{psnrs[1] - psnrs[0]:+.2f}"
        gain = f"with prior minus plain: {psnrs[1] - psnrs[0]:+.2f} dB, SSIM {ssims[1] - ssims[0]:+.4f}"
        assert f"{name}{gain}" in page.text
    views = [list(each["PSNR"].values()) for each in scores]
    assert gain_sentence("plain", "with prior", paired_gain(*views)) in page.text
    conventions = read(models[0] / "metrics_conventions.json")
    for name in ("PSNR", "SSIM"):
        assert f"{name}: {conventions[name]}." in page.text
    assert "LPIPS was not computed." in page.text


def test_lpips_has_its_column_and_its_convention_where_it_was_computed(models, output):
    for model, value in zip(models, (0.25, 0.125), strict=True):
        for file in ("results.json", "per_view.json", "metrics_conventions.json"):
            content = read(model / file)
            if file == "results.json":
                content["ours_70"]["LPIPS"] = value
            if file == "metrics_conventions.json":
                content["LPIPS"] = {"version": "0.1", "net": "squeeze", "input_range": "[0, 1] (reference)"}
            write_json(model / file, content)
    page = compare(models, output)
    assert [page.row(RESULTS, name)["LPIPS"] for name in ("plain", "guided")] == ["0.2500", "0.1250"]
    assert "LPIPS: version 0.1, squeeze, fed [0, 1] (reference)." in page.text


def test_settings_stand_beside_the_figures(models, output):
    page = compare(models, output)
    for setting, (plain, guided) in {
        "Scene": ("still_life", "still_life"),
        "Photographs to train from": ("2", "2"),
        "Held-out photographs": ("3", "3"),
        "Start points": ("120 SfM points", "120 SfM points"),
        "Iterations": ("70", "70"),
        "Seed": ("5", "5"),
        "Guidance weight (lambda_sds)": ("0 (none)", "0.2 (relative)"),
        "Guidance model": ("-", "small"),
        "Its revision": ("-", "local-0123"),
        "Prompt": ("-", PROMPT),
        "Guidance scale": ("-", "7.5"),
        "Guide every ... steps": ("-", "chosen by timing"),
        "Guided steps": ("-", "7"),
    }.items():
        row = page.row(SETTINGS, setting)
        assert (row["plain"], row["guided"]) == (plain, guided), setting
    assert page.row(ALL_SETTINGS, "--lambda_dssim")["plain"] == "0.2"
    assert "Guidance aside, no other setting differs." in page.text
    assert "Each model is one run (seed 5)." in page.text
    assert "somebody" not in output.read_text()  # the page is passed on, the machine is not


def test_other_differences_between_runs_are_named(models, output):
    write_training(models[1], lambda_sds=0.2, seed=6)
    page = compare(models, output)
    assert "Guidance aside, they also differ in --seed." in page.text
    assert "(seeds 5, 6)" in page.text


def test_what_is_not_recorded_is_left_open(models, output):
    """A model of the reference has no settings.json; one that was trained on since has another count."""
    for file in ("settings.json", "log.jsonl"):
        (models[0] / file).unlink()
    save_summary(models[0], 90, gaussians=1, iterations=90, seconds=1)
    save_summary(models[1], 70, gaussians=99, iterations=20, seconds=40)
    page = compare(models, output)
    row = page.row(RESULTS, "plain")
    assert (row["Gaussians"], row["Iterations"], row["Training, s"]) == ("-", "70", "-")
    assert page.row(RESULTS, "guided")["Training, s"] == "40 (last 20 iterations)"
    assert page.row(SETTINGS, "Seed")["plain"] == "-"
    assert "00000.png" in {row[0] for row in page.tables[VIEWS]}  # the photographs' names are not known


def test_pictures_are_those_of_the_folders(models, output):
    page = compare(models, output, "plain", "guided")
    assert len(page.pictures) == len(NAMES) * 6
    for index, name in enumerate(NAMES):
        folders = [model / "test/ours_70" for model in models]
        truth = np.asarray(Image.open(folders[0] / f"gt/{index:05d}.png")).astype(float)
        renders = [
            np.asarray(Image.open(folder / f"renders/{index:05d}.png")).astype(float) for folder in folders
        ]
        shown_pictures = [page.pictures[f"{name}: Photograph"]]
        shown_pictures += [page.pictures[f"{name}: {model}"] for model in ("plain", "guided")]
        for picture, pixels in zip(shown_pictures, (truth, *renders), strict=True):
            assert picture.format == "JPEG"
            assert np.abs(np.asarray(picture) - pixels).mean() < 8  # the models differ by 10 and more
        for what, pair in {
            "Difference guided against plain, 4x": renders,
            "Error of plain": (renders[0], truth),
            "Error of guided": (renders[1], truth),
        }.items():
            picture = page.pictures[f"{name}: {what}"]
            expected = np.minimum(np.round(np.abs(pair[0] - pair[1]).mean(axis=2) * 4), 255)
            assert picture.mode == "P" and np.array_equal(np.asarray(picture), expected)
            light = np.asarray(picture.convert("RGB")).astype(int).sum(axis=2)
            order = np.argsort(expected, axis=None, kind="stable")
            assert (np.diff(light.ravel()[order]) >= 0).all()  # a larger difference is never darker


def test_text_is_escaped(models, output):
    name = "<script>alert('x')</script>\"&"
    page = compare(models, output, name, "guided")
    assert set(page.tags) & {"script", "link", "iframe", "object"} == set()
    assert [row[0] for row in page.tables[RESULTS]][1:] == [name, "guided"]
    assert f"{NAMES[0]}: {name}" in page.pictures
    assert f"guided minus {name}: " in page.text


def test_the_page_asks_no_network(models, output):
    page = compare(models, output)
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    style = output.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_orbits_are_inside_linked_or_left_out(models, output, monkeypatch):
    page = compare(models, output)
    assert [decoded(video) for video in page.videos] == [
        (model / "orbit/ours_70.mp4").read_bytes() for model in models
    ]
    monkeypatch.setattr(comparison.media, "VIDEO_BYTES", 1000)
    models[1] = models[1].rename(models[1].with_name("with prior #1"))
    page = compare(models, output)
    assert page.videos == [
        "../models/plain/orbit/ours_70.mp4",
        "../models/with%20prior%20%231/orbit/ours_70.mp4",
    ]
    assert "files beside it" in page.text
    (models[1] / "orbit/ours_70.mp4").unlink()
    page = compare(models, output)
    assert len(page.videos) == 1 and "No video of with prior #1" in page.text


def test_one_model_has_no_difference(models, output):
    page = compare(models[:1], output)
    assert len(page.pictures) == len(NAMES) * 3
    assert not [name for name in page.pictures if "Difference" in name]
    assert "Student" not in page.text and "One seed says nothing" in page.text


def test_six_models_stand_beside_each_other(models, output):
    folders = [*models, *(shutil.copytree(models[1], models[1].with_name(f"copy{i}")) for i in range(4))]
    page = compare(folders, output)
    assert [row[0] for row in page.tables[RESULTS]][1:] == [folder.name for folder in folders]
    assert len(page.pictures) == len(NAMES) * (2 + 2 * 6)
    assert page.text.count("Student's t") == 5
    assert "Of several intervals" in page.text


def test_the_last_method_is_compared(models, output):
    for model in models:
        write_pictures(model, noise=5, iteration=100)
    score(*models)
    page = compare(models, output)
    assert page.row(RESULTS, "plain")["Iterations"] == "100"
    assert page.row(RESULTS, "plain")["Gaussians"] == "-"  # training.json is of iteration 70
    assert "within the noise" in page.text  # equal pictures


def test_masked_scores_are_recognised(models, output):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    for model in models:
        (model / "test/ours_70/masks").mkdir()
        for index in range(len(NAMES)):
            Image.fromarray(mask).save(model / f"test/ours_70/masks/{index:05d}.png")
    with pytest.raises(UserError, match="changed after it was scored"):
        compare(models, output)
    score(*models)
    assert "Masks: PSNR over the pixels that the mask leaves in" in compare(models, output).text


def test_of_large_pictures_evenly_spaced_views_are_shown_with_all_figures(models, output, monkeypatch):
    whole = compare(models, output)
    pictures = sum(len(address) for address in whole.addresses if address.startswith("data:image"))
    monkeypatch.setattr(comparison.page, "PICTURE_BYTES", pictures * 3 // 4)
    page = compare(models, output)
    assert {name.split(":")[0] for name in page.pictures} == {NAMES[0], NAMES[2]}
    assert "Pictures of 2 of 3 views" in page.text
    assert page.tables[VIEWS] == whole.tables[VIEWS]


def test_a_page_stays_below_15_mb():
    views = [View(str(index), 8, 8, "x" * 700_000, ["x" * 400_000], [""], None) for index in range(20)]
    chosen = views_that_fit(views, PICTURE_BYTES)
    assert [view.name for view in chosen] == ["0", "3", "6", "10", "13", "16", "19"]
    assert sum(view.size for view in chosen) <= PICTURE_BYTES < 15e6 - VIDEO_BYTES * 4 / 3
    assert views_that_fit(views, 10) == views[:1]


def test_differences_are_rounded_and_end_at_255():
    first = np.array([[[0, 0, 0], [10, 20, 30], [255, 255, 255]]], np.uint8)
    second = np.array([[[0, 1, 0], [12, 18, 31], [0, 0, 0]]], np.uint8)
    assert levels(first, second).tolist() == levels(second, first).tolist() == [[1, 7, 255]]


@pytest.mark.parametrize("count", [2, 4, 9])
def test_gain_is_that_of_scipys_paired_test(count):
    random = np.random.default_rng(count)
    first = random.normal(25, 2, count)
    second = first + random.normal(0.1, 0.3, count)
    gain = paired_gain(list(first), list(second))
    assert gain is not None
    test = scipy.stats.ttest_rel(second, first)
    interval = test.confidence_interval(0.95)
    assert gain.mean == pytest.approx(np.mean(second - first))
    assert gain.standard_error == pytest.approx(scipy.stats.sem(second - first))
    assert gain.interval == pytest.approx((interval.low, interval.high))
    assert gain.within_noise == (test.pvalue >= 0.05)


def test_the_sentence_says_what_the_gain_is_worth():
    def sentence(second):
        return gain_sentence("plain", "guided", paired_gain([20.0, 21.0, 22.0], second))

    assert sentence([20.5, 21.6, 22.4]).startswith(
        "guided minus plain over 3 held-out views: mean +0.50 dB, standard error 0.06, "
        "95 % interval +0.25 to +0.75 dB (Student's t)."
    )
    assert "better on these views by more than their noise" in sentence([20.5, 21.6, 22.4])
    assert "worse on these views by more than their noise" in sentence([19.5, 20.4, 21.6])
    assert "mean -0.13 dB" in sentence([20.5, 20.1, 22.0])
    assert "within the noise of these views" in sentence([20.5, 20.1, 22.0])
    assert "over 2 held-out views (1 more of infinite PSNR left out)" in sentence([20.5, 21.6, math.inf])
    assert "no view has a finite" in gain_sentence("a", "b", paired_gain([math.inf], [math.inf]))
    one = gain_sentence("a", "b", paired_gain([20.0], [20.5]))
    assert "+0.50 dB" in one and "One view has no spread" in one
    assert [signed(value) for value in (0.004, -0.004, -0.006, math.nan)] == ["0.00", "0.00", "-0.01", "-"]


def test_of_paths_only_the_last_part_is_shown():
    assert [
        shown(value) for value in ("/home/me/model", "C:\\me\\model", "owner/model", "", None, [1, 2], [])
    ] == [*("model", "model", "owner/model", "none", "-", "1, 2", "none")]


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
    """With the small prior's weights, and in a checkout without them."""
    said = subprocess.run(
        ["make", "-n", "demo", "DEMO_ITERATIONS=40", f"DEMO_GUIDED={guided}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in said.splitlines() if re.match(r"\S+python \S+\.py ", line)]
    *trainings, scores, pages = commands
    runs = [parse(train.Options, words[1:], train.REFUSED) for words in trainings]
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
