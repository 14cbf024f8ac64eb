"""The mode `targets`: whose turn it is, what its loss is, what becomes of broken answers, how it resumes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from scene.cameras import Camera
from sds_guidance import GuidanceOptions, View
from sds_guidance.mode import Guided
from sds_guidance.targets import LIFE, Targets
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.exact_priors import GaussianPrior
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
    step,
)
from utils.errors import UserError
from utils.losses import torch_photometric_loss
from utils.options import parse


def test_views_take_turns_and_give_way_when_a_target_is_due_later_in_the_run():
    """A target serves two turns of its view; at one and the same progress it is made anew, later replaced."""
    mode, generator = make(), seeded()
    seen: list[Camera] = []
    calls: list[int] = []
    prior: Any = mode.prior
    for turn in range(24):
        progress = 0.5 if turn < 10 else 0.5 + LIFE
        (camera,) = mode.cameras(generator, progress)
        before = len(prior.seen)
        mode(rendering(camera), NO_STATES, progress, generator)
        seen.append(camera)
        calls.append(len(prior.seen) - before)
    for turn, camera in enumerate(seen):
        assert camera is seen[turn % 3 + 12 * (turn >= 12)]
    assert len({id(camera) for camera in seen}) == 6
    assert calls == ([4] * 3 + [0] * 3) * 4


def test_a_short_run_looks_where_it_is_and_not_where_it_began():
    """400 iterations, guided to the 380th: the cameras' arc grows all the time, and so do those looked at."""
    chosen_at: dict[int, float] = {}

    def sample(generator: torch.Generator, progress: float) -> Camera:
        camera = moved(generator, progress)
        chosen_at[id(camera)] = progress
        return camera

    mode, generator = make(options=TargetsOptions(targets_steps=1)), seeded()
    mode.sample_camera = sample
    cameras = []  # kept, so that no two have one id
    for iteration in range(380):
        progress = iteration / 400
        (camera,) = mode.cameras(generator, progress)
        mode(rendering(camera), NO_STATES, progress, generator)
        cameras.append(camera)
        assert progress - chosen_at[id(camera)] < 0.3
    prior: Any = mode.prior
    assert len(chosen_at) == len(prior.seen) == 32  # and a target serves a dozen steps, as in a long run


def test_only_a_new_view_draws():
    mode, generator = make(), seeded()
    for turn in range(6):
        before = generator.get_state()
        step(mode, generator)
        assert torch.equal(generator.get_state(), before) == (turn >= 3)


def test_the_starting_level_is_annealed():
    mode, generator = make(options=replace(FEW, targets_t=(0.5, 0.15), targets_refresh=3)), seeded()
    levels = [step(mode, generator, progress).t for progress in (0.0, 0.5, 1.0)]
    prior: Any = mode.prior
    assert levels == [500, 325, 150]
    assert [t for t, _ in prior.seen] == [
        *(500, 375, 250, 125),
        *(325, 244, 162, 81),
        *(150, 112, 75, 38),
    ]


