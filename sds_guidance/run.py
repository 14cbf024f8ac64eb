"""The run that guidance is loaded for: what all that is done for it beforehand has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sds_guidance.conditioning import STAGING
from utils.errors import Warnings


@dataclass(frozen=True)
class Run:
    """A run that is about to begin, or to go on.

    Attributes:
        device: where its renderings are, and networks go.
        seed: of the run.
        argv: `sys.argv`, for the unguided command in an error.
        warnings: takes notices (a mapped model id, a prompt cut).
        folder: where its files are; None: nowhere, so that nothing can be made for it.
        resumed: whether it goes on; then its `conditioning.json` and what was made for it hold.
        say: told the memory plan, that a language model is asked, that something is fitted.
    """

    device: torch.device
    seed: int
    argv: Sequence[str]
    warnings: Warnings
    folder: Path | None = None
    resumed: bool = False
    say: Callable[[str], object] = print

    @property
    def staging(self) -> Path:
        """Where things are made for it, while what an earlier run left in the folder is still there."""
        assert self.folder is not None
        return self.folder / STAGING

    @property
    def made_in(self) -> Path:
        """Where `MADE_FOLDER` is: in its folder, for a new run in `staging`, until the run is recorded."""
        assert self.folder is not None
        return self.folder if self.resumed else self.staging
