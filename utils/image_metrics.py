"""How alike two images are: PSNR, SSIM and LPIPS as the reference defines them."""

from __future__ import annotations

import math
import pickle
import socket
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.losses import photometric_loss

LpipsNet = Literal["vgg", "alex", "squeeze"]
LpipsRange = Literal["reference", "correct"]

# Torchvision's name of each backbone, and the smallest side in pixels that its pooling leaves something of.
BACKBONES = {"vgg": ("vgg16", 16), "alex": ("alexnet", 31), "squeeze": ("squeezenet1_1", 17)}

# What torch raises for a file that is no state dict, or that has another hash than its address says.
BROKEN_FILE = (RuntimeError, EOFError, ValueError, pickle.UnpicklingError)


class LpipsUnavailable(Exception):
    """The backbone's weights are neither here nor to be had; the message is one line on how to get them."""


def any_counts(weight: Tensor | None) -> bool:
    """Whether a mask, (H, W) in [0, 1], leaves a pixel to compare; None leaves all."""
    return weight is None or bool((weight > 0.5).any())


@torch.no_grad()
def psnr(image: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 20 log10(1 / sqrt(MSE)), over all channels of the pixels that count.

    Infinity where the images are equal, NaN where no pixel counts. Summed in float64 in one thread: the same
    bits at any thread count.

    Args:
        image, target: any one shape (..., H, W), float in [0, 1].
        weight: (H, W) in [0, 1], a mask: pixels above a half count. None: all count.
    """
    difference = image.detach().cpu().numpy().astype(np.float64) - target.detach().cpu().numpy()
    if weight is not None:
        difference = difference[..., weight.cpu().numpy() > 0.5]
        if not difference.size:
            return math.nan
    error = float(np.mean(np.square(difference)))
    return -10 * math.log10(error) if error > 0 else (math.inf if error == 0 else math.nan)


@torch.no_grad()
def ssim(image: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Structural similarity, at most 1: the term of the training loss, see `utils.losses.photometric_loss`.

    Args:
        image, target: (3, H, W) float32 in [0, 1].
        weight: (H, W) in [0, 1], a mask: the mean is over pixels above a half; windows see black elsewhere.
    """
    counted = None if weight is None else (weight > 0.5).float()
    return 1 - float(photometric_loss(image, target, counted, lambda_dssim=1.0))


def load_lpips(
    net: LpipsNet, input_range: LpipsRange, weights: Path | None = None
) -> Callable[[Tensor, Tensor], float]:
    """The LPIPS distance (Zhang et al. 2018, heads of version 0.1) as a function of two images.

    The function takes two (3, H, W) float32 tensors in [0, 1]. The network was trained on [-1, 1], and
    `input_range` "correct" maps to that; the reference's metrics.py feeds [0, 1] unchanged, and the published
    values of 3DGS share this: "reference". The two differ by a fifth or so and must not be compared.

    Args:
        net: the backbone; the reference takes "vgg".
        input_range: see above.
        weights: torchvision's state dict of the backbone (vgg16, alexnet or squeezenet1_1, any precision).
            None: from torch hub's cache, or downloaded into it.

    Raises:
        UserError: the file is missing or holds something else.
        LpipsUnavailable: no file was given, none is cached, and the download failed.
    """
    model = lpips_network(net, weights)
    smallest = BACKBONES[net][1]

    @torch.no_grad()
    def lpips(image: Tensor, target: Tensor) -> float:
        if min(image.shape[1:]) < smallest:
            raise UserError(
                f"LPIPS with --lpips_net {net} needs images of at least {smallest} x {smallest} pixels, "
                f"found {image.shape[2]} x {image.shape[1]}; choose another net, or --lpips_net none"
            )
        return float(model(image[None], target[None], normalize=input_range == "correct"))

    return lpips


def lpips_network(net: LpipsNet, weights: Path | None, flags: str = "--lpips") -> torch.nn.Module:
    """The frozen network of LPIPS, on the CPU: of two (B, 3, H, W) batches it makes (B, 1, 1, 1) distances.

    It takes [-1, 1], with `normalize=True` [0, 1]; gradient goes to the batches. torch's global generator is
    left as it was.

    Args:
        net, weights: see `load_lpips`.
        flags: how the flags begin that named them, for messages.

    Raises:
        UserError, LpipsUnavailable: see `load_lpips`.
    """
    from torchmetrics.functional.image.lpips import _LPIPS  # noqa: PLC0415  (takes a second to import)

    state = _read_weights(net, weights, flags) if weights else _hub_weights(net)
    # The public entries download the backbone by themselves; this class lets us hand the weights in.
    with torch.random.fork_rng(devices=[]):
        model = _LPIPS(net=net, pnet_rand=True)
    # Its "slice2.4.weight" or "slices.1.4.weight" is torchvision's "features.4.weight".
    skipped = 2 if net == "squeeze" else 1
    names = {key: "features." + key.split(".", skipped)[-1] for key in model.net.state_dict()}
    try:
        model.net.load_state_dict({key: state[name].float() for key, name in names.items()})
    except (KeyError, AttributeError, RuntimeError):
        raise UserError(
            f"{flags}_weights {weights} is not torchvision's {BACKBONES[net][0]}, which {flags}_net {net} "
            f"needs; give that network's state dict or change {flags}_net"
        ) from None
    return model


def _read_weights(net: LpipsNet, path: Path, flags: str) -> dict[str, Tensor]:
    """The state dict in a file that the user named."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{flags}_weights {path}: no such file") from None
    except Exception as problem:  # damaged bytes bring up a dozen kinds
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise UserError(
            f"{flags}_weights {path} cannot be read as a state dict of {net} ({reason})"
        ) from None
    return state if isinstance(state, dict) else {}


def _hub_weights(net: LpipsNet) -> dict[str, Tensor]:
    """The state dict from torch hub's cache, or downloaded into it; a dead network is given up soon."""
    import torchvision  # noqa: PLC0415  (takes a second to import)

    name = BACKBONES[net][0]
    weights = torchvision.models.get_model_weights(name).DEFAULT
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (OSError, HTTPException, *BROKEN_FILE) as problem:
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise LpipsUnavailable(
            f"no LPIPS: the {name} weights could not be had ({reason}); fetch {weights.url} where there is "
            f"a network and give it as --lpips_weights FILE, or put it into {cache}"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
