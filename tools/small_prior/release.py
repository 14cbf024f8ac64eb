"""A trained model as it is given away: half precision, and nothing of the machine that made it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from utils.files import write_json

WEIGHTS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModelWithProjection,
    "image_encoder": CLIPVisionModelWithProjection,
}


def release(trained: Path, target: Path, pipeline: str = "StableDiffusionPipeline") -> None:
    """Copies a diffusers folder with its weights in half precision; it appears when it is whole.

    Args:
        trained: the folder.
        target: the copy; one that is there is replaced.
        pipeline: the class in diffusers that draws with it.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    for part in sorted(path for path in trained.iterdir() if path.is_dir()):
        if part.name in WEIGHTS:
            network: Any = WEIGHTS[part.name].from_pretrained(str(part), local_files_only=True)
            network.half().save_pretrained(temporary / part.name)
            _forget_origin(temporary / part.name / "config.json")
        else:
            shutil.copytree(part, temporary / part.name)
    write_json(
        temporary / "model_index.json",
        {
            "_class_name": pipeline,
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _forget_origin(config: Path) -> None:
    """Takes out where the weights were loaded from: a path of the machine that built them."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("_name_or_path", None)
    write_json(config, settings)
