"""A frozen latent diffusion model: pictures to latents and back, noise on, noise estimated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from sds_guidance.architecture import GUIDING, demand_task, read_config
from sds_guidance.depth import depth_channel
from sds_guidance.lora import Lora, put_lora
from sds_guidance.mode import View
from sds_guidance.models import demand_weights
from sds_guidance.unclip import without_labels
from utils.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What the network makes of a noised latent: one estimate seen twice, z_t = alpha clean + sigma noise.

    Attributes:
        noise: (B, 4, h, w) float32, the estimated noise, eps-hat.
        clean: (B, 4, h, w) float32, the estimated latent without noise, z0-hat.
    """

    noise: Tensor
    clean: Tensor


class LatentDiffusionPrior:
    """U-Net, VAE and noise schedule, frozen.

    Letters: B images, h and w latent pixels, T noise levels (1000), t a level; abar_t the cumulated signal
    share, alpha = sqrt(abar), sigma = sqrt(1 - abar). Latents, noise and estimates are float32 outside the
    networks, whatever these compute in.

    Attributes:
        prediction_type: "epsilon" (the network gives the noise) or "v_prediction" (v = alpha eps - sigma z).
        abar: (T,) float32.
        size_multiple: a picture's sides must be multiples of it (64 for SD).
        vae_scale: side in pixels of a latent pixel (8 for SD).
        resolution: side in pixels of the pictures that the U-Net was trained on.
        label_length: of the label of a picture that an unCLIP U-Net takes, which then comes behind the text
            states of every prompt (`unclip.with_labels`); 0: it takes none.
        sees_depth: whether the U-Net wants the depth of a view beside its latents; see `for_view`.
        one_batch: whether both prompts go through the U-Net as one batch, or one after the other: the same up
            to rounding, slower, and half the activations.
        beside: (1, C, h, w) float32, channels that the U-Net sees after those of the noised latents, as
            models of other tasks than text-to-image want them; None: no more.
        inpainting: an inpainting model of the same family, with the same VAE (see `load_inpainting`), for the
            mode that has one beside this; None: there is none.
    """

    def __init__(self, unet: Any, vae: Any, scheduler: Any, *, one_batch: bool = True) -> None:
        """Takes networks that are where they shall stay, in the format that they shall compute in.

        Args:
            unet, vae, scheduler: diffusers' `UNet2DConditionModel`, `AutoencoderKL` and `DDIMScheduler`. The
                VAE is on the device of the pictures; the U-Net may be kept elsewhere, see `unet_on_device`.
            one_batch: see the attribute.
        """
        self.one_batch = one_batch
        self.beside: Tensor | None = None
        self.inpainting: LatentDiffusionPrior | None = None
        self.unet = unet.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.prediction_type: str = scheduler.config.prediction_type
        self.abar: Tensor = scheduler.alphas_cumprod.float().to(vae.device)
        self.vae_scale: int = 2 ** (len(vae.config.block_out_channels) - 1)
        self.resolution: int = self.vae_scale * unet.config.sample_size
        labelled = unet.config.class_embed_type == "projection"
        self.label_length: int = unet.config.projection_class_embeddings_input_dim if labelled else 0
        self.sees_depth: bool = unet.config.in_channels == vae.config.latent_channels + 1
        self.size_multiple: int = self.vae_scale * 2 ** (len(unet.config.block_out_channels) - 1)

    def free_decoder(self) -> None:
        """Gives up the VAE's decoder, which score distillation never calls."""
        self.vae.decoder = None
        self.vae.post_quant_conv = None

    def seeing(self, beside: Tensor) -> LatentDiffusionPrior:
        """The same networks, with other channels beside the noised latents; see the attribute."""
        prior = copy(self)
        prior.beside = beside
        return prior

    def for_view(self, view: View, resolution: int) -> LatentDiffusionPrior:
        """What is to be asked about one rendering: of a depth-to-image model, one that sees its depth.

        Args:
            view: the rendering.
            resolution: short side in pixels of what the prior sees of it.
        """
        if not self.sees_depth:
            return self
        return self.seeing(depth_channel(view, resolution, self.size_multiple, self.vae_scale))

    @contextmanager
    def unet_on_device(self) -> Iterator[None]:
        """Lends the U-Net to the VAE's device for a block, where it is kept elsewhere to spare that memory.

        Its weights never change, so their copies are dropped afterwards, not brought back.
        """
        if self.unet.device == self.vae.device:
            yield
            return
        kept = self.unet.state_dict()
        torch.nn.Module.to(self.unet, self.vae.device)
        try:
            yield
        finally:
            self.unet.load_state_dict(kept, assign=True)

    def encode(self, pictures: Tensor) -> Tensor:
        """The scaled latents of pictures, with gradient.

        The mean of the VAE's posterior, not a sample: its spread is far below the noise that is added next.

        Args:
            pictures: (B, 3, H, W) float32 in [0, 1], sides multiples of `size_multiple`.

        Returns:
            (B, 4, h, w) float32.
        """
        posterior = self.vae.encode((2.0 * pictures - 1.0).to(self.vae.dtype)).latent_dist
        return posterior.mean.float() * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1]: the pictures of (B, 4, h, w) scaled latents, without gradient."""
        with torch.no_grad():
            scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
            return (self.vae.decode(scaled).sample.float() / 2 + 0.5).clamp(0, 1)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, each (B, 1, 1, 1) float32, of the (B,) int64 levels `t`."""
        abar = self.abar[t.to(self.abar.device)].view(-1, 1, 1, 1)
        return abar.sqrt(), (1.0 - abar).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z_t = alpha z + sigma eps: (B, 4, h, w) float32 from the same shapes and (B,) int64 levels."""
        alpha, sigma = self.levels(t)
        return alpha * latents + sigma * noise

    @torch.no_grad()
    def predict(
        self, noised: Tensor, t: Tensor, states: Tensor, guidance_scale: float, rescale: float = 0.0
    ) -> Prediction:
        """The network's estimate with classifier-free guidance, o = o_u + s (o_c - o_u), without gradient.

        Both prediction types are affine in the output, so guidance may act on it directly. The rescaling is
        that of Lin et al. 2024 (section 3.4), applied to the denoised latent: a share of it is brought to the
        standard deviation that the prompt alone gives.

        Args:
            noised: (B, 4, h, w) float32, z_t.
            t: (B,) int64.
            states: (2, tokens, width), the text states of the negative prompt, then of the prompt.
            guidance_scale: s; at 1 the negative prompt is not evaluated.
            rescale: in [0, 1]; 0 leaves the estimate as it is.
        """
        count = len(noised)
        alpha, sigma = self.levels(t)
        asked = states[-1:] if guidance_scale == 1.0 else states
        batches = asked.split(2 if self.one_batch else 1)
        output = torch.cat([self._outputs(noised, t, batch) for batch in batches])
        conditional = output[-count:]
        output = output[:count] + guidance_scale * (conditional - output[:count])

        prediction = self.read(output, noised, t)
        if len(asked) == 1 or rescale == 0.0:
            return prediction
        wanted = self.read(conditional, noised, t).clean.std(dim=(1, 2, 3), keepdim=True)
        found = prediction.clean.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8)
        clean = prediction.clean * (rescale * wanted / found + (1.0 - rescale))
        return Prediction(noise=(noised - alpha * clean) / sigma, clean=clean)

    def _outputs(self, noised: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """(P B, 4, h, w) float32: the U-Net's output for each of the (P, tokens, width) states in turn."""
        count, dtype, labels = len(states), self.unet.dtype, None
        if self.label_length:
            states, labels = without_labels(states, self.label_length)
            labels = labels.to(dtype).repeat_interleave(len(noised), dim=0)
        seen = noised
        if self.beside is not None:
            seen = torch.cat([noised, self.beside.expand(len(noised), -1, -1, -1)], dim=1)
        return self.unet(
            seen.repeat(count, 1, 1, 1).to(dtype),
            t.to(noised.device).repeat(count),
            encoder_hidden_states=states.to(dtype).repeat_interleave(len(noised), dim=0),
            class_labels=labels,
        ).sample.float()

    def read(self, output: Tensor, noised: Tensor, t: Tensor) -> Prediction:
        """Noise and clean latent out of the network's (B, 4, h, w) output, by its prediction type."""
        alpha, sigma = self.levels(t)
        if self.prediction_type == "epsilon":
            return Prediction(noise=output, clean=(noised - sigma * output) / alpha)
        return Prediction(noise=alpha * output + sigma * noised, clean=alpha * noised - sigma * output)


