"""mesh.py: a ball of Gaussians comes back as a ball of its size and colours."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from torch.nn import ParameterDict

from mesh import Options, main
from scene.gaussians import gaussians_from_points, save_ply
from tests.scene.test_tsdf import cameras_around
from tests.small_scene import FIELD_OF_VIEW
from utils.errors import UserError

pytest.importorskip("skimage", reason="scikit-image is not installed (pip install scikit-image)")

CENTRE, RADIUS = np.array([0.4, -0.3, 0.2]), 1.0
VOXEL = 0.06
VIEWS, SIZE = 16, 96


def directions(count: int) -> np.ndarray:
    """(N, 3) unit vectors, evenly spread."""
    heights = 1 - (2 * np.arange(count) + 1) / count
    angles = math.pi * (1 + math.sqrt(5)) * np.arange(count)
    rings = np.sqrt(1 - heights**2)
    return np.stack([rings * np.cos(angles), heights, rings * np.sin(angles)], axis=1)


def colours_of(outwards: np.ndarray) -> np.ndarray:
    """(N, 3) in [0, 1]: a colour for each side of the ball."""
    return 0.5 + 0.4 * outwards


def ball(count: int = 1500) -> ParameterDict:
    """Opaque discs that tile a sphere, coloured by where they face, and a small floater outside."""
    outwards = np.concatenate([directions(count), [[0.0, 0, 0]] * 3])
    positions = CENTRE + RADIUS * outwards
    positions[-3:] = CENTRE + np.array([[1.35, 0, 0], [1.4, 0, 0], [1.35, 0.05, 0]])
    colours = np.rint(255 * colours_of(outwards)).astype(np.uint8)
    gaussians = gaussians_from_points(positions, colours, sh_degree=0, opacity=0.98)
    turns = [
        Rotation.align_vectors([[*it]], [[0, 0, 1]])[0] if it.any() else Rotation.identity()
        for it in outwards
    ]
    with torch.no_grad():
        gaussians["scales"].copy_(torch.tensor([0.05, 0.05, 0.005]).log())
        quats = Rotation.concatenate(turns).as_quat(scalar_first=True)
        gaussians["quats"].copy_(torch.from_numpy(quats).float())
    return gaussians


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cameras all around the ball; nobody looks at their photographs."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "train").mkdir()
    frames = []
    for index, camera in enumerate(cameras_around(VIEWS)):
        Image.new("RGB", (SIZE, SIZE)).save(folder / f"train/{index:02d}.png")
        pose = camera.camera_to_world @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        frames.append({"file_path": f"./train/{index:02d}", "transform_matrix": pose.tolist()})
    content = {"camera_angle_x": FIELD_OF_VIEW, "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def ply(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ply") / "ball.ply"
    save_ply(path, ball())
    return path


def run(folder: Path, dataset: Path, gaussians: Path, **options) -> None:
    given: dict[str, Any] = {"ply": str(gaussians), "source_path": str(dataset), "device": "cpu"}
    main(Options(model_path=str(folder), **({"quiet": True} | given | options)))


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, their colours in [0, 1], and faces of a mesh's file."""
    content = plyfile.PlyData.read(path)
    vertices, colours = (
        np.stack([np.asarray(content["vertex"][name], np.float64) for name in names], axis=1)
        for names in (("x", "y", "z"), ("red", "green", "blue"))
    )
    return vertices, colours / 255, np.stack(content["face"]["vertex_indices"])


def test_a_ball_of_gaussians_comes_back(tmp_path, dataset, ply):
    run(tmp_path, dataset, ply, voxel=VOXEL, components=1)
    vertices, colours, faces = read(tmp_path / "mesh/ball.ply")
    outwards = vertices - CENTRE
    off = np.linalg.norm(outwards, axis=1) - RADIUS
    assert np.abs(off).max() < 1.5 * VOXEL and abs(off.mean()) < 0.3 * VOXEL
    a, b, c = outwards[faces].transpose(1, 0, 2)
    assert float((a * np.cross(b, c)).sum() / 6) == pytest.approx(4 / 3 * math.pi, rel=0.08)  # all sides
    assert np.abs(colours - colours_of(outwards)).mean() < 0.02


def test_parts_that_float_about_are_kept_when_asked_for(tmp_path, dataset, ply):
    run(tmp_path, dataset, ply, voxel=VOXEL, components=0, output=str(tmp_path / "all.ply"))
    vertices, _, _ = read(tmp_path / "all.ply")
    assert np.linalg.norm(vertices - CENTRE, axis=1).max() > 1.25
    assert not (tmp_path / "mesh").exists()


def test_sizes_by_default(tmp_path, dataset, ply, monkeypatch, capsys):
    monkeypatch.setattr("scene.tsdf.DEFAULT_VOXELS", 40**3)
    run(tmp_path, dataset, ply, path="interpolate", frames=3, quiet=False)
    said = capsys.readouterr().out.splitlines()[-1]
    vertices, _, _ = read(tmp_path / "mesh/ball.ply")
    voxel = float(said.split("voxels of ")[1].split(",")[0])
    limit = float(said.split("up to ")[1].split()[0])
    assert f"{len(vertices)} vertices" in said and f"from {VIEWS + 3} cameras" in said
    assert 2 / 40 < voxel < 3 / 40  # the ball and some room, 40 voxels across
    assert 4 < limit < 7  # twice the cameras' distance of 3, more or less by the radius
    assert np.abs(np.linalg.norm(vertices - CENTRE, axis=1) - RADIUS).mean() < voxel


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel": -1.0}, "--voxel -1.0: allowed is"),
        ({"voxel": math.inf}, "--voxel inf"),
        ({"voxel": 1e-4}, "--voxel 0.0001: the box of .* Give --voxel"),
        ({"depth_limit": math.nan}, "--depth_limit nan"),
        ({"depth_limit": 0.5}, "--depth_limit 0.5: nothing solid"),
        ({"components": -1}, "--components -1"),
        ({"frames": -1}, "--frames -1"),
        ({"voxel": 50.0}, "no surface with voxels of 50"),
        ({"ply": "", "source_path": ""}, "no trained model"),
    ],
)
def test_mistakes_are_said_in_a_sentence(tmp_path, dataset, ply, options, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, dataset, ply, **options)
    assert not list(tmp_path.rglob("*.ply"))


def test_what_has_to_be_installed_is_said_at_once(tmp_path, dataset, ply, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(UserError, match=r"mesh\.py needs scikit-image.*pip install scikit-image"):
        run(tmp_path, dataset, tmp_path / "not looked for.ply")
