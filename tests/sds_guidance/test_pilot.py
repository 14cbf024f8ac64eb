"""Pilots compare models at photographs: in folds, paired, and by warping where none can be spared."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from scene.cameras import Camera
from scene.photographs import Pixels
from sds_guidance import Guidance, GuidanceOptions, View
from sds_guidance.gate import PilotPlan
from sds_guidance.loading import choose_mode, evenly, pilot_guidance
from sds_guidance.pilot import folds, left_out_scores, run_pilot, warp_scores, warped
from sds_guidance.targets import Targets
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.exact_priors import GaussianPrior
from utils.image_metrics import psnr

WIDTH, HEIGHT = 24, 16
BLACK = torch.zeros(3)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A photograph that needs no file."""

    image: Tensor
    weight: Tensor | None = None

    def pixels(self) -> Pixels:
        raise AssertionError("targets are enough")

    def target(self, background: Tensor, device: object) -> tuple[Tensor, Tensor | None]:
        return self.image, self.weight


def wall(x: Tensor, y: Tensor) -> Tensor:
    """(3, H, W): colours of a wall at z = 4, smooth enough to be interpolated."""
    return torch.stack([torch.sin(2 * x), torch.cos(3 * y), torch.sin(x + 2 * y)]) / 2 + 0.5


def camera_at(x: float, name: str, weight: Tensor | None = None) -> Camera:
    """A camera at (x, 0, 0) that looks along z, with its photograph of the wall."""
    pose = torch.eye(4)
    pose[0, 3] = -x
    lens = torch.tensor([[20.0, 0, WIDTH / 2], [0, 20.0, HEIGHT / 2], [0, 0, 1]])
    columns, rows = torch.meshgrid(
        (torch.arange(WIDTH) + 0.5 - WIDTH / 2) / 20 * 4 + x,
        (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2) / 20 * 4,
        indexing="xy",
    )
    return Camera(name, pose, lens, WIDTH, HEIGHT, Snapshot(wall(columns, rows), weight))  # type: ignore[arg-type]


def model(depth: float = 4.0, error: float = 0.0):
    """A model of the wall at a depth, whose renderings are the photographs plus an error."""

    def look(camera: Camera) -> View:
        assert camera.photograph is not None
        image, _ = camera.photograph.target(BLACK, "cpu")
        ones = torch.ones(1, HEIGHT, WIDTH)
        return View(camera, image + error, ones, depth * ones)

    return look


def cameras(count: int) -> list[Camera]:
    return [camera_at(0.15 * number, f"{number}.jpg") for number in range(count)]


@pytest.mark.parametrize(("photographs", "count"), [(4, 4), (5, 3), (9, 4), (10, 2)])
def test_each_photograph_is_left_out_once_and_never_trained_on_then(photographs, count):
    everyone = cameras(photographs)
    split = folds(everyone, count)
    judged = [camera.name for fold in split for camera in fold.judging]
    assert len(split) == count and sorted(judged) == sorted(camera.name for camera in everyone)
    for fold in split:
        assert len(fold.training) + len(fold.judging) == photographs
        assert not {id(it) for it in fold.training} & {id(it) for it in fold.judging}


def test_left_out_scores_are_paired_psnr_and_respect_masks():
    half = torch.zeros(HEIGHT, WIDTH)
    half[:, :12] = 1
    plain, masked, unseen = (
        camera_at(0, "a.jpg"), camera_at(0, "b.jpg", half), camera_at(0, "c.jpg", torch.zeros_like(half))
    )  # fmt: skip
    exact = model()

    def wrong_on_the_right(camera: Camera) -> View:
        view = exact(camera)
        return replace(view, rgb=torch.where(half > 0, view.rgb, 1 - view.rgb))

    found = left_out_scores(exact, wrong_on_the_right, [plain, masked, unseen], BLACK)
    assert set(found) == {"a.jpg", "b.jpg"}
    view = wrong_on_the_right(plain)
    assert found["a.jpg"] == (100.0, pytest.approx(psnr(view.rgb, exact(plain).rgb)))
    assert found["b.jpg"] == (100.0, 100.0)


def test_the_right_depth_warps_one_photograph_onto_the_other():
    first, second = camera_at(0, "first"), camera_at(0.6, "second")
    photographed = model()(first).rgb
    picture, seen = warped(model()(first), second, BLACK)
    assert seen.float().mean() > 0.8 and not seen.all()  # what lies beside the second picture is not seen
    assert (picture - photographed).abs()[:, seen].max() < 0.02
    misplaced, still_seen = warped(model(3.0)(first), second, BLACK)
    assert (misplaced - photographed).abs()[:, still_seen].max() > 0.1


def test_warp_scores_prefer_the_better_depth_over_every_ordered_pair():
    three = cameras(3)
    found = warp_scores(model(3.4), model(3.9), three, [], BLACK)
    assert set(found) == {f"{a}.jpg in {b}.jpg" for a in range(3) for b in range(3) if a != b}
    assert all(better > worse + 3 for worse, better in found.values())
    swapped = warp_scores(model(3.9), model(3.4), three, [], BLACK)
    assert swapped == {name: pair[::-1] for name, pair in found.items()}


def test_warp_scores_count_the_same_pixels_for_both_models():
    """A model that hides what it has wrong gains nothing by it; one that shows nothing is not compared."""
    three = cameras(3)

    def half_gone(camera: Camera) -> View:
        view = model(3.4)(camera)
        alpha = view.alpha.clone()
        alpha[..., 12:] = 0
        return replace(view, alpha=alpha)

    for plain, changed in warp_scores(model(3.4), half_gone, three, [], BLACK).values():
        assert plain == changed

    def nothing(camera: Camera) -> View:
        return replace(model()(camera), alpha=torch.zeros(1, HEIGHT, WIDTH))

    assert warp_scores(model(), nothing, three, [], BLACK) == {}