def load_prior(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    checkpoint_encoder: bool = False,
    one_batch: bool = True,
    offload: bool = False,
    lora: Lora | None = None,
    tasks: Sequence[str] = GUIDING,
) -> LatentDiffusionPrior:
    """The prior in a Stable-Diffusion-shaped diffusers folder: `unet/`, `vae/`, `scheduler/`, nothing else.

    Args:
        folder: a complete model (see `models.find_model`).
        device, dtype: where and in which format the networks run. With float16 the VAE runs in float32 (its
            gradient leaves half precision's range) and the U-Net's attention is upcast.
        checkpoint_encoder: recompute the VAE encoder's activations on the way back: a third less memory.
        one_batch: see `LatentDiffusionPrior`.
        offload: keep the U-Net in the host's memory; see `LatentDiffusionPrior.unet_on_device`.
        lora: an adapter, added to the U-Net's weights in float32 before they are brought to `dtype`.
        tasks: that the model may be of.

    Raises:
        UserError: the prediction type or the architecture is one that guidance cannot use, by name.
    """
    demand_task(folder, tasks)
    unet, scheduler = _load_unet(folder, dtype, lora)
    vae = _load(AutoencoderKL, folder, "vae", vae_format(dtype))
    if checkpoint_encoder:
        vae.enable_gradient_checkpointing()
    if not offload:
        unet = unet.to(device)
    return LatentDiffusionPrior(unet, vae.to(device), scheduler, one_batch=one_batch)


