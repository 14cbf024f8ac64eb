"""The captioned pictures of the small prior, in memory, by split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sds_guidance.finetune.captioned import read_captioned
from sds_guidance.finetune.pictures import UnreadablePicture, read_picture
from sds_guidance.finetune.preprocessing import PreprocessingOptions, standardise
from tools.small_prior.options import RESOLUTION
from utils.errors import UserError, Warnings

TRAIN, INSTANCES, FAMILIES = "train", "held_out_instances", "held_out_families"


@dataclass(frozen=True)
class Pictures:
    """N pictures of one split.

    Attributes:
        pixels: (N, 3, 128, 128) uint8 on the CPU.
        captions: N texts.
        attributes: N dictionaries: "family", "colour", "count" and what else the set says.
    """

    pixels: Tensor
    captions: list[str]
    attributes: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.captions)

    def batch(self, rows: Tensor) -> Tensor:
        """(B, 3, 128, 128) float32 in [0, 1] of (B,) int64 rows."""
        return self.pixels[rows].float() / 255

    def of_one_kind(self) -> Pictures:
        """Those that are no still lifes, so that one colour and one family describe them."""
        return self.chosen([row for row, told in enumerate(self.attributes) if not told.get("beside")])

    def chosen(self, rows: Sequence[int]) -> Pictures:
        """Only these rows."""
        return Pictures(
            self.pixels[list(rows)], [self.captions[r] for r in rows], [self.attributes[r] for r in rows]
        )


def load_pictures(folders: Sequence[str], warnings: Warnings) -> dict[str, Pictures]:
    """All readable pictures by split.

    Raises:
        UserError: a split is missing, or its rows do not say family and colour.
    """
    options = PreprocessingOptions(resolution=RESOLUTION)
    found: dict[str, list[tuple[Tensor, str, dict[str, Any]]]] = {TRAIN: [], INSTANCES: [], FAMILIES: []}
    for folder in folders:
        for image in tqdm(
            read_captioned(Path(folder), warnings), desc="reading", unit="picture", leave=False
        ):
            split = image.attributes.get("split")
            if split not in found or not {"family", "colour", "count"} <= image.attributes.keys():
                raise UserError(
                    f"{image.path}: its row says {sorted(image.attributes)}, split {split!r}; wanted are "
                    f"family, colour, count, a split of {', '.join(found)}; tools/make_objects.py has them"
                )
            try:
                picture = standardise(read_picture(image.path, None), options)
            except UnreadablePicture:
                warnings.add("a picture that cannot be read was passed over", str(image.path))
                continue
            found[split].append(((picture * 255 + 0.5).to(torch.uint8), image.caption, image.attributes))
    empty = [name for name, rows in found.items() if not rows]
    if empty:
        raise UserError(f"--data {' '.join(folders)}: no readable picture of split {', '.join(empty)}")
    return {
        name: Pictures(torch.stack([r[0] for r in rows]), [r[1] for r in rows], [r[2] for r in rows])
        for name, rows in found.items()
    }
