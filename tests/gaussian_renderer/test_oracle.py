"""The CPU engine against the oracle: image, alpha, meta and every gradient, for all that it offers."""

import pytest
import torch

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer import oracle
from tests.gaussian_renderer.scenes import prove, random_scene, run


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
def test_render_modes(render_mode, rasterize_mode):
    actual, _ = prove(rasterization, random_scene(11), render_mode=render_mode, rasterize_mode=rasterize_mode)
    assert actual.image.shape == (1, 29, 37, {"RGB": 3, "D": 1, "ED": 1}.get(render_mode, 4))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_spherical_harmonics(sh_degree, rasterize_mode):
    scene = random_scene(20 + sh_degree, cameras=2, sh_degree=sh_degree)
    prove(rasterization, scene, rasterize_mode=rasterize_mode, render_mode="RGB+ED")


@pytest.mark.parametrize("sh_degree", [0, 1, 2])
def test_an_active_degree_below_the_stored_one(sh_degree):
    scene = random_scene(30, sh_degree=3)
    actual, _ = prove(rasterization, scene, sh_degree=sh_degree)
    assert not actual.gradients["colors"][:, (sh_degree + 1) ** 2 :].any()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 16, 33, 70])
def test_channel_counts(channels):
    prove(rasterization, random_scene(40 + channels, channels=channels))


@pytest.mark.parametrize("channels", [1, 4, 32])
def test_channel_counts_with_depth(channels):
    prove(rasterization, random_scene(50 + channels, channels=channels), render_mode="RGB+ED")


@pytest.mark.parametrize("seed", range(6))
def test_seeds(seed):
    scene = random_scene(seed, count=90, width=48, height=40, sh_degree=1)
    prove(rasterization, scene, seed=seed, render_mode="RGB+D", rasterize_mode="antialiased")


@pytest.mark.parametrize("cameras", [1, 3])
@pytest.mark.parametrize("sh_degree", [None, 2])
def test_colours_of_their_own_for_every_camera(cameras, sh_degree):
    scene = random_scene(60, cameras=cameras, sh_degree=sh_degree)
    noise = torch.randn(cameras, *scene["colors"].shape, generator=torch.Generator().manual_seed(1))
    scene["colors"] = scene["colors"] + 0.2 * noise
    prove(rasterization, scene)


@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED", "D"])
def test_several_cameras_are_several_calls(render_mode):
    scene = random_scene(70, cameras=3)
    prove(rasterization, scene, render_mode=render_mode)
    together = run(rasterization, scene, render_mode=render_mode)
    for camera in range(3):
        alone = scene | {name: scene[name][camera : camera + 1] for name in ("viewmats", "Ks")}
        assert torch.equal(
            run(rasterization, alone, render_mode=render_mode).image[0], together.image[camera]
        )


@pytest.mark.parametrize(
    "options",
    [
        {"eps2d": 0.05},
        {"eps2d": 2.0, "rasterize_mode": "antialiased"},
        {"near_plane": 2.5},
        {"far_plane": 3.5},
        {"near_plane": 0.2, "radius_clip": 6.0},
        {"radius_clip": 1000.0},
    ],
    ids=str,
)
def test_limits(options):
    prove(rasterization, random_scene(80), **options)


@pytest.mark.parametrize("render_mode", ["RGB", "D", "RGB+ED"])
def test_backgrounds(render_mode):
    scene = random_scene(90, cameras=2, channels=5)
    backgrounds = torch.rand(2, 5, generator=torch.Generator().manual_seed(2))
    prove(rasterization, scene, backgrounds=backgrounds, render_mode=render_mode)


def wall(seed: int) -> dict:
    """Layers of large, nearly opaque Gaussians: most pixels are finished before the last layer."""
    scene = random_scene(seed, count=70)
    scene["opacities"] = 0.9 + 0.1 * scene["opacities"]
    scene["scales"] = scene["scales"] * 3
    return scene


@pytest.mark.parametrize("seed", [100, 101])
def test_finished_pixels(seed, monkeypatch):
    scene = wall(seed)
    _, expected = prove(rasterization, scene, render_mode="RGB+D")
    monkeypatch.setattr(oracle, "TRANSMITTANCE_MIN", 0.0)
    endless = run(oracle.rasterization, scene, render_mode="RGB+D")
    finished = ((endless.alpha - expected.alpha).abs() > 1e-6).double().mean()
    assert finished > 0.6, "the scene has to reach the early stop to prove it"


def test_the_cut_of_alpha_stops_the_gradient(monkeypatch):
    scene = wall(102)
    scene["opacities"] = torch.ones_like(scene["opacities"])
    _, expected = prove(rasterization, scene)
    monkeypatch.setattr(oracle, "ALPHA_MAX", 1.0 - 1e-9)
    uncut = run(oracle.rasterization, scene)
    assert (uncut.image - expected.image).abs().max() > 1e-4, "the scene has to reach the cut to prove it"


def test_the_smallest_alpha_matters(monkeypatch):
    scene = random_scene(103)
    _, expected = prove(rasterization, scene)
    monkeypatch.setattr(oracle, "ALPHA_MIN", 1e-9)
    assert (run(oracle.rasterization, scene).image - expected.image).abs().max() > 1e-3


def test_equal_depths_keep_the_order_of_the_input():
    scene = random_scene(104, count=30)
    scene["viewmats"] = torch.eye(4)[None]
    scene["means"][:, 2] = 2.0
    prove(rasterization, scene)


def test_the_jacobian_is_held_beside_the_image():
    scene = random_scene(105, count=20)
    scene["means"][:, 0] = scene["means"][:, 2].abs() * torch.linspace(-1.5, 1.5, 20)
    scene["means"][:, 2].abs_()
    scene["scales"] = scene["scales"] + 0.6
    _, expected = prove(rasterization, scene)
    beside = expected.meta["means2d"][0][(expected.meta["radii"][0] > 0).all(1), 0]
    assert ((beside < -8) | (beside > 45)).sum() >= 4, "the scene has to reach the limit to prove it"
