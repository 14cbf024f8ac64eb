"""What a small prior can do, in numbers: denoising per band, samples, retrieval, and the VAE's round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from tqdm import tqdm

from sds_guidance.clip import load_towers
from sds_guidance.finetune.bands import errors_per_band, losses_per_band
from sds_guidance.finetune.samples import sample, write_sheet
from sds_guidance.models import find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from sds_guidance.text import encode_prompts
from tools.small_prior.autoencoder import round_trip_psnr
from tools.small_prior.contrastive import RIVALS, image_embeddings, recall, text_embeddings
from tools.small_prior.judges import ColourJudge, FamilyJudge, agreement
from tools.small_prior.options import RESOLUTION, EvaluateOptions
from tools.small_prior.pictures import FAMILIES, INSTANCES, TRAIN, Pictures, load_pictures
from tools.small_prior.wiener import WienerDenoiser
from utils.errors import UserError, Warnings
from utils.files import write_json

CPU = torch.device("cpu")
GUIDANCE_SCALE = 5.0
SHOWN = 32
"""Samples on the sheet."""
MEASUREMENTS, SHEET = "measurements.json", "samples.png"


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measures a model, writes `measurements.json` and `samples.png`, and returns the former.

    Raises:
        UserError: the model or the data cannot be used.
    """
    options.check()
    warnings = Warnings()
    folder = find_model(options.model, None, warnings).folder
    if not (folder / "image_encoder").is_dir():
        raise UserError(
            f"--model {folder}: it has no vision tower (image_encoder/), which judges the samples"
        )
    pictures = load_pictures(options.data, warnings)
    prior = load_prior(folder, CPU, torch.float32)
    with torch.no_grad():
        measured = {
            "pictures": {name: len(found) for name, found in pictures.items()},
            "denoising": measure_denoising(prior, folder, pictures, options.seed, warnings),
            "round_trip_psnr": {
                name: round_trip_psnr(prior.vae, pictures[name].batch(torch.arange(len(pictures[name]))))
                for name in (INSTANCES, FAMILIES)
            },
            "retrieval": measure_retrieval(folder, pictures),
        }
    measured["samples"] = measure_samples(prior, folder, pictures, options, warnings)
    warnings.show()
    write_json(Path(options.output) / MEASUREMENTS, measured)
    return measured


def measure_denoising(
    prior: LatentDiffusionPrior, folder: Path, pictures: dict[str, Pictures], seed: int, warnings: Warnings
) -> dict[str, dict[str, list[float]]]:
    """Squared error of eps-hat in ten bands of t: the U-Net's with captions, and the Wiener denoiser's."""
    wiener = WienerDenoiser(encode(prior, pictures[TRAIN]), prior)
    result = {}
    for name in (INSTANCES, FAMILIES):
        latents = encode(prior, pictures[name])
        states = encode_prompts(folder, pictures[name].captions, CPU, torch.float32, warnings)
        result[name] = {
            "unet": losses_per_band(prior, latents, states.__getitem__, seed),
            "wiener": errors_per_band(wiener, prior, latents, seed),
        }
    return result


def measure_retrieval(folder: Path, pictures: dict[str, Pictures]) -> dict[str, dict[str, float]]:
    """R@1 among 64 different captions, picture to caption and caption to picture."""
    clip = load_towers(folder)
    result = {}
    for name in (INSTANCES, FAMILIES):
        captions = pictures[name].captions
        images = image_embeddings(clip.vision.tower, pictures[name])
        texts = text_embeddings(clip.text, clip.tokenizer, captions)
        result[name] = {
            "picture_to_caption": recall(images, texts, captions),
            "caption_to_picture": recall(texts, images, captions),
            "chance": 1 / min(RIVALS, len(set(captions))),
        }
    return result


def measure_samples(
    prior: LatentDiffusionPrior,
    folder: Path,
    pictures: dict[str, Pictures],
    options: EvaluateOptions,
    warnings: Warnings,
) -> dict[str, Any]:
    """Shares of samples with the colour and the family of the caption; the judges' own shares on renders."""
    held = pictures[INSTANCES].of_one_kind()
    random = torch.Generator().manual_seed(options.seed)
    chosen = held.chosen(torch.randperm(len(held), generator=random)[: options.samples].tolist())
    states = encode_prompts(folder, ["", *chosen.captions], CPU, torch.float32, warnings)
    drawn = sample(
        prior,
        DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True),
        states[1:],
        states[0],
        side=RESOLUTION // 8,
        guidance_scale=GUIDANCE_SCALE,
        steps=options.sample_steps,
        seed=options.seed,
    )
    write_sheet(Path(options.output) / SHEET, drawn[:SHOWN], chosen.captions[:SHOWN], columns=8)

    learnt = pictures[TRAIN].of_one_kind()
    colours, families = ColourJudge(learnt), FamilyJudge(learnt, held, options.judge_steps, options.seed)
    shown = Pictures((drawn * 255 + 0.5).to(torch.uint8), chosen.captions, chosen.attributes)
    return {
        "count": len(chosen),
        "guidance_scale": GUIDANCE_SCALE,
        "steps": options.sample_steps,
        "of_samples": shares(colours(drawn), families(shown), shown),
        "of_held_out_renders": shares(
            colours(held.batch(torch.arange(len(held)))), families.on_renders(), held
        ),
    }


def shares(colours: list[str], families: list[str], pictures: Pictures) -> dict[str, float]:
    """Shares of pictures whose colour, family, and both, were found as their attributes say."""
    right_colour = agreement(colours, [row["colour"] for row in pictures.attributes])
    right_family = agreement(families, [row["family"] for row in pictures.attributes])
    both = [a and b for a, b in zip(right_colour, right_family, strict=True)]
    found = {"colour": right_colour, "family": right_family, "both": both}
    return {name: sum(right) / len(right) for name, right in found.items()}


def encode(prior: LatentDiffusionPrior, pictures: Pictures) -> Tensor:
    """(N, 4, 16, 16) float32 latents."""
    batches = torch.arange(len(pictures)).split(32)
    with torch.no_grad():
        return torch.cat(
            [prior.encode(pictures.batch(rows)) for rows in tqdm(batches, desc="encoding", leave=False)]
        )
