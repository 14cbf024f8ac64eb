"""A depth-to-image model sees the depth of the view that it is asked about, as diffusers would prepare it."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionDepth2ImgPipeline

from sds_guidance import Guidance, GuidanceOptions, View, load_guidance
from sds_guidance.depth import depth_channel, inverse_depth
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.program import finetune
from sds_guidance.loading import choose_mode, pilot_guidance
from sds_guidance.mode import Mode
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from sds_guidance.sds import fit_to_prior, level_weight, pixel_gradient
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import CAMERA, moved_camera
from utils.errors import UserError

CPU = torch.device("cpu")
SIDE = 16  # what the prior sees
OPTIONS = GuidanceOptions(
    guidance_resolution=SIDE,
    guidance_scale=1.0,
    sds_clip=1.0,
    targets=TargetsOptions(targets_views=2, targets_refresh=3, targets_steps=2),
)
STATES = torch.zeros(2, 16, 32)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shape_in_front_of_nothing(height: int, width: int, seed: int = 3) -> View:
    """Depths of 1 to 4 in a smooth pattern, nothing in the upper third; with gradient, as renderings are."""
    bumps = torch.rand(1, 1, 4, 5, generator=seeded(seed))
    depth = 1 + 3 * F.interpolate(bumps, size=(height, width), mode="bilinear")[0]
    alpha = torch.ones(1, height, width)
    alpha[:, : height // 3] = 0
    rgb = torch.rand(3, height, width, generator=seeded(seed))
    return View(CAMERA, *(it.requires_grad_() for it in (rgb, alpha, depth * alpha)))


def evenly(camera: object) -> float:
    return 1.0


def by_diffusers(near: torch.Tensor) -> torch.Tensor:
    """What the pipeline makes of (1, H, W) inverse depth beside a picture of that size and half latents."""
    pipeline = cast(Any, SimpleNamespace(vae_scale_factor=2))
    prepare = StableDiffusionDepth2ImgPipeline.prepare_depth_map
    return prepare(pipeline, torch.zeros(1, 3, *near.shape[1:]), near, 1, False, torch.float32, CPU)


@pytest.mark.parametrize("size", [(16, 24), (40, 16)])
def test_the_channel_is_what_diffusers_prepares_from_inverse_depth(size):
    view = shape_in_front_of_nothing(*size)
    near = torch.where(view.alpha > 0, 1 / view.depth, 0.0).detach()  # another way to write it
    found = depth_channel(view, SIDE, 4, 2)
    torch.testing.assert_close(found, by_diffusers(near))
    assert (float(found.min()), float(found.max())) == (-1, 1)
    assert not found.requires_grad


def test_the_channel_is_resized_and_padded_as_the_picture_is():
    view = shape_in_front_of_nothing(27, 45)
    picture = fit_to_prior(inverse_depth(view), 18, 4).detach()
    assert picture.shape == (1, 1, 20, 32)
    torch.testing.assert_close(depth_channel(view, 18, 4, 2), by_diffusers(picture[0]))


def test_nearer_is_larger_and_nothing_is_farthest_whatever_the_scenes_scale():
    view = shape_in_front_of_nothing(SIDE, SIDE)
    slope = torch.linspace(1, 4, SIDE).expand(1, SIDE, SIDE) * (view.alpha > 0)
    found = depth_channel(replace(view, depth=slope), SIDE, 4, 2)
    assert (found[0, 0, -1].diff() < 0).all()
    assert float(found[0, 0, 0].max()) < -0.8 < float(found[0, 0, 4:].min())
    for scale in (1e-3, 1e3):
        again = depth_channel(replace(view, depth=slope * scale), SIDE, 4, 2)
        torch.testing.assert_close(again, found)


def test_a_depth_under_little_alpha_has_little_say():
    view = shape_in_front_of_nothing(SIDE, SIDE)
    thin = torch.where(view.alpha > 0, 1.0, 1e-3)
    fog = torch.where(view.alpha > 0, view.depth, 0.5)
    found = depth_channel(replace(view, alpha=thin, depth=fog), SIDE, 4, 2)
    torch.testing.assert_close(found, depth_channel(view, SIDE, 4, 2), atol=0.01, rtol=0)


@pytest.mark.parametrize("depth", [0.0, 2.0, 1e4])
def test_a_map_without_a_range_is_the_middle(depth):
    size = (1, SIDE, SIDE)
    view = View(CAMERA, torch.zeros(3, SIDE, SIDE), torch.full(size, 0.7), torch.full(size, depth))
    assert torch.equal(depth_channel(view, SIDE, 4, 2), torch.zeros(1, 1, SIDE // 2, SIDE // 2))


class FifthChannel:
    """A U-Net that returns its fifth channel, four times, and keeps the last channels of all its calls."""

    dtype, device = torch.float32, CPU

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, noised, t, encoder_hidden_states, class_labels) -> SimpleNamespace:
        assert noised.shape[1] == 5
        self.seen += noised[:, 4:].split(1)
        return SimpleNamespace(sample=noised[:, 4:].expand(-1, 4, -1, -1))


@pytest.fixture
def prior(tiny_depth_model) -> LatentDiffusionPrior:
    """The tiny depth model with its U-Net replaced."""
    prior = load_prior(tiny_depth_model, CPU, torch.float32)
    assert prior.sees_depth
    prior.unet = FifthChannel()
    return prior


def look_twice(mode: Mode, unet: FifthChannel, side: int = SIDE) -> None:
    """Shows the mode two views, and asserts that the U-Net saw the depth of either at its turn."""
    generator = seeded()
    for seed in (5, 6):
        (camera,) = mode.cameras(generator, 0.5)
        view = replace(shape_in_front_of_nothing(24, 16, seed), camera=camera)
        unet.seen.clear()
        assert mode(view, STATES, 0.5, generator).finite
        expected = depth_channel(view, side, 4, 2)
        assert unet.seen and all(torch.equal(channel, expected) for channel in unet.seen)


@pytest.mark.parametrize("guidance", ["sds", "ism", "targets"])
def test_in_every_mode_the_depth_of_its_own_view_arrives(prior, guidance):
    mode = choose_mode(replace(OPTIONS, guidance=guidance), prior, moved_camera, evenly)
    look_twice(mode, prior.unet)
    assert prior.beside is None  # nothing stays with the model itself


def test_the_gradient_is_that_of_the_depth_which_the_network_answered(prior):
    view, states = shape_in_front_of_nothing(24, 16), STATES
    options = replace(OPTIONS, sds_t_min=(0.5, 0.5), sds_t_max=(0.5, 0.5), guidance_rescale=0.0)
    found = choose_mode(options, prior, moved_camera, evenly)(view, states, 0.5, seeded())

    def by_hand(latents):
        generator = seeded()
        t = torch.randint(500, 501, (1,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        residual = level_weight("alpha_sigma", *prior.levels(t)) * (depth_channel(view, SIDE, 4, 2) - noise)
        return SimpleNamespace(residual=residual, t=500, weight=0.0)

    expected = pixel_gradient(prior, view.rgb, by_hand, clip=1.0, resolution=SIDE)
    torch.testing.assert_close(found.gradient, expected.gradient)


@pytest.mark.parametrize("guidance", ["sds", "targets"])
def test_a_depth_that_is_not_finite_drops_the_view(prior, guidance):
    mode, generator = choose_mode(replace(OPTIONS, guidance=guidance), prior, moved_camera, evenly), seeded()
    (camera,) = mode.cameras(generator, 0.5)
    view = replace(shape_in_front_of_nothing(24, 16), camera=camera)
    view.depth.data[0, 20, 8] = math.nan
    assert not mode(view, STATES, 0.5, generator).finite


def test_a_text_to_image_model_is_asked_without_depth(tiny_model):
    prior = load_prior(tiny_model, CPU, torch.float32)
    assert prior.for_view(shape_in_front_of_nothing(16, 16), SIDE) is prior


def test_a_depth_model_is_not_asked_without_a_view_of_the_pictures_size(tiny_depth_model):
    prior, level = load_prior(tiny_depth_model, CPU, torch.float32), torch.tensor([500])
    latents = prior.encode(torch.zeros(1, 3, 16, 24))
    with pytest.raises(RuntimeError, match="channels"):
        prior.predict(latents, level, STATES, 1.0)
    with pytest.raises(RuntimeError, match="Sizes"):
        prior.for_view(shape_in_front_of_nothing(24, 16), SIDE).predict(latents, level, STATES, 1.0)
    estimate = prior.for_view(shape_in_front_of_nothing(16, 24), SIDE).predict(latents, level, STATES, 1.0)
    assert estimate.noise.shape == latents.shape


def loaded(folder, **changes) -> Guidance:
    return load_guidance(
        replace(OPTIONS, guidance_model=str(folder), guidance_resolution=64, guidance_interval=1, **changes),
        cpu_run(seed=7),
        cameras=[replace(CAMERA, name="train")],
        sample_camera=moved_camera,
        iterations=20,
    )


@pytest.mark.parametrize("guidance", ["sds", "targets"])
def test_a_pilots_guidance_sees_the_depth_of_the_pilots_views(tiny_depth_model, guidance):
    run = loaded(tiny_depth_model, guidance=guidance)
    prior = cast(Any, run.mode.prior)
    prior.unet = FifthChannel()
    pilot = pilot_guidance(run, [], moved_camera, evenly, iterations=20, lambda_sds=0.1, device=CPU)
    look_twice(pilot.mode, prior.unet, side=64)


def test_fine_tuning_takes_no_depth_model(tiny_depth_model, tmp_path):
    options = FinetuneOptions(
        model_path=str(tmp_path), data=("x",), guidance_model=str(tiny_depth_model), device="cpu"
    )
    with pytest.raises(UserError, match=r"another task \(latent diffusion, depth\)"):
        finetune(options, [])
