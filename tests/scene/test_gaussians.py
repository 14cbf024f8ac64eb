"""The Gaussians' start from points and their PLY file."""

from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from scipy.spatial.distance import cdist

from gaussian_renderer import render
from scene.gaussians import (
    gaussians_from_points,
    load_gaussians,
    mean_neighbour_distance,
    save_ply,
    sh_degree_of,
)
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians
from utils.errors import UserError, Warnings

REFERENCE_ORDER = (
    ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    + [f"f_rest_{i}" for i in range(45)]
    + ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
)


def test_initial_scale_is_the_rms_distance_to_three_neighbours():
    points = np.random.default_rng(0).normal(size=(50, 3))
    nearest = np.sort(cdist(points, points), axis=1)[:, 1:4]
    expected = np.sqrt((nearest**2).mean(axis=1))
    np.testing.assert_allclose(mean_neighbour_distance(points, 1.0), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_points_than_neighbours_still_have_a_sensible_size(count):
    points = np.arange(3 * count, dtype=float).reshape(count, 3)
    distance = mean_neighbour_distance(points, fallback=0.5)
    assert np.isfinite(distance).all() and (distance > 0.1).all() and (distance < 20).all()


def test_points_that_coincide_get_the_smallest_size():
    np.testing.assert_allclose(mean_neighbour_distance(np.zeros((5, 3)), 1.0), np.sqrt(1e-7), rtol=1e-6)


def test_start_from_points_has_the_reference_values():
    colours = np.array([[0, 128, 255]] * 4, np.uint8)
    gaussians = gaussians_from_points(np.eye(4, 3), colours, sh_degree=2)
    assert sh_degree_of(gaussians) == 2
    torch.testing.assert_close(torch.sigmoid(gaussians["opacities"]), torch.full((4,), 0.1))
    rgb = 0.5 + 0.28209479177387814 * gaussians["sh0"][0, 0]
    torch.testing.assert_close(rgb, torch.tensor([0, 128 / 255, 1.0]))
    assert (gaussians["shN"] == 0).all()
    assert (gaussians["quats"] == torch.tensor([1.0, 0, 0, 0])).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_comes_back_equal(tmp_path, degree):
    gaussians = some_gaussians(sh_degree=degree)
    with torch.no_grad():
        gaussians["shN"].normal_(generator=torch.Generator().manual_seed(0))
    save_ply(tmp_path / "a.ply", gaussians, antialiased=True)
    again, info = load_gaussians(tmp_path / "a.ply")
    assert info.sh_degree == degree and info.antialiased and info.dropped == 0
    for name, value in gaussians.items():
        assert torch.equal(value, again[name]), name


def test_ply_renders_the_same_pixels(tmp_path):
    gaussians, camera = some_gaussians(), arc_of_cameras(3)[0]
    with torch.no_grad():
        gaussians["shN"].normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    save_ply(tmp_path / "a.ply", gaussians)
    again, info = load_gaussians(tmp_path / "a.ply")
    assert not info.antialiased
    how: dict[str, Any] = {"sh_degree": 3, "background": torch.ones(3), "engine": cpu_engine()}
    assert torch.equal(render(camera, gaussians, **how).rgb, render(camera, again, **how).rgb)


def test_ply_has_the_reference_header_and_layout(tmp_path):
    gaussians = some_gaussians(count=2)
    with torch.no_grad():
        gaussians["shN"].copy_(torch.arange(2 * 15 * 3).reshape(2, 15, 3))
    save_ply(tmp_path / "a.ply", gaussians)
    content = (tmp_path / "a.ply").read_bytes()
    header = content[: content.index(b"end_header")].decode().splitlines()
    assert header[:4] == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 2",
        "comment SplatRenderMode: default",
    ]
    assert header[4:] == [f"property float {name}" for name in REFERENCE_ORDER]
    body = np.frombuffer(content[content.index(b"end_header\n") + 11 :], "<f4").reshape(2, 62)
    np.testing.assert_array_equal(body[:, 3:6], 0)
    np.testing.assert_array_equal(body[0, 9:24], np.arange(15) * 3)  # all red first: channel-major
    np.testing.assert_array_equal(body[0, 24:39], np.arange(15) * 3 + 1)


def test_columns_are_found_by_name_whatever_their_order_and_type(tmp_path):
    names = [name for name in REFERENCE_ORDER if not name.startswith(("n", "f_rest"))]
    shuffled = np.random.default_rng(0).permutation(names)
    values = np.zeros(1, [(str(name), "f8") for name in shuffled])
    values["x"], values["opacity"], values["rot_0"] = 7, 3, 1
    plyfile.PlyData([plyfile.PlyElement.describe(values, "vertex")]).write(tmp_path / "a.ply")
    gaussians, info = load_gaussians(tmp_path / "a.ply")
    assert info.sh_degree == 0
    assert gaussians["means"][0, 0] == 7 and gaussians["opacities"][0] == 3 and gaussians["quats"][0, 0] == 1


def test_gaussians_that_are_not_finite_are_left_out_with_a_warning(tmp_path):
    gaussians = some_gaussians(count=5)
    with torch.no_grad():
        gaussians["opacities"][2] = torch.nan
        gaussians["means"][4, 1] = torch.inf
    save_ply(tmp_path / "a.ply", gaussians)
    warnings = Warnings()
    again, info = load_gaussians(tmp_path / "a.ply", warnings)
    assert info.dropped == 2 and len(again["means"]) == 3
    assert "2 Gaussians" in warnings.lines()[0]
    assert torch.equal(again["means"], gaussians["means"][[0, 1, 3]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"not a ply", "not a whole PLY"),
        (b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "no element 'vertex'"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n",
            "no 3D Gaussian PLY but an unknown kind of 1 vertices .columns found: x.$",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nend_header\n0000",
            "not a whole PLY",
        ),
    ],
)
def test_unusable_files_are_refused_with_a_reason(tmp_path, content, message):
    path = tmp_path / "a.ply"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_gaussians(path)


def test_a_file_of_the_reference_loads_and_renders(data_root):
    gaussians, info = load_gaussians(data_root / "splats" / "plushdog_inria.ply")
    assert len(gaussians["means"]) == 15_105 and info.sh_degree == 3
    middle = gaussians["means"].detach().median(dim=0).values
    camera = arc_of_cameras(1, 96, 96)[0]
    with torch.no_grad():
        gaussians["means"].sub_(middle)
        size = gaussians["means"].norm(dim=1).quantile(0.9)
        gaussians["means"].div_(size)
        gaussians["scales"].sub_(size.log())
        picture = render(camera, gaussians, sh_degree=3, background=torch.zeros(3), engine=cpu_engine())
    assert picture.rgb.isfinite().all() and picture.alpha.mean() > 0.1
