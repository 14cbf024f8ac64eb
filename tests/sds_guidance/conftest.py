"""Tiny models, made once, and one thread: small convolutions only lose by more."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from tests.one_thread import one_thread  # noqa: F401
from tests.sds_guidance.fakes import put_towers, save_tiny_clip, save_tiny_model, save_tiny_unclip


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model's folder for each prediction type; not to be written to."""
    return {
        kind: save_tiny_model(tmp_path_factory.mktemp(kind), kind) for kind in ("epsilon", "v_prediction")
    }


@pytest.fixture(scope="session")
def tiny_model(tiny_models: dict[str, Path]) -> Path:
    """The folder of the tiny model that predicts noise; not to be written to."""
    return tiny_models["epsilon"]


@pytest.fixture(scope="session")
def tiny_depth_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny depth-to-image model; not to be written to."""
    return save_tiny_model(tmp_path_factory.mktemp("depth"), in_channels=5)


@pytest.fixture(scope="session")
def tiny_inpainting_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny inpainting model that predicts noise; not to be written to."""
    return save_tiny_model(tmp_path_factory.mktemp("inpainting"), in_channels=9)


@pytest.fixture(scope="session")
def tiny_clip(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny complete CLIP; not to be written to."""
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "clip", tiny_models["epsilon"] / "tokenizer")


@pytest.fixture(scope="session")
def tiny_towers(
    tiny_clip: Path, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a tiny model with the towers of `tiny_clip`; not to be written to."""
    folder = tmp_path_factory.mktemp("towers") / "model"
    return put_towers(tiny_clip, shutil.copytree(tiny_models["epsilon"], folder))


@pytest.fixture(scope="session")
def tiny_unclip(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny unCLIP model with the vision tower of `tiny_clip`; not to be written to."""
    return save_tiny_unclip(tmp_path_factory.mktemp("unclip") / "model", tiny_clip)


@pytest.fixture
def cameras(tmp_path: Path) -> list[Camera]:
    """Four photographs of noise, looking along four directions."""
    random, result = np.random.default_rng(0), []
    for place, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / name)
        pose = torch.eye(4)
        angle = place * math.pi / 2
        pose[0, 0] = pose[2, 2] = math.cos(angle)
        pose[0, 2], pose[2, 0] = -math.sin(angle), math.sin(angle)
        pose[2, 3] = 3.0  # the world's middle is three units ahead
        photograph = Photograph(tmp_path / name, 40, 30, PixelCache(10**6))
        result.append(Camera(name, pose, torch.eye(3), 40, 30, photograph))
    return result
