"""A tiny model, and one thread: small convolutions only lose by more."""

from pathlib import Path

import pytest

from tests.one_thread import one_thread  # noqa: F401
from tests.sds_guidance.fakes import save_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that predicts noise; not to be written to."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
