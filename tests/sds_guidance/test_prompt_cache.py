"""Text states come back from disk bit by bit, without the encoder; nothing that is damaged is believed."""

import shutil
from dataclasses import replace

import pytest
import safetensors
import safetensors.torch
import torch

from sds_guidance import prompt_cache
from sds_guidance.embedding import Placeholder
from sds_guidance.models import ModelFolder
from sds_guidance.prompt_cache import cache_folder, cached_prompts
from sds_guidance.text import encode_prompts
from utils.errors import Warnings

CPU = torch.device("cpu")
PROMPTS = ["blurry", "a fern"]
LONG = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_model):
    return ModelFolder("tiny", tiny_model, "c0ffee")


def states(model, prompts=PROMPTS, warnings=None, dtype=torch.float32, **options):
    return cached_prompts(model, prompts, CPU, dtype, warnings or Warnings(), **options)


@pytest.fixture
def no_encoder(monkeypatch):
    """Lets every load of the text encoder fail, from when it is called."""

    def refuse(*_, **__):
        raise AssertionError("the text encoder was loaded")

    return lambda: monkeypatch.setattr(prompt_cache, "prompt_encoder", refuse)


def test_states_are_the_encoders_and_come_back_without_it(model, no_encoder):
    made = states(model)
    for prompt, state in zip(PROMPTS, made, strict=True):
        assert torch.equal(encode_prompts(model.folder, [prompt], CPU, torch.float32, Warnings())[0], state)
    no_encoder()
    assert torch.equal(states(model), made)
    assert torch.equal(states(model, PROMPTS[::-1]), made.flip(0))
    with pytest.raises(AssertionError, match="was loaded"):
        states(model, ["a moss"])


def test_states_do_not_depend_on_what_was_kept_before(model, monkeypatch, tmp_path):
    together = states(model, ["a", "b c", "d"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    states(model, ["d"])
    assert torch.equal(states(model, ["a", "b c", "d"]), together)


def test_all_that_changes_the_states_is_part_of_the_key(model):
    word = Placeholder("<it>", torch.randn(1, 32, generator=torch.Generator().manual_seed(0)))
    other = replace(word, vectors=word.vectors + 1)
    prompt = ["a <it> b"]
    states(model, prompt)
    states(replace(model, revision="decaf"), prompt)
    states(model, prompt, dtype=torch.bfloat16)
    with_word, with_other = (states(model, prompt, placeholder=which) for which in (word, other))
    assert len(list(cache_folder().iterdir())) == 5
    assert not torch.equal(with_word, with_other)
    assert torch.equal(states(model, prompt, placeholder=word), with_word)


def poison(path, how, other):
    """Damages a kept file in one of the ways that happen, or that an enemy would try."""
    content = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "cut short":
            path.write_bytes(content[:-100])
        case "one bit":
            path.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
        case "no safetensors":
            path.write_bytes(b"x" * 5000)
        case "another prompt's":
            shutil.copy(other, path)
        case "no such tensor":
            path.write_bytes(safetensors.torch.save({"else": torch.zeros(16, 32)}))
        case "nothing told":
            path.write_bytes(safetensors.torch.save({"states": torch.zeros(16, 32)}))


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "cut short", "one bit", "no safetensors"),
        *("another prompt's", "no such tensor", "nothing told"),
    ],
)
def test_a_damaged_file_is_made_anew(model, no_encoder, how):
    made = states(model)
    first, second = cache_folder().iterdir()
    poison(first, how, second)
    assert torch.equal(states(model), made)
    no_encoder()
    assert torch.equal(states(model), made)


def test_a_cut_is_told_at_every_run(model, no_encoder):
    first, second = Warnings(), Warnings()
    states(model, [LONG, "short"], first)
    no_encoder()
    states(model, [LONG, "short"], second)
    assert "cut to the text encoder's 16 tokens: 28: abcdef" in first.lines()[0]
    assert second.lines() == first.lines()


def test_where_nothing_can_be_written_the_run_goes_on(model, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where the folder would be")
    warnings = Warnings()
    made = states(model, warnings=warnings)
    assert made.shape == (2, 16, 32)
    (line,) = warnings.lines()
    assert "could not be kept for the next run (2 times)" in line


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "guided-splatting" / "prompts"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_folder().parent == tmp_path / ".cache" / "guided-splatting"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parent == tmp_path / ".cache" / "guided-splatting"
