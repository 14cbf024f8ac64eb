"""Which colour and which family a picture shows, judged without its caption, from renders."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tools.small_prior.contrastive import jittered
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
    """The family of the nearest render, by what a small convolutional network sees.

    The network learns to tell the families of other renders apart; it is not a part of the model that is
    judged. Near is what has a large cosine in the layer before its last one.
    """

    def __init__(self, training: Pictures, renders: Pictures, steps: int, seed: int) -> None:
        """Trains on `training` for so many steps of 64, and keeps `renders` to compare with."""
        self.network, self.renders = _trained(training, steps, seed), renders
        self.vectors = self._vectors(renders)

    def __call__(self, pictures: Pictures) -> list[str]:
        """The families of pictures that are not among the renders."""
        return self._names(self._vectors(pictures) @ self.vectors.T)

    def on_renders(self) -> list[str]:
        """The families of the renders themselves, each by the nearest other one."""
        return self._names((self.vectors @ self.vectors.T).fill_diagonal_(-2))

    def _names(self, scores: Tensor) -> list[str]:
        return [self.renders.attributes[k]["family"] for k in scores.argmax(dim=1).tolist()]

    @torch.no_grad()
    def _vectors(self, pictures: Pictures) -> Tensor:
        batches = torch.arange(len(pictures)).split(64)
        found = [self.network[:-1](_halved(pictures.batch(rows))) for rows in batches]
        return nn.functional.normalize(torch.cat(found), dim=1)


def _halved(pictures: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(pictures, 2)


def _trained(pictures: Pictures, steps: int, seed: int) -> nn.Sequential:
    """A classifier of families, its last layer the linear one."""
    names = sorted({row["family"] for row in pictures.attributes})
    labels = torch.tensor([names.index(row["family"]) for row in pictures.attributes])
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((3, 32, 64, 128, 192)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(192, len(names)))
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    random = torch.Generator().manual_seed(seed)
    for _ in tqdm(range(steps), desc="learning families", leave=False):
        rows = torch.randint(len(pictures), (64,), generator=random)
        seen = jittered(_halved(pictures.batch(rows)), random)
        loss = nn.functional.cross_entropy(network(seen), labels[rows], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def agreement(found: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Where both are the same."""
    return [a == b for a, b in zip(found, wanted, strict=True)]
