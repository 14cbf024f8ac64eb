"""The CLIP of the small prior: a text and a vision tower that agree on which caption belongs to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from sds_guidance.clip import picture_vectors, text_vectors
from tools.small_prior.options import RESOLUTION
from tools.small_prior.pictures import Pictures
from tools.small_prior.tokenizer import LENGTH

TEXT_WIDTH = 128
EMBEDDING = 128
RIVALS = 64
"""Different captions among which the right one is to be found."""


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Untrained towers of about 1 M weights each."""
    tower = {"num_hidden_layers": 4, "num_attention_heads": 4, "projection_dim": EMBEDDING}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"hidden_size": 160, "intermediate_size": 640, "image_size": RESOLUTION, "patch_size": 16}
    config = CLIPConfig(
        text_config={**text, **tower}, vision_config={**vision, **tower}, projection_dim=EMBEDDING
    )
    return CLIPModel(config)


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """(N, length) int64, padded to the longest; what follows the end changes nothing before it."""
    return tokenizer(
        list(captions), padding=True, max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids


class Matching:
    """The task of the CLIP, as `finetune.trainer.fit` takes it."""

    def __init__(
        self, clip: CLIPModel, tokenizer: CLIPTokenizer, training: Pictures, held_out: dict[str, Pictures]
    ) -> None:
        self.network: nn.Module = clip
        self.clip, self.tokenizer, self.training, self.held_out = clip, tokenizer, training, held_out
        self.count = len(training)
        self.tokens = token_ids(tokenizer, training.captions)
        numbers = {text: number for number, text in enumerate(sorted(set(training.captions)))}
        self.same = torch.tensor([numbers[text] for text in training.captions])

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """Cross-entropy in both directions; equal captions share their target."""
        pixels = jittered(self.training.batch(rows), random) * 2 - 1
        logits = self.network(input_ids=self.tokens[rows], pixel_values=pixels).logits_per_image
        equal = (self.same[rows, None] == self.same[rows]).float()
        target = equal / equal.sum(dim=1, keepdim=True)
        return (
            nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)
        ) / 2

    def validate(self) -> dict[str, Any]:
        """R@1 among 64 captions in each held-out set."""
        return {
            name: {
                "recall_at_1": recall(
                    image_embeddings(self.clip, held),
                    text_embeddings(self.clip, self.tokenizer, held.captions),
                    held.captions,
                )
            }
            for name, held in self.held_out.items()
        }


def jittered(pictures: Tensor, random: torch.Generator) -> Tensor:
    """(B, 3, H, W) in [0, 1]: each picture mirrored or not, moved, larger or smaller, and brighter or darker.

    By so little that captions stay true: they say "small" and "large", and know grey from white.
    """
    count = len(pictures)
    uniform = torch.rand(4, count, generator=random) * 2 - 1
    mirrored = torch.rand(count, generator=random) < 0.5
    zoom = 1 + 0.08 * uniform[0]
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = torch.where(mirrored, -zoom, zoom), zoom
    affine[:, :, 2] = 0.1 * uniform[1:3].T
    grid = nn.functional.affine_grid(affine, list(pictures.shape), align_corners=False)
    moved = nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return (moved * (1 + 0.12 * uniform[3]).view(-1, 1, 1, 1)).clamp(0, 1)


@torch.no_grad()
def image_embeddings(model: Any, pictures: Pictures) -> Tensor:
    """(N, width) float32 of unit length; `model` is a CLIP or its vision tower."""
    batches = torch.arange(len(pictures)).split(64)
    return torch.cat([picture_vectors(model, pictures.batch(rows) * 2 - 1) for rows in batches])


def text_embeddings(model: Any, tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """(N, width) float32 of unit length; `model` is a CLIP or its text tower."""
    batches = (captions[start : start + 64] for start in range(0, len(captions), 64))
    return torch.cat([text_vectors(model, token_ids(tokenizer, batch)) for batch in batches])


def recall(images: Tensor, texts: Tensor, captions: Sequence[str], trials: int = 20) -> float:
    """Share of pictures whose own caption is nearest among `RIVALS` different ones, mean of trials.

    Args:
        images, texts: (N, width), unit length; row i of both belong together.
        captions: N texts, of which each trial takes different ones; fewer where the set has fewer.
    """
    random = torch.Generator().manual_seed(0)
    scores = images @ texts.T
    shares = []
    for _ in range(trials):
        chosen: dict[str, int] = {}
        for row in torch.randperm(len(captions), generator=random).tolist():
            if len(chosen) < RIVALS:
                chosen.setdefault(captions[row], row)
        rows = torch.tensor(list(chosen.values()))
        shares.append(float((scores[rows][:, rows].argmax(1) == torch.arange(len(rows))).float().mean()))
    return sum(shares) / trials


def save_towers(clip: Any, folder: Path) -> None:
    """Writes text_encoder/, image_encoder/ and feature_extractor/ as diffusers' folders have them."""
    weights = clip.state_dict()
    for kind, name, config in (
        (CLIPTextModelWithProjection, "text_encoder", clip.config.text_config),
        (CLIPVisionModelWithProjection, "image_encoder", clip.config.vision_config),
    ):
        tower = kind(config)
        tower.load_state_dict({key: weights[key] for key in tower.state_dict()})
        tower.save_pretrained(folder / name)
    size = {"height": RESOLUTION, "width": RESOLUTION}
    half = [0.5, 0.5, 0.5]
    CLIPImageProcessor(size=size, crop_size=size, image_mean=half, image_std=half).save_pretrained(
        folder / "feature_extractor"
    )
