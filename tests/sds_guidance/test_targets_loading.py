"""The mode `targets` as train.py loads it: with a model, and with LPIPS where there are weights for it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from scene.cameras import Camera
from sds_guidance import Guidance, GuidanceOptions, load_guidance, targets
from sds_guidance.mode import Guided
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.exact_priors import GaussianPrior
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.small_targets import (
    CAMERA,
    FEW,
    NO_STATES,
    SIZE,
    make,
    moved,
    photographer,
    rendering,
    saved_and_loaded,
    seeded,
)
from utils.errors import UserError
from utils.image_metrics import lpips_network

TWO = TargetsOptions(targets_views=2, targets_refresh=3, targets_steps=2)


def load(model: Path, photographers: list[Camera], options: TargetsOptions = TWO) -> Guidance:
    """The guidance of a run with `--guidance targets`, as train.py builds it."""
    return load_guidance(
        GuidanceOptions(
            guidance="targets",
            guidance_model=str(model),
            guidance_interval=1,
            guidance_from=0.0,
            guidance_resolution=64,
            targets=options,
        ),
        cpu_run(),
        cameras=photographers,
        sample_camera=moved,
        iterations=20,
    )


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_loaded_model_makes_targets_and_a_resumed_run_equals_the_unbroken_one(tiny_models, tmp_path, kind):
    photographers = [photographer(tmp_path, rendering(CAMERA).rgb.detach())] * 2

    def run(guidance: Guidance, steps: range) -> list[torch.Tensor]:
        gradients: list[torch.Tensor] = []
        for step in steps:
            views = [rendering(camera, level=0.3 + 0.01 * step) for camera in guidance.cameras(step)]
            result = guidance(views, step, photometric_norm=1.0)
            assert result.scalars["guidance_dropped"] == 0
            gradients += torch.autograd.grad(result.loss, [view.rgb for view in views])
        return gradients

    whole = run(load(tiny_models[kind], photographers), range(1, 9))
    first = load(tiny_models[kind], photographers)
    start = run(first, range(1, 6))
    resumed = load(tiny_models[kind], photographers)
    resumed.load_state_dict(saved_and_loaded(first.state_dict()))
    end = run(resumed, range(6, 9))
    assert all(torch.equal(one, two) for one, two in zip(whole, [*start, *end], strict=True))
    assert float(whole[0].norm()) == pytest.approx(0.2, rel=1e-4)
    assert resumed.description["mode"] == "targets"


@pytest.fixture(scope="module")
def lpips_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A backbone with random weights, and biases that keep features from 0, where LPIPS has a kink."""
    path = tmp_path_factory.mktemp("lpips") / "squeezenet.pth"
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    torch.save({name: it if it.dim() > 1 else torch.ones_like(it) for name, it in state.items()}, path)
    return str(path)


def test_lpips_joins_the_loss_of_what_is_not_certain(lpips_weights, monkeypatch):
    """Again in double precision, composed by hand; the left half, certain, is not pulled at all."""
    known = (torch.arange(SIZE) < SIZE // 2).float().expand(SIZE, SIZE)
    known = torch.where(torch.arange(SIZE)[:, None] < 4, 0.7 * known, known)
    monkeypatch.setattr(targets, "certainty", lambda view, _: (known, view.rgb.detach()))
    options = replace(FEW, targets_lpips_weights=lpips_weights, targets_lpips_net="squeeze")
    truth, rgb = torch.rand(2, 3, SIZE, SIZE, generator=seeded())
    before = torch.get_rng_state()

    def guided(options: TargetsOptions) -> Guided:
        mode, generator = make(GaussianPrior(truth), options, weight=lambda _: 0.4), seeded()
        (camera,) = mode.cameras(generator, 0.5)
        return mode(replace(rendering(camera), rgb=rgb), NO_STATES, 0.5, generator)

    plain, lpips = guided(FEW), guided(options)
    assert torch.equal(torch.get_rng_state(), before)

    target, pixels = lpips.pictures()["target"].double(), rgb.double().requires_grad_()
    shown = known * target + (1 - known) * pixels
    network = lpips_network("squeeze", Path(lpips_weights)).double()
    distance = 0.2 * network(2 * shown[None] - 1, 2 * target[None] - 1)[0, 0, 0, 0]
    (gradient,) = torch.autograd.grad(0.4 * distance * 3 * SIZE**2, pixels)
    found = (lpips.gradient - plain.gradient).double()
    torch.testing.assert_close(found, gradient, atol=1e-4, rtol=1e-3)
    assert float(gradient.abs().max()) > 1e-2
    assert lpips.loss == pytest.approx(plain.loss + float(distance.detach() / (1 - known).mean()), rel=1e-4)
    assert torch.equal(lpips.gradient[:, 4:, : SIZE // 2], torch.zeros(3, SIZE - 4, SIZE // 2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets_lpips_weights": "nowhere.pth"}, "--targets_lpips_weights nowhere.pth: no such file"),
        ({"targets_lpips_net": "alex"}, "alexnet, which --targets_lpips_net alex needs"),
    ],
)
def test_weights_of_lpips_that_cannot_be_used_are_refused_before_anybody_is_asked_for_prompts(
    lpips_weights, tiny_models, monkeypatch, changes, words
):
    monkeypatch.setattr("sds_guidance.loading.gather_conditioning", lambda *_, **__: pytest.fail("asked"))
    options = replace(FEW, **{"targets_lpips_weights": lpips_weights, **changes})
    with pytest.raises(UserError) as refusal:
        load(tiny_models["epsilon"], [CAMERA], options)
    assert words in str(refusal.value)
