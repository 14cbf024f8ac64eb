"""What the browser is sent: the Gaussians' covariances and colours, at any scale; and boxes."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from scene.gaussians import NAMES
from tests.small_scene import some_gaussians
from viewer.splats import Box, box_around, chosen, for_browser


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_splats_are_the_gaussians_even_as_float16(scale):
    gaussians = some_gaussians(50)
    with torch.no_grad():
        gaussians["means"] *= scale
        gaussians["scales"] += np.log(scale)
    sent = for_browser(gaussians)
    deviations = gaussians["scales"].detach().exp().numpy().astype(np.float64)
    axes = Rotation.from_quat(gaussians["quats"].detach().numpy(), scalar_first=True).as_matrix()
    wanted = axes @ (deviations[:, :, None] ** 2 * np.swapaxes(axes, 1, 2))
    received = sent.covariances.astype(np.float16).astype(np.float64) * sent.unit**2
    assert np.abs(received - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert np.allclose(np.linalg.det(received), np.linalg.det(wanted), rtol=0.05)
    assert np.allclose(sent.centers * sent.unit, gaussians["means"].detach(), rtol=1e-5)
    assert np.allclose(sent.opacities[:, 0], 0.8, atol=1e-6)


def test_size_is_a_factor_on_deviations():
    gaussians = some_gaussians(20)
    whole, half = for_browser(gaussians), for_browser(gaussians, 0.5)
    assert whole.unit == half.unit and np.array_equal(whole.centers, half.centers)
    assert np.allclose(half.covariances, whole.covariances / 4, rtol=1e-5)


def test_a_giant_among_dwarfs_stays_finite():
    gaussians = some_gaussians(20)
    with torch.no_grad():
        gaussians["scales"][0] = 20.0
    assert np.isfinite(for_browser(gaussians).covariances.astype(np.float16)).all()


def test_a_turned_box_holds_what_lies_between_its_sides():
    turn = Rotation.from_euler("xyz", (0.3, -0.5, 1.1))
    box = Box(np.array([1.0, 2.0, -1.0]), turn.as_quat(scalar_first=True), np.array([2.0, 1.0, 0.5]))
    own = np.random.default_rng(0).uniform(-1.5, 1.5, (500, 3))
    inside = (np.abs(own) < box.size / 2).all(axis=1)
    world = torch.from_numpy(turn.apply(own) + box.centre)
    assert np.array_equal(box.holds(world).numpy(), inside) and 10 < inside.sum() < 490


def test_the_first_box_leaves_stray_points_out():
    points = torch.rand(1000, 3)
    points[0] = 1000.0
    held = box_around(points).holds(points)
    assert not held[0] and held.float().mean() > 0.9
    flat = box_around(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    assert flat.size.min() > 0


def test_chosen_gaussians_are_those():
    gaussians = some_gaussians(10)
    keep = torch.arange(10) % 3 == 0
    part = chosen(gaussians, keep)
    assert set(part) == set(NAMES)
    assert all(torch.equal(part[name], gaussians[name][keep]) for name in NAMES)
