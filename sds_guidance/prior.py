"""A frozen latent diffusion model: pictures to latents and back, noise on, noise estimated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from sds_guidance.architecture import demand_text_to_image, read_config
from sds_guidance.lora import Lora, put_lora
from sds_guidance.models import demand_weights


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
        resolution: side in pixels of the pictures that the U-Net was trained on.
        one_batch: whether both prompts go through the U-Net as one batch, or one after the other: the same up
            to rounding, slower, and half the activations.
    """

    def __init__(self, unet: Any, vae: Any, scheduler: Any, *, one_batch: bool = True) -> None:
        """Takes networks that are where they shall stay, in the format that they shall compute in.

        Args:
            unet, vae, scheduler: diffusers' `UNet2DConditionModel`, `AutoencoderKL` and `DDIMScheduler`.
            one_batch: see the attribute.
        """
        self.one_batch = one_batch
        self.unet = unet.eval().requires_grad_(False)
        self.vae = vae.eval().requires_grad_(False)
        self.prediction_type: str = scheduler.config.prediction_type
        self.abar: Tensor = scheduler.alphas_cumprod.float().to(unet.device)
        vae_scale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.resolution: int = vae_scale * unet.config.sample_size
        self.size_multiple: int = vae_scale * 2 ** (len(unet.config.block_out_channels) - 1)

    def free_decoder(self) -> None:
        """Gives up the VAE's decoder, which score distillation never calls."""
        self.vae.decoder = None
        self.vae.post_quant_conv = None

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
        count, dtype = len(states), self.unet.dtype
        return self.unet(
            noised.repeat(count, 1, 1, 1).to(dtype),
            t.to(noised.device).repeat(count),
            encoder_hidden_states=states.to(dtype).repeat_interleave(len(noised), dim=0),
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
    lora: Lora | None = None,
) -> LatentDiffusionPrior:
    """The prior in a Stable-Diffusion-shaped diffusers folder: `unet/`, `vae/`, `scheduler/`, nothing else.

    Args:
        folder: a complete model (see `models.find_model`).
        device, dtype: where and in which format the networks run. With float16 the VAE runs in float32 (its
            gradient leaves half precision's range) and the U-Net's attention is upcast.
        checkpoint_encoder: recompute the VAE encoder's activations on the way back: a third less memory.
        one_batch: see `LatentDiffusionPrior`.
        lora: an adapter, added to the U-Net's weights in float32 before they are brought to `dtype`.

    Raises:
        UserError: the prediction type or the architecture is one that guidance cannot use, by name.
    """
    demand_text_to_image(folder)
    unet = _load(UNet2DConditionModel, folder, "unet", torch.float32 if lora else dtype, **_exceptions(dtype))
    if lora:
        put_lora(unet, lora, "unet")
        cast(unet, dtype)
    vae = _load(AutoencoderKL, folder, "vae", vae_format(dtype))
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    if checkpoint_encoder:
        vae.enable_gradient_checkpointing()
    return LatentDiffusionPrior(unet.to(device), vae.to(device), scheduler, one_batch=one_batch)


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
