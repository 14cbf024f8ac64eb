"""The check tells the truth of a model without reading a weight, and refuses what training would refuse."""

import json
import shutil

import pytest
import torch

from sds_guidance import check
from sds_guidance.check import MODES, CheckOptions, main, passes_a_step
from sds_guidance.models import ModelFolder
from sds_guidance.prior import load_prior
from sds_guidance.targets_options import TargetsOptions
from sds_guidance.text import load_text_encoder
from utils.errors import UserError, run_program
from utils.options import parse

CPU = torch.device("cpu")
FLAGS = ("--device", "cpu", "--guidance_resolution", "64", "--guidance_model")


def told(capsys, *flags) -> str:
    main(parse(CheckOptions, [*map(str, flags)]))
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(check, "STEPS", 30)


@pytest.fixture
def weightless(tiny_model, tmp_path):
    """A copy of the tiny model that is complete, with rubbish for weights."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(b"rubbish")
    return folder


def test_it_tells_what_the_loaded_networks_are(tiny_model, weightless, capsys):
    text = told(capsys, *FLAGS, weightless)
    prior = load_prior(tiny_model, CPU, torch.float32)
    encoder = load_text_encoder(tiny_model, CPU, torch.float32)[1]
    assert f"{weightless}: latent diffusion, text-to-image" in text
    assert f"all of it in {weightless}" in text
    assert "predicts    noise" in text
    for name, network in (("U-Net", prior.unet), ("text encoder", encoder)):
        number = sum(weight.numel() for weight in network.parameters())
        assert f"{name} {number / 1e6:.2f} M" in text
    prior.free_decoder()
    sizes = [sum(w.nbytes for w in network.parameters()) for network in (prior.unet, prior.vae)]
    assert costs(text)[0] == float(f"{sum(sizes) / 2**20:.1f}")
    assert "MiB at 64 x 64 pixels on cpu" in text


def costs(text: str) -> list[float]:
    """Weights, step and sum in MiB of the first mode, sparing nothing."""
    row = next(line for line in text.splitlines() if "high" in line and MODES[0] in line)
    return [float(cell) for cell in row.split("|")[4:7]]


def test_the_costs_follow_resolution_and_precision(tiny_model, capsys):
    flags = ("--device", "cpu", "--guidance_model", tiny_model, "--guidance_resolution")
    small = costs(told(capsys, *flags, 64))
    large = costs(told(capsys, *flags, 126, "--guidance_precision", "bfloat16"))  # brought to 128
    assert large[0] == pytest.approx(small[0] / 2, abs=0.06)
    assert large[1] == pytest.approx(4 * small[1] / 2, rel=0.1)
    assert large[2] == pytest.approx(large[0] + large[1], abs=0.11)


def test_kin_that_cannot_guide_is_named_before_it_is_refused(weightless, capsys):
    path = weightless / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "in_channels": 9}))
    with pytest.raises(UserError, match="a model of another task"):
        main(parse(CheckOptions, [*FLAGS, str(weightless)]))
    assert "latent diffusion, inpainting" in capsys.readouterr().out


def test_a_depth_model_guides_and_what_it_wants_is_told(tiny_depth_model, capsys):
    text = told(capsys, *FLAGS, tiny_depth_model)
    assert f"{tiny_depth_model}: latent diffusion, depth" in text
    assert "besides     a depth map" in text
    assert costs(text)[1] > 0


def test_an_unclip_model_is_told_with_its_costs(tiny_unclip, capsys):
    text = told(capsys, *FLAGS, tiny_unclip)
    assert f"{tiny_unclip}: latent diffusion, unCLIP" in text
    assert "besides     the embedding of an image" in text
    assert costs(text)[1] > 0


def test_what_the_hub_would_send_is_told(tiny_model, capsys, monkeypatch):
    found = ModelFolder("someone/model", tiny_model, "c0ffee", download=2_345_678_901)
    monkeypatch.setattr(check, "find_settings", lambda *_: found)
    monkeypatch.setattr(check, "what_it_costs", lambda *_: "")  # tested above
    text = told(capsys, *FLAGS, "someone/model")
    assert "someone/model: latent diffusion" in text
    assert "complete on the hub; not in this machine's cache: 2.35 GB to download" in text


def test_passes_are_counted_by_doing_a_mode():
    assert passes_a_step("sds") == [2, 1, 1, 0]
    unet, *encoder = passes_a_step("ism")
    assert encoder == [1, 1, 0]
    # A pair at t, and the inversion: level 0, and strides of a fifth to s = t - delta, t in [.02, .5].
    assert 2 + 1 < unet < 2 + 1 + 3


def test_the_passes_of_targets_are_those_of_their_renewals():
    options = TargetsOptions()
    unet, _, back, decoder = passes_a_step("targets")
    renewals = min(30, options.targets_views) / 30  # each view's first time, in the 30 steps of this test
    assert unet == pytest.approx(2 * options.targets_steps * renewals)
    assert decoder > 0
    assert back == 0


def test_the_program_ends_with_2_and_a_message(tmp_path, capsys):
    words = ["--guidance_model", str(tmp_path / "nowhere")]
    with pytest.raises(SystemExit) as end:
        run_program(lambda: main(parse(CheckOptions, words)))
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: --guidance_model {tmp_path / 'nowhere'}: not found")


def test_values_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="--guidance_resolution 5"):
        main(CheckOptions(guidance_resolution=5))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cuda"):
            main(CheckOptions(device="cuda"))
