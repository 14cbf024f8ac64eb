"""What guidance needs of memory, counted on tensors without numbers, and what is done to fit a device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sds_guidance.prior import LatentDiffusionPrior, hollow_prior
from sds_guidance.unclip import label_rows

GIB = 2**30
CONTEXT = GIB // 2  # CUDA's libraries on a card, beside all tensors
ALLOCATOR = 1.1  # what torch's allocator holds of a card, over what tensors occupy
SPLATS = (
    5 * GIB // 4
)  # a million Gaussians with gradient and optimiser (.88 GiB), and the rasteriser's buffers
TOKENS = 77  # of a prompt, in CLIP
LARGE = 250_000_000  # weights of a U-Net that is worth halving on a CPU


@dataclass(frozen=True)
class MemoryPlan:
    """How a model is run so that it fits.

    Attributes:
        dtype: format of the U-Net; the VAE's is `prior.vae_format(dtype)`.
        gradient: whether there is a way back through the VAE's encoder.
        checkpoint_encoder: whether the VAE encoder's activations are computed again on the way back.
        one_batch: whether both prompts go through the U-Net at once.
        offload: whether the U-Net is kept in the host's memory and lent to the device for denoising alone.
        weights: bytes of the parts of the VAE that stay, and of the U-Net unless it is kept on the host.
        step: bytes that a guided step has beside them, at its highest.
        available: bytes of the device; None where it was not looked at.
    """

    dtype: torch.dtype
    gradient: bool
    checkpoint_encoder: bool
    one_batch: bool
    offload: bool
    weights: int
    step: int
    available: int | None

    @property
    def format(self) -> str:
        """The U-Net's format by name."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def needed(self) -> int:
        """Bytes on a card, the splats' included."""
        return round(ALLOCATOR * (self.weights + self.step)) + CONTEXT + SPLATS

    def sentence(self, level: str) -> str:
        """The plan in words, for the user.

        Args:
            level: of `--guidance_memory`.
        """
        kept = "computed again on" if self.checkpoint_encoder else "kept for"
        activations = f"activations of the VAE's encoder {kept} the way back, " if self.gradient else ""
        batches = "at once" if self.one_batch else "one after the other"
        lent = f"; {self._unet()}" if self.offload or level == "low" else ""
        text = (
            f"guidance memory (--guidance_memory {level}): {self.format}; {in_words(self.weights)} of "
            f"weights, up to {in_words(self.step)} more in a guided step; {activations}both prompts "
            f"{batches}{lent}"
        )
        if self.available is None:
            return text
        if self.needed <= self.available:
            return f"{text}; with a million Gaussians {in_words(self.needed)} of {in_words(self.available)}"
        return (
            f"{text}; with a million Gaussians {in_words(self.needed)}, but the device has "
            f"{in_words(self.available)}: it may not fit. Less with a smaller --guidance_resolution"
        )

    def _unet(self) -> str:
        """Where the U-Net is, and why."""
        if self.offload:
            return "the U-Net on the card only while a target is denoised, in the host's memory otherwise"
        if self.gradient:
            return "the U-Net stays, since every guided step asks it"
        return "the U-Net stays, since a CPU has no other memory for it"


def plan_memory(
    level: str,
    precision: str,
    device: torch.device,
    folder: Path,
    size: tuple[int, int],
    *,
    gradient: bool,
    decoder: bool,
    available: int | None,
    inpainting: Path | None = None,
    beside: int = 0,
) -> MemoryPlan:
    """The plan for a model on a device.

    Args:
        level: "high" spares nothing; "auto" spares as much as `available` asks for with a million Gaussians
            beside the model, the fastest way that fits; "low" spares all that can be spared.
        precision: "auto" or the name of a format.
        device: where the model will run.
        folder: with the settings of a text-to-image model.
        size: height and width in pixels of what the model sees, multiples of its `size_multiple`.
        gradient: whether the mode goes back through the VAE's encoder.
        decoder: whether the VAE's decoder stays.
        available: bytes of the device, in use or not, so that a resumed run plans alike; None: no limit.
        inpainting: with the settings of the inpainting model that is to stand beside it; None: no such. The
            two are asked one after the other, so that it adds its weights alone.
        beside: bytes of other networks that stay on the device, a CLIP's vision tower say.
    """
    prior = hollow_prior(folder, torch.float32)
    dtype = choose_precision(precision, device, count(prior.unet), spare=level == "low")
    prior = hollow_prior(folder, dtype)
    for network in (prior.unet, prior.vae):
        fuse_attention(network)
    if not decoder:
        prior.free_decoder()
    others = beside + (occupied((hollow_prior(inpainting, dtype).unet,)) if inpainting else 0)

    checkpoints = {"high": (False,), "auto": (False, True), "low": (True,)}[level] if gradient else (False,)
    ways = [(checkpoint, True, False) for checkpoint in checkpoints]  # from the fastest to the sparest
    if level != "high":
        ways.append((checkpoints[-1], False, False))
        if not gradient and device.type == "cuda":
            ways.append((checkpoints[-1], False, True))
    plans: list[MemoryPlan] = []
    for checkpoint, one_batch, offload in ways:
        prior.one_batch = one_batch
        if checkpoint:
            prior.vae.enable_gradient_checkpointing()
        step = step_bytes(prior, size, gradient=gradient, offload=offload)
        weights = others + occupied((prior.vae,) if offload else (prior.unet, prior.vae))
        plans.append(MemoryPlan(dtype, gradient, checkpoint, one_batch, offload, weights, step, available))
        if level == "auto" and (available is None or plans[-1].needed <= available):
            return plans[-1]
    # Of equal ones that which leaves most free between steps, then the first, which is the fastest.
    return min(plans, key=lambda plan: (plan.needed, plan.weights))


