"""What each method trains: the task, the sheet that shows it, and the file that it ends in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from sds_guidance.embedding import Placeholder, put_placeholder, save_embedding, start_vectors
from sds_guidance.finetune.cache import CachedPictures, cached
from sds_guidance.finetune.decoding import Decoding, kept_pictures
from sds_guidance.finetune.denoising import CachedStates, Denoising, Examples
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.samples import sample, write_sheet
from sds_guidance.finetune.trainer import Task
from sds_guidance.lora import add_lora, save_lora
from sds_guidance.models import NEEDED, digest
from sds_guidance.prior import LatentDiffusionPrior, cast
from sds_guidance.text import encode_prompts, load_text_encoder, tokenise
from utils.errors import Warnings

PLAIN_ATTENTION_SIDE = 32
"""Side of the largest latents whose attention weights, of all pairs of places, are kept for the gradient."""
OTHER_PARTS = ("image_encoder", "feature_extractor")
"""Parts of a model that guidance may use, copied into the result where they are there."""


@dataclass
class Material:
    """All that a job is made of.

    Attributes:
        options: the flags.
        base: the folder of the model to start from.
        prior: that model, in float32, frozen.
        dtype: in which networks compute.
        cache: folder of the cache.
        pictures: to train on.
        held_out: to validate on, by name.
        warnings: takes cut captions.
    """

    options: FinetuneOptions
    base: Path
    prior: LatentDiffusionPrior
    dtype: torch.dtype
    cache: Path
    pictures: CachedPictures
    held_out: dict[str, CachedPictures]
    warnings: Warnings

    def captions(self) -> list[str]:
        """The empty caption, then all different ones in order."""
        sets = (self.pictures, *self.held_out.values())
        return ["", *sorted({image.caption for pictures in sets for image in pictures.images})]


@dataclass(frozen=True)
class Job:
    """A task, and what is done with it before and after.

    Attributes:
        task: for `trainer.fit`.
        draw: writes a sheet of pictures to a PNG file.
        save: writes the result into the run's folder and returns its path.
    """

    task: Task
    draw: Callable[[Path], None]
    save: Callable[[Path], Path]


class TokenStates(nn.Module):
    """Text states that a trained encoder makes: rows (B,) of captions to (B, tokens, width)."""

    def __init__(self, encoder: nn.Module, tokens: Tensor) -> None:
        """Takes the encoder and (P + 1, tokens) int64; row 0 is the empty caption's."""
        super().__init__()
        self.encoder = encoder
        self.tokens = tokens

    def forward(self, rows: Tensor) -> Tensor:
        device = next(self.encoder.parameters()).device
        return self.encoder(self.tokens[rows.to(self.tokens.device)].to(device)).last_hidden_state


def make_job(material: Material) -> Job:
    """The job that `--method` and `--train` name; networks get their `requires_grad` and adapters here."""
    options = material.options
    torch.manual_seed(options.training.seed)  # new adapters draw from torch's own generator
    if options.train == "vae_decoder":
        return _decoder_job(material)
    if options.method == "inversion":
        return _inversion_job(material)
    if options.train == "text_encoder":
        return _text_encoder_job(material)
    return _unet_job(material)


def suit_processor(unet: Any) -> None:
    """Lets a U-Net learn fast where it is: by plain attention for small latents on a CPU, else channels last.

    The gradient of PyTorch's fused attention is slow on CPUs in bfloat16, and so is GroupNorm with channels
    last. What fusing is for, never to hold the weights of all pairs of places, matters for large latents.
    """
    if unet.device.type == "cpu" and unet.config.sample_size <= PLAIN_ATTENTION_SIDE:
        unet.set_attn_processor(AttnProcessor())
    else:
        unet.to(memory_format=torch.channels_last)  # convolutions on a CPU are up to a fifth faster


def _unet_job(material: Material) -> Job:
    """The U-Net: all of it, or an adapter; text states are encoded once."""
    options, unet = material.options, material.prior.unet
    suit_processor(unet)
    device, captions = unet.device, material.captions()

    def make() -> dict[str, Tensor]:
        states = encode_prompts(material.base, captions, device, material.dtype, material.warnings)
        return {"states": states.cpu().to(material.dtype)}

    text = digest(material.base, ["text_encoder", "tokenizer"])
    states = cached(material.cache, ["text", text, str(material.dtype), captions], make)["states"]
    if options.method == "full":
        unet.requires_grad_(True)
    else:
        cast(unet, material.dtype)
        add_lora(unet, options.lora_rank, "unet")

    def save(folder: Path) -> Path:
        if options.method == "full":
            return save_model_folder(material.base, {"unet": unet}, folder / "model")
        save_lora(folder / "lora", {"unet": unet})
        return folder / "lora"

    return _denoising_job(material, CachedStates(states), options.caption_dropout, save)


