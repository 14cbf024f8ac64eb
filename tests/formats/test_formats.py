"""Each format: what is read back is within its steps and looks the same; others' files and exporter."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gsplat.exporter import export_splats
from scipy.spatial import cKDTree

from formats.compressed_ply import pack_compressed
from formats.files import read_splats
from formats.ply import write_ply
from formats.splat import pack_splat, unpack_splat
from formats.splats import HIGHER_COEFFICIENTS, SH_C0, Splats, sigmoid, unit_quaternions
from formats.spz import pack_spz, turned, unpack_spz
from scene.gaussians import NAMES, gaussians_of
from tests.formats.models import likeness, picture, psnr, some_splats
from tests.small_scene import arc_of_cameras
from utils.errors import UserError

PACKERS: dict[str, Callable[[Splats], bytes]] = {
    ".compressed.ply": pack_compressed,
    ".splat": pack_splat,
    ".spz": pack_spz,
    ".v4.spz": lambda splats: pack_spz(splats, version=4),
}
SPZ_STEPS = {"means": 2**-20, "scales": 1 / 16, "sh0": 1 / 255 / 0.15, "shN": 1 / 8}
STEPS = {
    ".compressed.ply": {"means": 4 / 1023, "scales": 4 / 1023, "sh0": 1 / 255 / SH_C0, "shN": 8 / 256},
    ".splat": {"means": 0, "scales": 1e-6, "sh0": 1 / 255 / SH_C0},
    ".spz": SPZ_STEPS,
    ".v4.spz": SPZ_STEPS,
}
"""Of a small model (all its values lie within 4 units): how far apart a format's values are."""


def written(suffix: str, splats: Splats, folder: Path) -> Splats:
    """The splats, once written in a format and read back, in their original order."""
    if suffix == ".v4.spz":
        pytest.importorskip("zstandard")
    path = folder / f"model{suffix}"
    path.write_bytes(PACKERS[suffix](splats))
    return in_order_of(splats, read_splats(path))


def in_order_of(splats: Splats, other: Splats) -> Splats:
    distance, nearest = cKDTree(other.means).query(splats.means)
    assert sorted(nearest) == list(range(len(splats))), distance.max()
    return other[nearest]


def angle(one: Splats, other: Splats) -> float:
    """The largest angle between the rotations of two models, radians."""
    a, b = (unit_quaternions(each.quats).astype(np.float64) for each in (one, other))
    return float(2 * np.arccos(np.minimum(np.abs((a * b).sum(axis=1)), 1)).max())


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_written_is_read_back_within_half_a_step(suffix, degree, tmp_path):
    splats = some_splats(700, degree)
    again = written(suffix, splats, tmp_path)
    for name, step in STEPS[suffix].items():
        wanted, found = getattr(splats, name), getattr(again, name)
        if suffix == ".splat" and name == "sh0":  # it holds colours between 0 and 1
            wanted = np.clip(wanted, -0.5 / SH_C0, 0.5 / SH_C0)
        if suffix == ".compressed.ply" and name == "shN":  # round 0 it takes either level
            assert np.abs(found - wanted).max(initial=0) < step
            wanted = np.where(np.abs(wanted) < step / 2, found, wanted)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.51 * step, err_msg=name)
    np.testing.assert_allclose(sigmoid(again.opacities), sigmoid(splats.opacities), atol=0.51 / 255)
    assert angle(again, splats) < (0.02 if suffix == ".splat" else 0.004)
    assert again.sh_degree == (0 if suffix == ".splat" else degree)


# Measured on this model: 47.9, 25.2, 37.1, 37.1 dB; .splat drops what changes with the view.
@pytest.mark.parametrize(
    ("suffix", "least"), [(".compressed.ply", 45), (".splat", 23), (".spz", 35), (".v4.spz", 35)]
)
def test_what_is_written_looks_the_same(suffix, least, tmp_path):
    splats = some_splats()
    assert least < likeness(splats, written(suffix, splats, tmp_path)) < 60
    plain = splats.of_degree(0)
    assert likeness(plain, written(suffix, plain, tmp_path)) > 42


@pytest.mark.parametrize("suffix", PACKERS)
def test_the_same_model_has_the_same_bytes(suffix):
    if suffix == ".v4.spz":
        pytest.importorskip("zstandard")
    assert PACKERS[suffix](some_splats()) == PACKERS[suffix](some_splats())


