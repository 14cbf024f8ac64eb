"""Stand-ins for a guidance model: a tiny random Stable-Diffusion-shaped folder, and a prior made by hand."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from sds_guidance.lora import add_lora, save_lora
from sds_guidance.mode import View
from sds_guidance.prior import Prediction

START, END = "<|startoftext|>", "<|endoftext|>"
WIDTH = 32  # of the text states


def save_tiny_model(folder: Path, prediction_type: str = "epsilon", **unet: Any) -> Path:
    """Writes a complete model of a few thousand weights, laid out as Stable Diffusion's; returns the folder.

    Two U-Net blocks of 32 channels, two VAE blocks, so that a picture's sides are multiples of 4; a CLIP text
    model of two layers over a vocabulary of single letters.

    Args:
        folder: of the model.
        prediction_type: "epsilon" or "v_prediction".
        unet: more settings of the U-Net; `in_channels=5` makes it a depth-to-image model's.
    """
    vocabulary = _vocabulary()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(32, 32),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=WIDTH,
                attention_head_dim=8,
                norm_num_groups=8,
                **unet,
            ),
            "vae": AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                block_out_channels=(8, 16),
                norm_num_groups=4,
                sample_size=16,
            ),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=WIDTH,
                    intermediate_size=37,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    **_reading(vocabulary),
                )
            ),
            "scheduler": DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction_type,
                clip_sample=False,
            ),
        }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    _save_tokenizer(folder / "tokenizer", vocabulary)
    return folder


def save_tiny_clip(folder: Path, tokenizer: Path, joint_width: int = 24) -> Path:
    """Writes a complete CLIP of a few thousand random weights, for pictures of 24 pixels; returns the folder.

    Args:
        tokenizer: the folder of `save_tiny_model`'s.
        joint_width: of the vectors.
    """
    vocabulary = _vocabulary()
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": joint_width,
    }
    vision = {"image_size": 24, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = CLIPModel(
            CLIPConfig(
                text_config={**tower, **_reading(vocabulary)},
                vision_config={**tower, **vision},
                projection_dim=joint_width,
            )
        )
    shutil.copytree(tokenizer, folder)
    clip.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    return folder


def save_random_lora(unet: torch.nn.Module, folder: Path) -> None:
    """Gives the U-Net an adapter of rank 4 with random weights, and saves it."""
    add_lora(unet, 4, "unet")
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    save_lora(folder, {"unet": unet})


def put_towers(clip: Path, model: Path) -> Path:
    """Gives a copy of a tiny model both towers of a tiny CLIP, in half precision; returns its folder."""
    for kind, part in (
        (CLIPTextModelWithProjection, "text_encoder"),
        (CLIPVisionModelWithProjection, "image_encoder"),
    ):
        kind.from_pretrained(clip).half().save_pretrained(model / part)
    (model / "feature_extractor").mkdir()
    shutil.copy(clip / "preprocessor_config.json", model / "feature_extractor")
    return model


def save_tiny_unclip(folder: Path, clip: Path) -> Path:
    """Writes a complete unCLIP model that sees through a tiny CLIP's vision tower; returns the folder."""
    width: int = CLIPVisionModelWithProjection.from_pretrained(clip).visual_projection.out_features
    projection = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * width}
    save_tiny_model(folder, "v_prediction", **projection)
    CLIPVisionModelWithProjection.from_pretrained(clip).save_pretrained(folder / "image_encoder")
    CLIPImageProcessor.from_pretrained(clip).save_pretrained(folder / "feature_extractor")
    normaliser = StableUnCLIPImageNormalizer(width)
    random = torch.Generator().manual_seed(0)
    normaliser.mean.data = torch.randn(1, width, generator=random)
    normaliser.std.data = 0.5 + torch.rand(1, width, generator=random)
    normaliser.save_pretrained(folder / "image_normalizer")
    schedule: Any = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    schedule.save_pretrained(folder / "image_noising_scheduler")
    return folder


def _vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz,."
    words = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    return {word: number for number, word in enumerate(words)}


def _reading(vocabulary: dict[str, int]) -> dict[str, Any]:
    """What a text tower's settings say of the tokeniser."""
    return {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 16,
        "bos_token_id": vocabulary[START],
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[END],
    }


def _save_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    """CLIP's tokeniser as SD 2.1's folder has it: a vocabulary, (no) merges, special tokens."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special: dict[str, Any] = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {**special, "model_max_length": 16, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
        )
    )


class AnyView:
    """What a prior has that sees nothing of a view but its picture, and whose U-Net has nowhere to go.

    Attributes:
        inpainting: the model beside it, if a test gives it one.
    """

    inpainting: Any = None

    def seeing(self, beside: Tensor) -> Self:
        return self

    def for_view(self, view: View, resolution: int) -> Self:
        return self

    def unet_on_device(self) -> AbstractContextManager[None]:
        return nullcontext()


class FakePrior(AnyView):
    """A prior whose latents are 2x2 means of the pixels, and whose estimate is the true noise plus `error`.

    So score distillation's residual is exactly w(t) * error: 0 for a prior that has nothing to say, NaN for a
    broken one.

    Attributes:
        error: a number, or a tensor that fits the latents.
        calls: how often a noise was asked for.
    """

    size_multiple = 2

    def __init__(self, error: float | Tensor = 0.0) -> None:
        self.abar = torch.linspace(0.999, 0.01, 1000)
        self.error = error
        self.calls = 0

    def encode(self, pictures: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(pictures, 2)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(latents, scale_factor=2)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        abar = self.abar[t].view(-1, 1, 1, 1)
        return abar.sqrt(), (1.0 - abar).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        self.noise = noise
        alpha, sigma = self.levels(t)
        return alpha * latents + sigma * noise

    def predict(
        self, noised: Tensor, t: Tensor, states: Tensor, guidance_scale: float, rescale: float = 0.0
    ) -> Prediction:
        self.calls += 1
        return Prediction(noise=self.noise + self.error, clean=noised)