def _text_encoder_job(material: Material) -> Job:
    """The text encoder: all of it, or an adapter, through the frozen U-Net."""
    options, prior = material.options, material.prior
    full = options.method == "full"
    dtype = torch.float32 if full else material.dtype
    tokenizer, encoder = load_text_encoder(material.base, prior.unet.device, dtype)
    tokens = tokenise(tokenizer, encoder, material.captions(), material.warnings)
    cast(prior.unet, material.dtype)
    if full:
        encoder.requires_grad_(True)
    else:
        add_lora(encoder, options.lora_rank, "text_encoder")
    if options.gradient_checkpointing:
        encoder.gradient_checkpointing_enable()

    def save(folder: Path) -> Path:
        if full:
            return save_model_folder(material.base, {"text_encoder": encoder}, folder / "model")
        save_lora(folder / "lora", {"text_encoder": encoder})
        return folder / "lora"

    return _denoising_job(material, TokenStates(encoder, tokens), options.caption_dropout, save)


def _inversion_job(material: Material) -> Job:
    """The vectors of a new word, through the frozen text encoder and the frozen U-Net."""
    options, prior = material.options, material.prior
    tokenizer, encoder = load_text_encoder(material.base, prior.unet.device, material.dtype)
    encoder.requires_grad_(False)
    start = start_vectors(tokenizer, encoder, options.placeholder_start, options.placeholder_vectors)
    placeholder = Placeholder(options.placeholder_token, start)
    table = put_placeholder(tokenizer, encoder, placeholder)
    expanded = [placeholder.expand(caption) for caption in material.captions()]
    tokens = tokenise(tokenizer, encoder, expanded, material.warnings)
    cast(prior.unet, material.dtype)

    def save(folder: Path) -> Path:
        path = folder / "embedding.safetensors"
        save_embedding(path, Placeholder(options.placeholder_token, table.vectors.detach()))
        return path

    # The empty caption does not hold the word: dropping captions would only waste steps.
    return _denoising_job(material, TokenStates(encoder, tokens), 0.0, save)


def _denoising_job(
    material: Material, conditions: nn.Module, dropout: float, save: Callable[[Path], Path]
) -> Job:
    """The job of a `Denoising` task, whatever is trained in it."""
    options, prior = material.options, material.prior
    if options.gradient_checkpointing:
        prior.unet.enable_gradient_checkpointing()
    row = {caption: number for number, caption in enumerate(material.captions())}

    def examples(pictures: CachedPictures) -> Examples:
        return Examples(pictures.latents, torch.tensor([row[image.caption] for image in pictures.images]))

    task = Denoising(
        prior,
        conditions,
        examples(material.pictures),
        {name: examples(pictures) for name, pictures in material.held_out.items()},
        caption_dropout=dropout,
        snr_gamma=options.snr_gamma,
        seed=options.training.seed,
    )
    shown = _shown([image.caption for pictures in _to_show(material) for image in pictures.images], options)
    scheduler = DDIMScheduler.from_pretrained(material.base, subfolder="scheduler", local_files_only=True)

    def draw(path: Path) -> None:
        rows = torch.tensor([0, *(row[caption] for caption in shown)])
        with torch.no_grad():
            states = conditions(rows).cpu()
        prior.vae.to(prior.unet.device)
        pictures = sample(
            prior,
            scheduler,
            states[1:],
            states[0],
            side=material.pictures.latents.shape[-1],
            guidance_scale=options.sample_guidance_scale,
            seed=options.training.seed,
        )
        prior.vae.to("cpu")
        write_sheet(path, pictures, shown)

    return Job(task, draw, save)


def _decoder_job(material: Material) -> Job:
    """The VAE's decoder; its sheet shows held-out pictures beside their round trip."""
    vae = material.prior.vae
    if material.options.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    task = Decoding(material.prior, material.pictures, material.held_out)
    pictures = _to_show(material)[0]
    most = material.options.samples

    def draw(path: Path) -> None:
        latents = pictures.latents[:most, 0].to(vae.device)
        decoded = torch.cat([material.prior.decode(one[None]).cpu() for one in latents])
        originals = kept_pictures(pictures)[:most, 0].float() / 255
        pairs = torch.stack([originals, decoded], dim=1).flatten(0, 1)
        write_sheet(path, pairs, ["original", "decoded"] * len(decoded))

    def save(folder: Path) -> Path:
        return save_model_folder(material.base, {"vae": vae}, folder / "model")

    return Job(task, draw, save)


def save_model_folder(base: Path, trained: dict[str, Any], target: Path) -> Path:
    """Writes a whole diffusers folder, the trained parts and copies of the base model's others; returns it.

    The folder appears under its name only when it is complete; one that was there is replaced.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for part in (*NEEDED, *OTHER_PARTS):
            if part in trained:
                network = trained[part].to(memory_format=torch.contiguous_format)  # as safetensors wants
                network.save_pretrained(temporary / part)
            elif (base / part).is_dir():
                shutil.copytree(base / part, temporary / part)
        if (base / "model_index.json").is_file():
            shutil.copy(base / "model_index.json", temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _to_show(material: Material) -> list[CachedPictures]:
    """The held-out sets, or where there are none the pictures trained on."""
    return list(material.held_out.values()) or [material.pictures]


def _shown(captions: Sequence[str], options: FinetuneOptions) -> list[str]:
    """Some of the captions, spread over them."""
    texts = sorted(set(captions))
    count = min(options.samples, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]
