"""Guidance in the loop: it adds what it says, and touches nothing else."""

from dataclasses import replace

import pytest
import torch

import train
from sds_guidance import Guidance, GuidanceOptions, Run
from sds_guidance.loading import choose_mode
from tests.programs import BUSY, break_off, ply, run_program, run_train
from tests.sds_guidance.fakes import FakePrior, save_tiny_model
from training.guidance import demand_guidance
from training.options import Options
from utils.checkpoints import checkpoint_path
from utils.errors import UserError, Warnings

GUIDED = (
    *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_interval", 2, "--guidance_warmup", 0),
    *("--guidance_resolution", 64, "--guidance_gate", "off"),
)


def with_prior(monkeypatch: pytest.MonkeyPatch, error: float) -> FakePrior:
    """Lets train.py guide with a prior whose residual is `error` everywhere."""
    prior = FakePrior(error)

    def load(options, run, *, sample_camera, weigh_camera, iterations, **_) -> Guidance:
        mode, states = choose_mode(options, prior, sample_camera, weigh_camera), torch.zeros(2, 1, 1)
        return Guidance(
            options, mode, lambda *_: states, iterations=iterations, seed=run.seed, device=run.device
        )

    monkeypatch.setattr("training.guidance.demand_models", lambda *_: None)
    monkeypatch.setattr("training.guidance.load_guidance", load)
    return prior


def test_a_prior_that_says_nothing_changes_no_bit(small_scene, unbroken, tmp_path, monkeypatch):
    prior = with_prior(monkeypatch, 0.0)
    run_train(small_scene, tmp_path, "--iterations", 60, *BUSY, *GUIDED)
    assert prior.calls == 29  # every second iteration from 1 to 57 = 0.95 * 60
    assert ply(tmp_path, 60) == ply(unbroken, 60)
    assert '"guidance_t"' in (tmp_path / "log.jsonl").read_text()


def test_guidance_sees_the_scene_before_its_own_background(small_scene, tmp_path, monkeypatch):
    """A random one behind a hole is no picture of anything, and another one at each look at a target."""
    with_prior(monkeypatch, 0.3)
    seen: dict[bool, set[tuple[float, ...]]] = {}
    original = train.render

    def spy(camera, **keywords):
        seen.setdefault(camera.photograph is None, set()).add(tuple(keywords["background"].tolist()))
        return original(camera, **keywords)

    monkeypatch.setattr(train, "render", spy)
    run_train(small_scene, tmp_path, "--iterations", 6, "--random_background", "-w", *GUIDED)
    assert seen[True] == {(1, 1, 1)} and len(seen[False] - {(1, 1, 1)}) == 6


def test_a_prior_that_says_something_changes_the_model(small_scene, unbroken, tmp_path, monkeypatch):
    with_prior(monkeypatch, 0.3)
    run_train(small_scene, tmp_path, "--iterations", 60, *BUSY, *GUIDED)
    assert ply(tmp_path, 60) != ply(unbroken, 60)


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_densification_sees_the_photograph_only(small_scene, tmp_path, monkeypatch, error):
    """After ten common steps, the statistics of a guided eleventh equal, bit for bit, an unguided one's."""
    with_prior(monkeypatch, error)
    flags = ("--iterations", 11, *BUSY, *GUIDED, "--guidance_from", 0.95, "--guidance_until", 1)
    run_train(small_scene, tmp_path / "guided", *flags, "--densify_from_iter", 50)
    plain = ("--iterations", 11, *BUSY, "--densify_from_iter", 50)
    run_train(small_scene, tmp_path / "plain", *plain)
    guided, unguided = (
        torch.load(checkpoint_path(tmp_path / name, 11), weights_only=True)["training"]
        for name in ("guided", "plain")
    )
    for key in ("grad2d", "count"):
        assert torch.equal(guided["densification"]["state"][key], unguided["densification"]["state"][key])
    assert torch.equal(guided["gaussians"]["means"], unguided["gaussians"]["means"]) is (error == 0.0)


def test_guided_and_resumed_equals_guided_unbroken(small_scene, tmp_path, monkeypatch):
    with_prior(monkeypatch, 0.3)
    flags = ("--iterations", 40, *BUSY, *GUIDED)
    run_train(small_scene, tmp_path / "a", *flags)
    break_off(small_scene, tmp_path / "b", *flags, at=20)
    run_train(small_scene, tmp_path / "b", *flags, "--resume")
    assert ply(tmp_path / "a", 40) == ply(tmp_path / "b", 40)


