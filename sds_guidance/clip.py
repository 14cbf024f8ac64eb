"""CLIP: pictures and texts become unit vectors in one space, where their cosine says how well they fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from scene.cameras import Camera

PICTURES = 16  # embedded at once


@dataclass(frozen=True)
class Vision:
    """A vision tower with its projection, in float32, and what prepares its inputs.

    Attributes:
        tower: a `CLIPModel`, or a `CLIPVisionModelWithProjection`.
        processor: the model's own resizing, cropping and normalising of pictures.
    """

    tower: Any
    processor: Any

    def prepared(self, picture: Tensor) -> Tensor:
        """(1, 3, h, w) float32 as the tower takes it, of a picture (3, H, W) in [0, 1]."""
        return self.processor(Image.fromarray(image_pixels(picture)), return_tensors="pt").pixel_values

    @torch.no_grad()
    def of_pictures(self, pictures: Iterable[Tensor]) -> Tensor:
        """(N, width) float32 of unit length: the vectors of N pictures (3, H, W) in [0, 1], of any sizes."""
        prepared, vectors = map(self.prepared, pictures), []
        while some := list(islice(prepared, PICTURES)):
            vectors.append(picture_vectors(self.tower, torch.cat(some)))
        return torch.cat(vectors)

    def camera(self, camera: Camera) -> Camera:
        """The camera that renders what the tower is shown of a picture of this one: resized, cropped."""
        size, crop = self.processor.size, self.processor.crop_size
        width, height = size.width, size.height
        if size.shortest_edge:
            scale = size.shortest_edge / min(camera.width, camera.height)
            width, height = (int(scale * side + 1e-6) for side in (camera.width, camera.height))
        resized = camera.resized(width, height)
        if not self.processor.do_center_crop:
            return resized
        intrinsics = resized.intrinsics.clone()
        intrinsics[0, 2] -= (width - crop.width) // 2
        intrinsics[1, 2] -= (height - crop.height) // 2
        return replace(resized, intrinsics=intrinsics, width=crop.width, height=crop.height)

    def of_rendering(self, rgb: Tensor) -> Tensor:
        """(width,) float32 of unit length, with gradient to a rendering (3, h, w) from such a camera."""
        mean, deviation = (
            rgb.new_tensor(values)[:, None, None]
            for values in (self.processor.image_mean, self.processor.image_std)
        )
        return picture_vectors(self.tower, ((rgb - mean) / deviation)[None])[0]


@dataclass(frozen=True)
class Clip:
    """Both towers in float32 on the CPU, and what prepares their inputs.

    Attributes:
        vision: of the pictures.
        text: a `CLIPModel`, or a tower with its projection.
        tokenizer: of the text.
    """

    vision: Vision
    text: Any
    tokenizer: Any

    def of_pictures(self, pictures: Iterable[Tensor]) -> Tensor:
        """As `Vision.of_pictures`."""
        return self.vision.of_pictures(pictures)

    def of_texts(self, texts: Sequence[str], warnings: Warnings) -> Tensor:
        """(P, width) float32 of unit length; what is longer than the tower reads is cut and warned about."""
        tokens = tokenise(self.tokenizer, self.text.text_model, texts, warnings)
        return torch.cat([text_vectors(self.text, some) for some in tokens.split(BATCH)])


def picture_vectors(tower: Any, pixels: Tensor) -> Tensor:
    """(B, width) float32 of unit length, from (B, 3, H, W) as the tower takes them, with gradient.

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
    _demand_clip(folder)
    model = _load(CLIPModel, folder)
    return Clip(Vision(model, _processor(folder)), model, _tokenizer(folder))


def load_clip_vision(folder: Path) -> Vision:
    """The vision tower alone of such a CLIP.

    Raises:
        UserError: as `load_clip`.
    """
    _demand_clip(folder)
    network = _load(CLIPModel, folder)
    del network.text_model, network.text_projection
    return Vision(network, _processor(folder))


def load_vision(folder: Path) -> Vision:
    """The vision tower in a guidance model's folder; `models.VISION` says which files it needs.

    Raises:
        UserError: files are damaged.
    """
    tower = _load(CLIPVisionModelWithProjection, folder / "image_encoder")
    return Vision(tower, _processor(folder / "feature_extractor"))


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
    vision = load_vision(folder)
    text = _load(CLIPTextModelWithProjection, folder / "text_encoder")
    widths = vision.tower.config.projection_dim, text.config.projection_dim
    if widths[0] != widths[1]:
        raise UserError(
            f"--guidance_model: in {folder} pictures become vectors of {widths[0]} numbers and texts of "
            f"{widths[1]}: the two towers do not belong together.\n{GIVE_CLIP}"
        )
    return Clip(vision, text, _tokenizer(folder / "tokenizer"))


def _demand_clip(folder: Path) -> None:
    kind = read_config(folder / "config.json").get("model_type")
    if kind != "clip":
        raise UserError(
            f"--clip_model: {folder} holds a model of type {kind!r}; wanted is a CLIP, whose type is 'clip'"
        )


def _tokenizer(folder: Path) -> Any:
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


def _processor(folder: Path) -> Any:
    """What prepares pictures."""
    return CLIPImageProcessor.from_pretrained(str(folder), local_files_only=True)


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
    return network.eval().requires_grad_(False)
