"""Nothing is lost, doubled or moved at the borders of tiles and images, whatever the size."""

import pytest
import torch

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer.scenes import prove, random_scene, run


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 1), (1, 40), (40, 1), (15, 15), (16, 16), (17, 17), (16, 33), (31, 16), (48, 47), (65, 3)],
)
def test_sizes(width, height):
    scene = random_scene(1, width=width, height=height)
    scene["Ks"][:, 0, 0] = scene["Ks"][:, 1, 1] = 30.0
    prove(rasterization, scene, render_mode="RGB+D")


def flat_scene(centres: torch.Tensor, scales: list[float], width: int, height: int) -> dict:
    """Gaussians at depths near 1 with centres at pixels (N, 2), with a focal length of 50 pixels."""
    count = len(centres)
    generator = torch.Generator().manual_seed(4)
    depth = 1.0 + 0.01 * torch.arange(count)
    principal = torch.tensor([width / 2, height / 2])
    return {
        "means": torch.cat([(centres - principal) / 50 * depth[:, None], depth[:, None]], dim=1),
        "quats": torch.randn(count, 4, generator=generator),
        "scales": torch.tensor(scales).repeat(count, 1) / 50,
        "opacities": torch.rand(count, generator=generator) * 0.5 + 0.3,
        "colors": torch.rand(count, 3, generator=generator),
        "viewmats": torch.eye(4)[None],
        "Ks": torch.tensor([[[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]]),
        "width": width,
        "height": height,
    }


SHAPES = {"dot": [0.04, 0.05, 0.06], "disc": [1.4, 1.5, 1.6], "needle": [6.0, 0.1, 0.1]}


@pytest.mark.parametrize("shape", SHAPES)
def test_centres_on_and_beside_the_borders_of_tiles(shape):
    ticks = torch.tensor([16 - 1e-3, 16.0, 16 + 1e-3, 31.5, 32.0, 32.5])
    centres = torch.cartesian_prod(ticks, ticks)
    prove(rasterization, flat_scene(centres, SHAPES[shape], 49, 49))


@pytest.mark.parametrize("shape", SHAPES)
def test_centres_on_and_outside_the_edges_of_the_image(shape):
    # Those outside by no whole number of pixels: a radius, which is one, would end exactly on the edge.
    ticks = torch.tensor([-6.1, -2.1, -0.5, 0.0, 0.5, 20.0, 36.5, 37.0, 37.5, 39.1, 43.1])
    centres = torch.cartesian_prod(ticks, ticks)
    _, expected = prove(rasterization, flat_scene(centres, SHAPES[shape], 37, 37))
    outside = ((centres < 0) | (centres > 37)).any(dim=1)
    drawn = (expected.meta["radii"][0] > 0).all(dim=1)
    assert drawn[outside].any(), "some reach into the image from outside"


@pytest.mark.parametrize("place", [(-200.0, 18.0), (18.0, 250.0), (-150.0, -150.0), (18.0, 18.0)], ids=str)
def test_gaussians_larger_than_the_image(place):
    centres = torch.tensor([place, (20.0, 20.0), (5.0, 30.0)])
    scene = flat_scene(centres, [1.0, 1.0, 1.0], 37, 35)
    scene["scales"][0] = torch.tensor([3.0, 2.5, 3.5])  # of 125 pixels and more
    _, expected = prove(rasterization, scene)
    assert (expected.meta["radii"][0, 0] > 37).all()


@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, 1), (7, 5), (15, 16), (16, 15), (17, 23), (31, 2)])
def test_a_part_of_the_image_is_the_part_of_the_image(offset):
    """Tiles lie elsewhere in a part; the pixels, and the gradient through them, are the same.

    Bits may differ: the centre in the part is rounded on its own.
    """
    left, top = offset
    width, height = 30, 27
    generator = torch.Generator().manual_seed(5)
    centres = torch.rand(80, 2, generator=generator) * 64
    scene = flat_scene(centres, [2.0, 0.7, 1.2], 64, 64)
    part = scene | {"width": width, "height": height, "Ks": scene["Ks"].clone()}
    part["Ks"][0, 0, 2] -= left
    part["Ks"][0, 1, 2] -= top

    weights = torch.zeros(1, 64, 64, 3), torch.zeros(1, 64, 64, 1)
    inside = (slice(None), slice(top, top + height), slice(left, left + width))
    for weight in weights:
        weight[inside] = torch.randn(weight[inside].shape, generator=generator)
    whole = run(rasterization, scene, weights)
    alone = run(rasterization, part, tuple(weight[inside] for weight in weights))
    torch.testing.assert_close(alone.image, whole.image[inside], rtol=0, atol=3e-5)
    torch.testing.assert_close(alone.alpha, whole.alpha[inside], rtol=0, atol=3e-5)
    for name in ("opacities", "colors"):
        largest = float(whole.gradients[name].abs().max())
        torch.testing.assert_close(
            alone.gradients[name], whole.gradients[name], rtol=1e-3, atol=1e-4 * largest
        )


def test_every_pixel_of_a_veil_is_covered_alike():
    """A Gaussian far larger than the image has the same alpha in all pixels, in every tile."""
    scene = flat_scene(torch.tensor([[35.0, 33.0]]), [1e5, 1e5, 1e5], 70, 66)
    result = run(rasterization, scene)
    opacity = float(scene["opacities"][0])
    torch.testing.assert_close(result.alpha, torch.full_like(result.alpha, opacity), rtol=0, atol=1e-5)
