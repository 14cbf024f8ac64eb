"""CLIP: pictures and texts become unit vectors in one space, where their cosine says how well they fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import safetensors
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import (
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from sds_guidance.architecture import read_config
from sds_guidance.models import GIVE_CLIP, demand_weights
from sds_guidance.text import BATCH, tokenise
from utils.errors import UserError, Warnings
from utils.images import image_pixels

PICTURES = 16  # embedded at once


@dataclass(frozen=True)
class Clip:
    """Both towers in float32 on the CPU, and what prepares their inputs.

    Attributes:
        vision, text: a `CLIPModel`, or a tower with its projection.
        tokenizer: of the text.
        processor: the model's own resizing, cropping and normalising of pictures.
    """

    vision: Any
    text: Any
    tokenizer: Any
    processor: Any

    def of_pictures(self, pictures: Iterable[Tensor]) -> Tensor:
        """(N, width) float32 of unit length: the vectors of N pictures (3, H, W) in [0, 1], of any sizes."""
        prepared = (
            self.processor(Image.fromarray(image_pixels(picture)), return_tensors="pt").pixel_values
            for picture in pictures
        )
        vectors = []
        while some := list(islice(prepared, PICTURES)):
            vectors.append(picture_vectors(self.vision, torch.cat(some)))
        return torch.cat(vectors)

    def of_texts(self, texts: Sequence[str], warnings: Warnings) -> Tensor:
        """(P, width) float32 of unit length; what is longer than the tower reads is cut and warned about."""
        tokens = tokenise(self.tokenizer, self.text.text_model, texts, warnings)
        return torch.cat([text_vectors(self.text, some) for some in tokens.split(BATCH)])


@torch.no_grad()
def picture_vectors(tower: Any, pixels: Tensor) -> Tensor:
    """(B, width) float32 of unit length, from (B, 3, H, W) as the tower takes them.

    Args:
        tower: a `CLIPModel` or a vision tower with projection.
        pixels: resized and normalised for it.
    """
    return normalize(tower.visual_projection(tower.vision_model(pixel_values=pixels).pooler_output), dim=1)


@torch.no_grad()
def text_vectors(tower: Any, tokens: Tensor) -> Tensor:
    """(B, width) float32 of unit length, from (B, length) int64; what follows a text's end is of no account.

    Args:
        tower: a `CLIPModel` or a text tower with projection.
        tokens: start, text, end, padding.
    """
    return normalize(tower.text_projection(tower.text_model(input_ids=tokens).pooler_output), dim=1)


def load_clip(folder: Path) -> Clip:
    """The CLIP in a folder that `CLIPModel.save_pretrained` wrote; `models.CLIP` says which files it needs.

    Raises:
        UserError: it is a model of another kind, or its files are damaged.
    """
    kind = read_config(folder / "config.json").get("model_type")
    if kind != "clip":
        raise UserError(
            f"--clip_model: {folder} holds a model of type {kind!r}; wanted is a CLIP, whose type is 'clip'"
        )
    model = _load(CLIPModel, folder)
    return Clip(model, model, *_prepare(folder, folder))


def load_towers(folder: Path) -> Clip:
    """The CLIP in a guidance model's folder; `models.TOWERS` says which files it needs.

    Raises:
        UserError: its text encoder lacks the projection, the towers do not belong together, or files are
            damaged.
    """
    settings = read_config(folder / "text_encoder" / "config.json")
    kinds = settings.get("architectures") or ["of no stated kind"]
    if CLIPTextModelWithProjection.__name__ not in kinds:
        raise UserError(
            f"--guidance_model: the text encoder in {folder} ({', '.join(kinds)}) has no projection to the "
            f"space that CLIP shares between text and pictures.\n{GIVE_CLIP}"
        )
    vision = _load(CLIPVisionModelWithProjection, folder / "image_encoder")
    text = _load(CLIPTextModelWithProjection, folder / "text_encoder")
    widths = vision.config.projection_dim, text.config.projection_dim
    if widths[0] != widths[1]:
        raise UserError(
            f"--guidance_model: in {folder} pictures become vectors of {widths[0]} numbers and texts of "
            f"{widths[1]}: the two towers do not belong together.\n{GIVE_CLIP}"
        )
    return Clip(vision, text, *_prepare(folder / "tokenizer", folder / "feature_extractor"))


def _prepare(tokenizer: Path, processor: Path) -> tuple[Any, Any]:
    """The tokeniser and the processor of pictures."""
    return (
        CLIPTokenizer.from_pretrained(str(tokenizer), local_files_only=True),
        CLIPImageProcessor.from_pretrained(str(processor), local_files_only=True),
    )


def _load(kind: Any, folder: Path) -> Any:
    """A network in float32, complete."""
    try:
        network, found = kind.from_pretrained(
            str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as failure:
        raise UserError(
            f"{folder} cannot be loaded as a {kind.__name__} ({failure}); copy or download it anew"
        ) from failure
    demand_weights(folder, found["missing_keys"])
    return network.eval()
