"""The page of made-up models: it has the files' figures and pictures, and text only as text."""

import shutil

import numpy as np
import pytest
from PIL import Image

import comparison.media
import comparison.page
from comparison.gains import gain_sentence, paired_gain
from tests.comparison.made_up import (
    ALL_SETTINGS,
    HEIGHT,
    NAMES,
    PROMPT,
    RESULTS,
    SETTINGS,
    VIEWS,
    WIDTH,
    compare,
    decoded,
    read,
    score,
    write_pictures,
    write_training,
)
from utils.errors import UserError
from utils.files import write_json
from utils.run_folder import save_summary


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
        "Gate": ("-", "halved to 0.1"),
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
        shutil.copytree(model / "test/ours_100", model / "test/point_cloud")  # as render.py --ply calls it
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
