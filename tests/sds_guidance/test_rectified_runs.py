"""The mode `rectified` from its flags to a run: what is loaded, told, piloted, resumed and refused."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scene.cameras import Camera
from sds_guidance import Guidance, GuidanceOptions, check, load_guidance
from sds_guidance.loading import evenly, pilot_guidance
from sds_guidance.memory import occupied
from sds_guidance.prior import load_prior
from sds_guidance.rectified import Rectified
from sds_guidance.rectified_options import RectifiedOptions
from sds_guidance.sds import Distillation
from tests.programs import BUSY, break_off, ply, run_train
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import applied, moved_camera
from utils.errors import UserError
from utils.options import parse

CPU = torch.device("cpu")


def load(folder: Path, inpainting: Path, cameras: list[Camera], **changes: Any) -> Guidance:
    """The guidance of a run, as train.py builds it."""
    options = GuidanceOptions(
        guidance="rectified",
        guidance_model=str(folder),
        guidance_interval=1,
        guidance_resolution=64,
        rectified=RectifiedOptions(inpainting_model=str(inpainting)),
    )
    return load_guidance(
        replace(options, **changes), cpu_run(), cameras=cameras, sample_camera=moved_camera, iterations=20
    )


def test_a_loaded_pair_describes_itself_and_a_pilot_has_it_too(tiny_models, tiny_inpainting_model, cameras):
    guidance = load(tiny_models["v_prediction"], tiny_inpainting_model, cameras)
    prior: Any = guidance.mode.prior
    assert prior.inpainting.vae is prior.vae and prior.vae.decoder is None
    told = guidance.description
    assert (told["mode"], told["prediction_type"]) == ("rectified", "v_prediction")
    assert told["inpainting_model"] == str(tiny_inpainting_model)
    assert str(told["inpainting_revision"]).startswith("local-")
    gradient, _ = applied(guidance, 6)
    assert float(gradient.norm()) == pytest.approx(0.2, rel=1e-4)

    pilot = pilot_guidance(
        guidance, cameras[:3], moved_camera, evenly, iterations=20, lambda_sds=0.1, device=CPU
    )
    assert isinstance(pilot.mode, Distillation) and isinstance(pilot.mode.view_score, Rectified)
    assert pilot.mode.prior is prior and pilot.mode.view_score.photographers == cameras[:3]


def test_spared_memory_is_spared_on_both(tiny_model, tiny_inpainting_model, cameras):
    guidance = load(tiny_model, tiny_inpainting_model, cameras, guidance_memory="low")
    prior: Any = guidance.mode.prior
    assert prior.inpainting.unet.dtype == prior.unet.dtype == torch.bfloat16
    assert not prior.inpainting.one_batch
    gradient, scalars = applied(guidance, 6)
    assert gradient.isfinite().all() and scalars["guidance_dropped"] == 0


def test_training_resumes_bit_for_bit(small_scene, tiny_model, tiny_inpainting_model, tmp_path):
    flags = (
        *("--iterations", 10, *BUSY, "--checkpoint_interval", 5, "--guidance_gate", "off"),
        *("--lambda_sds", 0.2, "--guidance", "rectified", "--guidance_model", tiny_model),
        *("--inpainting_model", tiny_inpainting_model, "--guidance_resolution", 64, "--guidance_log", 3),
        *("--guidance_from", 0, "--guidance_interval", 2, "--guidance_warmup", 0),
    )
    run_train(small_scene, tmp_path / "whole", *flags)
    break_off(small_scene, tmp_path / "broken", *flags)
    run_train(small_scene, tmp_path / "broken", *flags, "--resume")
    assert ply(tmp_path / "whole", 10) == ply(tmp_path / "broken", 10)
    first, *guided = csv.DictReader((tmp_path / "whole" / "guidance.csv").open())
    assert len(guided) == 4 and first["guidance_dropped"] == guided[-1]["guidance_dropped"] == "0.0"
    assert all(float(row["guidance_ratio"]) > 0 for row in guided)
    sheets = sorted(path.name for path in (tmp_path / "whole" / "guidance").iterdir())
    assert sheets == ["000001.png", "000007.png"]


def test_the_check_counts_both_models(tiny_model, capsys, monkeypatch):
    monkeypatch.setattr(check, "STEPS", 10)
    assert check.passes_a_step("rectified") == [4, 2, 1, 0]
    flags = ["--device", "cpu", "--guidance_resolution", "64", "--guidance_model", str(tiny_model)]
    check.main(parse(check.CheckOptions, flags))
    table = [line for line in capsys.readouterr().out.splitlines() if " high |" in line]
    weights = {line.split("|")[1].split(",")[0].strip(): float(line.split("|")[4]) for line in table}
    unet = occupied([load_prior(tiny_model, CPU, torch.float32).unet])
    assert weights["rectified"] - weights["sds"] == pytest.approx(unet / 2**20, abs=0.11)


def test_the_flags():
    whole = parse(GuidanceOptions, ["--guidance", "rectified", "--inpainting_model", "x"])
    whole.check()
    assert whole.rectified == RectifiedOptions("x", (0.25, 0.75), (0.2, 2.0))
    with pytest.raises(UserError, match=r"--inpainting_model \(empty\): allowed is an inpainting model"):
        GuidanceOptions(guidance="rectified").check()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("rectified_t", (0.0, 0.5)),
        ("rectified_t", (0.6, 0.5)),
        ("rectified_weights", (0.0, 0.0)),
        ("rectified_weights", (-0.2, 2.0)),
        ("rectified_weights", (0.2, math.nan)),
    ],
)
def test_a_bad_value_is_refused_by_name(flag, value):
    options: Any = {flag: value}
    with pytest.raises(UserError) as refusal:
        GuidanceOptions(rectified=RectifiedOptions(**options)).check()
    assert str(refusal.value).startswith(f"--{flag} {value}: allowed is ")
