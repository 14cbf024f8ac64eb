"""Which colour and which family a picture shows, judged without its caption, from renders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tools.small_prior.contrastive import image_embeddings
from tools.small_prior.pictures import Pictures

SALIENT = 0.12
"""Least difference of an object's pixel from the floor or wall of its row, the largest over R, G and B."""
BINS = 6
"""Of each of R, G and B in a histogram of colours."""


def salient(pictures: Tensor) -> Tensor:
    """(N, H, W) bool: where (N, 3, H, W) pictures in [0, 1] differ from their row's left and right border."""
    borders = torch.cat([pictures[..., :6], pictures[..., -6:]], dim=-1)
    background = borders.median(dim=-1, keepdim=True).values
    return (pictures - background).abs().amax(dim=1) > SALIENT


def colour_histogram(pictures: Tensor) -> Tensor:
    """(N, 216) float32: square roots of the shares that colours have of the salient pixels."""
    mask = salient(pictures).flatten(1)
    digits = (pictures * BINS).long().clamp(max=BINS - 1).flatten(2)
    bins = (digits[:, 0] * BINS + digits[:, 1]) * BINS + digits[:, 2]
    counts = torch.zeros(len(pictures), BINS**3).scatter_add_(1, bins, mask.float())
    return (counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).sqrt()


class ColourJudge:
    """A linear classifier of the histogram of the salient pixels, fitted to renders."""

    def __init__(self, renders: Pictures) -> None:
        self.names = sorted({row["colour"] for row in renders.attributes})
        labels = torch.tensor([self.names.index(row["colour"]) for row in renders.attributes])
        features = torch.cat(
            [colour_histogram(renders.batch(rows)) for rows in torch.arange(len(renders)).split(256)]
        )
        self.layer = nn.Linear(BINS**3, len(self.names))
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        optimiser = torch.optim.LBFGS(self.layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(self.layer(features), labels)
            loss = loss + 1e-4 * self.layer.weight.square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)  # type: ignore[arg-type]

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> list[str]:
        """The colours of (N, 3, H, W) pictures in [0, 1]."""
        return [self.names[k] for k in self.layer(colour_histogram(pictures)).argmax(dim=1).tolist()]


class FamilyJudge:
    """The family of the held-out render that is nearest, by the cosine of the vision tower's embeddings."""

    def __init__(self, vision, renders: Pictures) -> None:
        self.vision, self.renders = vision, renders
        self.embeddings = image_embeddings(vision, renders)

    def __call__(self, pictures: Pictures) -> list[str]:
        """The families of pictures that are not among the renders."""
        return self._names(image_embeddings(self.vision, pictures) @ self.embeddings.T)

    def on_renders(self) -> list[str]:
        """The families of the renders themselves, each by the nearest other one."""
        return self._names((self.embeddings @ self.embeddings.T).fill_diagonal_(-2))

    def _names(self, scores: Tensor) -> list[str]:
        return [self.renders.attributes[k]["family"] for k in scores.argmax(dim=1).tolist()]


def agreement(found: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Where both are the same."""
    return [a == b for a, b in zip(found, wanted, strict=True)]
