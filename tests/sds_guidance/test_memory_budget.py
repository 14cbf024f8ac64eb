"""The budget of guidance against the bytes of real tensors: guided steps in every mode, and the splats."""

import pytest
import torch

from benchmarks.guidance_memory import hollow, parts, ways, write_settings
from scene.gaussians import gaussians_from_points
from scene.optimisers import OptimiserOptions, make_optimisers
from sds_guidance.loading import choose_mode, evenly
from sds_guidance.memory import GIB, SPLATS, LiveBytes, occupied, step_bytes
from sds_guidance.options import GuidanceOptions
from sds_guidance.prior import load_inpainting, load_prior
from tests.sds_guidance.fakes import WIDTH
from tests.sds_guidance.views import CAMERA, view

SIDE = CAMERA.width


@pytest.mark.parametrize(
    ("mode", "checkpoint"),
    [("sds", False), ("sds", True), ("ism", False), ("targets", False), ("rectified", False)],
)
def test_a_guided_step_of_a_mode_holds_what_is_budgeted_for_it(
    tiny_model, tiny_inpainting_model, mode, checkpoint
):
    """The networks' activations, and beside them a few pictures: some hundredths of the step at full size."""
    decodes = mode == "targets"
    real = load_prior(tiny_model, torch.device("cpu"), torch.float32, checkpoint_encoder=checkpoint)
    inpainting = load_inpainting(tiny_inpainting_model, real, torch.float32)
    if mode == "rectified":
        real.inpainting = inpainting
    forecast = hollow(tiny_model, torch.float32)
    if checkpoint:
        forecast.vae.enable_gradient_checkpointing()
    if not decodes:
        for prior in (real, forecast):
            prior.free_decoder()
    budget = step_bytes(forecast, (SIDE, SIDE), gradient=not decodes)

    options = GuidanceOptions(guidance=mode, guidance_resolution=SIDE)
    look = choose_mode(options, real, lambda generator, progress: CAMERA, evenly)
    generator = torch.Generator().manual_seed(0)
    look.cameras(generator, 0.0)
    seen, states = view(), torch.zeros(2, 77, WIDTH)
    networks = (real.unet, real.vae, inpainting.unet)
    known = [weight for network in networks for weight in network.parameters()]
    known += [real.abar, inpainting.abar, seen.rgb, seen.alpha, seen.depth, states]
    with LiveBytes(known) as live:
        assert look(seen, states, 0.0, generator).finite
    pictures = 4 * 3 * SIDE**2 * 4
    assert 0.98 * budget < live.peak < budget + pictures


def test_a_million_splats_have_their_place():
    """Value, gradient and Adam's two moments of 59 numbers, as section 6 of the facts counts them."""
    count = 100
    gaussians = gaussians_from_points(
        torch.rand(count, 3).numpy(), torch.zeros(count, 3, dtype=torch.uint8).numpy(), sh_degree=3
    )
    optimisers = make_optimisers(gaussians, OptimiserOptions(), extent=1.0)
    sum(parameter.sum() for parameter in gaussians.values()).backward()
    for optimiser in optimisers.values():
        optimiser.step()
    held = [it for parameter in gaussians.values() for it in (parameter, parameter.grad)]
    for optimiser in optimisers.values():
        for state in optimiser.state.values():
            held += [it for it in state.values() if torch.is_tensor(it) and it.ndim]
    size = sum(tensor.nbytes for tensor in held)
    assert size == 944 * count
    assert 1_000_000 * size / count < SPLATS < 1_000_000 * size / count + 0.5 * GIB


@pytest.mark.slow
def test_stable_diffusion_fits_a_card_of_6_gb_as_the_documentation_says(tmp_path):
    prior = hollow(write_settings(tmp_path), torch.bfloat16)
    needed: dict[str, float] = {}
    for gradient in (True, False):
        needed |= {way: plan.needed / GIB for way, plan in ways(prior, (512, 512), gradient).items()}
    assert needed["encode and go back, prompts at once"] == pytest.approx(5.4, abs=0.05)
    assert needed["encode and go back, prompts at once, checkpointed"] == pytest.approx(4.65, abs=0.05)
    assert needed["encode, decode, prompts at once"] == pytest.approx(4.1, abs=0.05)
    assert max(needed.values()) < 6
    assert occupied(parts(prior).values()) == pytest.approx((1.61 + 0.064 + 0.092) * GIB, rel=0.01)
