"""Random scenes with fixed seeds, and the results of a rasteriser and its backward pass on them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.gaussian_renderer import oracle

LEAVES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


@dataclass
class Result:
    """Everything a rasteriser gives back: image, alpha, meta, and the gradient of each input by name.

    `gradients` also has "means2d" and "absgrad", (C, N, 2).
    """

    image: Tensor
    alpha: Tensor
    meta: dict
    gradients: dict[str, Tensor]


def random_scene(
    seed: int,
    *,
    count: int = 60,
    cameras: int = 1,
    width: int = 37,
    height: int = 29,
    channels: int = 3,
    sh_degree: int | None = None,
) -> dict:
    """Arguments of `rasterization`, float32: Gaussians of every kind before cameras with an off-centre axis.

    Most stand before the cameras and within the image or somewhat beside it; each tenth is behind, each
    tenth far to the side and large (where the Jacobian is held), each third almost opaque, so that pixels do
    finish.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    depth = uniform(count, low=1.0, high=6.0)
    means = torch.stack([*uniform(2, count, low=-0.75, high=0.75) * depth, depth], dim=1)
    scales = torch.exp(uniform(count, 3, low=-3.5, high=-0.7))
    opacities = uniform(count, low=0.02, high=0.98)
    kind = torch.arange(count)
    opacities[kind % 3 == 0] = 0.99 + 0.01 * opacities[kind % 3 == 0]
    means[kind % 10 == 3, 2] *= -1
    aside = kind % 10 == 7
    means[aside, 0] = means[aside, 2] * torch.where(means[aside, 0] > 0, 1.1, -1.1)
    scales[aside] = scales[aside] * 4 + 0.5

    viewmats = torch.eye(4).repeat(cameras, 1, 1)
    turns = torch.cat([torch.ones(cameras, 1), 0.08 * normal(cameras, 3)], dim=1)
    viewmats[:, :3, :3] = oracle.rotation_matrices(turns)
    viewmats[:, :3, 3] = 0.2 * normal(cameras, 3)
    Ks = torch.zeros(cameras, 3, 3)
    Ks[:, 0, 0], Ks[:, 1, 1], Ks[:, 2, 2] = 0.95 * width, 1.3 * height, 1.0
    Ks[:, 0, 2] = width * uniform(cameras, low=0.35, high=0.65)
    Ks[:, 1, 2] = height * uniform(cameras, low=0.35, high=0.65)

    shape = (count, channels) if sh_degree is None else (count, (sh_degree + 1) ** 2, 3)
    colors = uniform(*shape) if sh_degree is None else 0.4 * normal(*shape)
    scene = {
        "means": means,
        "quats": normal(count, 4) * uniform(count, 1, low=0.3, high=3.0),
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
        "viewmats": viewmats,
        "Ks": Ks,
        "width": width,
        "height": height,
    }
    return scene if sh_degree is None else scene | {"sh_degree": sh_degree}


def run(rasterize: Callable, scene: dict, weights: tuple[Tensor, ...] | None = None, **options) -> Result:
    """Images of `scene` and the gradients of a weighted sum of all their values.

    Args:
        rasterize: the oracle's `rasterization`, which then works in float64, or an engine's (float32).
        weights: of the image (C, H, W, X) and of the alpha (C, H, W, 1); None for no backward pass.
    """
    exact = rasterize is oracle.rasterization
    arguments = scene | options
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            arguments[name] = value.double() if exact else value.clone()
        if name in LEAVES and weights is not None:
            arguments[name] = arguments[name].detach().clone().requires_grad_()
    if not exact:
        arguments |= {"packed": False, "absgrad": weights is not None}
    image, alpha, meta = rasterize(**arguments)
    if weights is None:
        return Result(image, alpha, meta, {})

    if not exact:
        meta["means2d"].retain_grad()
    loss = (image * weights[0].to(image)).sum() + (alpha * weights[1].to(image)).sum()
    loss.backward()
    gradients = {
        name: torch.zeros_like(arguments[name]) if arguments[name].grad is None else arguments[name].grad
        for name in LEAVES
    }
    if exact:
        gradients["means2d"] = torch.stack(
            [torch.zeros_like(one) if one.grad is None else one.grad for one in meta["means2d"]]
        )
        gradients["absgrad"] = oracle.absolute_gradient(meta)
    else:
        gradients["means2d"], gradients["absgrad"] = meta["means2d"].grad, meta["means2d"].absgrad
    return Result(image.detach(), alpha.detach(), meta, gradients)


