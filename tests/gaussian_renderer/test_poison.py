"""Poisoned Gaussians: picture and gradients are those without them, bit for bit; theirs are zero."""

import math

import pytest
import torch

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer.scenes import LEAVES, Result, prove, random_scene, random_weights, run

PER_GAUSSIAN = ("means", "quats", "scales", "opacities", "colors")
PLACE = 5  # where the poisoned Gaussian is put among the others

POISONS: dict[str, dict] = {
    "mean NaN": {"means": [0.0, math.nan, 3.0]},
    "mean infinite": {"means": [math.inf, 0.0, 3.0]},
    "depth NaN": {"means": [0.0, 0.0, math.nan]},
    "depth infinite": {"means": [0.0, 0.0, math.inf]},
    "mean beyond float32's squares": {"means": [1e30, -1e30, 3.0]},
    "quaternion NaN": {"quats": [1.0, math.nan, 0.0, 0.0]},
    "quaternion infinite": {"quats": [1.0, 0.0, math.inf, 0.0]},
    "quaternion zero": {"quats": [0.0, 0.0, 0.0, 0.0]},
    "scale NaN": {"scales": [math.nan, 0.1, 0.1]},
    "scale infinite": {"scales": [0.1, math.inf, 0.1]},
    "opacity NaN": {"opacities": math.nan},
    "opacity infinite": {"opacities": math.inf},
    "opacity zero": {"opacities": 0.0},
    "opacity negative": {"opacities": -0.5},
    "opacity below 1/255": {"opacities": 0.0039},
    "behind the camera": {"means": [0.0, 0.0, -3.0]},
    "in the camera": {"means": [0.0, 0.0, 0.0]},
    "nearer than the near plane": {"means": [0.0, 0.0, 0.009]},
    "beyond the far plane": {"means": [0.0, 0.0, 1e11]},
    "beside the image": {"means": [300.0, 0.0, 3.0]},
}
COLOUR_POISONS = {"colour NaN": math.nan, "colour infinite": math.inf}
MODES: dict[str, dict] = {
    "colours": {"render_mode": "RGB+ED"},
    "antialiased": {"rasterize_mode": "antialiased"},
    "harmonics": {"sh_degree": 2, "render_mode": "RGB+D"},
}


def clean_scene(sh_degree: int | None) -> dict:
    """A random scene before a camera that stands at the origin."""
    scene = random_scene(2, sh_degree=sh_degree)
    scene["viewmats"] = torch.eye(4)[None]
    return scene


def with_one_more(scene: dict, poison: dict) -> dict:
    """The scene with a visible Gaussian inserted at PLACE, some of whose values are overwritten."""
    shape = scene["colors"].shape[1:]
    added = {
        "means": torch.tensor([0.1, 0.1, 3.0]),
        "quats": torch.tensor([1.0, 0.2, 0.1, -0.3]),
        "scales": torch.tensor([0.3, 0.2, 0.4]),
        "opacities": torch.tensor(0.8),
        "colors": torch.full(shape, 0.7),
    }
    for name, value in poison.items():
        added[name] = torch.as_tensor(value, dtype=torch.float32).expand(added[name].shape)
    joined = {
        name: torch.cat([scene[name][:PLACE], added[name][None], scene[name][PLACE:]])
        for name in PER_GAUSSIAN
    }
    return scene | joined


def assert_as_without_it(poison: dict, options: dict) -> Result:
    scene = clean_scene(options.get("sh_degree"))
    weights = random_weights(1, run(rasterization, scene, **options).image)
    expected = run(rasterization, scene, weights, **options)
    actual = run(rasterization, with_one_more(scene, poison), weights, **options)
    assert torch.equal(actual.image, expected.image)
    assert torch.equal(actual.alpha, expected.alpha)
    others = torch.arange(len(scene["means"]) + 1) != PLACE
    for name in (*PER_GAUSSIAN, "means2d", "absgrad"):
        axis = 1 if name in ("means2d", "absgrad") else 0
        gradient = actual.gradients[name].movedim(axis, 0)
        assert torch.equal(gradient[others], expected.gradients[name].movedim(axis, 0)), name
        assert not gradient[PLACE].any(), name
    assert torch.equal(actual.gradients["viewmats"], expected.gradients["viewmats"])
    return actual