def test_half_way_the_warped_photograph_is_compared_with_what_the_model_shows():
    """There is no photograph: a model with the right depth and wrong colours is found out only here."""
    three = cameras(3)
    middle = replace(camera_at(0.2, "middle"), photograph=None)
    truth = camera_at(0.2, "middle")

    def tinted(camera: Camera) -> View:
        view = model(error=0.0 if camera.photograph else 0.2)(camera if camera.photograph else truth)
        return replace(view, camera=camera)

    def right(camera: Camera) -> View:
        return replace(model()(camera if camera.photograph else truth), camera=camera)

    found = warp_scores(right, tinted, three, [middle], BLACK)
    assert len(found) == 6 + 3
    for name, (plain, changed) in found.items():
        assert (changed < plain - 10) is name.endswith("in middle"), name


def test_masked_pixels_of_a_photograph_are_not_warped():
    mask = torch.ones(HEIGHT, WIDTH)
    mask[:, :12] = 0
    _, seen = warped(model()(camera_at(0, "a")), camera_at(0, "b", mask), BLACK)
    assert seen[:, 13:].all() and not seen[:, :12].any()


class Recorder:
    """Trains nothing: the models' errors by weight, and what was asked for.

    Attributes:
        asked: names of the photographs, iterations, weight.
    """

    def __init__(self, **errors: float) -> None:
        self.errors = {float(weight.removeprefix("at_")) / 100: error for weight, error in errors.items()}
        self.asked: list[tuple[tuple[str, ...], int, float]] = []

    def __call__(self, training, iterations, weight):
        self.asked.append((tuple(camera.name for camera in training), iterations, weight))
        return model(error=self.errors[weight])


def test_without_and_with_guidance_see_the_same_photographs_and_the_unguided_are_trained_once():
    fit = Recorder(at_0=0.05, at_20=0.1, at_10=0.08)
    found = run_pilot(PilotPlan(4, 90), cameras(4), [], fit, 0.2, BLACK)
    assert found["decision"] == "off" and found["lambda_sds"] == 0
    assert [weight for *_, weight in fit.asked] == [0.0] * 4 + [0.2] * 4 + [0.1] * 4
    assert {iterations for _, iterations, _ in fit.asked} == {90}
    groups = [names for names, _, _ in fit.asked]
    assert groups[:4] == groups[4:8] == groups[8:]
    first = found["trials"][0]
    assert set(first["db_without_and_with"]) == {f"{n}.jpg" for n in range(4)}
    expected = 20 * np.log10(0.05 / 0.1)  # each rendering clamps a little of its error away
    assert first["mean_db"] == pytest.approx(expected, abs=0.5)


def test_of_three_photographs_all_train_and_are_warped():
    fit = Recorder(at_0=0.3, at_20=0.0)
    found = run_pilot(PilotPlan(1, 90), cameras(3), [], fit, 0.2, BLACK)
    assert found["decision"] == "kept" and len(found["trials"][0]["db_without_and_with"]) == 6
    assert [weight for *_, weight in fit.asked] == [0.0, 0.2]
    assert all(len(names) == 3 for names, *_ in fit.asked)
    assert found["trials"][0]["mean_db"] == 0.0  # the depths are the same, and only they are compared


def test_where_no_pixel_counts_guidance_stays_as_it_was():
    nothing = torch.zeros(HEIGHT, WIDTH)
    masked = [camera_at(0.1 * n, f"{n}.jpg", nothing) for n in range(4)]
    found = run_pilot(PilotPlan(4, 90), masked, [], Recorder(at_0=0.1, at_20=0.2), 0.2, BLACK)
    assert (found["decision"], found["lambda_sds"]) == ("not measured", 0.2)


def test_the_guidance_of_a_pilot_starts_afresh_and_knows_its_own_photographs_only():
    def sample(generator, progress):
        return camera_at(float(torch.rand(1, generator=generator)), "novel")

    options = GuidanceOptions(guidance="targets", guidance_resolution=64, lambda_sds=0.2)
    mode = choose_mode(options, GaussianPrior(0.5), sample, evenly, cameras(4))
    cpu = torch.device("cpu")
    run = Guidance(options, mode, lambda *_: torch.zeros(2, 1, 1), iterations=7000, seed=3, device=cpu)
    run.choose_interval(1.0, 0.3)
    fresh = run.generator.get_state()
    run.cameras(run.first)  # draws

    def pilot(iterations: int) -> Guidance:
        return pilot_guidance(
            run, cameras(3), sample, evenly, iterations=iterations, lambda_sds=0.1, device=cpu
        )

    found = pilot(175)
    assert isinstance(found.mode, Targets) and [it.name for it in found.mode.photographers] == [
        "0.jpg", "1.jpg", "2.jpg"
    ]  # fmt: skip
    assert torch.equal(found.generator.get_state(), fresh)
    assert (found.options.lambda_sds, run.options.lambda_sds) == (0.1, 0.2)
    assert (found.interval, found.first, found.last) == (run.interval, 36, 166) and run.interval == 5
    # Of 27 guided steps, as many views as targets that serve 13 steps each, and both go on to a second one.
    chosen = found.mode.options
    assert (chosen.targets_views, chosen.targets_refresh) == (2, 26)
    assert run.options.targets == TargetsOptions()
    assert isinstance(huge := pilot(70_000).mode, Targets) and huge.options == TargetsOptions()
