"""A process that loads pycolmap before anything else but our package: its zlib must not serve Pillow."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import PACKAGES
import numpy as np
from PIL import Image
noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
Image.fromarray(noise).save(TARGET)
"""


@pytest.mark.parametrize("packages", ["scene, pycolmap", "sfm.registration"])
def test_a_png_can_be_written_after_pycolmap_is_loaded(packages, tmp_path):
    picture = tmp_path / "picture.png"
    program = PROGRAM.replace("PACKAGES", packages).replace("TARGET", repr(str(picture)))
    # Where it goes wrong, the process hangs in pycolmap's handler of crashes: only a kill ends it.
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60, check=True)
    assert picture.stat().st_size > 500_000