@pytest.mark.parametrize("suffix", [".compressed.ply", ".spz", ".v4.spz"])
def test_antialiasing_is_remembered(suffix, tmp_path):
    assert written(suffix, replace(some_splats(), antialiased=True), tmp_path).antialiased
    assert not written(suffix, some_splats(), tmp_path).antialiased


@pytest.mark.parametrize("suffix", PACKERS)
def test_odd_values_survive(suffix, tmp_path):
    splats = some_splats(3)
    for name, value in {"quats": 0, "opacities": 1e6, "scales": -200, "sh0": 1e4}.items():
        getattr(splats, name)[0] = value
    splats.opacities[1] = -1e6
    splats.quats[1] *= 1e30
    again = written(suffix, splats, tmp_path)
    assert all(np.isfinite(values).all() for values in again.arrays().values())
    assert sigmoid(again.opacities)[0] > 0.999 and sigmoid(again.opacities)[1] < 0.001
    assert angle(again[[1]], splats[[1]]) < 0.02
    assert np.abs(unit_quaternions(again.quats)[0] @ [1, 0, 0, 0]) > 0.99


def test_a_chunk_without_extent_is_exact(tmp_path):
    one = some_splats(1)
    splats = one[np.zeros(300, int)]
    (tmp_path / "a.ply").write_bytes(pack_compressed(splats))
    again = read_splats(tmp_path / "a.ply")
    assert len(again) == 300
    for name in ("means", "scales"):
        assert np.array_equal(getattr(again, name), getattr(splats, name))
    np.testing.assert_allclose(again.sh0, splats.sh0, rtol=1e-5)


def test_small_sh_coefficients_of_a_compressed_ply_are_right_in_the_mean(tmp_path):
    """The format has no level for 0; a model whose coefficients are nearly 0 must not change its colours."""
    splats = some_splats(700)
    splats.shN[:] *= 0.01
    splats.shN[7, 14, 1] = 0.3  # so that all degrees are written
    again = written(".compressed.ply", splats, tmp_path)
    assert again.sh_degree == 3
    np.testing.assert_allclose(again.shN.mean(axis=0), splats.shN.mean(axis=0), atol=1e-4)
    assert likeness(splats, again) > 42


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_a_compressed_ply_leaves_out_degrees_without_content(degree, tmp_path):
    splats = some_splats(700)
    splats.shN[:, HIGHER_COEFFICIENTS[degree] :] *= 0.001
    again = written(".compressed.ply", splats, tmp_path)
    assert again.sh_degree == degree
    assert likeness(splats, again) > 45


def test_the_axes_of_spz_turn_the_world_and_nothing_else():
    """A camera that turns with the world takes the same picture: means, rotations and SH turn together."""
    splats, camera = some_splats(), arc_of_cameras(3, 120, 100)[0]
    turn = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    other = replace(camera, world_to_camera=camera.world_to_camera @ turn)
    assert np.abs(picture(splats, camera) - picture(turned(splats), other)).max() <= 1
    assert psnr(picture(splats, camera), picture(splats, other)) < 20
    for name, values in turned(turned(splats)).arrays().items():
        assert np.array_equal(values, getattr(splats, name)), name


def test_spz_positions_keep_what_24_bits_allow():
    splats = some_splats(50)
    for size in (1e-3, 1.0, 1e3, 1e6):
        far = replace(splats, means=(splats.means * size).astype(np.float32))
        again = unpack_spz(pack_spz(far), "model")
        step = max(2**-20, np.abs(far.means).max() / 2**22)
        np.testing.assert_allclose(again.means, far.means, rtol=1e-6, atol=0.51 * step)
    with pytest.raises(UserError, match=r"up to 8,388,607 units.*this model has"):
        pack_spz(replace(splats, means=splats.means * np.float32(1e8)))


