"""The small prior's parts: tokeniser, latents, towers, judges, the Wiener denoiser, and the whole chain."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTokenizer

from sds_guidance.finetune.bands import BANDS
from sds_guidance.models import find_model
from sds_guidance.prior import LatentDiffusionPrior
from sds_guidance.text import encode_prompts
from tools.small_prior.autoencoder import new_vae, round_trip_psnr, standardise_latents
from tools.small_prior.build import build, new_scheduler, new_unet
from tools.small_prior.contrastive import jittered, new_clip, recall, save_towers, token_ids
from tools.small_prior.judges import ColourJudge, FamilyJudge, salient
from tools.small_prior.options import BuildOptions
from tools.small_prior.pictures import Pictures, load_pictures
from tools.small_prior.tokenizer import LENGTH, learn_tokenizer
from tools.small_prior.wiener import WienerDenoiser
from utils.errors import UserError, Warnings

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220)}
CAPTIONS = ["a red wooden cup seen from the left", "two blue metal cups"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Boxes and bars in two colours on a grey floor; twelve to train on, four in each held-out split."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rows = []
    for number in range(20):
        colour, family = list(COLOURS)[number % 2], ("box", "bar")[number // 2 % 2]
        pixels = np.full((128, 128, 3), 180, dtype=np.uint8)
        pixels[40:90, 40 + number : (90 if family == "box" else 55) + number] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        split = "train" if number < 12 else "held_out_instances" if number < 16 else "held_out_families"
        words = {"family": family, "colour": colour, "count": 1, "split": split}
        rows.append({"file_name": f"images/{number}.png", "text": f"a {colour} {family} {number}", **words})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def tokenizer(tmp_path) -> CLIPTokenizer:
    learn_tokenizer(CAPTIONS * 4, tmp_path / "tokenizer")
    return CLIPTokenizer.from_pretrained(str(tmp_path / "tokenizer"))


def test_words_of_the_captions_are_one_token_and_others_are_spelt(tokenizer):
    known = tokenizer("a red wooden cup").input_ids
    assert len(known) == 4 + 2
    assert (known[0], known[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    unknown = tokenizer("blurry, é").input_ids
    assert len(unknown) > 4 + 2
    assert tokenizer.unk_token_id not in unknown[1:-1]
    assert "blurry" in tokenizer.decode(unknown)


def test_pictures_are_jittered_by_little_and_each_by_itself():
    random = torch.Generator().manual_seed(0)
    row = torch.linspace(0.2, 0.6, 64).expand(3, 64, 64)
    found = jittered(row.expand(40, -1, -1, -1), random)
    assert found.shape == (40, 3, 64, 64)
    rising = found[:, 0, 32, 63] > found[:, 0, 32, 0]
    assert 10 < int(rising.sum()) < 30  # about half are mirrored
    middles = found[:, :, 24:40, 24:40].mean(dim=(1, 2, 3))
    assert middles.unique().numel() == 40
    assert (middles - 0.4).abs().max() < 0.12 * 0.4 + 0.05 * 0.4 + 1e-3


def test_the_text_tower_gives_guidance_the_states_that_it_was_trained_with(tokenizer, tmp_path):
    torch.manual_seed(0)
    clip = new_clip(tokenizer).eval()
    save_towers(clip, tmp_path)
    states = encode_prompts(tmp_path, CAPTIONS, torch.device("cpu"), torch.float32, Warnings())
    ids = token_ids(tokenizer, CAPTIONS)
    with torch.no_grad():
        wanted = clip.text_model(input_ids=ids).last_hidden_state
    assert states.shape == (2, LENGTH, 128)
    torch.testing.assert_close(states[:, : ids.shape[1]], wanted)


def test_standardised_latents_have_deviation_one_and_give_the_same_pictures():
    torch.manual_seed(0)
    vae, pictures = new_vae().eval(), torch.rand(4, 3, 64, 64)
    before = round_trip_psnr(vae, pictures)
    standardise_latents(vae, pictures)
    with torch.no_grad():
        latents = vae.encode(pictures * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    assert round_trip_psnr(vae, pictures) == pytest.approx(before, abs=1e-3)


def test_the_wiener_denoiser_knows_the_noise_where_all_latents_are_one():
    torch.manual_seed(0)
    prior = LatentDiffusionPrior(new_unet(), new_vae(), new_scheduler())
    point = torch.randn(1, 4, 2, 2)
    wiener = WienerDenoiser(point + 1e-6 * torch.randn(50, 4, 2, 2), prior)
    noise, t = torch.randn(3, 4, 2, 2), torch.tensor([100, 500, 900])
    noised = prior.add_noise(point.expand(3, -1, -1, -1), noise, t)
    torch.testing.assert_close(wiener(noised, t, torch.arange(3)), noise, atol=1e-3, rtol=0)


def test_recall_is_one_for_equal_embeddings_and_chance_for_unrelated_ones():
    random = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(80, 256, generator=random), dim=1)
    others = torch.nn.functional.normalize(torch.randn(80, 256, generator=random), dim=1)
    captions = [f"caption {number}" for number in range(80)]
    assert recall(rows, rows, captions) == 1.0
    assert recall(rows, others, captions) < 0.1


def test_the_colour_judge_looks_at_the_object_alone(data):
    pictures = load_pictures([str(data)], Warnings())
    held: Pictures = pictures["held_out_instances"]
    shown = held.batch(torch.arange(len(held)))
    assert salient(shown)[:, 60, 60].all()
    assert not salient(shown)[:, :30].any()
    assert ColourJudge(pictures["train"])(shown) == [row["colour"] for row in held.attributes]


def test_the_family_judge_learns_shapes_whatever_their_colour(data):
    pictures = load_pictures([str(data)], Warnings())
    judge = FamilyJudge(pictures["train"], pictures["held_out_instances"], steps=40, seed=0)
    held = pictures["held_out_families"]
    assert judge(held) == [row["family"] for row in held.attributes]
    assert judge.on_renders() == [row["family"] for row in pictures["held_out_instances"].attributes]


def test_a_set_without_splits_is_refused(tmp_path):
    Image.new("RGB", (128, 128)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cup")
    with pytest.raises(UserError, match=r"make_objects\.py"):
        load_pictures([str(tmp_path)], Warnings())


def test_a_build_without_data_is_refused_and_writes_nothing(tmp_path):
    options = BuildOptions(data=(str(tmp_path / "nothing"),), output=str(tmp_path / "build"))
    with pytest.raises(UserError, match="there is no such folder"):
        build(options)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("judge_steps", 0), ("vae_steps", 0), ("vae_whole_batch", 0), ("vae_crop", 12)]
)
def test_a_number_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=f"--{name} {value}"):
        BuildOptions(data=("x",), output="y", **{name: value}).check()


def test_towers_and_vae_learn_in_the_precision_asked_for(data, tmp_path, monkeypatch):
    """The VAE twice, the second time with the weights of the first, on whole pictures."""
    asked, sides = [], []

    def fit(task, training, *others, **more):
        asked.append(training.precision)
        if hasattr(task, "vae"):
            sides.append((task.crop, task.square_weight, id(task.vae)))

    monkeypatch.setattr("tools.small_prior.build.fit", fit)
    for precision in ("float32", "bfloat16"):
        folder = str(tmp_path / precision)
        for stage in ("clip", "vae"):
            build(BuildOptions(data=(str(data),), output=folder, stage=stage, precision=precision))
    assert asked == ["float32"] * 3 + ["bfloat16"] * 3
    (crop, weight, vae), (whole, heavier, same) = sides[:2]
    assert crop < whole == 128 and weight < heavier and vae == same


@pytest.mark.slow
def test_one_command_builds_a_model_with_its_card(data, tmp_path):
    options = BuildOptions(
        data=(str(data),),
        output=str(tmp_path / "build"),
        vae_steps=2,
        vae_batch=2,
        vae_whole_steps=2,
        vae_whole_batch=2,
        clip_steps=2,
        clip_batch=4,
        unet_steps=2,
        unet_again_steps=3,
        unet_batch=2,
        decoder_steps=4,
        samples=2,
        sample_steps=2,
        judge_steps=2,
        precision="bfloat16",
    )
    model = build(options)
    assert find_model(str(model), None, Warnings()).folder == model
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) <= 25e6
    measured = json.loads((tmp_path / "build" / "measurements.json").read_text())
    assert len(measured["denoising"]["held_out_instances"]["unet"]) == BANDS
    assert "VAE round trip" in (model / "README.md").read_text()
    assert not [path for path in model.rglob("*.json") if str(tmp_path) in path.read_text()]
    assert "--precision bfloat16" in (model / "README.md").read_text()
    unet = json.loads((tmp_path / "build" / "unet" / "settings.json").read_text())["options"]
    assert (unet["training"]["precision"], unet["preprocessing"]["augment_flip"]) == ("bfloat16", True)
    again = json.loads((tmp_path / "build" / "unet_again" / "settings.json").read_text())["options"]
    assert again["guidance_model"] == str(tmp_path / "build" / "unet" / "model")
    assert (again["training"]["steps"], again["training"]["learning_rate"]) == (3, 5e-4)
    third = json.loads((tmp_path / "build" / "unet_third" / "settings.json").read_text())["options"]
    assert third["guidance_model"] == str(tmp_path / "build" / "unet_again" / "model")
    assert third["training"]["seed"] != again["training"]["seed"]  # other crops
    card = (model / "README.md").read_text()
    assert "| U-Net, third go | 3 |" in card and "| VAE's decoder | 4 |" in card
    before, after = (
        AutoencoderKL.from_pretrained(str(folder / "vae")).state_dict()
        for folder in (tmp_path / "build" / "unet_third" / "model", tmp_path / "build" / "decoder" / "model")
    )
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "post_quant_conv"}
    weights = {path: path.read_bytes() for path in model.glob("*/*.safetensors")}
    assert build(options) == model  # nothing is trained again
    assert weights == {path: path.read_bytes() for path in model.glob("*/*.safetensors")}
