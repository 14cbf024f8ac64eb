"""What several tests need: the real scenes, where they are, and the reason where they are not."""

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.programs import BUSY, run_train
from tests.small_scene import write_small_scene
from tests.viewer.chromium import program

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_report_header() -> str:
    """Says which browser the tests take that need one."""
    return f"browser: {program() or 'none on the path; tests that need one are skipped'}"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what tests cache out of the user's folder; weights that torch downloaded are still found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(Path(torch.hub.get_dir()).parent))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def data_root() -> Path:
    """The folder of real scenes beside the repository; skips where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no real scenes at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of nine 48 x 40 pictures of 60 Gaussians; not to be written to."""
    return write_small_scene(tmp_path_factory.mktemp("data") / "small")


@pytest.fixture(scope="session")
def unbroken(small_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 busy iterations in one go."""
    return run_train(small_scene, tmp_path_factory.mktemp("unbroken"), "--iterations", 60, *BUSY)
