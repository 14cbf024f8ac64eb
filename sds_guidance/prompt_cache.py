"""Text states of prompts kept on disk, so that a resumed run need not load the text encoder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sds_guidance.embedding import Placeholder
from sds_guidance.lora import Lora
from sds_guidance.models import ModelFolder
from sds_guidance.text import prompt_encoder
from utils.errors import Warnings
from utils.files import whole_file

FORMAT = 1  # of the files and of their keys; a higher one leaves older files alone


@dataclass(frozen=True)
class Entry:
    """What is kept of a prompt.

    Attributes:
        states: (tokens, width) float32 on the CPU.
        cuts: the warning that it was cut, if it was.
    """

    states: Tensor
    cuts: Warnings


def cached_prompts(
    model: ModelFolder,
    prompts: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    warnings: Warnings,
    *,
    lora: Lora | None = None,
    placeholder: Placeholder | None = None,
) -> Tensor:
    """The text states of prompts, as `text.encode_prompts` has them; the encoder is loaded for new ones only.

    Each prompt is encoded by itself, so that its states do not depend on what was kept before. Files that are
    damaged are made anew; where nothing can be written, a warning says so.

    Args:
        model: the model; its revision is part of the key.
        prompts, device, dtype, warnings, lora, placeholder: see `text.encode_prompts`.

    Returns:
        (P, tokens, width) float32 on `device`.
    """
    base = [FORMAT, model.revision, str(dtype), device.type, _of_lora(lora), _of_word(placeholder)]
    keys = [hashlib.sha256(json.dumps([*base, prompt]).encode()).hexdigest() for prompt in prompts]
    kept = {key: entry for key in keys if (entry := _read(key)) is not None}
    new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in kept}
    if new:
        encode = prompt_encoder(model.folder, device, dtype, lora=lora, placeholder=placeholder)
        for key, prompt in new.items():
            cuts = Warnings()
            kept[key] = Entry(encode([prompt], cuts)[0].cpu(), cuts)
            try:
                _write(key, kept[key])
            except OSError as failure:
                warnings.add("a prompt's text states could not be kept for the next run", str(failure))
    for entry in kept.values():
        warnings.extend(entry.cuts)
    return torch.stack([kept[key].states for key in keys]).to(device)


def cache_folder() -> Path:
    """Where text states are kept: in the user's cache directory, $XDG_CACHE_HOME or ~/.cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = named if named.is_absolute() else Path.home() / ".cache"  # its specification ignores relative ones
    return base / "guided-splatting" / "prompts"


def _read(key: str) -> Entry | None:
    """What is kept under a key; None where there is nothing, or nothing whole."""
    try:
        with safetensors.safe_open(_file(key), "pt") as file:
            told, states = file.metadata() or {}, file.get_tensor("states")
        cuts = Warnings(json.loads(told["cuts"]))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError):
        return None
    whole = told.get("key") == key and told.get("sha256") == _digest(states)
    return Entry(states, cuts) if whole else None


def _write(key: str, entry: Entry) -> None:
    told = {"key": key, "sha256": _digest(entry.states), "cuts": json.dumps(entry.cuts.kinds)}
    with whole_file(_file(key)) as file:
        file.write(safetensors.torch.save({"states": entry.states}, metadata=told))


def _file(key: str) -> Path:
    return cache_folder() / f"{key}.safetensors"


def _digest(states: Tensor) -> str:
    return hashlib.sha256(states.contiguous().numpy().tobytes()).hexdigest()


def _of_lora(lora: Lora | None) -> str:
    return hashlib.sha256(lora.path.read_bytes()).hexdigest() if lora else ""


def _of_word(placeholder: Placeholder | None) -> list[str]:
    return [placeholder.token, _digest(placeholder.vectors)] if placeholder else []