def choose_precision(
    wanted: str, device: torch.device, unet_weights: int, *, spare: bool = False
) -> torch.dtype:
    """The format to compute in: `wanted`, or for "auto" what suits the device and the model's size.

    Args:
        wanted: "auto", "float32", "bfloat16" or "float16".
        device: on a GPU "auto" is bfloat16 where it has it, else float16.
        unet_weights: their number; on a CPU "auto" is float32, or bfloat16 for a U-Net of more than `LARGE`.
        spare: bfloat16 on a CPU in any case.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if spare or unet_weights > LARGE else torch.float32


def device_memory(device: torch.device) -> int | None:
    """All the bytes of a card; None elsewhere."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def count(network: torch.nn.Module) -> int:
    """The number of a network's weights."""
    return sum(weight.numel() for weight in network.parameters())


def occupied(networks: Iterable[torch.nn.Module]) -> int:
    """The bytes of the networks' weights and buffers, in their formats."""
    return sum(tensor.nbytes for tensor in _tensors(networks))


def step_bytes(
    prior: LatentDiffusionPrior, size: tuple[int, int], *, gradient: bool, offload: bool = False
) -> int:
    """The most bytes that a guided step has beside the weights, by doing it.

    Encode, predict with classifier-free guidance while the encoder keeps its graph, go back through it,
    and decode where there is a decoder.

    Args:
        prior: on the meta device for a forecast (see `fuse_attention`), on any other for a measurement.
        size: height and width in pixels, multiples of `size_multiple`.
        gradient: whether there is a graph and a way back.
        offload: count the U-Net's weights too, while it predicts.
    """
    lent = occupied((prior.unet,)) if offload else 0
    device, width = prior.abar.device, prior.unet.config.cross_attention_dim
    known = [*_tensors((prior.unet, prior.vae)), prior.abar]
    with LiveBytes(known) as live:
        pixels = torch.zeros(1, 3, *size, device=device, requires_grad=gradient)
        rows = TOKENS + label_rows(prior.label_length, width)
        states = torch.zeros(2, rows, width, device=device)
        level = torch.zeros(1, dtype=torch.int64, device=device)
        with torch.set_grad_enabled(gradient):
            latents = prior.encode(pixels)
        live.now += lent
        asked = _seeing_all(prior, latents)
        clean = asked.predict(latents.detach(), level, states, guidance_scale=7.5, rescale=0.7).clean
        live.now -= lent
        if gradient:
            torch.autograd.grad(latents, pixels, clean)
        if prior.vae.decoder is not None:
            prior.decode(clean)
    return live.peak


def _seeing_all(prior: LatentDiffusionPrior, latents: Tensor) -> LatentDiffusionPrior:
    """The prior with as many empty channels beside the latents as its U-Net wants."""
    beside = prior.unet.config.in_channels - latents.shape[1]
    return prior.seeing(latents.new_zeros(1, beside, *latents.shape[2:])) if beside else prior


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations inside the block make, while these live.

    Attributes:
        now: bytes alive.
        peak: the most that there were.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        """`known` existed before, and does not count."""
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def fuse_attention(network: torch.nn.Module) -> None:
    """Lets a network on the meta device, which has only the plain attention, keep what fused kernels keep.

    Attention then has no matrix of queries by keys, and results without meaning.
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.forward = _WithFused(module.forward)  # type: ignore[method-assign]


class _WithFused(TorchFunctionMode):
    """A module's `forward` with `_Attention` in it, even where a checkpoint calls it on the way back."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        with self:
            return self.forward(*args, **kwargs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """Keeps what a fused kernel keeps: its inputs, its result, and one number a query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        sums = torch.empty(query.shape[:-1], device=query.device)
        ctx.save_for_backward(query, key, value, result, sums)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def in_words(size: int) -> str:
    """Bytes in MiB, or in GiB where there are many."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"


def _tensors(networks: Iterable[torch.nn.Module]) -> list[Tensor]:
    return [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
