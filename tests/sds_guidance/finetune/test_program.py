"""Fine-tuning from beginning to end on the tiny model, and what the result is good for."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sds_guidance.architecture import read_architecture
from sds_guidance.finetune.captioned import CaptionedImage
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.program import finetune, split
from sds_guidance.models import missing_files
from sds_guidance.prior import load_prior

CPU = torch.device("cpu")


def weights(folder, part="unet", name="diffusion_pytorch_model"):
    return safetensors.torch.load_file(folder / part / f"{name}.safetensors")


def test_full_training_lowers_the_held_out_loss_in_every_band_and_writes_a_whole_model(options, tmp_path):
    result = finetune(
        options({"steps": 60, "batch_size": 8, "learning_rate": 3e-3}, samples=2, method="full")
    )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    before, after = (found["held_out_instances"]["loss_per_band"] for found in report["validations"])
    assert len(before) == len(after) == 10
    assert all(new < 0.7 * old for old, new in zip(before, after, strict=True))
    assert missing_files(result) == []
    prior = load_prior(result, CPU, torch.float32)
    assert prior.encode(torch.rand(1, 3, 16, 16)).shape == (1, 4, 8, 8)
    for name in ("samples_before.png", "samples_after.png"):
        assert (tmp_path / "run" / name).stat().st_size > 200


def test_pictures_get_the_side_of_the_model_where_none_is_given(options, tiny_model, tmp_path):
    finetune(options({"steps": 1}, method="full", preprocessing=PreprocessingOptions()))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["resolution"] == read_architecture(tiny_model).resolution


def test_a_run_resumed_after_its_half_ends_with_the_bits_of_the_unbroken_one(options, tmp_path, monkeypatch):
    training = {"steps": 6, "ema": 0.9, "checkpoint_interval": 3}
    whole = weights(finetune(options(training, method="full", model_path=str(tmp_path / "whole"))))

    from sds_guidance.finetune import trainer  # noqa: PLC0415

    save = trainer.save_checkpoint

    def save_and_die(folder, state, keep):
        save(folder, state, keep)
        raise SystemExit(9)

    monkeypatch.setattr(trainer, "save_checkpoint", save_and_die)
    with pytest.raises(SystemExit):
        finetune(options(training, method="full"))
    monkeypatch.setattr(trainer, "save_checkpoint", save)
    resumed = weights(finetune(options(training, method="full", resume=True)))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_set_s_own_split_decides_and_otherwise_a_share_is_drawn():
    own = [
        CaptionedImage(Path(f"{n}"), "x", {"split": ("train", "", None)[n] if n < 3 else f"held_{n % 2}"})
        for n in range(9)
    ]
    training, held = split(own, 0.5, most=2, seed=0)
    assert training == own[:3]
    assert sorted(held) == ["held_0", "held_1"]
    assert all(len(images) == 2 for images in held.values())

    plain = [CaptionedImage(Path(f"{n}"), "x") for n in range(20)]
    training, held = split(plain, 0.25, most=100, seed=0)
    assert len(held["held_out"]) == 5
    assert sorted([*training, *held["held_out"]], key=plain.index) == plain
    assert split(plain, 0.25, most=100, seed=1)[1] != held
    assert split(plain, 0.0, most=100, seed=0) == (plain, {})
    assert split(plain[:1], 0.5, most=100, seed=0) == (plain[:1], {})
