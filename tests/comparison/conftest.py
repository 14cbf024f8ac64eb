"""Two made-up models, scored once, and a place for their page."""

import shutil
from pathlib import Path

import pytest

from tests.comparison.made_up import write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "plain", 20)
    write_model(folder / "guided", 12, lambda_sds=0.2)
    return folder


@pytest.fixture
def models(made: Path, tmp_path: Path) -> list[Path]:
    """An unguided model, and a guided one with less noise, to do with as one likes."""
    shutil.copytree(made, tmp_path / "models")
    return [tmp_path / "models/plain", tmp_path / "models/guided"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "pages" / "index.html"
