"""Guidance as the trainer uses it: what it applies, when, how strongly, and how it resumes."""

import io
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from scene.cameras import Camera
from sds_guidance import Guidance, GuidanceOptions, View
from sds_guidance import guidance as guidance_module
from sds_guidance.guidance import affordable_interval
from sds_guidance.loading import choose_mode, evenly
from sds_guidance.mode import Guided, Prior
from tests.sds_guidance.exact_priors import PoorCodec
from tests.sds_guidance.fakes import FakePrior
from tests.sds_guidance.views import applied, moved_camera, view

CPU = torch.device("cpu")
# Every step, no schedule, no clip: what is applied can be worked out by hand.
PLAIN = GuidanceOptions(
    guidance_interval=1,
    guidance_from=0.0,
    guidance_until=1.0,
    guidance_warmup=0.0,
    guidance_resolution=64,
    sds_weight="one",
    sds_clip=1.0,
)


def make(
    options: GuidanceOptions = PLAIN, prior=None, iterations=100, device=CPU, seed=7, weigh_camera=evenly
) -> Guidance:
    mode = choose_mode(options, prior or FakePrior(0.5), moved_camera, weigh_camera)
    states = torch.zeros(2, 1, 1)
    return Guidance(options, mode, lambda *_: states, iterations=iterations, seed=seed, device=device)


def run(guidance: Guidance, steps: range) -> list[torch.Tensor]:
    """The gradients of the guided steps among `steps`."""
    return [applied(guidance, step)[0] for step in steps if guidance.is_guided(step)]


def test_sum_mean_and_relative_are_what_the_help_says():
    error = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    raw = F.interpolate(error, scale_factor=2)[0] / 4  # the adjoint of a 2x2 mean
    expected: dict[Any, torch.Tensor] = {
        "sum": 0.2 * raw,
        "mean": 0.2 * raw / error.numel(),
        "relative": 0.2 * 3.0 * raw / raw.norm(),
    }
    for reduction, gradient in expected.items():
        options = replace(PLAIN, sds_reduction=reduction)
        found, scalars = applied(make(options, FakePrior(error)), 1, photometric_norm=3.0)
        torch.testing.assert_close(found, gradient, atol=1e-7, rtol=1e-4)
        assert scalars["guidance_ratio"] == pytest.approx(float(gradient.norm()) / 3.0, rel=1e-4)
        assert scalars["guidance_norm"] == pytest.approx(float(raw.norm()), rel=1e-4)
        assert scalars["guidance_loss"] == pytest.approx(float(error.square().mean()) / 2, rel=1e-4)


def test_lambda_scales_the_gradient_exactly():
    single, double = (run(make(replace(PLAIN, lambda_sds=weight)), range(1, 6)) for weight in (0.125, 0.25))
    for one, two in zip(single, double, strict=True):
        assert torch.equal(2 * one, two)


def test_on_average_lambda_is_a_share_of_the_photometric_pull():
    guidance = make(replace(PLAIN, sds_weight="alpha_sigma", sds_t_anneal=0.0), iterations=200)
    norms = [float(applied(guidance, step, photometric_norm=5.0)[0].norm()) for step in range(1, 201)]
    assert sum(norms[100:]) / 100 == pytest.approx(0.2 * 5.0, rel=0.05)
    assert max(norms[100:]) > 1.05 * min(norms[100:])


