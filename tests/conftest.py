"""What several tests need: the real scenes, where they are, and the reason where they are not."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def data_root() -> Path:
    """The folder of real scenes beside the repository; skips where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no real scenes at {DATA}")
    return DATA
