"""Fine-tuning from beginning to end: data, caches, before, training, after, the result's folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler
from torch import Tensor

from sds_guidance.finetune.cache import CachedPictures, cache_pictures, cached
from sds_guidance.finetune.captioned import CaptionedImage, read_captioned
from sds_guidance.finetune.denoising import CachedStates, Denoising, Examples
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.samples import sample, write_sheet
from sds_guidance.finetune.trainer import compute_dtype, fit, mixed_seed
from sds_guidance.models import NEEDED, ModelFolder, digest, find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from sds_guidance.text import encode_prompts
from utils.determinism import threads
from utils.errors import UserError, Warnings
from utils.files import write_json
from utils.options import save_settings, to_plain
from utils.run_folder import clear, resumes, versions

MAY_DIFFER = frozenset(
    {"resume", "overwrite", "model_path", "cache", "checkpoint_interval", "tensorboard", "device", "samples"}
    | {"sample_guidance_scale"}
)
"""Options that do not change the result, so that a resumed run may be given others."""
REPORT = "report.json"
OTHER_PARTS = ("image_encoder", "feature_extractor")
"""Parts of a model that guidance may use, copied into the result where they are there."""


def finetune(options: FinetuneOptions, images: Sequence[CaptionedImage] | None = None) -> Path:
    """Fine-tunes as the options say and returns what `--guidance_model` takes.

    Args:
        options: the flags.
        images: the captioned pictures; None: those of `options.data`.

    Raises:
        UserError: data, model or options cannot be used; a full disk while caching; a diverged training.
    """
    options.check()
    warnings = Warnings()
    folder = Path(options.model_path)
    resuming = resumes(
        folder,
        to_plain(options),
        resume=options.resume,
        overwrite=options.overwrite,
        may_differ=MAY_DIFFER,
    )
    accelerator = Accelerator(cpu=options.device == "cpu")
    model = find_model(options.guidance_model, None, warnings, options.guidance_revision)
    if images is None:
        images = _read_all(options, warnings)
    training, held_out = split(images, options.held_out, options.validation_pictures, options.training.seed)

    prior = load_prior(model.folder, accelerator.device, torch.float32)
    options.preprocessing.check(prior.size_multiple)
    if not resuming:
        _start_folder(folder, options, model, accelerator)
    with accelerator.main_process_first():
        pictures, held, captions, states = _cache(options, model, prior, training, held_out, warnings)
    warnings.show()

    task = Denoising(
        prior,
        CachedStates(states),
        _examples(pictures, captions),
        {name: _examples(found, captions) for name, found in held.items()},
        caption_dropout=options.caption_dropout,
        snr_gamma=options.snr_gamma,
        seed=options.training.seed,
    )
    prior.unet.requires_grad_(True)
    if options.gradient_checkpointing:
        prior.unet.enable_gradient_checkpointing()

    shown = _shown_captions(options, held or {"": pictures}, captions)
    if not (folder / "samples_before.png").exists():
        _draw(folder / "samples_before.png", options, model, prior, states, captions, shown, accelerator)
    validations = fit(
        task, options.training, folder, accelerator=accelerator, warnings=warnings, resume=options.resume
    )
    _draw(folder / "samples_after.png", options, model, prior, states, captions, shown, accelerator)
    if accelerator.is_main_process:
        save_model_folder(model.folder, {"unet": prior.unet}, folder / "model")
        write_json(folder / REPORT, {"training_pictures": task.count, "validations": validations})
        print_losses(validations)
    warnings.show()
    return folder / "model"


def split(
    images: Sequence[CaptionedImage], share: float, most: int, seed: int
) -> tuple[list[CaptionedImage], dict[str, list[CaptionedImage]]]:
    """The pictures to train on, and those held out by the name of their split.

    A set whose rows have a "split" decides itself: "train" is trained on, other names are held out. Of sets
    that hold out nothing, a share is drawn by the seed.

    Args:
        images: all pictures.
        share: in [0, 1), held out where no set says so; at least one picture of two or more.
        most: pictures of one split that are kept for validation.
        seed: of the draws.
    """
    random = torch.Generator().manual_seed(mixed_seed(seed, 1))

    def chosen(pool: list[CaptionedImage], count: int) -> list[int]:
        return sorted(torch.randperm(len(pool), generator=random)[:count].tolist())

    training = [image for image in images if image.attributes.get("split", "train") == "train"]
    names = sorted({str(image.attributes.get("split", "train")) for image in images} - {"train"})
    if not training:
        raise UserError('every picture is of a held-out split; some must have the split "train", or none')
    if names:
        pools = {name: [i for i in images if i.attributes.get("split") == name] for name in names}
        return training, {name: [pool[k] for k in chosen(pool, most)] for name, pool in pools.items()}
    count = min(max(1, round(share * len(training))), most, len(training) - 1) if share else 0
    if not count:
        return training, {}
    taken = set(chosen(training, count))
    return (
        [image for k, image in enumerate(training) if k not in taken],
        {"held_out": [image for k, image in enumerate(training) if k in taken]},
    )


def save_model_folder(base: Path, trained: dict[str, Any], target: Path) -> None:
    """Writes a whole diffusers folder: the trained parts, and copies of the base model's others.

    The folder appears under its name only when it is complete; one that was there is replaced.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for part in (*NEEDED, *OTHER_PARTS):
            if part in trained:
                trained[part].save_pretrained(temporary / part)
            elif (base / part).is_dir():
                shutil.copytree(base / part, temporary / part)
        if (base / "model_index.json").is_file():
            shutil.copy(base / "model_index.json", temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def print_losses(validations: Sequence[dict[str, Any]]) -> None:
    """Prints the validation before and after, a line for each held-out set."""
    for name in (key for key in validations[-1] if key != "step"):
        for when, found in (("before", validations[0]), ("after", validations[-1])):
            for measure, values in found[name].items():
                shown = " ".join(f"{value:.4f}" for value in values)
                print(f"{name}, {measure}, {when} (step {found['step']}): {shown}")


def _read_all(options: FinetuneOptions, warnings: Warnings) -> list[CaptionedImage]:
    """The captioned pictures of every folder of --data."""
    if not options.data:
        raise UserError("--data FOLDER is needed: captioned pictures to learn from")
    return [image for name in options.data for image in read_captioned(Path(name), warnings, options.caption)]


def _start_folder(
    folder: Path, options: FinetuneOptions, model: ModelFolder, accelerator: Accelerator
) -> None:
    """Empties the output folder of an earlier run and writes the settings; the cache stays."""
    if not accelerator.is_main_process:
        return
    clear(folder)
    for name in ("samples_before.png", "samples_after.png", REPORT):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "model", ignore_errors=True)
    facts = {"model": model.name, "revision": model.revision, "versions": versions(), "threads": threads()}
    save_settings(folder, options, **facts)


