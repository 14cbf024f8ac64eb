"""A tokeniser of CLIP's kind, its vocabulary learnt from captions; any other word falls back to bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from utils.files import write_json, write_text

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
LENGTH = 64
"""Tokens of a prompt at most, with start and end."""
LARGEST = 1500
"""Tokens in the vocabulary at most."""


def learn_tokenizer(captions: Iterable[str], folder: Path) -> None:
    """Writes a tokeniser that `transformers.CLIPTokenizer.from_pretrained` loads.

    Byte pairs are merged by their frequency in the captions, in lower case; the 256 bytes, inside a word and
    at its end, are always there, so every text has tokens.

    Args:
        captions: texts to learn from.
        folder: gets vocab.json, merges.txt and the settings.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    learner.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=LARGEST - len(alphabet) - 2,
            min_frequency=2,
            initial_alphabet=alphabet,
            end_of_word_suffix=WORD_END,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = [*alphabet, *(letter + WORD_END for letter in alphabet), *map("".join, merges), START, END]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}

    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    write_json(folder / "vocab.json", vocabulary)
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": LENGTH, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "tokenizer_config.json", {**special, **settings})
