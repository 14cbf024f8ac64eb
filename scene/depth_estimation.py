"""Depth from one picture, by a trained network: any depth estimation model of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from utils.errors import UserError

# models that tell depth, not its inverse
METRIC = ("zoedepth", "depth_pro", "prompt_depth_anything", "glpn", "tipsv2_dpt")
NEAREST = 1e-3  # share of the median depth, below which such a depth is taken for that


class Estimator:
    """A depth estimation model and what prepares its pictures."""

    def __init__(self, network: Any, processor: Any) -> None:
        self.network, self.processor = network, processor
        settings = network.config
        self.metric = settings.model_type in METRIC or (
            getattr(settings, "depth_estimation_type", "relative") == "metric"
        )

    @torch.no_grad()
    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """(H, W) float32 inverse depth of a picture (H, W, 3), up to scale and offset."""
        prepared = self.processor(images=Image.fromarray(picture), return_tensors="pt")
        outputs = self.network(**prepared.to(self.network.device))
        # the size is that of the source for ZoeDepth, and of the target for all others: the same here
        size = picture.shape[:2]
        depth = self.processor.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"]
        depth = depth.float().cpu()
        return 1 / depth.clamp_min(NEAREST * float(depth.median())) if self.metric else depth


def load_estimator(flag: str, model: str, device: torch.device | str) -> Estimator:
    """The model of a local folder or of the hub, in float32.

    Args:
        flag: that names it, for messages.
        model: a local folder, as transformers saves it, or a hub id.
        device: where it computes.

    Raises:
        UserError: there is none, it is not for depth estimation, incomplete, or not in safetensors; or the
            device cannot be used.
    """
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation  # noqa: PLC0415  (seconds)

    try:
        processor = AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        network, found = AutoModelForDepthEstimation.from_pretrained(
            model,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        network = network.to(device).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        reason = (str(failure).splitlines() or [repr(failure)])[0]
        raise UserError(
            f"--{flag} {model} cannot be loaded for depth estimation ({reason}); give a local folder, as "
            "transformers saves it, or a hub id; it needs safetensors and preprocessor_config.json"
        ) from failure
    if found["missing_keys"]:
        raise UserError(
            f"--{flag} {model} lacks {len(found['missing_keys'])} weights, "
            f"{min(found['missing_keys'])} say; copy or download it anew"
        )
    return Estimator(network, processor)