def _cache(
    options: FinetuneOptions,
    model: ModelFolder,
    prior: LatentDiffusionPrior,
    training: list[CaptionedImage],
    held_out: dict[str, list[CaptionedImage]],
    warnings: Warnings,
) -> tuple[CachedPictures, dict[str, CachedPictures], dict[str, int], Tensor]:
    """Latents of all pictures, and the text states of all captions with each caption's row."""
    folder = Path(options.cache) if options.cache else Path(options.model_path) / "cache"
    vae = digest(model.folder, ["vae"])
    seed = options.training.seed

    def encode(images: list[CaptionedImage]) -> CachedPictures:
        return cache_pictures(images, prior, vae, options.preprocessing, folder, warnings, seed=seed)

    pictures = encode(training)
    held_pictures = {name: encode(images) for name, images in held_out.items()}

    texts = sorted({image.caption for found in (pictures, *held_pictures.values()) for image in found.images})
    captions = {text: row for row, text in enumerate(("", *texts))}
    device = prior.unet.device
    dtype = compute_dtype(options.training.precision, device)

    def make() -> dict[str, Tensor]:
        return {
            "states": encode_prompts(model.folder, list(captions), device, dtype, warnings).cpu().to(dtype)
        }

    depends_on = ["text", digest(model.folder, ["text_encoder", "tokenizer"]), str(dtype), list(captions)]
    return pictures, held_pictures, captions, cached(folder, depends_on, make)["states"]


def _examples(pictures: CachedPictures, captions: dict[str, int]) -> Examples:
    return Examples(pictures.latents, torch.tensor([captions[image.caption] for image in pictures.images]))


def _shown_captions(
    options: FinetuneOptions, held_out: dict[str, CachedPictures], captions: dict[str, int]
) -> list[str]:
    """Some of the held-out captions, spread over them."""
    texts = sorted({image.caption for pictures in held_out.values() for image in pictures.images})
    count = min(options.samples, len(texts))
    return [texts[k * len(texts) // count] for k in range(count)]


def _draw(
    path: Path,
    options: FinetuneOptions,
    model: ModelFolder,
    prior: LatentDiffusionPrior,
    states: Tensor,
    captions: dict[str, int],
    shown: list[str],
    accelerator: Accelerator,
) -> None:
    """Writes a sheet of samples, in the main process."""
    if not shown or not accelerator.is_main_process:
        return
    scheduler = DDIMScheduler.from_pretrained(model.folder, subfolder="scheduler", local_files_only=True)
    vae_scale = 2 ** (len(prior.vae.config.block_out_channels) - 1)
    pictures = sample(
        prior,
        scheduler,
        states[[captions[text] for text in shown]],
        states[0],
        side=options.preprocessing.resolution // vae_scale,
        guidance_scale=options.sample_guidance_scale,
        seed=options.training.seed,
    )
    write_sheet(path, pictures, shown)
