"""A depth estimation model of random weights, as transformers saves one."""

from pathlib import Path
from typing import Any

import torch
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor


def save_tiny_depth_model(folder: Path) -> Path:
    """Writes a tiny DPT with its picture processor; returns the folder."""
    torch.manual_seed(0)
    settings: dict[str, Any] = dict(
        **{"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16},
        **{"image_size": 32, "patch_size": 8, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8},
        **{"backbone_out_indices": [0, 1, 2, 3], "reassemble_factors": [4, 2, 1, 0.5]},
        **{"is_hybrid": False, "head_in_index": -1, "add_projection": False},
    )
    DPTForDepthEstimation(DPTConfig(**settings)).save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