@pytest.mark.parametrize(
    "change",
    [
        {"sds_weight": "sigma2"},
        {"sds_t_max": (0.3, 0.3), "sds_t_min": (0.02, 0.02)},
        {"sds_t_anneal": 1.0},
        {"guidance_warmup": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_weights_and_schedules_change_what_is_applied_under_relative(change):
    """Normalising every step by itself would make these no-ops: the stub's gradient differs by w(t) alone."""
    options = replace(PLAIN, sds_weight="alpha_sigma")
    usual, other = (run(make(it), range(1, 31)) for it in (options, replace(options, **change)))
    ratios = [float(b.norm() / a.norm()) for a, b in zip(usual, other, strict=True)]
    assert max(ratios) > 1.05 * min(ratios)


@pytest.mark.parametrize(
    "change", [{"ism_delta_t": (0.02, 0.2)}, {"ism_t": (0.4, 0.5)}], ids=lambda change: next(iter(change))
)
def test_the_schedules_of_ism_change_what_is_applied_under_relative(change):
    options = replace(PLAIN, guidance="ism")
    usual, other = (
        run(make(it, PoorCodec(0.7, 0.2)), range(1, 31)) for it in (options, replace(options, **change))
    )
    ratios = [float(b.norm() / a.norm()) for a, b in zip(usual, other, strict=True)]
    assert max(ratios) > 1.05 * min(ratios)


def test_a_view_of_little_weight_is_pulled_little_under_every_reduction():
    """The weight of a camera is its own: that of others, and the averages, do not make up for it."""
    for reduction in ("relative", "mean", "sum"):
        options, weights = replace(PLAIN, sds_reduction=reduction), [0.0, 0.25, 1.0]
        usual = run(make(options), range(1, 4))
        weighed = run(make(options, weigh_camera=lambda _, left=weights: left.pop()), range(1, 4))
        ratios = [float(b.norm() / a.norm()) for a, b in zip(usual, weighed, strict=True)]
        assert ratios[0] == pytest.approx(1.0)
        assert 0.2 < ratios[1] < 0.5
        assert ratios[2] == 0.0


def test_each_view_gets_the_text_states_of_its_camera():
    """They are asked for after the cameras and before the mode draws, from the same generator."""
    seen = []

    class Listening(FakePrior):
        def predict(self, noised, t, states, guidance_scale, rescale=0.0):
            seen.append(states)
            return super().predict(noised, t, states, guidance_scale, rescale)

    def conditions(camera: Camera, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(2, 1, 1, generator=generator) + 10 * camera.world_to_camera[0, 3]

    mode = choose_mode(PLAIN, Listening(), moved_camera, evenly)
    guidance = Guidance(PLAIN, mode, conditions, iterations=100, seed=7, device=CPU)
    reference = torch.Generator()
    reference.set_state(guidance.generator.get_state())
    applied(guidance, 1)
    camera = moved_camera(reference, 0.01)
    assert torch.equal(seen[0], conditions(camera, reference))


def test_a_converging_prior_pulls_less_and_less():
    """As guidance agrees with the rendering its pull fades: the averages lag behind."""
    prior = FakePrior(1.0)
    guidance = make(prior=prior)
    norms = []
    for step in range(1, 41):
        prior.error = 0.9**step
        norms.append(float(applied(guidance, step)[0].norm()))
    assert norms[-1] < 0.1 * norms[0]


def test_a_prior_without_a_gradient_changes_nothing():
    """Cameras, renderings, noise and logs are all active; the gradient is 0 at every step, never 0 / 0."""
    for reduction in ("relative", "mean", "sum"):
        prior = FakePrior(0.0)
        guidance = make(replace(PLAIN, sds_reduction=reduction, sds_clip=0.99), prior)
        for step in range(1, 6):
            gradient, scalars = applied(guidance, step, photometric_norm=0.0 if step == 3 else 1.0)
            assert torch.equal(gradient, torch.zeros(3, 64, 64))
            assert all(math.isfinite(value) for value in scalars.values())
        assert prior.calls == 5


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_view_that_is_not_finite_is_dropped_counted_and_forgotten(error):
    prior = FakePrior(0.5)
    guidance, untouched = make(prior=prior), make()
    applied(guidance, 1)
    applied(untouched, 1)
    before = guidance.weight.state_dict()
    prior.error = error
    gradient, scalars = applied(guidance, 2)
    assert torch.equal(gradient, torch.zeros(3, 64, 64))
    assert scalars["guidance_dropped"] == 1
    assert all(math.isfinite(value) for value in scalars.values())
    assert guidance.weight.state_dict() == before
    prior.error = 0.5
    gradient, scalars = applied(guidance, 3)
    assert float(gradient.norm()) == pytest.approx(0.2, rel=1e-4)
    assert scalars["guidance_dropped"] == 1


def test_of_two_views_only_the_broken_one_is_dropped():
    class HalfBroken(FakePrior):
        def encode(self, pictures):
            return super().encode(pictures * (math.nan if float(pictures.detach().mean()) > 0.5 else 1.0))

    guidance = make(prior=HalfBroken(0.5))
    good, bad = view(), view()
    bad = replace(bad, rgb=torch.full((3, 64, 64), 0.9, requires_grad=True))
    result = guidance([good, bad], 1, 1.0)
    gradients = torch.autograd.grad(result.loss, [good.rgb, bad.rgb])
    assert float(gradients[0].norm()) == pytest.approx(0.2, rel=1e-4)
    assert torch.equal(gradients[1], torch.zeros(3, 64, 64))
    assert guidance.dropped == 1


def test_two_views_share_one_pull():
    guidance = make()
    views = [view(), view()]
    gradients = torch.autograd.grad(guidance(views, 1, 1.0).loss, [it.rgb for it in views])
    assert float(torch.stack(gradients).norm()) == pytest.approx(0.2, rel=1e-4)


def test_the_window_opens_and_closes_at_its_steps():
    options = replace(PLAIN, guidance_from=0.2, guidance_until=0.95, guidance_interval=10)
    guidance = make(options)
    steps = [step for step in range(1, 101) if guidance.cameras(step)]
    assert steps == [21, 31, 41, 51, 61, 71, 81, 91]
    guidance = make(replace(options, guidance_interval=1))
    assert [bool(guidance.cameras(step)) for step in (20, 21, 95, 96)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("since", "until", "steps"), [(0.29, 0.57, range(30, 58)), (0.0, 1.0, range(1, 101))]
)
def test_a_fraction_of_the_run_is_as_many_steps_as_it_says(since, until, steps):
    """0.29 and 0.57 of 100, which in floats are 28.999... and 56.999..."""
    guidance = make(replace(PLAIN, guidance_from=since, guidance_until=until, guidance_interval=1))
    assert [step for step in range(1, 101) if guidance.cameras(step)] == list(steps)
    assert guidance.guided_steps(100) == len(steps)


def test_an_unguided_step_draws_nothing():
    guidance = make(replace(PLAIN, guidance_interval=2))
    state = guidance.generator.get_state()
    assert guidance.cameras(2) == []
    assert torch.equal(guidance.generator.get_state(), state)


def test_the_weight_rises_over_the_warm_up():
    guidance = make(replace(PLAIN, guidance_from=0.2, guidance_warmup=0.1))
    norms = [float(applied(guidance, step)[0].norm()) for step in range(21, 34)]
    expected = [0.2 * min(1.0, count / 10) for count in range(1, 14)]
    assert norms == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("guidance_seconds", "step_seconds", "interval"),
    [(0.5, 1.0, 1), (1.0, 1.0, 1), (1.01, 1.0, 2), (30.0, 0.1, 500), (3.0, 1.0, 5), (1.0, 0.0, 5_000_000)],
)
def test_the_interval_keeps_guidance_at_half_of_the_time(guidance_seconds, step_seconds, interval):
    assert affordable_interval(guidance_seconds, step_seconds) == interval


def test_who_chooses_the_interval():
    automatic = replace(PLAIN, guidance_interval=0)
    assert make(automatic, device=torch.device("cuda")).interval == 1
    guidance = make(automatic)
    with pytest.raises(RuntimeError, match="choose_interval"):
        guidance.cameras(1)
    assert guidance.choose_interval(4.0, 1.0) == 5
    assert guidance.choose_interval(400.0, 1.0) == 5
    assert make(replace(PLAIN, guidance_interval=3)).choose_interval(400.0, 1.0) == 3


def test_the_plan_names_cost_and_flags():
    guidance = make(replace(PLAIN, guidance_interval=0, guidance_from=0.2, guidance_until=0.95))
    guidance.choose_interval(30.0, 1.5)
    plan = guidance.plan(30.0, 1.5)
    assert (
        "every 20 steps (--guidance_interval) from 21 to 95: 4 views, 0:02:00 of an expected 0:04:30" in plan
    )
    for flag in ("--guidance_interval", "--guidance_resolution", "--iterations", "--lambda_sds 0"):
        assert flag in plan


def test_measuring_changes_no_state_and_goes_all_the_way_back():
    guidance = make()
    leaf = torch.rand(3, 64, 64, requires_grad=True)
    before: dict[str, Any] = guidance.state_dict()

    def render(camera: Camera) -> View:
        return View(camera, leaf * 1.0, leaf[:1], leaf[:1])

    assert 0 < guidance.measure(render) < 60
    after: dict[str, Any] = guidance.state_dict()
    assert torch.equal(before.pop("generator"), after.pop("generator"))
    assert before == after
    assert leaf.grad is not None
    assert float(leaf.grad.norm()) > 0


@pytest.mark.parametrize(("share", "expected"), [(1.0, 3.0), (0.2, 0.2 * 3.0 + 0.8 * 0.5)])
def test_a_mode_that_lives_on_what_it_made_is_measured_by_its_mean_step(monkeypatch, share, expected):
    """At each camera the first step takes 3 s, a second one there half a second."""
    now = 0.0

    class Remembering:
        prior: Prior = FakePrior()
        fresh_share = share
        known: Camera | None = None

        def cameras(self, generator, progress):
            return [moved_camera(generator, progress)]

        def __call__(self, view, states, progress, generator):
            nonlocal now
            now += 0.5 if view.camera is self.known else 3.0
            self.known = view.camera
            return Guided(torch.zeros_like(view.rgb), 0.0, 1, 1.0, 1, True)

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            assert state == {}

    monkeypatch.setattr(guidance_module, "time", SimpleNamespace(perf_counter=lambda: now))
    guidance = Guidance(
        PLAIN, Remembering(), lambda *_: torch.zeros(2, 1, 1), iterations=9, seed=0, device=CPU
    )
    assert guidance.measure(view) == pytest.approx(expected)


def saved_and_loaded(state: dict) -> dict:
    """The state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("mode", ["sds", "ism"])
def test_a_resumed_run_equals_the_unbroken_one(mode):
    options = replace(
        PLAIN,
        guidance=mode,
        guidance_interval=0,
        sds_clip=0.99,
        sds_weight="alpha_sigma",
        guidance_warmup=0.3,
    )
    unbroken, first, resumed = (make(options, PoorCodec(0.7, 0.2)) for _ in range(3))
    for guidance in (unbroken, first):
        guidance.choose_interval(2.0, 1.0)
    whole = run(unbroken, range(1, 61))
    start = run(first, range(1, 31))
    state = saved_and_loaded(first.state_dict())
    resumed.load_state_dict(state)
    assert resumed.interval == 2
    end = run(resumed, range(31, 61))
    assert len({gradient.sum().item() for gradient in whole}) == 30
    assert all(torch.equal(a, b) for a, b in zip(whole, [*start, *end], strict=True))


def test_a_named_interval_wins_over_the_saved_one():
    guidance = make(replace(PLAIN, guidance_interval=3))
    guidance.load_state_dict({**make().state_dict(), "interval": 50})
    assert guidance.interval == 3


def test_the_seed_decides():
    first, second = run(make(), range(1, 4)), run(make(), range(1, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    poses = [make(seed=seed).cameras(1)[0].world_to_camera for seed in (7, 8)]
    assert not torch.equal(*poses)
