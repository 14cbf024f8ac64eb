"""Captioned and posed sets on disk: tables of what is there, settings that must agree, poses read back."""

import json
from pathlib import Path

import numpy as np
import pytest

from scene.blender import read_blender
from tools.studio.cameras import on_sphere
from tools.studio.captioned_sets import keep_settings, write_metadata, write_picture
from tools.studio.posed_sets import write_transforms
from utils.errors import UserError, Warnings


def test_metadata_lists_the_pictures_that_are_there(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "b.png", np.zeros((4, 4, 3), np.uint8))
    rows = [{"file_name": f"images/{name}.png", "text": f"the {name}"} for name in "abc"]
    assert write_metadata(tmp_path, rows) == 1
    lines = (tmp_path / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [rows[1]]


def test_a_set_of_other_settings_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    keep_settings(folder, {"seed": 1, "sizes": (1, 2)}, {"made_by": "x"})
    keep_settings(folder, {"seed": 1, "sizes": (1, 2)}, {"made_by": "y"})
    assert json.loads((folder / "dataset.json").read_text())["made_by"] == "y"
    with pytest.raises(UserError, match="'seed': 1"):
        keep_settings(folder, {"seed": 2, "sizes": (1, 2)}, {})
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="made with None"):
        keep_settings(folder, {"seed": 1}, {})
    assert (folder / "dataset.json").read_text() == "[]"


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        keep_settings(tmp_path, {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_poses_are_read_back_as_they_were(tmp_path: Path) -> None:
    cameras = [
        on_sphere(f"train/{number}", 70 * number, 20, target=[0, 0, 0.5], distance=3, resolution=24)
        for number in range(3)
    ]
    write_transforms(tmp_path, "train", cameras)
    for camera in cameras:
        write_picture(tmp_path / f"{camera.name}.png", np.zeros((24, 24, 3), np.uint8))
    found, _ = read_blender(tmp_path, hold_out=False, warnings=Warnings())
    assert [photograph.name for photograph in found] == ["train/0", "train/1", "train/2"]
    for photograph, camera in zip(found, cameras, strict=True):
        assert np.allclose(photograph.world_to_camera, camera.world_to_camera.numpy(), atol=1e-5)
        assert photograph.lens.params[:1] == pytest.approx([float(camera.intrinsics[0, 0])], rel=1e-5)
