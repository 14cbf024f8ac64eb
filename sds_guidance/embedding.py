"""Textual inversion: a new word whose embedding was learnt, in the file format of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.errors import UserError
from utils.files import whole_file


@dataclass(frozen=True)
class Placeholder:
    """A new word for prompts.

    Attributes:
        token: how it is written, "<scene>" say.
        vectors: (n, width) float32: it stands for n tokens, "<scene>", "<scene>_1", ...
    """

    token: str
    vectors: Tensor

    def names(self) -> list[str]:
        """The n tokens that the word stands for."""
        return [self.token, *(f"{self.token}_{number}" for number in range(1, len(self.vectors)))]

    def expand(self, prompt: str) -> str:
        """The prompt with the word replaced by all of its tokens."""
        return prompt.replace(self.token, " ".join(self.names()))


class PlaceholderTable(nn.Module):
    """A text encoder's embedding table, and the new word's vectors behind it."""

    def __init__(self, table: nn.Module, first: int, vectors: Tensor) -> None:
        """Takes the encoder's own table, the number of the first new token, and (n, width) vectors."""
        super().__init__()
        self.table = table
        self.first = first
        self.vectors = nn.Parameter(vectors.clone())

    def forward(self, tokens: Tensor) -> Tensor:
        number = tokens - self.first
        new = number >= 0
        known = self.table(tokens.masked_fill(new, 0))
        learnt = functional.embedding(number.clamp(min=0), self.vectors).to(known.dtype)
        return torch.where(new[..., None], learnt, known)


def put_placeholder(tokenizer: Any, encoder: Any, placeholder: Placeholder) -> PlaceholderTable:
    """Teaches a tokeniser and a text encoder the new word, in place; the encoder's own weights stay.

    Raises:
        UserError: the word is known already, or its vectors are of another width than the encoder's.
    """
    width = encoder.config.hidden_size
    if placeholder.vectors.shape[1] != width:
        raise UserError(
            f"the embedding of {placeholder.token} is {placeholder.vectors.shape[1]} wide, the text encoder "
            f"works with {width}: it was made for another model"
        )
    first = len(tokenizer)
    names = placeholder.names()
    tokenizer.add_tokens(names)
    if tokenizer.convert_tokens_to_ids(names) != list(range(first, first + len(names))):
        raise UserError(f"the model knows the word {placeholder.token} already; choose another, <scene> say")
    table = PlaceholderTable(encoder.get_input_embeddings(), first, placeholder.vectors.to(encoder.device))
    encoder.set_input_embeddings(table)
    return table


def start_vectors(tokenizer: Any, encoder: Any, word: str, count: int) -> Tensor:
    """(count, width) float32: the embeddings of a known word's tokens, in turn, to start learning from.

    Raises:
        UserError: the tokeniser makes nothing of the word.
    """
    tokens = tokenizer(word, add_special_tokens=False).input_ids
    if not tokens:
        raise UserError(f"--placeholder_start {word!r}: the model's tokeniser makes nothing of it")
    table = encoder.get_input_embeddings().weight.detach().float()
    return torch.stack([table[tokens[number % len(tokens)]] for number in range(count)])


def read_embedding(path: Path) -> Placeholder:
    """Reads what `save_embedding`, or diffusers' textual inversion, wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as failure:
        raise UserError(f"--guidance_embedding {path} cannot be read as safetensors: {failure}") from failure
    if len(found) != 1 or not all(it.ndim in (1, 2) and it.numel() for it in found.values()):
        raise UserError(
            f"--guidance_embedding {path}: wanted is one word with its vectors, found {', '.join(found)[:80]}"
        )
    token, vectors = next(iter(found.items()))
    return Placeholder(token, vectors.float().view(-1, vectors.shape[-1]))


def save_embedding(path: Path, placeholder: Placeholder) -> None:
    """Writes the word and its vectors, whole."""
    with whole_file(path) as file:
        file.write(safetensors.torch.save({placeholder.token: placeholder.vectors.cpu().contiguous()}))
