"""Prompts become different states, the encoder goes away, and cut prompts are mentioned."""

import gc
import weakref

import pytest
import safetensors.torch
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from sds_guidance.embedding import read_embedding
from sds_guidance.text import encode_prompts
from utils.errors import UserError, Warnings

CPU = torch.device("cpu")


def encode(folder, prompts, warnings=None):
    return encode_prompts(folder, prompts, CPU, torch.float32, warnings or Warnings())


def test_states_are_the_encoders_last(tiny_model):
    states = encode(tiny_model, ["a fern", "blurry"])
    assert states.shape == (2, 16, 32)
    assert states.dtype == torch.float32
    assert not states.requires_grad
    tokenizer = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(tiny_model / "text_encoder")
    for prompt, state in zip(["a fern", "blurry"], states, strict=True):
        tokens = tokenizer(prompt, padding="max_length", max_length=16, return_tensors="pt").input_ids
        torch.testing.assert_close(state, encoder(tokens).last_hidden_state[0].detach())


def test_words_change_the_states_and_neighbours_do_not(tiny_model):
    first, second = encode(tiny_model, ["a fern", "a moss"])
    assert float((first - second).abs().max()) > 1e-3
    torch.testing.assert_close(encode(tiny_model, ["a fern", ""])[0], first)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1, 2, 3)])
def test_a_file_without_a_word_s_vectors_is_refused(tmp_path, shape):
    safetensors.torch.save_file({"<it>": torch.zeros(shape)}, tmp_path / "word.safetensors")
    with pytest.raises(UserError, match="wanted is one word with its vectors, found <it>"):
        read_embedding(tmp_path / "word.safetensors")


def test_the_encoder_is_gone_afterwards(tiny_model, monkeypatch):
    loaded = []
    load = CLIPTextModel.from_pretrained

    def spy(*arguments, **options):
        model = load(*arguments, **options)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(CLIPTextModel, "from_pretrained", spy)
    encode(tiny_model, ["a fern"])
    gc.collect()
    assert [reference() for reference in loaded] == [None]


def test_a_prompt_that_is_too_long_is_cut_and_mentioned(tiny_model):
    warnings = Warnings()
    long, cut = encode(tiny_model, ["abcdefghijklmnopqrstuvwxyz", "abcdefghijklmn"], warnings)
    torch.testing.assert_close(long[:14], cut[:14])  # the start and 13 letters
    (line,) = warnings.lines()
    assert "cut to the text encoder's 16 tokens" in line
    assert "28: abcdef" in line
