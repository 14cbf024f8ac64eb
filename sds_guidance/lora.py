"""Low-rank adapters (LoRA) of the U-Net and the text encoder, in diffusers' file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.training_utils import cast_training_params
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from utils.errors import UserError
from utils.files import whole_file

FILE = "pytorch_lora_weights.safetensors"
Part = Literal["unet", "text_encoder"]
TARGETS: dict[Part, list[str]] = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0"],
    "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"],
}
"""The attention projections that get an adapter."""


@dataclass(frozen=True)
class Lora:
    """An adapter as its file holds it.

    Attributes:
        path: where it was read from.
        weights: by names that start with "unet." or "text_encoder.".
        alphas: the scales of files by other trainers, or None.
    """

    path: Path
    weights: Mapping[str, Tensor]
    alphas: Any


def read_lora(path: Path) -> Lora:
    """Reads a LoRA; nothing is put into a model yet.

    Args:
        path: a folder that holds `pytorch_lora_weights.safetensors`, or such a file under any name.

    Raises:
        UserError: there is none, or it holds none for a U-Net or a text encoder.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file() or file.suffix != ".safetensors":
        raise UserError(f"--guidance_lora {path}: wanted is a folder with {FILE}, or a .safetensors file")
    try:
        weights, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(
            str(file.parent), weight_name=file.name, local_files_only=True, use_safetensors=True
        )
    except Exception as failure:  # diffusers raises a dozen kinds for files of other trainers
        raise UserError(f"--guidance_lora {file} cannot be read as a LoRA: {failure}") from failure
    if not any(_keys(weights, part) for part in TARGETS):
        found = ", ".join(list(weights)[:2]) or "nothing"
        raise UserError(
            f"--guidance_lora {file} holds no weights for a U-Net or a text encoder of Stable Diffusion; its "
            f"first names are {found}"
        )
    return Lora(file, weights, alphas)


def put_lora(network: Any, lora: Lora, part: Part) -> None:
    """Puts the adapter's weights for one part into that part, in place.

    The U-Net's are added to its own weights, so that it runs as fast as before.

    Raises:
        UserError: the adapter was made for another architecture.
    """
    wanted = _keys(lora.weights, part)
    if not wanted:
        return
    load = {
        "unet": StableDiffusionLoraLoaderMixin.load_lora_into_unet,
        "text_encoder": StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder,
    }[part]
    try:
        load(dict(lora.weights), lora.alphas, network)
        found = len(get_peft_model_state_dict(network, adapter_name="default_0"))
    except (RuntimeError, ValueError, KeyError) as failure:
        found, reason = -1, str(failure).splitlines()[0]
    else:
        reason = f"{len(wanted)} weights were to be placed, {found} found a place"
    if found != len(wanted):
        raise UserError(
            f"--guidance_lora {lora.path} does not fit the model's {part} ({reason}); it was made for "
            "another model"
        )
    if part == "unet":
        network.fuse_lora()
        network.unload_lora()


def add_lora(network: Any, rank: int, part: Part) -> None:
    """Freezes a U-Net or text encoder and adds an adapter to train to its attention; it changes nothing yet.

    The scale is 1 (alpha = rank). The adapter's weights are float32, whatever the network's are.
    """
    network.requires_grad_(False)
    network.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS[part])
    )
    cast_training_params(network)


def save_lora(folder: Path, networks: Mapping[Part, Any]) -> None:
    """Writes the adapters of the networks, by part, as `FILE` into the folder, whole."""
    weights = {
        f"{part}.{name}": weight.detach().cpu().contiguous()
        for part, network in networks.items()
        for name, weight in get_peft_model_state_dict(network).items()
    }
    with whole_file(folder / FILE) as file:
        file.write(safetensors.torch.save(weights, metadata={"format": "pt"}))


def _keys(weights: Mapping[str, Tensor], part: Part) -> list[str]:
    return [name for name in weights if name.startswith(f"{part}.") and not name.endswith(".alpha")]
