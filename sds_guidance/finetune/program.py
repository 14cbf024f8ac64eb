"""Fine-tuning from beginning to end: data, caches, before, training, after, the result's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sds_guidance.architecture import demand_task
from sds_guidance.finetune.cache import CachedPictures, cache_pictures
from sds_guidance.finetune.captioned import CaptionedImage, read_captioned
from sds_guidance.finetune.decoding import round_trip
from sds_guidance.finetune.jobs import Job, Material, make_job
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.trainer import autocast, compute_dtype, fit, mixed_seed
from sds_guidance.models import ModelFolder, digest, find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from utils.errors import UserError, Warnings
from utils.files import write_json
from utils.options import save_settings, to_plain
from utils.run_folder import clear, resumes, versions

MAY_DIFFER = frozenset(
    {"resume", "overwrite", "model_path", "cache", "checkpoint_interval", "tensorboard", "device", "samples"}
    | {"sample_guidance_scale"}
)
"""Options that do not change the result, so that a resumed run may be given others."""
BEFORE, AFTER, REPORT = "samples_before.png", "samples_after.png", "report.json"
RESULTS = {"full": "model", "lora": "lora", "inversion": "embedding.safetensors"}
"""What a method's result is called in the output folder."""


def finetune(options: FinetuneOptions, images: Sequence[CaptionedImage] | None = None) -> Path:
    """Fine-tunes as the options say and returns the result's path.

    That is a diffusers folder for `--guidance_model` (full), a LoRA for `--guidance_lora`, or a new word for
    `--guidance_embedding` (inversion).

    Args:
        options: the flags.
        images: the captioned pictures; None: those of `options.data`.

    Raises:
        UserError: data, model or options cannot be used; a full disk while caching; a diverged training.
    """
    options.check()
    warnings = Warnings()
    folder = Path(options.model_path)
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision="no")  # --precision decides
    resuming = resumes(
        folder,
        to_plain(options),
        resume=options.resume,
        overwrite=options.overwrite,
        may_differ=MAY_DIFFER,
    )
    model = find_model(options.guidance_model, None, warnings, options.guidance_revision)
    architecture = demand_task(model.folder, ("text-to-image",))
    if images is None:
        images = _read_all(options, warnings)
    prior = load_prior(model.folder, accelerator.device, torch.float32)
    preprocessing = options.preprocessing.of_side(architecture.resolution)
    preprocessing.check(prior.size_multiple)
    with accelerator.main_process_first():
        material = _gather(replace(options, preprocessing=preprocessing), model, prior, images, warnings)
        job = make_job(material)
    warnings.show()
    # Only now: whatever was wrong so far leaves an earlier run, and no settings of a run that never was.
    accelerator.wait_for_everyone()
    if not resuming and accelerator.is_main_process:
        _start_folder(folder, options, model)
    facts = _facts(job, material)
    if options.train != "vae_decoder":
        prior.vae.to("cpu")

    def draw(name: str) -> None:
        if options.samples and accelerator.is_main_process:
            with autocast(accelerator.device, material.dtype):
                job.draw(folder / name)

    if not (folder / BEFORE).exists():
        draw(BEFORE)
    validations = fit(
        job.task, options.training, folder, accelerator=accelerator, warnings=warnings, resume=options.resume
    )
    draw(AFTER)
    if accelerator.is_main_process:
        job.save(folder)
        write_json(folder / REPORT, {**facts, "validations": validations})
        print_validations(validations)
    warnings.show()
    return folder / RESULTS[options.method]


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

    pools: dict[str, list[CaptionedImage]] = {}
    for image in images:
        pools.setdefault(str(image.attributes.get("split") or "train"), []).append(image)
    training = pools.pop("train", [])
    if not training:
        raise UserError('every picture is of a held-out split; some must have the split "train", or none')
    if pools:
        return training, {name: [pool[k] for k in chosen(pool, most)] for name, pool in pools.items()}
    count = min(max(1, round(share * len(training))), most, len(training) - 1) if share else 0
    if not count:
        return training, {}
    taken = set(chosen(training, count))
    return (
        [image for k, image in enumerate(training) if k not in taken],
        {"held_out": [image for k, image in enumerate(training) if k in taken]},
    )


def print_validations(validations: Sequence[dict[str, Any]]) -> None:
    """Prints the validation before and after, a line for each held-out set and measure."""
    for name in (key for key in validations[-1] if key != "step"):
        for when, found in (("before", validations[0]), ("after", validations[-1])):
            for measure, values in found[name].items():
                shown = " ".join(f"{value:.4f}" for value in values)
                print(f"{name}, {measure}, {when} (step {found['step']}): {shown}")


def _read_all(options: FinetuneOptions, warnings: Warnings) -> list[CaptionedImage]:
    """The captioned pictures of every folder of --data."""
    if not options.data:
        raise UserError("--data FOLDER (captioned pictures) or --source_path SCENE is needed")
    return [image for name in options.data for image in read_captioned(Path(name), warnings, options.caption)]


def _start_folder(folder: Path, options: FinetuneOptions, model: ModelFolder) -> None:
    """Empties the output folder of an earlier run and writes the settings; the cache stays."""
    clear(folder)
    for name in (BEFORE, AFTER, REPORT, "embedding.safetensors"):
        (folder / name).unlink(missing_ok=True)
    for name in ("model", "lora", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    facts = {
        "model": model.name,
        "revision": model.revision,
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    save_settings(folder, options, **facts)


def _gather(
    options: FinetuneOptions,
    model: ModelFolder,
    prior: LatentDiffusionPrior,
    images: Sequence[CaptionedImage],
    warnings: Warnings,
) -> Material:
    """Splits and encodes the pictures."""
    seed = options.training.seed
    if options.method == "inversion":
        images = [_with_word(image, options.placeholder_token) for image in images]
    training, held_out = split(images, options.held_out, options.validation_pictures, seed)
    cache = Path(options.cache) if options.cache else Path(options.model_path) / "cache"
    vae = digest(model.folder, ["vae"])
    plain = replace(options.preprocessing, augmented_copies=0)

    def encode(
        pictures: list[CaptionedImage], preprocessing: PreprocessingOptions, keep: bool
    ) -> CachedPictures:
        return cache_pictures(
            pictures, prior, vae, preprocessing, cache, warnings, seed=seed, keep_pictures=keep
        )

    return Material(
        options=options,
        base=model.folder,
        prior=prior,
        dtype=compute_dtype(options.training.precision, prior.unet.device),
        cache=cache,
        pictures=encode(training, options.preprocessing, options.train == "vae_decoder"),
        held_out={name: encode(pictures, plain, True) for name, pictures in held_out.items()},
        warnings=warnings,
    )


def _with_word(image: CaptionedImage, word: str) -> CaptionedImage:
    return image if word in image.caption else replace(image, caption=f"{word} {image.caption}")


def _facts(job: Job, material: Material) -> dict[str, Any]:
    """What the report says before training: pictures, their side, and their round trips through the VAE."""
    return {
        "training_pictures": job.task.count,
        "resolution": material.options.preprocessing.resolution,
        "round_trip_psnr": _round_trips(material),
    }


def _round_trips(material: Material) -> dict[str, float]:
    """Mean PSNR in dB of some of each held-out set's pictures through the VAE."""
    pictures = material.held_out
    return {name: round(round_trip(material.prior, held, most=16), 2) for name, held in pictures.items()}