def test_contact_sheets_change_no_bit_and_every_guided_step_has_a_row(small_scene, tmp_path, monkeypatch):
    with_prior(monkeypatch, 0.3)
    flags = ("--iterations", 20, *BUSY, *GUIDED)
    run_train(small_scene, tmp_path / "plain", *flags)
    run_train(small_scene, tmp_path / "sheets", *flags, "--guidance_log", 4)
    assert ply(tmp_path / "sheets", 20) == ply(tmp_path / "plain", 20)
    sheets = sorted(path.name for path in (tmp_path / "sheets" / "guidance").iterdir())
    assert sheets == ["000001.png", "000009.png", "000017.png"]
    assert not (tmp_path / "plain" / "guidance").exists()
    rows = (tmp_path / "plain" / "guidance.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["iteration", *map(str, range(1, 20, 2))]
    run_train(small_scene, tmp_path / "sheets", "--iterations", 1, "--overwrite")
    assert not list((tmp_path / "sheets").glob("guidance*"))


@pytest.mark.parametrize("views", ["train", "mixed"])
def test_guidance_may_look_at_the_photographs_views(small_scene, tmp_path, monkeypatch, views):
    prior = with_prior(monkeypatch, 0.3)
    seen, original = [], train.view_from

    def watched(camera, look):
        seen.append(camera)
        return original(camera, look)

    monkeypatch.setattr(train, "view_from", watched)
    run_train(small_scene, tmp_path, "--iterations", 20, *BUSY, *GUIDED, "--guidance_views", views)
    photographed = [camera.photograph is not None for camera in seen]
    assert prior.calls == len(seen) == 10
    assert all(photographed) if views == "train" else 0 < sum(photographed) < 10


def test_views_that_are_not_finite_are_dropped_and_training_goes_on(small_scene, tmp_path, monkeypatch):
    with_prior(monkeypatch, float("nan"))
    run_train(small_scene, tmp_path / "nan", "--iterations", 20, *BUSY, *GUIDED)
    run_train(small_scene, tmp_path / "plain", "--iterations", 20, *BUSY)
    assert ply(tmp_path / "nan", 20) == ply(tmp_path / "plain", 20)
    assert '"guidance_dropped": 1.0' in (tmp_path / "nan" / "log.jsonl").read_text()


@pytest.mark.slow
def test_the_command_of_the_readme_guides_with_a_folder(small_scene, tmp_path):
    folder = save_tiny_model(tmp_path / "model", "v_prediction")
    flags = ["-s", small_scene, "-m", tmp_path / "out", "--device", "cpu", "--lambda_sds", 0.2]
    flags += ["--points", "seen"]
    result = run_program(
        "train.py", *flags, "--guidance_model", folder, "--iterations", 20, "--guidance_resolution", 64
    )
    assert result.returncode == 0, result.stderr
    assert "--guidance_interval" in result.stdout and "of an expected" in result.stdout
    assert ply(tmp_path / "out", 20)


@pytest.mark.parametrize("flag", ["guidance_model", "inpainting_model"])
def test_a_missing_model_is_told_before_the_scene_is_read(small_scene, tmp_path, monkeypatch, flag):
    """A dense start takes half a minute, after which nobody wants to hear of it."""

    def too_early(*_):
        raise AssertionError("the scene is read before the models are looked for")

    monkeypatch.setattr(train, "starting_scene", too_early)
    flags = ["--lambda_sds", 0.2, "--preset", "auto"]
    if flag == "inpainting_model":
        model = save_tiny_model(tmp_path / "model", "v_prediction")
        flags += ["--guidance", "rectified", "--guidance_model", model]
    with pytest.raises(UserError, match=f"--{flag} .*nowhere"):
        run_train(small_scene, tmp_path / "out", *flags, f"--{flag}", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_run_whose_guidance_is_off_needs_no_model():
    run = Run(torch.device("cpu"), 0, ["train.py"], Warnings())
    options = Options(guidance=GuidanceOptions(lambda_sds=0.2, guidance_model="/nowhere"))
    demand_guidance(options, run, {"lambda_sds": 0.0})
    demand_guidance(replace(options, guidance=GuidanceOptions(lambda_sds=0.0)), run, None)
    for gate in (None, {"lambda_sds": 0.1}):
        with pytest.raises(UserError, match="nowhere"):
            demand_guidance(options, run, gate)


def test_a_missing_model_stops_before_the_start_with_the_unguided_command(small_scene, tmp_path):
    flags = ["-s", small_scene, "-m", tmp_path / "out", "--guidance_model", tmp_path / "nowhere"]
    flags += ["--preset", "reference"]
    result = run_program("train.py", *flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "--lambda_sds 0" in result.stderr and str(small_scene) in result.stderr
    assert not (tmp_path / "out").exists()
