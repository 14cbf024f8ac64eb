"""The inpainting sibling of a small prior: its U-Net, taught to see a mask and a masked picture besides."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from sds_guidance.finetune.bands import errors_per_band
from sds_guidance.finetune.cache import cached
from sds_guidance.finetune.denoising import target
from sds_guidance.finetune.jobs import suit_processor
from sds_guidance.finetune.trainer import TrainingOptions, fit, mixed_seed
from sds_guidance.models import digest, find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from sds_guidance.rectified import GREY
from sds_guidance.text import encode_prompts
from tools.small_prior.evaluation import encode
from tools.small_prior.options import InpaintOptions
from tools.small_prior.pictures import FAMILIES, INSTANCES, TRAIN, Pictures, load_pictures
from tools.small_prior.release import release
from utils.errors import Warnings
from utils.options import save_settings, to_plain
from utils.run_folder import resumes, versions

BESIDE = 5
"""Channels beside the latents: the mask, then the masked picture's four latents."""
CAPTION_DROPOUT = 0.1
CPU = torch.device("cpu")
MAY_DIFFER = frozenset({"output"})


def build_sibling(options: InpaintOptions) -> Path:
    """Trains the sibling of `--model` and returns its folder, as `--inpainting_model` takes it.

    A stopped training goes on when the same command is given again.

    Raises:
        UserError: the model or the data cannot be used, or the output folder is of other settings.
    """
    options.check()
    folder, warnings = Path(options.output), Warnings()
    resuming = resumes(folder, to_plain(options), resume=True, overwrite=False, may_differ=MAY_DIFFER)
    base = find_model(options.model, None, warnings).folder
    pictures = load_pictures(options.data, warnings)
    if not resuming:
        save_settings(folder, options, versions=versions())
    prior = load_prior(base, CPU, torch.float32)
    prepared = {name: _prepared(name, found, base, prior, options) for name, found in pictures.items()}
    captions = sorted({caption for found in pictures.values() for caption in found.captions})
    states = encode_prompts(base, ["", *captions], CPU, torch.float32, warnings)
    rows = {caption: row for row, caption in enumerate(captions, start=1)}
    numbers = {name: torch.tensor([rows[it] for it in found.captions]) for name, found in pictures.items()}
    examples = {name: Masked(*prepared[name], numbers[name]) for name in pictures}
    warnings.show()
    task = Inpainting(prior, states, examples[TRAIN], {it: examples[it] for it in (INSTANCES, FAMILIES)})
    training = TrainingOptions(
        steps=options.steps,
        minutes=options.minutes,
        batch_size=options.batch_size,
        learning_rate=5e-4,
        lr_warmup=100,
        ema=0.998,
        checkpoint_interval=200,
        precision=options.precision,
        seed=options.seed,
    )
    fit(task, training, folder, accelerator=Accelerator(cpu=True), warnings=warnings, resume=True)
    return _save(prior, base, folder)


@dataclass(frozen=True)
class Masked:
    """Pictures with the masks under which they are shown.

    Attributes:
        latents: (N, 4, h, w) float32, scaled.
        beside: (N, V, 5, h, w) float32, what is seen of each picture under each of V masks.
        captions: (N,) int64, rows of the text states; row 0 is the empty caption's.
    """

    latents: Tensor
    beside: Tensor
    captions: Tensor


