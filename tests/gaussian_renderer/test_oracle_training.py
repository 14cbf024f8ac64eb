"""300 steps of training through the oracle and through the engine, from one start, end at the same quality.

Gradients equal to rounding do not alone prove this: errors of one sign would add up over the steps. The truth
is a set of Gaussians seen by four cameras; the start is a disturbed, grey copy of it.
"""

import math

import pytest
import torch
from torch import Tensor

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer import oracle

WIDTH, HEIGHT, COUNT, STEPS = 48, 40, 60, 300
RATES = {"means": 0.006, "scales": 0.015, "quats": 0.0075, "opacities": 0.045, "colors": 0.015}


def truth(generator: torch.Generator) -> dict[str, Tensor]:
    """A ball of Gaussians around the origin: log scales, logit opacities, harmonics of degree 1."""
    return {
        "means": 0.45 * torch.randn(COUNT, 3, generator=generator),
        "scales": torch.rand(COUNT, 3, generator=generator) * 1.5 - 3.0,
        "quats": torch.randn(COUNT, 4, generator=generator),
        "opacities": torch.randn(COUNT, generator=generator) + 1.5,
        "colors": 0.7 * torch.randn(COUNT, 4, 3, generator=generator),
    }


def disturbed(parameters: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "means": parameters["means"] + 0.08 * torch.randn(COUNT, 3, generator=generator),
        "scales": torch.full((COUNT, 3), -2.3),
        "quats": torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(COUNT, 1),
        "opacities": torch.zeros(COUNT),
        "colors": torch.zeros(COUNT, 4, 3),
    }


def cameras() -> tuple[Tensor, Tensor]:
    """Four views from 4 units away, each turned by 25 degrees about the vertical axis; off-centre axes."""
    viewmats = torch.eye(4).repeat(4, 1, 1)
    for camera, angle in enumerate((-0.65, -0.22, 0.22, 0.65)):
        quat = torch.tensor([[math.cos(angle / 2), 0.02 * camera, math.sin(angle / 2), 0.0]])
        viewmats[camera, :3, :3] = oracle.rotation_matrices(quat)[0]
    viewmats[:, 2, 3] = 4.0
    Ks = torch.tensor([[70.0, 0.0, 25.0], [0.0, 72.0, 19.0], [0.0, 0.0, 1.0]]).repeat(4, 1, 1)
    return viewmats, Ks


def draw(rasterize, parameters: dict[str, Tensor], view: int | slice, **options) -> Tensor:
    viewmats, Ks = (tensor[view].to(parameters["means"]) for tensor in cameras())
    image, _, _ = rasterize(
        parameters["means"],
        parameters["quats"],
        parameters["scales"].exp(),
        parameters["opacities"].sigmoid(),
        parameters["colors"],
        viewmats,
        Ks,
        WIDTH,
        HEIGHT,
        sh_degree=1,
        near_plane=0.2,
        **options,
    )
    return image


def train(rasterize, start: dict[str, Tensor], targets: Tensor, **options) -> dict[str, Tensor]:
    """The parameters after STEPS steps of Adam on a smooth L1 difference, one view a step.

    Adam's usual eps of 1e-15 turns a gradient of nothing but rounding into a full step, and the kink of L1
    rounding into a sign: with both, the same engine from starts 1e-6 apart ends up to 0.15 dB apart. With an
    eps of 1e-5, a rounded kink and falling rates it is 0.001 dB, so that a difference is the rasteriser's.
    """
    parameters = {
        name: values.to(targets.dtype, copy=True).requires_grad_() for name, values in start.items()
    }
    groups = [{"params": [parameters[name]], "lr": rate} for name, rate in RATES.items()]
    optimizer = torch.optim.Adam(groups, eps=1e-5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / STEPS))
    for step in range(STEPS):
        view = step % len(targets)
        image = draw(rasterize, parameters, slice(view, view + 1), **options)
        loss = ((image[0] - targets[view]).square() + 1e-4).sqrt().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: values.detach() for name, values in parameters.items()}


@pytest.mark.slow
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_engine_and_oracle_train_to_the_same_quality(rasterize_mode):
    options = {"rasterize_mode": rasterize_mode}
    generator = torch.Generator().manual_seed(0)
    goal = truth(generator)
    start = disturbed(goal, generator)

    def in_float64(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: values.double() for name, values in parameters.items()}

    targets = draw(oracle.rasterization, in_float64(goal), slice(None), **options)

    def quality(parameters: dict[str, Tensor]) -> float:
        """PSNR over all views, drawn by the oracle: it judges both."""
        image = draw(oracle.rasterization, in_float64(parameters), slice(None), **options)
        return -10 * math.log10(float((image - targets).square().mean()))

    before = quality(start)
    by_oracle = quality(train(oracle.rasterization, in_float64(start), targets, **options))
    by_engine = quality(train(rasterization, start, targets.float(), **options, packed=False))
    print(f"{rasterize_mode}: start {before:.2f} dB, oracle {by_oracle:.3f} dB, engine {by_engine:.3f} dB")
    assert by_oracle > before + 15, "the training has to change something to prove something"
    assert abs(by_engine - by_oracle) < 0.01
