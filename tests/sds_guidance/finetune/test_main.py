"""The command line: a scene's photographs, mistakes, an interruption."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sds_guidance.embedding import read_embedding
from sds_guidance.finetune.__main__ import main
from sds_guidance.finetune.fitting import fit_photographs
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.lora import read_lora
from tests.programs import ROOT
from utils.checkpoints import checkpoint_iterations
from utils.errors import UserError
from utils.options import parse

SHORT = (
    *(
        "--resolution",
        16,
        "--steps",
        4,
        "--lr_warmup",
        1,
        "--batch_size",
        2,
        "--samples",
        0,
        "--device",
        "cpu",
    ),
)


def words(*flags) -> list[str]:
    return [str(flag) for flag in flags]


def run(*flags) -> None:
    main(parse(FinetuneOptions, words(*flags, *SHORT)))


def program(*flags) -> list[str]:
    return [sys.executable, "-m", "sds_guidance.finetune", *words(*flags)]


def test_two_processes_train_one_model(captioned_set, tiny_model, tmp_path):
    flags = ("-m", tmp_path / "run", "-d", captioned_set, "--guidance_model", tiny_model, "--method", "full")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, *program(*flags, *SHORT)[1:]],
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in log] == [0, 4, 4]  # one process writes it
    assert checkpoint_iterations(tmp_path / "run") == [4]


def test_a_scene_is_fitted_from_its_training_photographs_alone(small_scene, tiny_model, tmp_path, capsys):
    flags = ("-s", small_scene, "--guidance_model", tiny_model, "-m", tmp_path / "run", "--held_out", 0)
    run(*flags, "--eval", "--n_views", 3, "--caption", "some balls")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["training_pictures"] == 3
    assert f"--guidance_lora {tmp_path / 'run' / 'lora'}" in capsys.readouterr().out
    with pytest.raises(UserError, match="--source_path needs --caption"):
        run("-s", small_scene, "--guidance_model", tiny_model, "-m", tmp_path / "other")


@pytest.mark.parametrize("method", ["lora", "inversion"])
def test_photographs_and_a_caption_become_what_guidance_takes(small_scene, tiny_model, tmp_path, method):
    photographs = sorted(small_scene.rglob("*.png"))[:2]
    result = fit_photographs(
        photographs,
        "some balls",
        method,
        model=str(tiny_model),
        folder=tmp_path,
        resolution=16,
        steps=2,
        device="cpu",
    )
    if method == "lora":
        assert read_lora(result).weights
    else:
        assert read_embedding(result).token == "<scene>"
    (cached,) = [
        tensors["latents"]
        for path in (tmp_path / "cache").iterdir()
        if "latents" in (tensors := safetensors.torch.load_file(path))
    ]
    assert cached.shape[:2] == (2, 16)
    settings = json.loads((tmp_path / "settings.json").read_text())["options"]
    assert settings["preprocessing"]["augment_flip"] is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "x", "--source_path", "y"], "--data and --source_path exclude each other"),
        (["--method", "inversion", "--train", "text_encoder"], "leave --train text_encoder out"),
        (["--train", "vae_decoder"], "--train vae_decoder has no adapters; it needs --method full"),
        (["--placeholder_token", "two words"], "--placeholder_token 'two words'"),
        (["--caption_dropout", 1.5], "--caption_dropout 1.5"),
        (["--held_out", 1], "--held_out 1"),
        (["--lora_rank", 0], "--lora_rank 0"),
        (["--batch_size", 0], "--batch_size 0"),
        (["--resolution", 30], "--resolution 30: allowed is a multiple of 4"),
        (["--data", "nowhere"], "--data nowhere: there is no such folder"),
        (["--guidance_model", "nowhere"], "--guidance_model nowhere: not found"),
        ([], "--data FOLDER (captioned pictures) or --source_path SCENE is needed"),
    ],
)
def test_bad_flags_are_one_message_and_write_nothing(captioned_set, tiny_model, tmp_path, flags, message):
    given = ["-m", str(tmp_path / "out"), *SHORT, *flags]
    if "--guidance_model" not in flags:
        given += ["--guidance_model", tiny_model]
    if flags and "--data" not in flags:
        given += ["--data", captioned_set]
    with pytest.raises(UserError, match=re.escape(message)):
        main(parse(FinetuneOptions, words(*given)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "unet"), "is not a complete Stable-Diffusion-shaped"),
        (
            lambda folder: rewrite(folder / "unet" / "config.json", in_channels=9),
            "its U-Net wants a mask and a masked picture",
        ),
    ],
)
def test_a_model_of_the_wrong_kind_is_refused(captioned_set, tiny_model, tmp_path, spoil, message):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    spoil(model)
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        run("--data", captioned_set, "--guidance_model", model, "-m", tmp_path / "out")
    assert "lambda_sds" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def rewrite(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_with_a_run_is_left_alone_unless_resumed_or_overwritten(captioned_set, tiny_model, tmp_path):
    flags = ("--data", captioned_set, "--guidance_model", tiny_model, "-m", tmp_path)
    run(*flags)
    with pytest.raises(UserError, match="already holds a run"):
        run(*flags)
    with pytest.raises(UserError, match=r"other settings:\n.*--lora_rank: was 16, now 8"):
        run(*flags, "--lora_rank", 8, "--resume")
    run(*flags, "--lora_rank", 8, "--overwrite")
    (name, *_) = read_lora(tmp_path / "lora").weights
    assert 8 in read_lora(tmp_path / "lora").weights[name].shape


@pytest.mark.slow
def test_ctrl_c_ends_a_program_with_a_checkpoint_from_which_it_goes_on(captioned_set, tiny_model, tmp_path):
    flags = ("--data", captioned_set, "--guidance_model", tiny_model, *SHORT, "--steps", 400)
    process = subprocess.Popen(
        program(*flags, "-m", tmp_path / "broken"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "broken" / "log.jsonl"
    deadline = time.monotonic() + 200
    while not log.exists() or '"iteration": 10,' not in log.read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    message = process.stderr.read()
    assert process.wait() == 130, message
    (stopped,) = checkpoint_iterations(tmp_path / "broken")
    assert f"stopped after step {stopped}; the same command with --resume goes on" in message
    assert "Traceback" not in message

    for name, resume in (("broken", ["--resume"]), ("whole", [])):
        subprocess.run(program(*flags, "-m", tmp_path / name, *resume), cwd=ROOT, check=True)
    broken, whole = (read_lora(tmp_path / name / "lora").weights for name in ("broken", "whole"))
    assert broken.keys() == whole.keys()
    assert all(torch.equal(broken[key], whole[key]) for key in whole)


@pytest.mark.slow
def test_mistakes_end_the_program_with_code_2_and_no_trace_back(tmp_path):
    result = subprocess.run(
        program("--data", tmp_path, "-m", tmp_path / "out", "--guidance_model", tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "is not a complete Stable-Diffusion-shaped" in result.stderr and "Traceback" not in result.stderr
