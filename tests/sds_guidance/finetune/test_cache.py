"""The cache equals a fresh encoding, is used again, goes stale when it must, and survives what goes wrong."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from sds_guidance.finetune import cache
from sds_guidance.finetune.cache import cache_pictures
from sds_guidance.finetune.captioned import read_captioned
from sds_guidance.finetune.pictures import read_picture
from sds_guidance.finetune.preprocessing import PreprocessingOptions, standardise
from sds_guidance.prior import load_prior
from utils.errors import UserError, Warnings

OPTIONS = PreprocessingOptions(resolution=16)


@pytest.fixture
def prior(tiny_model):
    return load_prior(tiny_model, torch.device("cpu"), torch.float32)


@pytest.fixture
def images(captioned_set):
    return read_captioned(captioned_set, Warnings())[:10]


@pytest.fixture
def encodings(prior, monkeypatch):
    """The sizes of the batches that the VAE encodes from now on."""
    sizes: list[int] = []
    encode = prior.encode

    def counted(pictures):
        sizes.append(len(pictures))
        return encode(pictures)

    monkeypatch.setattr(prior, "encode", counted)
    return sizes


def test_cached_latents_are_those_of_a_fresh_encoding(prior, images, tmp_path):
    pictures = torch.stack([standardise(read_picture(image.path, None), OPTIONS) for image in images])
    with torch.no_grad():
        fresh = prior.encode(pictures)
    for _ in range(2):  # made, then found
        found = cache_pictures(images, prior, "vae", OPTIONS, tmp_path, Warnings(), keep_pictures=True)
        assert found.images == images
        torch.testing.assert_close(found.latents[:, 0], fresh, atol=1e-5, rtol=1e-5)
        assert found.pictures is not None
        assert (found.pictures[:, 0] / 255 - pictures).abs().max() <= 0.5 / 255 + 1e-6


def test_what_is_cached_is_not_encoded_again_until_something_changes(prior, images, tmp_path, encodings):
    def run(digest="vae", options=OPTIONS, seed=0):
        encodings.clear()
        cache_pictures(images, prior, digest, options, tmp_path, Warnings(), seed=seed)
        return sum(encodings)

    assert run() == 10
    assert run() == 0
    assert run(digest="other") == 10
    assert run(options=replace(OPTIONS, normalise_contrast=1.0)) == 10
    augmented = replace(OPTIONS, augmented_copies=2, augment_flip=True)
    assert run(options=augmented) == 30
    assert run(options=augmented, seed=1) == 30
    assert run() == 0
    path = images[3].path
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert run() == 10


def test_a_run_that_breaks_off_leaves_its_finished_files(prior, images, tmp_path, encodings, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 4)
    whole_file = cache.whole_file
    written: list[Path] = []

    def full_disk(path):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        return whole_file(path)

    monkeypatch.setattr(cache, "whole_file", full_disk)
    with pytest.raises(UserError, match=r"disk is full while caching in .*: 2 finished files stay"):
        cache_pictures(images, prior, "vae", OPTIONS, tmp_path, Warnings())
    assert len(list(tmp_path.iterdir())) == 2

    monkeypatch.setattr(cache, "whole_file", whole_file)
    encodings.clear()
    assert len(cache_pictures(images, prior, "vae", OPTIONS, tmp_path, Warnings()).latents) == 10
    assert sum(encodings) == 2


def test_a_damaged_file_of_the_cache_is_made_anew(prior, images, tmp_path):
    first = cache_pictures(images, prior, "vae", OPTIONS, tmp_path, Warnings()).latents
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(cache_pictures(images, prior, "vae", OPTIONS, tmp_path, Warnings()).latents, first)


def test_unreadable_pictures_are_passed_over_and_their_captions_with_them(prior, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (16, 16), (40 * ord(name) % 255, 0, 0)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"picture {name}")
    (folder / "b.png").write_bytes(b"nothing")
    for _ in range(2):  # made, then found
        warnings = Warnings()
        images = read_captioned(folder, warnings)
        found = cache_pictures(images, prior, "vae", OPTIONS, tmp_path / "cache", warnings)
        assert [image.caption for image in found.images] == ["picture a", "picture c"]
        assert len(found.latents) == 2
        assert warnings.lines() == [
            f"warning: a picture that cannot be read was passed over: {folder / 'b.png'}"
        ]
    with pytest.raises(UserError, match=r"none of the 1 pictures can be read, .*b.png"):
        cache_pictures(images[1:2], prior, "vae", OPTIONS, tmp_path / "other", Warnings())
