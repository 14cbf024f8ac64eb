"""The chain that makes the small prior: tokeniser, CLIP, VAE, U-Net, with checkpoints, then its measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTokenizer

from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.program import finetune
from sds_guidance.finetune.trainer import TrainingOptions, fit
from tools.small_prior.autoencoder import Autoencoding, new_vae, standardise_latents
from tools.small_prior.card import training_record, write_card
from tools.small_prior.contrastive import TEXT_WIDTH, Matching, new_clip, save_towers
from tools.small_prior.evaluation import evaluate
from tools.small_prior.options import RESOLUTION, BuildOptions, EvaluateOptions
from tools.small_prior.pictures import FAMILIES, INSTANCES, TRAIN, Pictures, load_pictures
from tools.small_prior.release import release
from tools.small_prior.tokenizer import learn_tokenizer
from utils.errors import Warnings
from utils.options import save_settings, to_plain
from utils.run_folder import resumes, versions

COPIES = 2
"""Changed copies of each picture that the U-Net learns from; captions stay true of them."""
UNET_GOES = ("unet", "unet_again", "unet_third")
"""Folders of the U-Net's goes, one from the end of the other."""
MAY_DIFFER = frozenset({"output", "stage", "samples", "sample_steps", "judge_steps"})


def build(options: BuildOptions) -> Path:
    """Trains what is not trained yet and returns the finished model's folder.

    Every stage writes checkpoints; a stopped build goes on when the same command is given again.

    Raises:
        UserError: data that cannot be used, or an output folder of other settings.
    """
    options.check()
    folder = Path(options.output)
    warnings = Warnings()
    resuming = resumes(folder, to_plain(options), resume=True, overwrite=False, may_differ=MAY_DIFFER)
    pictures = load_pictures(options.data, warnings)
    warnings.show()
    if not resuming:
        save_settings(folder, options, versions=versions())
    base = folder / "base"
    if options.stage in ("all", "clip"):
        train_clip(options, pictures, base, warnings)
    if options.stage in ("all", "vae"):
        train_vae(options, pictures, base, warnings)
    if options.stage != "all":
        return base
    model = folder / "model"
    release(train_decoder(options, train_unet(options, base)), model)
    measured = evaluate(
        EvaluateOptions(
            model=str(model),
            data=options.data,
            output=str(folder),
            seed=options.seed,
            samples=options.samples,
            sample_steps=options.sample_steps,
            judge_steps=options.judge_steps,
        )
    )
    write_card(model, training_record(folder), measured)
    return model


