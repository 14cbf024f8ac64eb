"""Where guidance looks: the trainer hands its flags on."""

from pathlib import Path

import pytest
import torch

from scene.dataset import load_scene
from training.guidance import guidance_views
from training.presets import read_options


def test_novel_cameras_have_the_near_plane_that_the_flag_says(small_scene: Path) -> None:
    planes = []
    for share in (0.3, 0.6):
        options = read_options(["-s", str(small_scene), "--guidance_near_plane", str(share)], None)
        views = guidance_views(options, load_scene(options.scene, options.seed))
        planes.append(views(torch.Generator().manual_seed(0), 0.5).near_plane)
        assert planes[-1] == pytest.approx(share * float(views.novel.focus.min()))
    assert planes[0] > 0.2