def random_weights(seed: int, image: Tensor) -> tuple[Tensor, ...]:
    """Weights for `run`, normal numbers: one for every value of an image (C, H, W, X) and of its alpha."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn((*image.shape[:-1], channels), generator=generator, dtype=torch.float64)
        for channels in (image.shape[-1], 1)
    )


def prove(rasterize: Callable, scene: dict, *, seed: int = 0, **options) -> tuple[Result, Result]:
    """Asserts that an engine and the oracle agree on `scene`: image, alpha, meta and every gradient.

    The engine works in float32, the oracle in float64, so at a threshold (alpha 1/255, transmittance 1e-4)
    they may rightly decide otherwise. Pixels with such a close decision are few, known to the oracle, and
    left out, from images and loss alike; all others have to agree to rounding. Returns both results.
    """
    seen = run(oracle.rasterization, scene, **options)
    decided = seen.meta["decided"][..., None]
    assert decided.double().mean() > 0.98
    weights = tuple(weight * decided for weight in random_weights(seed, seen.image))
    if options.get("render_mode", "").endswith("ED"):
        # Depth is divided by alpha. Where that is 1/255, two terms of the gradient, 255 times larger, cancel
        # down to their rounding, in gsplat as well; a weight of alpha asks for what is left.
        weights[0][..., -1:] *= seen.alpha
    expected = run(oracle.rasterization, scene, weights, **options)
    actual = run(rasterize, scene, weights, **options)

    drawn = (expected.meta["radii"] > 0).all(dim=-1)
    assert torch.equal((actual.meta["radii"] > 0).all(dim=-1), drawn)
    for name in ("depths", "conics", "opacities"):
        torch.testing.assert_close(
            actual.meta[name][drawn].double(), expected.meta[name][drawn], rtol=1e-4, atol=1e-5
        )
    # float32 of an image of order 1 (depths: 6) under some tens of layers
    scale = max(1.0, float(expected.image.abs().max()))
    torch.testing.assert_close(
        actual.image.double() * decided, expected.image * decided, rtol=0, atol=1e-5 * scale
    )
    torch.testing.assert_close(actual.alpha.double() * decided, expected.alpha * decided, rtol=0, atol=1e-5)
    for name, gradient in expected.gradients.items():
        assert_gradients_close(name, actual.gradients[name], gradient)
    return actual, expected


def assert_gradients_close(
    name: str, actual: Tensor, expected: Tensor, *, row: float = 3e-4, rest: float = 1e-5
) -> None:
    """Asserts that rows agree to `row` of their own length and `rest` of the longest row's.

    A gradient is a sum over pixels of terms of both signs. The rounding of float32 is relative to the terms,
    so a row whose terms cancel may be worse relative to itself, but never by what matters beside the others.
    """
    if name == "viewmats":  # the bottom row is no parameter of a rigid motion
        actual, expected = actual[:, :3], expected[:, :3]
    width = {"opacities": 1, "means2d": 2, "absgrad": 2}.get(name, expected[0].numel())
    rows = expected.reshape(-1, width)
    error = (actual.double().reshape(rows.shape) - rows).norm(dim=1)
    length = rows.norm(dim=1)
    allowed = row * length + rest * length.max()
    worst = int((error / allowed.clamp(min=1e-12)).argmax())
    assert (error <= allowed).all(), (
        f"gradient of {name}, row {worst}: off by {error[worst]:.3g}, its length is {length[worst]:.3g}, the "
        f"longest {length.max():.3g}"
    )