def train_clip(options: BuildOptions, pictures: dict[str, Pictures], base: Path, warnings: Warnings) -> None:
    """Learns the tokeniser and trains both towers into `base`."""
    if (base / "feature_extractor").is_dir():
        return
    learn_tokenizer(pictures[TRAIN].captions, base / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(str(base / "tokenizer"), local_files_only=True)
    torch.manual_seed(options.seed)
    task = Matching(new_clip(tokenizer), tokenizer, pictures[TRAIN], held_out(pictures))
    training = TrainingOptions(
        steps=options.clip_steps,
        minutes=options.clip_minutes,
        batch_size=options.clip_batch,
        learning_rate=1e-3,
        lr_warmup=100,
        weight_decay=0.1,
        checkpoint_interval=200,
        precision=options.precision,
        seed=options.seed,
    )
    _fit(task, training, base.parent / "clip", warnings)
    save_towers(task.clip, base)


def train_vae(options: BuildOptions, pictures: dict[str, Pictures], base: Path, warnings: Warnings) -> None:
    """Trains the VAE into `base`, its latents brought to mean 0 and deviation 1.

    Crops teach it fast. Whole pictures end it, since its group normalisation averages other things over a
    picture than over a crop; there squared errors, which PSNR counts, weigh more.
    """
    if (base / "vae").is_dir():
        return
    torch.manual_seed(options.seed)
    vae = new_vae()
    shared: dict[str, Any] = {
        "weight_decay": 0.0,
        "ema": 0.995,
        "checkpoint_interval": 200,
        "precision": options.precision,
        "seed": options.seed,
    }
    crops = TrainingOptions(
        steps=options.vae_steps,
        minutes=options.vae_minutes,
        batch_size=options.vae_batch,
        learning_rate=2e-3,
        lr_warmup=50,
        **shared,
    )
    whole = TrainingOptions(
        steps=options.vae_whole_steps,
        batch_size=options.vae_whole_batch,
        learning_rate=1e-3,
        lr_warmup=100,
        **shared,
    )
    task = Autoencoding(vae, pictures[TRAIN], held_out(pictures), crop=options.vae_crop, square_weight=2.0)
    _fit(task, crops, base.parent / "vae", warnings)
    task = Autoencoding(vae, pictures[TRAIN], held_out(pictures), crop=RESOLUTION, square_weight=20.0)
    _fit(task, whole, base.parent / "vae_whole", warnings)
    vae.to(memory_format=torch.contiguous_format)
    standardise_latents(vae, pictures[TRAIN].batch(torch.arange(min(512, task.count))))
    vae.save_pretrained(base / "vae")


def train_unet(options: BuildOptions, base: Path) -> Path:
    """Trains the U-Net from scratch, by the same program that fine-tunes, and returns the finished model.

    Further goes from half the learning rate follow (warm restarts, Loshchilov and Hutter 2017), each with
    crops of its own.
    """
    if not (base / "unet").is_dir():
        torch.manual_seed(options.seed)
        new_scheduler().save_pretrained(base / "scheduler")
        new_unet().save_pretrained(base / "unet")
    model = _finetuned(
        options,
        base,
        UNET_GOES[0],
        steps=options.unet_steps,
        minutes=options.unet_minutes,
        batch_size=options.unet_batch,
        learning_rate=1e-3,
    )
    for go, name in enumerate(UNET_GOES[1:], start=1):
        model = _finetuned(
            options,
            model,
            name,
            steps=options.unet_again_steps,
            minutes=options.unet_again_minutes,
            batch_size=options.unet_batch,
            learning_rate=5e-4,
            seed=options.seed + go,
        )
    return model


def train_decoder(options: BuildOptions, model: Path) -> Path:
    """Trains the decoder of the model's VAE on squared errors, which the round trip's PSNR counts; the
    latents, and with them what the U-Net knows, stay."""
    return _finetuned(
        options,
        model,
        "decoder",
        train="vae_decoder",
        steps=options.decoder_steps,
        minutes=options.decoder_minutes,
        batch_size=options.vae_batch,
        learning_rate=4e-4,
    )


def _finetuned(
    options: BuildOptions,
    start: Path,
    name: str,
    *,
    train: Literal["unet", "vae_decoder"] = "unet",
    seed: int | None = None,
    **training: Any,
) -> Path:
    """The model `start` after fine-tuning a part of it in the folder `name`, unless that is done."""
    folder = Path(options.output) / name
    if not (folder / "model").is_dir():
        finetune(
            FinetuneOptions(
                model_path=str(folder),
                data=options.data,
                guidance_model=str(start),
                method="full",
                train=train,
                caption_dropout=0.1,
                device="cpu",
                resume=True,
                validation_pictures=64,
                samples=0,
                preprocessing=PreprocessingOptions(
                    resolution=RESOLUTION, augmented_copies=COPIES, augment_flip=True, augment_crop=0.06
                ),
                training=TrainingOptions(
                    lr_warmup=100,
                    ema=0.998,
                    checkpoint_interval=200,
                    precision=options.precision,
                    seed=options.seed if seed is None else seed,
                    **training,
                ),
            )
        )
    return folder / "model"


def new_unet() -> Any:
    """An untrained U-Net for 16x16 latents; it attends to the text at 8x8 and 4x4, and adds its pool to t."""
    channels = (64, 96, 160)
    return UNet2DConditionModel(
        sample_size=RESOLUTION // 8,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=8,
        attention_head_dim=tuple(count // 32 for count in channels),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def new_scheduler() -> Any:
    """Stable Diffusion's noise levels; the network gives the velocity."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
    )


def held_out(pictures: dict[str, Pictures]) -> dict[str, Pictures]:
    """The two held-out splits."""
    return {name: pictures[name] for name in (INSTANCES, FAMILIES)}


def _fit(task: Any, training: TrainingOptions, folder: Path, warnings: Warnings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fit(task, training, folder, accelerator=Accelerator(cpu=True), warnings=warnings, resume=True)