def test_gsplats_files_and_ours_say_the_same(tmp_path):
    """gsplat's exporter, a second implementation of two of the formats."""
    splats = some_splats(600)
    tensors: Any = {name: gaussians_of(splats)[name].detach() for name in NAMES}
    for form, suffix in (("ply_compressed", ".compressed.ply"), ("splat", ".splat")):
        kept = splats[sigmoid(splats.opacities) > 1 / 255] if form == "ply_compressed" else splats
        (tmp_path / f"theirs{suffix}").write_bytes(export_splats(**tensors, format=form))
        theirs = in_order_of(kept, read_splats(tmp_path / f"theirs{suffix}"))
        ours = written(suffix, kept, tmp_path)
        for name, step in STEPS[suffix].items():
            np.testing.assert_allclose(
                getattr(ours, name), getattr(theirs, name), rtol=0, atol=1.02 * step, err_msg=name
            )
        np.testing.assert_allclose(sigmoid(ours.opacities), sigmoid(theirs.opacities), atol=1.02 / 255)
        assert angle(ours, theirs) < 0.04


def centred(splats: Splats, like: Splats) -> Splats:
    """A model moved and scaled by what brings `like` into the unit ball."""
    middle = np.median(like.means, axis=0)
    size = np.quantile(np.linalg.norm(like.means - middle, axis=1), 0.9)
    return replace(splats, means=(splats.means - middle) / size, scales=splats.scales - np.log(size))


@pytest.mark.data
def test_supersplats_compressed_file_shows_the_model_that_it_was_made_of(data_root):
    original = read_splats(data_root / "splats" / "plushdog_inria.ply")
    compressed = read_splats(data_root / "splats" / "plushdog.compressed.ply")
    assert len(original) == len(compressed) == 15_105 and compressed.sh_degree == 3
    assert likeness(centred(original, original), centred(compressed, original)) > 45


@pytest.mark.data
def test_files_of_other_programs(data_root):
    """Four Gaussians at the corners of a unit square; version 2 was written without a change of axes."""
    folder = data_root / "splats" / "minimal"
    splat = read_splats(folder / "minimal.splat")
    np.testing.assert_array_equal(splat.means[:, 1], 0)
    np.testing.assert_allclose(np.exp(splat.scales), 0.1, rtol=1e-5)
    for name in ("minimal-raw.spz", "minimal-v2.spz", "minimal-v3.spz", "minimal-v4.spz"):
        if name == "minimal-v4.spz":
            pytest.importorskip("zstandard")
        other = read_splats(folder / name)
        signs = [1, 1, 1 if name in ("minimal-v3.spz", "minimal-v4.spz") else -1]
        np.testing.assert_allclose(other.means, splat.means * signs, err_msg=name)
        np.testing.assert_allclose(other.scales, splat.scales, atol=1 / 16)
        np.testing.assert_allclose(sigmoid(other.opacities), sigmoid(splat.opacities), atol=1e-3)
    with pytest.raises(UserError, match=re.escape("For .ksplat and .sog: https://")):
        read_splats(folder / "minimal.ksplat")


@pytest.mark.data
def test_a_large_spz_of_version_4(data_root):
    pytest.importorskip("zstandard")
    splats = read_splats(data_root / "splats" / "biker_v4.spz")
    assert len(splats) == 152_746 and splats.sh_degree == 0
    assert all(np.isfinite(values).all() for values in splats.arrays().values())
    np.testing.assert_allclose(np.linalg.norm(splats.quats, axis=1), 1, atol=1e-3)


def test_version_4_without_zstandard_says_what_to_install(monkeypatch):
    pytest.importorskip("zstandard")
    content = pack_spz(some_splats(5), version=4)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match=r"model is SPZ version 4.*pip install zstandard"):
        unpack_spz(content, "model")
    with pytest.raises(UserError, match="pip install zstandard"):
        pack_spz(some_splats(5), version=4)


def test_a_ply_comes_back_equal(tmp_path):
    splats = replace(some_splats(), antialiased=True)
    write_ply(tmp_path / "a.ply", splats)
    again = read_splats(tmp_path / "a.ply")
    assert again.antialiased
    assert all(np.array_equal(values, getattr(again, name)) for name, values in splats.arrays().items())


def test_the_most_visible_gaussians_come_first_in_a_splat_file():
    splats = some_splats()
    first = unpack_splat(pack_splat(splats), "model")
    visible = sigmoid(first.opacities) * np.exp(first.scales.sum(axis=1))
    assert (np.diff(visible) < 0.01 * visible.max()).all() and visible[0] > 10 * visible[-1]
