"""A tiny model, and one thread: small convolutions only lose by more."""

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
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that predicts noise; not to be written to."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
