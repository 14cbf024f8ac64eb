"""Gradients against finite differences, away from every threshold, where the image is a smooth function."""

import pytest
import torch

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer import oracle
from tests.gaussian_renderer.scenes import LEAVES, random_weights, run

OPTIONS: dict[str, dict] = {
    "colours": {},
    "antialiased": {"rasterize_mode": "antialiased", "render_mode": "RGB+ED"},
    "harmonics": {"sh_degree": 3, "render_mode": "RGB+D"},
}


def smooth_scene(sh_degree: int | None, count: int = 8) -> dict:
    """Half-transparent Gaussians, each above alpha = 1/255 in all pixels, at depths well apart."""
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    means = uniform(count, 3, low=-0.35, high=0.35)
    means[:, 2] = 2.0 + 0.3 * torch.arange(count)
    viewmats = torch.eye(4).repeat(2, 1, 1)
    viewmats[1, :3, :3] = oracle.rotation_matrices(torch.tensor([[1.0, 0.03, -0.05, 0.02]]))[0]
    viewmats[1, :3, 3] = torch.tensor([0.1, -0.1, 0.2])
    colours = uniform(count, 3, low=0.3, high=0.9)
    harmonics = 0.05 * torch.randn(count, 16, 3, generator=generator)
    return {
        "means": means,
        "quats": torch.randn(count, 4, generator=generator),
        "scales": uniform(count, 3, low=1.0, high=1.7),
        "opacities": uniform(count, low=0.2, high=0.6),
        "colors": colours if sh_degree is None else harmonics,
        "viewmats": viewmats,
        "Ks": torch.tensor([[12.0, 0.0, 5.0], [0.0, 13.0, 4.5], [0.0, 0.0, 1.0]]).repeat(2, 1, 1),
        "width": 11,
        "height": 9,
    }


@pytest.fixture(params=OPTIONS)
def case(request, monkeypatch):
    options = OPTIONS[request.param]
    scene = smooth_scene(options.get("sh_degree"))
    seen = run(oracle.rasterization, scene, **options)
    with monkeypatch.context() as change:
        change.setattr(oracle, "ALPHA_MIN", 1.2 * oracle.ALPHA_MIN)
        change.setattr(oracle, "ALPHA_MAX", 0.9 * oracle.ALPHA_MAX)
        change.setattr(oracle, "TRANSMITTANCE_MIN", 10 * oracle.TRANSMITTANCE_MIN)
        narrowed = run(oracle.rasterization, scene, **options)
    assert torch.equal(seen.image, narrowed.image), "the scene has to be away from every threshold"
    return scene, options


def loss(rasterize, scene, weights, options) -> float:
    result = run(rasterize, scene, **options)
    return float((result.image.double() * weights[0]).sum() + (result.alpha.double() * weights[1]).sum())


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize(
    ("rasterize", "step", "tolerance"),
    # float64: truncation is all; float32: a step so large that the rounding of a sum of some hundred pixels
    # is a thousandth of the difference. The tolerance is relative to |gradient| times |direction|.
    [(oracle.rasterization, 1e-4, 1e-6), (rasterization, 2e-2, 1e-3)],
    ids=["oracle", "engine"],
)
def test_directional_derivatives(case, rasterize, step, tolerance, name):
    scene, options = case
    weights = random_weights(5, run(rasterize, scene, **options).image)
    gradient = run(rasterize, scene, weights, **options).gradients[name].double()
    generator = torch.Generator().manual_seed(6)
    for _ in range(4):
        direction = torch.randn(gradient.shape, generator=generator)
        if name == "viewmats":
            direction[:, 3] = 0  # a motion of the camera keeps the last row at (0, 0, 0, 1)
        direction = direction / direction.norm()
        # float32 may not hold scene + step * direction exactly: the difference taken is the one that it holds
        ahead = scene | {name: scene[name] + step * direction}
        behind = scene | {name: scene[name] - step * direction}
        moved = ahead[name].double() - behind[name].double()
        difference = loss(rasterize, ahead, weights, options) - loss(rasterize, behind, weights, options)
        predicted = float((gradient * moved).sum())
        assert abs(difference - predicted) <= tolerance * float(gradient.norm() * moved.norm())
