"""Latents and text states, computed once and kept on disk, so that a stopped run goes on where it was."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from sds_guidance.finetune.captioned import CaptionedImage
from sds_guidance.finetune.pictures import UnreadablePicture, read_picture
from sds_guidance.finetune.preprocessing import PreprocessingOptions, copies
from sds_guidance.prior import LatentDiffusionPrior
from utils.errors import UserError, Warnings
from utils.files import whole_file

CHUNK = 64
"""Pictures in one file of the cache."""
BATCH = 8
"""Pictures encoded at once."""


@dataclass(frozen=True)
class CachedPictures:
    """What the model sees of a list of pictures: N readable ones, V copies of each, the first unchanged.

    Attributes:
        images: the N readable ones.
        latents: (N, V, 4, h, w) float32 on the CPU, scaled, the means of the VAE's posterior.
        pictures: (N, V, 3, R, R) uint8 on the CPU, or None where they were not asked for.
    """

    images: list[CaptionedImage]
    latents: Tensor
    pictures: Tensor | None


def cache_pictures(
    images: Sequence[CaptionedImage],
    prior: LatentDiffusionPrior,
    model_digest: str,
    options: PreprocessingOptions,
    folder: Path,
    warnings: Warnings,
    *,
    seed: int = 0,
    keep_pictures: bool = False,
) -> CachedPictures:
    """Preprocesses and encodes pictures, or finds in `folder` what an earlier run encoded.

    A file of the cache is named by what its content depends on, so a stale one is never taken.

    Args:
        images: what to encode, in order.
        prior: its VAE encodes, where and in the format in which it is.
        model_digest: of the VAE's files, `models.digest(folder, ["vae"])`.
        options: the preprocessing.
        folder: of the cache; made where it is missing.
        warnings: takes pictures that cannot be read, which are passed over.
        seed: of the random copies.
        keep_pictures: give the preprocessed pictures back as well.

    Raises:
        UserError: the disk is full (what was encoded stays), or no picture can be read.
    """
    settings = {"model": model_digest, "seed": seed, "keep": keep_pictures, **asdict(options)}
    kept: list[CaptionedImage] = []
    parts: list[dict[str, Tensor]] = []
    for start in tqdm(range(0, len(images), CHUNK), desc="encoding pictures", unit="chunk", leave=False):
        chunk = images[start : start + CHUNK]

        def make(chunk=chunk, start=start) -> dict[str, Tensor]:
            return _encode_chunk(chunk, prior, options, seed + start, keep_pictures)

        files = [(str(i.path.resolve()), i.path.stat().st_size, i.path.stat().st_mtime_ns) for i in chunk]
        part = cached(folder, ["pictures", settings, start, files], make)
        readable = set(part["readable"].tolist())
        for index, image in enumerate(chunk):
            if index in readable:
                kept.append(image)
            else:
                warnings.add("a picture that cannot be read was passed over", str(image.path))
        if readable:
            parts.append(part)
    if not kept:
        where = f", {images[0].path} for one" if images else ""
        raise UserError(f"none of the {len(images)} pictures can be read{where}; look at them in a viewer")
    return CachedPictures(
        images=kept,
        latents=torch.cat([part["latents"] for part in parts]),
        pictures=torch.cat([part["pictures"] for part in parts]) if keep_pictures else None,
    )


def cached(folder: Path, depends_on: Any, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, from a file of `folder` that is named by the digest of `depends_on` (JSON).

    Raises:
        UserError: the disk is full; the files that were finished stay.
    """
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{name}.safetensors"
    if path.exists():
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError:
            path.unlink()  # a damaged file is made anew
    tensors = make()
    try:
        with whole_file(path) as file:
            file.write(safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}))
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        done = len(list(folder.glob("*.safetensors")))
        raise UserError(
            f"the disk is full while caching in {folder}: {done} finished files stay there and will be used. "
            "Free some space, or name another place with --cache, and give the same command again"
        ) from failure
    return tensors


def _encode_chunk(
    chunk: Sequence[CaptionedImage],
    prior: LatentDiffusionPrior,
    options: PreprocessingOptions,
    seed: int,
    keep_pictures: bool,
) -> dict[str, Tensor]:
    """Latents (and pictures) of a chunk, and the indices of those that could be read."""
    readable, found = [], []
    for index, image in enumerate(chunk):
        try:
            picture = read_picture(image.path, options.intensity_window)
        except UnreadablePicture:
            continue
        readable.append(index)
        found.append(copies(picture, options, torch.Generator().manual_seed(seed + index)))
    result = {"readable": torch.tensor(readable, dtype=torch.int64)}
    if readable:
        pictures = torch.stack(found)
        with torch.no_grad():
            batches = pictures.flatten(0, 1).split(BATCH)
            latents = torch.cat([prior.encode(batch.to(prior.vae.device)).cpu() for batch in batches])
        result["latents"] = latents.unflatten(0, pictures.shape[:2])
        if keep_pictures:
            result["pictures"] = (pictures * 255 + 0.5).to(torch.uint8)
    return result