class Inpainting:
    """The task of denoising beside a masked picture, as `finetune.trainer.fit` takes it."""

    def __init__(
        self, prior: LatentDiffusionPrior, states: Tensor, examples: Masked, held_out: dict[str, Masked]
    ) -> None:
        """Widens the prior's U-Net and makes all of it trainable; `states` are (P + 1, tokens, width)."""
        widen(prior.unet)
        prior.unet.requires_grad_(True)
        suit_processor(prior.unet)
        self.network: nn.Module = prior.unet
        self.prior, self.states, self.examples, self.held_out = prior, states, examples, held_out
        self.count = len(examples.latents)

    def loss(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """The mean squared error of the network's output, under one mask of each picture."""
        found = self.examples
        mask = torch.randint(found.beside.shape[1], (len(rows),), generator=random)
        dropped = torch.rand(len(rows), generator=random) < CAPTION_DROPOUT
        t = torch.randint(len(self.prior.abar), (len(rows),), generator=random)
        noise = torch.randn(found.latents[rows].shape, generator=random)
        noised = self.prior.add_noise(found.latents[rows], noise, t)
        output = self._output(noised, t, found.beside[rows, mask], found.captions[rows] * ~dropped)
        return (output - target(self.prior, found.latents[rows], noise, t)).square().mean()

    def validate(self) -> dict[str, Any]:
        """The loss of eps-hat in each band of t, under the first mask of each held-out picture."""
        found = {}
        for name, held in self.held_out.items():

            def estimate(noised: Tensor, t: Tensor, rows: Tensor, held: Masked = held) -> Tensor:
                output = self._output(noised, t, held.beside[rows, 0], held.captions[rows])
                return self.prior.read(output, noised, t).noise

            found[name] = {"loss_per_band": errors_per_band(estimate, self.prior, held.latents, seed=0)}
        return found

    def _output(self, noised: Tensor, t: Tensor, beside: Tensor, captions: Tensor) -> Tensor:
        seen = torch.cat([noised, beside], dim=1)
        return self.network(seen, t, encoder_hidden_states=self.states[captions]).sample.float()


def widen(unet: Any) -> None:
    """Lets a U-Net see the channels beside its latents; with weights of 0, so that nothing changes yet."""
    narrow = unet.conv_in
    inputs = narrow.in_channels + BESIDE
    wide = nn.Conv2d(inputs, narrow.out_channels, narrow.kernel_size, padding=narrow.padding)
    wide.bias = narrow.bias
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, : narrow.in_channels] = narrow.weight
    unet.conv_in = wide
    unet.register_to_config(in_channels=inputs)


def random_masks(count: int, side: int, random: torch.Generator) -> Tensor:
    """(count, 1, side, side) bool: what is to be painted, from a tenth of a picture to all of it.

    Where coarse or finer noise is low: patches, holes and margins, as warped photographs leave them.
    """
    masks = []
    for _ in range(count):
        cells = int(torch.randint(2, 9, (), generator=random))
        field = torch.rand(1, 1, cells, cells, generator=random)
        field = F.interpolate(field, size=(side, side), mode="bilinear", align_corners=True)
        share = 0.1 + 0.9 * torch.rand((), generator=random)
        masks.append(field <= field.flatten().quantile(share))
    return torch.cat(masks)


@torch.no_grad()
def seen_beside(prior: LatentDiffusionPrior, pictures: Tensor, masks: Tensor) -> Tensor:
    """(B, 5, h, w): the mask, 1 where something is to be painted, and the latents of the rest before grey.

    Args:
        prior: its VAE encodes.
        pictures: (B, 3, H, W) in [0, 1].
        masks: (B, 1, H, W) bool, true where something is to be painted.
    """
    latents = prior.encode(pictures.masked_fill(masks, GREY))
    return torch.cat([F.interpolate(masks.float(), size=latents.shape[-2:]), latents], dim=1)


def _prepared(
    name: str, pictures: Pictures, base: Path, prior: LatentDiffusionPrior, options: InpaintOptions
) -> tuple[Tensor, Tensor]:
    """Latents, and what is seen beside them under each mask; kept in the output folder's cache."""

    def make() -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(mixed_seed(options.seed, len(pictures)))
        beside = []
        for rows in tqdm(torch.arange(len(pictures)).split(32), desc=f"masking {name}", leave=False):
            shown = pictures.batch(rows).repeat_interleave(options.masks, dim=0)
            masks = random_masks(len(shown), shown.shape[-1], random)
            beside.append(seen_beside(prior, shown, masks).unflatten(0, (len(rows), options.masks)))
        return {"latents": encode(prior, pictures), "beside": torch.cat(beside)}

    key = ["masked", name, pictures.captions, options.masks, options.seed, digest(base, ["vae"])]
    found = cached(Path(options.output) / "cache", key, make)
    return found["latents"], found["beside"]


def _save(prior: LatentDiffusionPrior, base: Path, folder: Path) -> Path:
    """Writes the base model with the widened U-Net into `model` in the folder."""
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(base, whole, ignore=shutil.ignore_patterns("unet"))
    prior.unet.to(memory_format=torch.contiguous_format).save_pretrained(whole / "unet")
    release(whole, folder / "model", pipeline="StableDiffusionInpaintPipeline")
    shutil.rmtree(whole)
    return folder / "model"
