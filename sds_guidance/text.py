"""Prompts become the text states that the U-Net attends to; the text encoder is gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from sds_guidance.embedding import Placeholder, put_placeholder
from sds_guidance.lora import Lora, put_lora
from utils.errors import Warnings

BATCH = 64  # prompts encoded at once


def encode_prompts(
    folder: Path,
    prompts: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    warnings: Warnings,
    *,
    lora: Lora | None = None,
    placeholder: Placeholder | None = None,
) -> Tensor:
    """The text encoder's last hidden states, as Stable Diffusion's cross-attention was trained on.

    (For SD 2.x the stored encoder has 23 of OpenCLIP's 24 layers, so its last state is the penultimate one.)
    Tokeniser and encoder are loaded, used and dropped here.

    Args:
        folder: a Stable-Diffusion-shaped diffusers folder; `tokenizer/` and `text_encoder/` are read.
        prompts: P texts; each is cut at the encoder's length, and the cut is warned about.
        device, dtype: where and in which format the encoder runs.
        warnings: takes the cuts.
        lora: an adapter; its weights for the text encoder are used.
        placeholder: a learnt word that prompts may contain.

    Returns:
        (P, tokens, width) float32 on `device`, width being the U-Net's cross-attention width.
    """
    return prompt_encoder(folder, device, dtype, lora=lora, placeholder=placeholder)(prompts, warnings)


def prompt_encoder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    lora: Lora | None = None,
    placeholder: Placeholder | None = None,
) -> Callable[[Sequence[str], Warnings], Tensor]:
    """What `encode_prompts` does, to be called with prompts and what takes the cuts; it holds the encoder.

    Args:
        folder, device, dtype, lora, placeholder: see `encode_prompts`.
    """
    tokenizer, encoder = load_text_encoder(folder, device, dtype)
    if lora:
        put_lora(encoder, lora, "text_encoder")
    if placeholder:
        put_placeholder(tokenizer, encoder, placeholder)

    @torch.no_grad()
    def encode(prompts: Sequence[str], warnings: Warnings) -> Tensor:
        if placeholder:
            prompts = [placeholder.expand(prompt) for prompt in prompts]
        tokens = tokenise(tokenizer, encoder, prompts, warnings)
        return torch.cat([encoder(b.to(device)).last_hidden_state.float() for b in tokens.split(BATCH)])

    return encode


# The file of an encoder with a projection, as `small`'s, serves too, without a report of what is left over.
CLIPTextModel._keys_to_ignore_on_load_unexpected = [r"text_projection\.weight"]


def load_text_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """The CLIP tokeniser and the text encoder of a model's folder."""
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    encoder: Any = CLIPTextModel.from_pretrained(
        str(folder / "text_encoder"), dtype=dtype, use_safetensors=True, local_files_only=True
    )
    return tokenizer, encoder.to(device).eval()


def tokenise(tokenizer: Any, encoder: Any, prompts: Sequence[str], warnings: Warnings) -> Tensor:
    """(P, tokens) int64: prompts cut and padded to the encoder's length; cuts are warned about."""
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    for prompt in prompts:
        count = len(tokenizer(prompt, verbose=False).input_ids)
        if count > length:
            warnings.add(f"a prompt is cut to the text encoder's {length} tokens", f"{count}: {prompt[:40]}")
    return tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
