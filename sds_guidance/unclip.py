"""unCLIP: a picture's embedding reaches the U-Net through its class embedding, as the model was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from sds_guidance.architecture import read_architecture, read_config
from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning_sources import photographs
from sds_guidance.models import DIFFUSION, NEEDED, NETWORK, VISION
from utils.errors import UserError

if TYPE_CHECKING:
    from scene.cameras import Camera

SEED_OFFSET = 0x1C1  # from --seed to the noise on the embeddings


def demand_unclip(folder: Path) -> None:
    """Raises a `UserError` unless the model in a folder is an unCLIP one, by its settings."""
    found = read_architecture(folder)
    if found.task != "unCLIP":
        raise UserError(
            f"--guidance_model: {folder} is of another task ({found.name}); its U-Net has no input for the "
            "embedding of an image."
        )


UNCLIP = replace(
    DIFFUSION,
    what="complete unCLIP diffusers folder",
    needed={
        **NEEDED,
        **VISION.needed,
        "image_normalizer": NETWORK,
        "image_noising_scheduler": (("scheduler_config.json",),),
    },
    way_out=(
        "--image_condition unclip wants an unCLIP model, sd2-community/stable-diffusion-2-1-unclip say; with "
        "others pictures count by --image_condition loss, lora or inversion."
    ),
    check=demand_unclip,
)
"""A guidance model for --image_condition unclip."""


def image_labels(
    folder: Path, cameras: Sequence[Camera], images: Sequence[Path], noise_level: int, seed: int
) -> Tensor:
    """What an unCLIP model's U-Net takes of pictures, as diffusers' StableUnCLIPImg2ImgPipeline makes it.

    The vision tower's embedding is normalised, noised, brought back, and followed by the sinusoidal embedding
    of the noise level. There is noise at level 0 too, little; it is drawn once.

    Args:
        folder: a complete model (see `UNCLIP`).
        cameras: of the photographs.
        images: files of the condition images.
        noise_level: of the model's own schedule for embeddings, from 0; more of it means a looser likeness.
        seed: of the noise.

    Returns:
        (N, 2 D) float32 on the CPU, the photographs' and the images', D being the width of the embeddings.

    Raises:
        UserError: the level is none of the model's, its parts do not belong together, or an image cannot be
            read.
    """
    # Only now: these bring diffusers and transformers.
    from diffusers import DDPMScheduler  # noqa: PLC0415
    from diffusers.models.embeddings import get_timestep_embedding  # noqa: PLC0415
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer  # noqa: PLC0415

    from sds_guidance.clip import load_vision  # noqa: PLC0415

    scheduler = DDPMScheduler.from_pretrained(
        folder, subfolder="image_noising_scheduler", local_files_only=True
    )
    levels = scheduler.config.num_train_timesteps
    if noise_level >= levels:
        raise UserError(f"--unclip_noise_level {noise_level}: allowed is 0 to {levels - 1} for this model")
    normaliser = StableUnCLIPImageNormalizer.from_pretrained(
        folder, subfolder="image_normalizer", use_safetensors=True, local_files_only=True
    )
    vision = load_vision(folder)
    pictures = chain(photographs(cameras), map(read_condition_image, images))
    with torch.no_grad():
        embeddings = torch.cat([vision.tower(vision.prepared(it)).image_embeds for it in pictures])
        wanted = read_config(folder / "unet" / "config.json").get("projection_class_embeddings_input_dim")
        count, width = embeddings.shape
        if wanted != 2 * width or normaliser.mean.shape[1] != width:
            raise UserError(
                f"--guidance_model: in {folder} pictures become {width} numbers, the normaliser takes "
                f"{normaliser.mean.shape[1]}, and the U-Net {wanted}, which should be twice as many: its "
                "parts do not belong together"
            )
        random = torch.Generator().manual_seed(seed + SEED_OFFSET)
        noise = torch.cat([torch.randn(1, width, generator=random) for _ in range(count)])
        level = torch.tensor([noise_level] * count)
        noised = scheduler.add_noise(normaliser.scale(embeddings), noise, level)
        told = get_timestep_embedding(level, width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([normaliser.unscale(noised), told], dim=1)


class ImageConditions:
    """Text states with a picture's label behind them: `ImageConditions(...)(camera, generator)`.

    The picture is the photograph that was taken nearest to the view. Where there are condition images, it is
    drawn among that photograph and these, all alike. The negative prompt's label is zero, as in diffusers'
    pipeline.
    """

    def __init__(
        self,
        conditions: Callable[[Camera, torch.Generator], Tensor],
        cameras: Sequence[Camera],
        labels: Tensor,
    ) -> None:
        """Takes over the labels of the pictures.

        Args:
            conditions: for a camera, the (2, tokens, width) text states of the negative prompt, then of the
                prompt.
            cameras: N, of the photographs.
            labels: (N + M, L), the photographs', then those of M condition images, on the states' device.
        """
        self.conditions = conditions
        self.cameras = list(cameras)
        self.photographs, self.images = labels[: len(cameras)], labels[len(cameras) :]
        self.poses = torch.stack([camera.world_to_camera for camera in cameras]).double().cpu()
        self.positions = torch.stack([camera.position for camera in cameras]).double().cpu()
        apart = torch.cdist(self.positions, self.positions).max()
        self.radius = float(apart) / 2 or 1.0

    def nearest(self, camera: Camera) -> int:
        """The number of the photograph nearest to a camera, by distance (in radii) plus angle in radians."""
        pose = camera.world_to_camera.double().cpu()
        traces = torch.einsum("nab,ab->n", self.poses[:, :3, :3], pose[:3, :3])
        distances = (self.positions - camera.position.double().cpu()).norm(dim=1)
        return int((distances / self.radius + ((traces - 1) / 2).clamp(-1, 1).acos()).argmin())

    def __call__(self, camera: Camera, generator: torch.Generator) -> Tensor:
        """(2, tokens + K, width): see `with_labels`; all chance comes from the generator."""
        states = self.conditions(camera, generator)
        drawn = int(torch.randint(len(self.images) + 1, (1,), generator=generator)) if len(self.images) else 0
        label = self.images[drawn - 1] if drawn else self.photographs[self.nearest(camera)]
        return with_labels(states, torch.stack([torch.zeros_like(label), label]))

    def among(self, cameras: Sequence[Camera]) -> ImageConditions:
        """The same without the photographs of other cameras."""
        names = [camera.name for camera in self.cameras]
        kept = self.photographs[[names.index(camera.name) for camera in cameras]]
        return ImageConditions(self.conditions, cameras, torch.cat([kept, self.images]))


def with_labels(states: Tensor, labels: Tensor) -> Tensor:
    """Text states and labels in one tensor, so that whoever picks a prompt has its label with it.

    Args:
        states: (P, tokens, width).
        labels: (P, L).

    Returns:
        (P, tokens + K, width): K = ceil(L / width) rows more hold the label and zeros to the end.
    """
    count, _, width = states.shape
    rows = pad(labels, (0, -labels.shape[1] % width)).view(count, -1, width)
    return torch.cat([states, rows.to(states)], dim=1)


def without_labels(states: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The (P, tokens, width) text states and the (P, length) labels that `with_labels` put together."""
    rows = label_rows(length, states.shape[2])
    return states[:, :-rows], states[:, -rows:].flatten(1)[:, :length]


def label_rows(length: int, width: int) -> int:
    """How many rows of that width hold a label: K of `with_labels`."""
    return -(-length // width)
