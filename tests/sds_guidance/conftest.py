"""Tiny models, made once, and one thread: small convolutions only lose by more."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.sds_guidance.fakes import put_towers, save_tiny_clip, save_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