def test_the_unpoisoned_one_would_be_seen():
    scene = clean_scene(None)
    difference = run(rasterization, with_one_more(scene, {})).image - run(rasterization, scene).image
    assert (difference.abs() > 0.01).double().mean() > 0.05


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("poison", POISONS)
def test_picture_and_gradients_are_those_without_it(poison, mode):
    result = assert_as_without_it(POISONS[poison], MODES[mode])
    assert not result.meta["radii"][:, PLACE].any(), "not visible, to the densification either"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("poison", COLOUR_POISONS)
def test_a_poisoned_colour_does_not_spread(poison, mode):
    assert_as_without_it({"colors": COLOUR_POISONS[poison]}, MODES[mode])


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6, 1e9, 1e15, 1e19, 1e30, 3e38])
def test_a_huge_gaussian_is_a_veil_or_nothing(scale):
    """Larger than all float32 can square, it may be left out; never NaN, never harm to others."""
    options = MODES["colours"]
    scene = clean_scene(None)
    veiled = with_one_more(scene, {"scales": [scale, scale, scale]})
    weights = random_weights(1, run(rasterization, scene, **options).image)
    result = run(rasterization, veiled, weights, **options)
    assert all(gradient.isfinite().all() for gradient in result.gradients.values())
    if (result.meta["radii"][0, PLACE] > 0).all():
        # float64 agrees: the same picture, whatever the size
        prove(rasterization, with_one_more(scene, {"scales": [100.0] * 3}), **options)
        nearly = run(rasterization, with_one_more(scene, {"scales": [1e4] * 3}), **options)
        torch.testing.assert_close(result.image, nearly.image, rtol=0, atol=1e-3)
    else:
        assert scale > 1e8, "float32 squares this without trouble"
        assert torch.equal(result.image, run(rasterization, scene, **options).image)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("scales", [[0.0, 0.0, 0.0], [0.0, 0.3, 0.3], [1e-20, 0.3, 1e-20]], ids=str)
def test_points_needles_and_discs(scales, rasterize_mode):
    """A scale of zero is a Gaussian like others: blurred to a dot, or dimmed to nothing where antialiased."""
    scene = with_one_more(clean_scene(None), {"scales": scales, "opacities": 0.999})
    actual, _ = prove(rasterization, scene, rasterize_mode=rasterize_mode)
    assert all(gradient.isfinite().all() for gradient in actual.gradients.values())


@pytest.mark.parametrize("opacity", [1.0, 0.0040, 1.5])
def test_opacities_at_the_ends(opacity):
    scene = with_one_more(clean_scene(None), {"opacities": opacity})
    actual, _ = prove(rasterization, scene)
    assert (actual.meta["radii"][0, PLACE] > 0).all()


def test_on_the_near_and_the_far_plane_it_is_drawn():
    scene = clean_scene(None)
    planes: list[dict] = [{"near_plane": 2.5}, {"far_plane": 2.5}]
    for plane in planes:
        result = run(rasterization, with_one_more(scene, {"means": [0.0, 0.0, 2.5]}), **plane)
        assert (result.meta["radii"][0, PLACE] > 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [0, 7])
def test_nothing_to_draw(count, mode):
    """No Gaussians, or none before the camera: black, transparent, gradients there and zero."""
    options = MODES[mode]
    scene = clean_scene(options.get("sh_degree"))
    scene |= {name: scene[name][:count] for name in PER_GAUSSIAN}
    scene["means"] = scene["means"] * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 1.0])
    weights = random_weights(1, run(rasterization, scene, **options).image)
    result = run(rasterization, scene, weights, **options)
    assert result.image.shape[:3] == result.alpha.shape[:3] == (1, 29, 37)
    assert not result.image.any()
    assert not result.alpha.any()
    for name in LEAVES:
        assert result.gradients[name].shape == scene[name].shape
        assert not result.gradients[name].any()


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_poisoned_camera_is_refused_by_name(name, value):
    scene = clean_scene(None)
    scene[name] = scene[name].clone()
    scene[name][0, 0, 0] = value
    with pytest.raises(ValueError, match=name):
        run(rasterization, scene)


def test_everything_poisoned_at_once_is_black():
    scene = clean_scene(3)
    for name in PER_GAUSSIAN:
        scene[name] = torch.full_like(scene[name], math.nan)
    result = run(rasterization, scene)
    assert not result.image.any()
    assert not result.alpha.any()
