"""The mode `rectified` against its formula, diffusers' own preparation, and priors whose answer is known."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from sds_guidance import View
from sds_guidance.prior import load_inpainting, load_prior
from sds_guidance.rectified import Rectified, masked_picture, rectified_gradient
from sds_guidance.rectified_options import RectifiedOptions
from sds_guidance.sds import Distillation, sds_gradient
from tests.sds_guidance.exact_priors import GaussianPrior

CPU = torch.device("cpu")
SIZE, ASIDE = 24, 4  # pixels of a picture's side, and by how many the view stands beside the photograph
CAMERA = Camera(
    "train", torch.eye(4), torch.tensor([[30.0, 0.0, 12.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]]), SIZE, SIZE
)
STATES = torch.zeros(2, 16, 32)
SCALES: dict[str, Any] = {"guidance_scale": 7.5, "rescale": 0.0}


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def evenly(camera: Camera) -> float:
    return 1.0


def beside() -> Camera:
    """It sees the wall at depth 5 as the photograph does, `ASIDE` pixels further right."""
    pose = torch.eye(4)
    pose[0, 3] = ASIDE * 5 / 30
    return replace(CAMERA, name="novel", world_to_camera=pose)


def sample_beside(generator: torch.Generator, progress: float) -> Camera:
    return beside()


def rendering(rgb: torch.Tensor, alpha: float = 1.0) -> View:
    """A picture as a rendering of the wall, from beside the photograph."""
    layer = torch.ones(1, SIZE, SIZE)
    return View(beside(), rgb.clone().requires_grad_(), alpha * layer, 5 * layer)


@pytest.fixture
def picture() -> torch.Tensor:
    """(3, H, W), in steps of 8 bits."""
    return torch.randint(60, 200, (3, SIZE, SIZE), generator=seeded()) / 255


@pytest.fixture
def photographer(tmp_path: Path, picture: torch.Tensor) -> Camera:
    """The training camera, whose photograph is that picture."""
    path = tmp_path / "photograph.png"
    Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(path)
    return replace(CAMERA, photograph=Photograph(path, SIZE, SIZE, PixelCache(10**6)))


def shifted(picture: torch.Tensor) -> torch.Tensor:
    """The picture from beside; what it does not show is grey."""
    result = torch.full_like(picture, 0.5)
    result[:, :, ASIDE:] = picture[:, :, :-ASIDE]
    return result


def make(prior: Any, photographers=(), weights=(0.2, 2.0), *, weight=evenly, resolution=SIZE) -> Distillation:
    options = RectifiedOptions(rectified_weights=weights)
    score = Rectified(options, photographers, resolution=resolution, **SCALES)
    return Distillation(prior, score, sample_beside, weight, clip=1.0, resolution=resolution)


def pair(folder: Path, inpainting: Path) -> Any:
    """A loaded model with a loaded inpainting model beside it."""
    prior = load_prior(folder, CPU, torch.float32)
    prior.inpainting = load_inpainting(inpainting, prior, torch.float32)
    return prior


# ---- what the inpainting model is shown


def test_the_photograph_is_shown_where_it_sees_and_the_mask_is_set_elsewhere_only(picture, photographer):
    """Beside a photograph that stands elsewhere and sees nothing, each order of the two."""
    turned = replace(photographer, world_to_camera=torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])))
    for photographers in ([photographer], [photographer, turned], [turned, photographer]):
        shown, channels = masked_picture(
            GaussianPrior(0.5), rendering(torch.rand(3, SIZE, SIZE)), photographers, SIZE
        )
        torch.testing.assert_close(shown, shifted(picture), atol=1e-3, rtol=0)
        torch.testing.assert_close(channels[0, 1:], shown)  # without a codec the latents are the picture
        assert torch.equal(channels[0, 0, :, :ASIDE], torch.ones(SIZE, ASIDE))
        assert torch.equal(channels[0, 0, :, ASIDE:], torch.zeros(SIZE, SIZE - ASIDE))


def test_where_nothing_is_rendered_all_is_to_be_painted(photographer):
    for view, photographers in (
        (rendering(torch.rand(3, SIZE, SIZE), alpha=0.4), [photographer]),
        (rendering(torch.rand(3, SIZE, SIZE)), []),
    ):
        shown, channels = masked_picture(GaussianPrior(0.5), view, photographers, SIZE)
        assert torch.equal(shown, torch.full((3, SIZE, SIZE), 0.5))
        assert torch.equal(channels[0, 0], torch.ones(SIZE, SIZE))


def test_resizing_mixes_no_grey_into_what_is_shown(photographer):
    """A photograph of one colour stays it, up to the border of what it shows."""
    pixels = photographer.own_photograph.pixels()
    pixels.rgb[:] = 200
    view = rendering(torch.rand(3, SIZE, SIZE))
    _, channels = masked_picture(GaussianPrior(0.5), view, [photographer], 17)
    mask, colours = channels[0, 0].bool(), channels[0, 1:]
    assert mask[:, :2].all() and not mask[:, 4:].any()
    torch.testing.assert_close(colours[:, ~mask], torch.full_like(colours[:, ~mask], 200 / 255))
    assert (colours[:, mask] == 0.5).all()


def test_the_nine_channels_are_those_of_diffusers_pipeline(
    tiny_model, tiny_inpainting_model, picture, photographer, monkeypatch
):
    """What its pipeline hands to the U-Net, given the same picture and mask, and rubbish under the mask."""
    prior = pair(tiny_model, tiny_inpainting_model)
    _, channels = masked_picture(prior, rendering(torch.rand(3, SIZE, SIZE)), [photographer], SIZE)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., :ASIDE] = 1
    whole = torch.where(mask == 1, torch.rand(1, 3, SIZE, SIZE), shifted(picture))

    # A sample of the posterior is its mean.
    monkeypatch.setattr(
        "diffusers.models.autoencoders.vae.randn_tensor", lambda shape, **_: torch.zeros(shape)
    )
    seen: list[torch.Tensor] = []
    prior.inpainting.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pipeline: Any = StableDiffusionInpaintPipeline(
        vae=prior.vae,
        text_encoder=None,
        tokenizer=None,
        unet=prior.inpainting.unet,
        scheduler=DDIMScheduler.from_pretrained(tiny_inpainting_model, subfolder="scheduler", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    prompts: dict[str, Any] = {"prompt_embeds": STATES[1:], "negative_prompt_embeds": STATES[:1]}
    pipeline(image=whole, mask_image=mask, height=SIZE, width=SIZE, num_inference_steps=1, **prompts)

    noised = torch.randn(1, 4, SIZE // 2, SIZE // 2)
    prior.inpainting.seeing(channels).predict(noised, torch.tensor([500]), STATES, 7.5)
    theirs, ours = seen
    assert theirs.shape == ours.shape == (2, 9, SIZE // 2, SIZE // 2)
    assert torch.equal(ours[:, :4], noised.expand(2, -1, -1, -1))
    assert torch.equal(ours[:, 4], theirs[:, 4])
    torch.testing.assert_close(ours[:, 5:], theirs[:, 5:], atol=1e-5, rtol=1e-4)


# ---- the gradient


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_gradient_equals_the_formula(tiny_models, tiny_inpainting_model, picture, photographer, kind):
    """Everything again from diffusers' own parts, differentiated by plain autograd."""
    rgb, states = torch.rand(3, SIZE, SIZE, generator=seeded()), torch.randn(2, 16, 32, generator=seeded())
    mode = make(pair(tiny_models[kind], tiny_inpainting_model), [photographer], weight=lambda _: 0.4)
    found = mode(rendering(rgb), states, 0.5, seeded())

    vae, unet, informed = (
        network.from_pretrained(folder, subfolder=part, low_cpu_mem_usage=False)
        for network, folder, part in (
            (AutoencoderKL, tiny_models[kind], "vae"),
            (UNet2DConditionModel, tiny_models[kind], "unet"),
            (UNet2DConditionModel, tiny_inpainting_model, "unet"),
        )
    )
    scheduler = DDIMScheduler.from_pretrained(tiny_models[kind], subfolder="scheduler")
    generator = seeded()
    t = torch.randint(250, 751, (1,), generator=generator)
    noise = torch.randn(1, 4, SIZE // 2, SIZE // 2, generator=generator)
    pixels = rgb.clone().requires_grad_()

    def encoded(x: torch.Tensor) -> torch.Tensor:
        return 0.18215 * vae.encode(2 * x[None] - 1).latent_dist.mean

    z, abar = encoded(pixels), scheduler.alphas_cumprod[t]
    with torch.no_grad():
        noised = scheduler.add_noise(z, noise, t)
        mask = torch.zeros(1, 1, SIZE // 2, SIZE // 2)
        mask[..., : ASIDE // 2] = 1
        nine = torch.cat([noised, mask, encoded(shifted(picture))], dim=1)

        def guided(network: Any, sample: torch.Tensor) -> torch.Tensor:
            negative, positive = (network(sample, t, encoder_hidden_states=s[None]).sample for s in states)
            return negative + 7.5 * (positive - negative)

        base, inpainted = guided(unet, noised), guided(informed, nine)
        if kind == "v_prediction":
            base = abar.sqrt() * base + (1 - abar).sqrt() * noised
        residual = abar * (0.2 * (inpainted - noise) + 2.0 * (inpainted - base))
    (residual * z).sum().backward()

    assert pixels.grad is not None
    torch.testing.assert_close(found.gradient, 0.4 * pixels.grad, atol=1e-5, rtol=1e-3)
    assert (found.t, found.weight) == (int(t), pytest.approx(float(abar)))
    assert found.loss == pytest.approx(float(residual.square().mean()) / 2, rel=1e-3)
    assert found.elements == z.numel()
    assert found.finite
    assert list(found.pictures()) == ["photographs", "noised", "denoised"]


class Inpainter(GaussianPrior):
    """Knows what it is shown, and takes the rest for N(mean, std^2)."""

    def seeing(self, beside: torch.Tensor) -> Self:
        painted = beside[:, :1] == 1
        return type(self)(
            torch.where(painted, self.mean, beside[:, 1:]), torch.where(painted, self.std, torch.tensor(0.0))
        )


def with_inpainter(mean: float, std: float, inpainter: Inpainter) -> GaussianPrior:
    prior = GaussianPrior(mean, std)
    prior.inpainting = inpainter
    return prior


def test_gradient_of_exact_priors_is_what_comes_out_by_hand(picture, photographer):
    """In double precision; the base takes the picture for N(0.7, 0.2^2)."""
    rgb = torch.rand(3, SIZE, SIZE, generator=seeded())
    prior = with_inpainter(0.7, 0.2, Inpainter(0.3, 0.1))
    found = make(prior, [photographer])(rendering(rgb), STATES, 0.5, seeded())
    abar = float(prior.abar[found.t].double())
    alpha, sigma = math.sqrt(abar), math.sqrt(1 - abar)
    generator = seeded()
    torch.randint(250, 751, (1,), generator=generator)
    noise = torch.randn(1, 3, SIZE, SIZE, generator=generator)[0].double()
    noised = alpha * rgb.double() + sigma * noise

    def expected(mean: Any, std: Any) -> torch.Tensor:
        return sigma * (noised - alpha * mean) / (alpha**2 * std**2 + sigma**2)

    truth, spread = shifted(picture).double(), torch.zeros(SIZE)
    truth[:, :, :ASIDE], spread[:ASIDE] = 0.3, 0.1
    informed, base = expected(truth, spread), expected(0.7, 0.2)
    by_hand = abar * (0.2 * (informed - noise) + 2.0 * (informed - base))
    torch.testing.assert_close(found.gradient.double(), by_hand, atol=2e-3, rtol=2e-3)


def test_its_parts_are_what_they_are_called():
    """The first alone is score distillation; the second vanishes where both models expect the same."""
    latents = torch.rand(1, 3, 8, 8, generator=seeded())
    prior, inpainting = GaussianPrior(0.7, 0.2), GaussianPrior(0.3, 0.1)

    def rectified(first: Any, second: Any, weights: tuple[float, float]) -> torch.Tensor:
        return rectified_gradient(
            first, second, latents, STATES, (0.25, 0.75), seeded(), weights=weights, **SCALES
        ).residual

    distilled = sds_gradient(inpainting, latents, STATES, (0.25, 0.75), seeded(), weighting="abar", **SCALES)
    assert torch.equal(rectified(prior, inpainting, (1.0, 0.0)), distilled.residual)
    assert not rectified(prior, prior, (0.0, 2.0)).any()
    opposite = rectified(inpainting, prior, (0.0, 2.0))
    torch.testing.assert_close(rectified(prior, inpainting, (0.0, 2.0)), -opposite)


def test_pixels_that_follow_the_inpainting_model_become_what_the_photograph_shows(picture, photographer):
    """And out of the photograph's sight what it paints."""
    mode = make(with_inpainter(0.5, 0.2, Inpainter(0.3, 0.0)), [photographer], (1.0, 0.0))
    pixels = torch.full((3, SIZE, SIZE), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([pixels], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.97)
    generator = seeded()
    for _ in range(120):
        pixels.grad = mode(rendering(pixels.detach()), STATES, 0.5, generator).gradient
        optimiser.step()
        schedule.step()
    truth = shifted(picture)
    truth[:, :, :ASIDE] = 0.3
    assert float((pixels.detach() - truth).abs().max()) < 0.02


@pytest.mark.parametrize("std", [0.5, 10.0])
def test_where_it_rests_on_average(std):
    """At the truth beside a base that expects nothing in particular, beyond it beside one that does.

    With c the truth, m the base's mean and G the gain of its denoiser: a (z - c) + b (m + G (z - m) - c) = 0.
    """
    prior, truth, weights = GaussianPrior(0.7, std), GaussianPrior(0.4), (0.2, 2.0)
    share = float(prior.abar[300])
    gain = share * std**2 / (share * std**2 + 1 - share)
    rest = (sum(weights) * 0.4 - weights[1] * (1 - gain) * 0.7) / (weights[0] + weights[1] * gain)
    assert (rest < 0.3) if std < 1 else (rest == pytest.approx(0.4, abs=0.01))
    latents, generator = torch.full((1, 1, 100, 100), 0.9), seeded()
    for _ in range(300):
        found = rectified_gradient(
            prior, truth, latents, STATES, (0.3, 0.3), generator, weights=weights, **SCALES
        )
        latents = latents - 0.05 * found.residual
    assert float(latents.mean()) == pytest.approx(rest, abs=0.01)


@pytest.mark.parametrize("broken", ["base", "inpainting", "depth"])
def test_a_view_that_is_not_finite_is_reported_and_broken_depth_is_no_surface(photographer, broken):
    numbers = {"base": 0.5, "inpainting": 0.5, broken: math.nan}
    prior = with_inpainter(numbers["base"], 0.2, Inpainter(numbers["inpainting"], 0.2))
    view = rendering(torch.rand(3, SIZE, SIZE))
    if broken == "depth":
        view = replace(view, depth=torch.full((1, SIZE, SIZE), math.nan))
    assert make(prior, [photographer])(view, STATES, 0.5, seeded()).finite == (broken == "depth")


def test_no_gradient_goes_through_the_networks_nor_into_the_rendering(
    tiny_model, tiny_inpainting_model, photographer
):
    prior, outputs = pair(tiny_model, tiny_inpainting_model), []
    for network in (prior.unet, prior.inpainting.unet):
        network.register_forward_hook(lambda _, __, output: outputs.append(output.sample.requires_grad))
    leaf = torch.rand(3, SIZE, SIZE, requires_grad=True)
    view = replace(rendering(leaf.detach()), rgb=leaf * 1.0)
    found = make(prior, [photographer])(view, STATES, 0.5, seeded())
    assert outputs == [False, False]
    assert leaf.grad is None and not found.gradient.requires_grad
    view.rgb.sum().backward()  # the rendering's own graph is still whole
