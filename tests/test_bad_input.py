"""train.py and what a user does wrong: one clear message, exit code 2, nothing half-written."""

import errno
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.programs import PLAIN, run_program, run_train
from tests.scene.models import write_dataset
from utils.errors import UserError
from utils.errors import run_program as end_program


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--iterations", "0"], "--iterations 0"),
        (["--sh_degree", "4"], "--sh_degree 4"),
        (["--lambda_dssim", "1.5"], "--lambda_dssim 1.5"),
        (["--opacity_dropout", "1"], "--opacity_dropout 1"),
        (["--feature_lr", "-1"], "--feature_lr -1.0"),
        (["--max_gaussians", "-5"], "--max_gaussians -5"),
        (["--densify_grad_threshold", "nan"], "--densify_grad_threshold nan"),
        (["--opacity_reg", "-0.5"], "--opacity_reg -0.5"),
        (["--far_points", "0.5"], "--far_points 0.5"),
        (["--resolution", "0"], "--resolution 0"),
        (["--lambda_sds", "-0.1"], "--lambda_sds -0.1"),
        (["--n_views", "99"], "--n_views 99"),
        (["--train_test_exp", "--n_views", "3"], "--train_test_exp trains with halves"),
        (["--train_test_exp", "--lambda_sds", "0.2"], "give --lambda_sds 0 with it, or --exposure"),
        (["--exposure_lr_init", "-1"], "--exposure_lr_init -1.0"),
        (["--exposure_lr_delay_mult", "2"], "--exposure_lr_delay_mult 2.0"),
        (["--prune_unseen", "0"], "--prune_unseen"),
        (["--least_views", "0"], "--least_views 0"),
        (["--optimizer_type=sparse_adam"], "--optimizer_type is not supported"),
        (["--device", "cuda"], "--device cuda"),
    ],
)
def test_bad_flags_are_one_message_and_write_nothing(small_scene, tmp_path, flags, message):
    if flags == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match=message):
        run_train(small_scene, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_mistakes_end_the_program_with_code_2_and_no_trace_back(tmp_path):
    for flags, message in (
        (["-s", tmp_path / "nowhere", *PLAIN], "nowhere"),
        (["-s", tmp_path, *PLAIN], "is no dataset"),
        (["-s", tmp_path, "--iteratoins", 7], "iterations"),
    ):
        result = run_program("train.py", *flags, "-m", tmp_path / "out")
        assert result.returncode == 2
        assert message in result.stderr and "Traceback" not in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_message_and_leaves_no_half_file(small_scene, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("formats.ply.PlyData.write", full)
    with pytest.raises(SystemExit) as end:
        end_program(lambda: run_train(small_scene, tmp_path, "--iterations", 2))
    assert end.value.code == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("point_cloud.ply"))


def damaged_dataset(folder, damage):
    write_dataset(folder, [f"{number}.png" for number in range(5)])
    if damage == "empty model":
        shutil.rmtree(folder / "sparse")
        write_dataset(folder, [], points=np.zeros((0, 3)))
    if damage == "missing":
        (folder / "images/3.png").unlink()
    if damage == "another size":
        Image.new("RGB", (70, 30)).save(folder / "images/3.png")
    if damage == "corrupt":
        path = folder / "images/3.png"
        path.write_bytes(path.read_bytes()[:60])
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("empty model", "no photograph with a pose"),
        ("missing", "1 of the dataset's 5 photographs are missing"),
        ("another size", "3.png has 70x30 pixels"),
        ("corrupt", "3.png cannot be read"),
    ],
)
def test_a_damaged_dataset_is_one_message_and_writes_nothing(tmp_path, damage, message, capsys):
    folder = damaged_dataset(tmp_path / "data", damage)
    with pytest.raises(SystemExit) as end:
        end_program(lambda: run_train(folder, tmp_path / "out", "--iterations", 1))
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_lies_in_a_file_is_one_message(small_scene, tmp_path, capsys):
    (tmp_path / "file").touch()
    for model in (tmp_path / "file", tmp_path / "file/model"):
        with pytest.raises(SystemExit) as end:
            end_program(partial(run_train, small_scene, model, "--iterations", 1))
        assert end.value.code == 2 and str(tmp_path / "file") in capsys.readouterr().err


def test_an_output_that_nobody_can_make_is_one_message(small_scene, capsys):
    with pytest.raises(SystemExit) as end:
        end_program(partial(run_train, small_scene, Path("/proc/nowhere/model"), "--iterations", 1))
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("error: /proc") and said.count("\n") == 1
