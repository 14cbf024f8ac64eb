"""Tiny models, made once, and one thread: small convolutions only lose by more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.sds_guidance.fakes import save_tiny_model


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
