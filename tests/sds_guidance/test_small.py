"""The committed small prior: small, and on objects that it never saw it denoises and draws by the words."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors import safe_open

from sds_guidance.finetune.bands import losses_per_band
from sds_guidance.finetune.captioned import read_captioned
from sds_guidance.finetune.pictures import read_picture
from sds_guidance.finetune.preprocessing import PreprocessingOptions, standardise
from sds_guidance.finetune.samples import sample
from sds_guidance.models import SMALL, missing_files
from sds_guidance.prior import load_prior
from sds_guidance.text import encode_prompts
from tools.make_objects import Options, main
from tools.small_prior.autoencoder import round_trip_psnr
from tools.small_prior.judges import salient
from utils.errors import Warnings

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
FORMS = {
    "red": "a photo of a red chair",
    "green": "a photo of a green chair",
    "blue": "a photo of a blue chair",
}

pytestmark = pytest.mark.skipif(bool(missing_files(SMALL)), reason="the small prior's weights are not here")


@pytest.fixture(scope="module")
def prior():
    return load_prior(SMALL, CPU, torch.float32)


def states_of(captions):
    return encode_prompts(SMALL, captions, CPU, torch.float32, Warnings())


def test_it_is_small_and_in_half_precision():
    files = [path for path in SMALL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25e6
    for path in SMALL.rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_it_is_loaded_without_a_word():
    code = (
        "import torch; from pathlib import Path; from sds_guidance.text import load_text_encoder\n"
        f"load_text_encoder(Path({str(SMALL)!r}), torch.device('cpu'), torch.float32)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "text_projection" not in run.stdout + run.stderr


def test_it_draws_the_colour_that_it_is_told(prior):
    """Of the pixels that differ from their row's border, the named channel is the brightest on the mean."""
    scheduler = DDIMScheduler.from_pretrained(SMALL, subfolder="scheduler")
    states = states_of(["", *FORMS.values()])
    drawn = sample(prior, scheduler, states[1:], states[0], side=16, steps=15)
    for picture, mask, channel in zip(drawn, salient(drawn), range(3), strict=True):
        assert mask.float().mean() > 0.02  # there is an object at all
        assert picture[:, mask].mean(dim=1).argmax() == channel


@pytest.mark.slow
def test_it_denoises_new_objects_better_when_told_what_they_are(prior, tmp_path):
    pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")
    main(Options(output=str(tmp_path), count=12, seed=4711))
    images = read_captioned(tmp_path, Warnings())
    options = PreprocessingOptions(resolution=128)
    pictures = torch.stack([standardise(read_picture(image.path, None), options) for image in images])
    assert round_trip_psnr(prior.vae, pictures) > 27
    with torch.no_grad():
        latents = torch.cat([prior.encode(picture[None]) for picture in pictures])
    states = states_of([image.caption for image in images])

    def told(rows):
        return states[rows]

    def misled(rows):
        return states[(rows + 1) % len(states)]

    right = [losses_per_band(prior, latents, told, seed) for seed in range(3)]
    wrong = [losses_per_band(prior, latents, misled, seed) for seed in range(3)]
    middle = slice(3, 9)
    assert torch.tensor(right).mean(dim=0)[middle].sum() < torch.tensor(wrong).mean(dim=0)[middle].sum()
