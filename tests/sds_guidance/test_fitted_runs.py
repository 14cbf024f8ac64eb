"""Runs that are fitted to their own photographs first: what is kept, reused, gone on with, refused."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

import train
from sds_guidance import GuidanceOptions
from sds_guidance.conditioning import MADE_FOLDER, STAGING, read_conditioning
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.embedding import read_embedding
from sds_guidance.finetune import fitting, jobs, samples, trainer
from sds_guidance.finetune.fitting import fit_to_scene
from sds_guidance.loading import load_guidance
from sds_guidance.lora import read_lora
from sds_guidance.prior import load_prior
from tests.programs import ply, run_train
from tests.sds_guidance.conditioned import MADE, gather
from tests.sds_guidance.conditioned import options as flags_of_guidance
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import moved_camera
from utils.checkpoints import checkpoint_path
from utils.errors import UserError
from utils.options import parse

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def rough_sheets(monkeypatch):
    """Two steps of DDIM for a sheet, which would take most of the time."""
    monkeypatch.setattr(jobs, "sample", partial(samples.sample, steps=2))


def flags(model: Path, *more) -> list:
    """Of a guided run of ten iterations on two photographs."""
    return [
        *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_until", 1, "--guidance_interval", 2),
        *("--guidance_resolution", 64, "--checkpoint_interval", 5, "--test_iterations", -1),
        *("--guidance_model", model, "--iterations", 10, "--guidance_gate", "off"),
        *("--eval", "--n_views", 2, "--prompt", "some balls", *more),
    ]


def fit(cameras, folder: Path, model: Path, method="lora", images=(), resumed=False, steps=2) -> Path:
    return fit_to_scene(
        cameras[:2],
        images,
        "a fern",
        method,
        model=model,
        run=cpu_run(folder, resumed=resumed, seed=1),
        resolution=16,
        steps=steps,
    )


@pytest.mark.parametrize("method", ["lora", "inversion"])
def test_a_run_fits_once_guides_with_it_and_goes_on_bit_for_bit(
    small_scene, tiny_model, tmp_path, method, monkeypatch
):
    ours = flags(tiny_model, "--image_condition", method, "--fit_steps", 2)
    whole = run_train(small_scene, tmp_path / "whole", *ours)
    assert not (whole / STAGING).exists()
    kept = {"lora": "lora", "inversion": "embedding.safetensors"}[method]
    assert {path.name for path in (whole / MADE_FOLDER).iterdir()} == {
        kept,
        "samples_before.png",
        "samples_after.png",
    }
    (prompt,) = read_conditioning(whole / "conditioning.json").prompts
    assert prompt.text == {"lora": "some balls", "inversion": "some balls, <scene>"}[method]
    if method == "lora":
        plain = run_train(small_scene, tmp_path / "plain", *flags(tiny_model))
        assert ply(plain, 10) != ply(whole, 10)

    monkeypatch.setattr(fitting, "fit_photographs", lambda *_, **__: pytest.fail("fitted again"))
    folder = shutil.copytree(whole, tmp_path / "resumed")
    checkpoint_path(folder, 10).unlink()
    words = ["-s", small_scene, "-m", folder, "--device", "cpu", *ours, "--resume"]
    train.main(parse(train.Options, [str(word) for word in words]))
    assert ply(folder, 10) == ply(whole, 10)


def test_what_was_fitted_is_in_the_networks_that_guide(cameras, tiny_model, tmp_path):
    def load(method):
        words = ConditioningOptions(image_condition=method, fit_steps=2)
        options = GuidanceOptions(
            guidance_model=str(tiny_model), guidance_interval=1, guidance_resolution=64, words=words
        )
        found = load_guidance(
            options,
            cpu_run(tmp_path / method, seed=3),
            cameras=cameras,
            sample_camera=moved_camera,
            iterations=100,
        )
        assert found.conditioning is not None
        found.conditioning.record(tmp_path / method, 0, pytest.fail)
        return found

    guidance = load("lora")
    lora = read_lora(tmp_path / "lora" / MADE_FOLDER / "lora")
    wanted = load_prior(tiny_model, CPU, torch.float32, lora=lora).unet.state_dict()
    found = guidance.mode.prior.unet.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
    plain = load_prior(tiny_model, CPU, torch.float32).unet.state_dict()
    assert any(not torch.equal(found[name], weight) for name, weight in plain.items())

    generator = torch.Generator()
    states = load("inversion").conditions(cameras[0], generator)
    with_word, without = states[1], guidance.conditions(cameras[0], generator)[1]
    assert read_embedding(tmp_path / "inversion" / MADE_FOLDER / "embedding.safetensors").token == "<scene>"
    assert not torch.equal(with_word, without)


def test_every_prompt_is_given_the_word_once():
    named = MADE.naming("<scene>")
    assert [prompt.text for prompt in named.prompts] == ["a fern, <scene>", "a potted fern, <scene>"]
    assert [prompt.weight for prompt in named.prompts] == [prompt.weight for prompt in MADE.prompts]
    assert named.naming("<scene>") == named and named.negative_prompt == MADE.negative_prompt


def test_a_fitting_that_was_broken_off_goes_on_and_another_starts_anew(
    cameras, tiny_model, tmp_path, monkeypatch
):
    once = (fit(cameras, tmp_path / "once", tiny_model) / "pytorch_lora_weights.safetensors").read_bytes()
    folder, advance = tmp_path / "run", trainer._Run.advance
    save = trainer._Run.save

    def broken(self):
        if self.step == 1:
            save(self)
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(trainer._Run, "advance", broken)
    with pytest.raises(KeyboardInterrupt):
        fit(cameras, folder, tiny_model)
    assert not (folder / STAGING / MADE_FOLDER).exists()
    steps: list[int] = []

    def counted(self):
        steps.append(self.step)
        return advance(self)

    monkeypatch.setattr(trainer._Run, "advance", counted)
    gather(flags_of_guidance(), cameras, tiny_model, folder=folder)  # the same command begins with this again
    result = fit(cameras, folder, tiny_model)
    assert steps == [1]
    assert (result / "pytorch_lora_weights.safetensors").read_bytes() == once
    fit(cameras, folder, tiny_model)
    assert steps == [1]  # done, but the run has not begun: nothing is left to do
    fit(cameras, folder, tiny_model, images=[tmp_path / "c.png"])
    assert steps == [1, 0, 1]


def test_a_fitting_that_cannot_be_leaves_an_earlier_run(small_scene, tiny_model, tiny_depth_model, tmp_path):
    run = run_train(small_scene, tmp_path / "run", *flags(tiny_model))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ours = flags(tiny_depth_model, "--image_condition", "lora", "--overwrite")
    with pytest.raises(UserError, match="a model of another task"):
        run_train(small_scene, run, *ours)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fit_steps": 5}, "--fit_steps is for --image_condition lora or inversion"),
        ({"fit_steps": -1, "image_condition": "lora"}, "--fit_steps -1"),
        ({"image_condition": "lora", "guidance_lora": "x"}, "leave one of the two out"),
        ({"image_condition": "inversion", "guidance_embedding": "x"}, "leave one of the two out"),
    ],
)
def test_flags_that_do_not_go_together(options, words):
    guidance = {name: options.pop(name) for name in list(options) if name.startswith("guidance")}
    with pytest.raises(UserError) as raised:
        GuidanceOptions(words=ConditioningOptions(**options), **guidance).check()
    assert words in str(raised.value)