def test_a_view_keeps_its_noise_from_target_to_target():
    mode, generator = make(options=replace(FEW, targets_views=2, targets_refresh=2)), seeded()
    prior: Any = mode.prior
    noises = []
    for turn in range(4):
        (camera,) = mode.cameras(generator, 0.5)
        view = rendering(camera, level=0.3 + 0.1 * turn)
        mode(view, NO_STATES, 0.5, generator)
        t, noised = prior.seen[4 * turn]
        alpha, sigma = prior.levels(torch.tensor([t]))
        noises.append((noised - alpha * view.rgb.detach()) / sigma)
    torch.testing.assert_close(noises[0], noises[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(noises[1], noises[3], atol=1e-5, rtol=0)
    assert float((noises[0] - noises[1]).abs().mean()) > 0.5


def test_the_gradient_is_that_of_the_weighted_sum(tmp_path):
    """Again in double precision by plain autograd, from the certainty and the target that the mode shows."""
    view = rendering(moved(seeded(), 0.5), alpha=0.75)
    truth = torch.rand(3, SIZE, SIZE, generator=seeded())
    mode = make(
        GaussianPrior(truth), photographers=[photographer(tmp_path, view.rgb.detach())], weight=lambda _: 0.4
    )
    generator = seeded()
    (camera,) = mode.cameras(generator, 0.5)
    guided = mode(replace(view, camera=camera), NO_STATES, 0.5, generator)
    pictures = guided.pictures()
    known, target = pictures["certainty"][0], pictures["target"]
    assert float(known.max() - known.min()) > 0.2

    pixels = view.rgb.detach().double().requires_grad_()
    weight = 1 - known.double()
    loss = torch_photometric_loss(pixels, target.double(), weight, 0.2)
    (gradient,) = torch.autograd.grad(0.4 * 3 * weight.sum() * loss, pixels)
    torch.testing.assert_close(guided.gradient.double(), gradient, atol=1e-4, rtol=1e-3)
    assert guided.loss == pytest.approx(float(loss.detach()), rel=1e-4)
    assert guided.weight == 0.4
    assert guided.elements == 3 * SIZE * SIZE
    assert guided.finite


def test_what_is_certain_is_neither_changed_nor_pulled(tmp_path):
    """Two photographers stand where the view is: all is known, and a lying prior has no say."""
    picture = torch.randint(70, 180, (3, SIZE, SIZE), generator=seeded()) / 255
    view = replace(rendering(CAMERA), rgb=picture.clone().requires_grad_())
    mode = make(GaussianPrior(0.9), photographers=[photographer(tmp_path, picture)] * 2)
    mode.sample_camera = lambda generator, progress: CAMERA
    assert mode.cameras(seeded(), 0.5) == [CAMERA]
    guided = mode(view, NO_STATES, 0.5, seeded())
    torch.testing.assert_close(guided.pictures()["certainty"], torch.ones(1, SIZE, SIZE))
    torch.testing.assert_close(guided.pictures()["target"], picture)
    assert float(guided.gradient.abs().max()) < 1e-3


def test_no_gradient_goes_through_the_prior_nor_into_the_rendering():
    class Watched(GaussianPrior):
        def encode(self, pictures):
            assert not torch.is_grad_enabled()
            assert not pictures.requires_grad
            return super().encode(pictures)

        def predict(self, noised, *others):
            assert not torch.is_grad_enabled()
            return super().predict(noised, *others)

    mode = make(Watched(0.5))
    (camera,) = mode.cameras(seeded(), 0.5)
    leaf = torch.rand(3, SIZE, SIZE, requires_grad=True)
    view = replace(rendering(camera), rgb=leaf * 1.0)
    guided = mode(view, NO_STATES, 0.5, seeded())
    assert not guided.gradient.requires_grad
    assert leaf.grad is None
    view.rgb.sum().backward()  # the rendering's own graph is still whole


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_view_whose_target_is_not_finite_gives_way_to_another(poison):
    prior = GaussianPrior(poison)
    mode, generator = make(prior, replace(FEW, targets_views=1)), seeded()
    (broken,) = mode.cameras(generator, 0.5)
    assert not mode(rendering(broken), NO_STATES, 0.5, generator).finite
    prior.mean = torch.tensor(0.5)
    (another,) = mode.cameras(generator, 0.5)
    assert another is not broken
    guided = mode(rendering(another), NO_STATES, 0.5, generator)
    assert guided.finite
    assert guided.gradient.isfinite().all()
    assert mode.cameras(generator, 0.5) == [another]


def test_a_broken_rendering_is_reported():
    mode, generator = make(), seeded()
    assert not step(mode, generator, level=math.nan).finite


@pytest.mark.parametrize("broken_at", [2, 7, 20], ids=["while filling", "amid targets", "after a refresh"])
def test_a_resumed_run_equals_the_unbroken_one(broken_at):
    def run(mode: Targets, generator: torch.Generator, turns: range) -> list[Guided]:
        return [step(mode, generator, turn / 60, level=0.3 + 0.005 * turn) for turn in turns]

    generator = seeded()
    whole = run(make(), generator, range(60))
    generator = seeded()
    first = make()
    start = run(first, generator, range(broken_at))
    state = saved_and_loaded({"generator": generator.get_state(), "mode": first.state_dict()})

    resumed, generator = make(), torch.Generator()
    generator.set_state(state["generator"])
    resumed.load_state_dict(state["mode"])
    end = run(resumed, generator, range(broken_at, 60))
    for one, two in zip(whole, [*start, *end], strict=True):
        assert torch.equal(one.gradient, two.gradient)
        assert (one.loss, one.t, one.weight) == (two.loss, two.t, two.weight)
    assert len({guided.t for guided in whole}) > 10


def test_a_saved_view_keeps_its_near_plane():
    mode, resumed = make(), make()
    mode.sample_camera = lambda generator, progress: replace(CAMERA, near_plane=1.5)
    step(mode, seeded())
    resumed.load_state_dict(saved_and_loaded(mode.state_dict()))
    assert [view.camera.near_plane for view in resumed.views.values()] == [1.5]


def test_a_saved_state_is_not_changed_by_what_comes_after():
    mode, generator = make(), seeded()
    step(mode, generator)
    before = mode.state_dict()
    copy = saved_and_loaded(before)
    for _ in range(8):
        step(mode, generator, level=0.4)
    assert before["turn"] == copy["turn"]
    assert list(before["views"]) == [0]
    assert before["views"][0]["turn"] == copy["views"][0]["turn"]
    assert torch.equal(before["views"][0]["target"], copy["views"][0]["target"])


def test_an_oracle_leads_the_pixels_to_its_picture():
    """Where nothing is certain, training towards the targets ends at what the prior knows to be true."""
    truth = 0.2 + 0.6 * torch.rand(3, SIZE, SIZE, generator=seeded())
    mode = make(GaussianPrior(truth), TargetsOptions(targets_views=1, targets_refresh=50, targets_steps=4))
    generator = seeded()
    pixels = torch.full((3, SIZE, SIZE), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([pixels], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.97)
    nothing = torch.zeros(1, SIZE, SIZE)
    for turn in range(200):
        (camera,) = mode.cameras(generator, turn / 200)
        view = View(camera, pixels, nothing, nothing)
        pixels.grad = mode(view, NO_STATES, turn / 200, generator).gradient
        optimiser.step()
        schedule.step()
    assert float((pixels.detach() - truth).abs().max()) < 0.01


def test_targets_of_a_noisy_prior_can_be_approached():
    """A kept target is a fixed goal: the loss falls as it would not if noise were drawn at every step."""
    mode, generator = (
        make(GaussianPrior(0.5, 0.3), replace(FEW, targets_views=1, targets_refresh=1000)),
        seeded(),
    )
    pixels = torch.full((3, SIZE, SIZE), 0.4, requires_grad=True)
    optimiser = torch.optim.Adam([pixels], lr=0.02)
    nothing = torch.zeros(1, SIZE, SIZE)
    losses = []
    for _ in range(40):
        (camera,) = mode.cameras(generator, 0.5)
        guided = mode(View(camera, pixels, nothing, nothing), NO_STATES, 0.5, generator)
        losses.append(guided.loss)
        pixels.grad = guided.gradient
        optimiser.step()
    assert losses[-1] < 0.2 * losses[0]


def test_the_flags():
    options = parse(TargetsOptions, ["--targets_views", "8", "--targets_t", "0.4", "0.1"])
    assert (options.targets_views, options.targets_t, options.targets_steps) == (8, (0.4, 0.1), 12)
    TargetsOptions().check()
    whole = parse(GuidanceOptions, ["--guidance", "targets", "--targets_refresh", "50"])
    assert (whole.guidance, whole.targets.targets_refresh) == ("targets", 50)
    with pytest.raises(UserError, match="--targets_steps 0"):
        GuidanceOptions(targets=TargetsOptions(targets_steps=0)).check()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("targets_views", 0),
        ("targets_refresh", 0),
        ("targets_steps", 0),
        ("targets_t", (0.0, 0.1)),
        ("targets_t", (0.5, 1.0)),
        ("targets_scale", -1.0),
        ("targets_scale", math.nan),
    ],
)
def test_a_bad_value_is_refused_by_name(flag, value):
    with pytest.raises(UserError) as refusal:
        TargetsOptions(**{flag: value}).check()
    assert str(refusal.value).startswith(f"--{flag} {value}: allowed is ")