def load_inpainting(
    folder: Path, beside: LatentDiffusionPrior, dtype: torch.dtype, *, lora: Lora | None = None
) -> LatentDiffusionPrior:
    """The inpainting model in a diffusers folder, of which `unet/` and `scheduler/` are read.

    Args:
        folder: a complete model (see `inpainting.find_inpainting`).
        beside: the model of the same family whose VAE, device and way to treat two prompts it shares.
        dtype, lora: as `load_prior` has them.

    Raises:
        UserError: the two have different noise at a level.
    """
    unet, scheduler = _load_unet(folder, dtype, lora)
    prior = LatentDiffusionPrior(
        unet.to(beside.vae.device), beside.vae, scheduler, one_batch=beside.one_batch
    )
    if not torch.equal(prior.abar, beside.abar):
        raise UserError(
            f"--inpainting_model: the noise schedule in {folder / 'scheduler'} is another than "
            "--guidance_model's, so that these two cannot be compared; choose a model of the same family"
        )
    return prior


def hollow_prior(folder: Path, dtype: torch.dtype) -> LatentDiffusionPrior:
    """The prior in a folder on torch's meta device: shapes and formats without numbers, from settings alone.

    Args:
        folder: holds at least the settings of a model, of any task.
        dtype: as `load_prior` has it.
    """
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(
            read_config(folder / "unet" / "config.json"), **_exceptions(dtype)
        )
        vae: Any = AutoencoderKL.from_config(read_config(folder / "vae" / "config.json"))
    cast(unet, dtype)
    cast(vae, vae_format(dtype))
    scheduler = DDIMScheduler.from_config(read_config(folder / "scheduler" / "scheduler_config.json"))
    return LatentDiffusionPrior(unet, vae, scheduler)


def vae_format(dtype: torch.dtype) -> torch.dtype:
    """The VAE's format beside a U-Net in `dtype`: its gradient leaves the range of float16."""
    return torch.float32 if dtype == torch.float16 else dtype


def cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Brings a network's weights to a format, in place."""
    torch.nn.Module.to(network, dtype=dtype)  # diffusers' own `to` warns of exceptions even where none are


def _load_unet(folder: Path, dtype: torch.dtype, lora: Lora | None) -> tuple[Any, Any]:
    """The U-Net of the model, with the adapter in its weights, and the noise schedule."""
    unet = _load(UNet2DConditionModel, folder, "unet", torch.float32 if lora else dtype, **_exceptions(dtype))
    if lora:
        put_lora(unet, lora, "unet")
        cast(unet, dtype)
    return unet, DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)


def _load(kind: Any, folder: Path, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """A network of the model, complete."""
    network, found = kind.from_pretrained(
        folder,
        subfolder=part,
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    demand_weights(folder / part, found["missing_keys"])
    return network


def _exceptions(dtype: torch.dtype) -> dict[str, Any]:
    """Settings of the U-Net that a format asks for: in float16 attention is computed in float32."""
    return {"upcast_attention": True} if dtype == torch.float16 else {}
