"""The gate in train.py: it keeps what helps, switches off what harms, and leaves no trace in the run."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import train
from gaussian_renderer import render
from scene.camera_paths import look_at
from scene.cameras import Camera
from scene.gaussians import load_gaussians
from sds_guidance import Guidance
from sds_guidance.gate import PilotPlan, Trial, try_weights, verdict
from sds_guidance.loading import choose_mode
from sds_guidance.pilot import run_pilot
from sds_guidance.sds import fit_to_prior
from tests.programs import BUSY, break_off, ply, run_train
from tests.sds_guidance.exact_priors import GaussianPrior
from tests.small_scene import arc_of_cameras, cpu_engine, some_gaussians, write_small_scene
from utils.checkpoints import checkpoint_path
from utils.errors import Warnings
from utils.image_metrics import psnr
from utils.options import load_settings, parse

GUIDED = (
    *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_interval", 1, "--guidance_resolution", 64),
    *("--guidance_warmup", 0),
)
FEW = ("--sh_degree", 0, "--init_random", 1500, "--densify_until_iter", 0, "--test_iterations", -1)


@torch.no_grad()
def true_image(camera: Camera) -> Tensor:
    """(3, H, W): what the Gaussians of the small scene show to a camera."""
    gaussians = some_gaussians()
    picture = render(camera, gaussians, sh_degree=0, background=torch.zeros(3), engine=cpu_engine()).rgb
    return picture.clamp(0, 1)


def mirrored(camera: Camera) -> Tensor:
    """A lie that looks like the truth."""
    return true_image(camera).flip(-1)


def red(camera: Camera) -> Tensor:
    """A lie about colours alone."""
    return torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, camera.height, camera.width)


class Oracle(GaussianPrior):
    """A prior whose denoiser returns the latents of a known picture of the pose that is looked at.

    Attributes:
        picture: gives it.
        blur: pixels, standard deviation of what encoding loses; 0: nothing.
        cast: added to the answers' colours.
        std: how far, from pixel to pixel, it takes true pictures to lie from that one.
    """

    def __init__(
        self,
        picture: Callable[[Camera], Tensor],
        blur: float = 0.0,
        cast: tuple[float, ...] = (0, 0, 0),
        std: float = 0.0,
    ) -> None:
        super().__init__(0.0, std)
        self.picture, self.blur, self.cast = picture, blur, torch.tensor(cast)[:, None, None]

    def encode(self, pictures: Tensor) -> Tensor:
        return blurred(pictures, self.blur) if self.blur else pictures

    def look(self, camera: Camera, resolution: int) -> None:
        seen = self.encode(fit_to_prior(self.picture(camera), resolution, self.size_multiple))
        self.mean = seen + self.cast


def blurred(pictures: Tensor, deviation: float) -> Tensor:
    """(B, 3, H, W) after a Gaussian filter."""
    reach = math.ceil(3 * deviation)
    kernel = (-torch.arange(-reach, reach + 1).square() / (2 * deviation**2)).exp()
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def with_oracle(monkeypatch: pytest.MonkeyPatch, oracle: Oracle, plan: PilotPlan | None) -> list[int]:
    """Lets train.py guide with an oracle, and gives the pilots a time of their own (None: the real plan).

    Returns a list that grows by one number whenever guidance is loaded.
    """
    loaded: list[int] = []

    def load(options, run, *, cameras, sample_camera, weigh_camera, iterations) -> Guidance:
        def conditions(camera: Camera, generator: torch.Generator) -> Tensor:
            oracle.look(camera, options.guidance_resolution)
            return torch.zeros(2, 1, 1)

        loaded.append(1)
        mode = choose_mode(options, oracle, sample_camera, weigh_camera, cameras)
        return Guidance(options, mode, conditions, iterations=iterations, seed=run.seed, device=run.device)

    monkeypatch.setattr("training.guidance.demand_models", lambda *_: None)
    monkeypatch.setattr("training.guidance.load_guidance", load)
    if plan:
        monkeypatch.setattr("training.guidance.plan_pilot", lambda *_: plan)
    return loaded


def gate_of(model: Path) -> dict:
    """What is recorded of the gate; the same in the settings and beside the model's size."""
    recorded = (load_settings(model) or {})["gate"]
    assert json.loads((model / "training.json").read_text())["gate"] == recorded
    first = json.loads((model / "log.jsonl").read_text().splitlines()[0])
    assert first == {"iteration": 0, "gate": recorded["decision"], "lambda_sds": recorded["lambda_sds"]}
    return recorded


def held_out_psnr(model: Path, iteration: int) -> float:
    """dB, the mean over poses between, above and below those of the photographs."""
    path = model / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"
    gaussians, _ = load_gaussians(path, Warnings())
    camera = arc_of_cameras(1)[0]
    scores = []
    for angle in torch.linspace(-0.8, 0.8, 6).tolist():
        for height in (-1.3, -0.5, 0.5):
            position = torch.tensor([3 * math.sin(angle), height, -3 * math.cos(angle)])
            pose = look_at(position, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
            view = replace(camera, world_to_camera=pose)
            with torch.no_grad():
                shown = render(
                    view, gaussians, sh_degree=0, background=torch.zeros(3), engine=cpu_engine()
                ).rgb
            scores.append(psnr(shown.clamp(0, 1), true_image(view)))
    return sum(scores) / len(scores)


@pytest.fixture(scope="module")
def no_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small scene without points to start from."""
    scene = write_small_scene(tmp_path_factory.mktemp("data") / "scene")
    (scene / "points3d.ply").unlink()
    return scene


@pytest.fixture(scope="module")
def from_three(no_points: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unguided run from three photographs."""
    model = tmp_path_factory.mktemp("three")
    return run_train(no_points, model, "--n_views", 3, "--iterations", 400, *FEW)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "blur", "cast", "std", "gain"),
    [
        ("sds", 0.0, (0.0, 0.0, 0.0), 0.0, 3.0),
        ("sds", 3.0, (0.05, 0.0, -0.05), 0.0, 1.0),
        ("targets", 0.0, (0.0, 0.0, 0.0), 0.0, 3.0),
        ("targets", 3.0, (0.05, 0.0, -0.05), 0.0, 1.0),
        ("ism", 0.0, (0.0, 0.0, 0.0), 0.1, 2.0),
    ],
)
def test_a_prior_that_knows_the_truth_gains_and_the_gate_keeps_it(
    no_points, from_three, tmp_path, monkeypatch, mode, blur, cast, std, gain
):
    """Exact, and through a codec that keeps 28 dB with answers of another white.

    `ism` has nothing to say of a prior for which one picture alone is possible (see `ism_gradient`).
    """
    oracle = Oracle(true_image, blur, cast, std)
    if blur:
        pictures = [fit_to_prior(true_image(camera), 64, 2) for camera in arc_of_cameras(5)]
        kept = sum(psnr(oracle.encode(picture), picture) for picture in pictures) / len(pictures)
        assert kept == pytest.approx(28, abs=1)
    with_oracle(monkeypatch, oracle, PilotPlan(1, 200))
    flags = (*FEW, *GUIDED, "--guidance", mode)
    run_train(no_points, tmp_path, "--n_views", 3, "--iterations", 400, *flags)
    assert gate_of(tmp_path)["decision"] == "kept"
    assert held_out_psnr(tmp_path, 400) >= held_out_psnr(from_three, 400) + gain


@pytest.mark.slow
@pytest.mark.parametrize(("views", "folds"), [(3, 1), (6, 2)])
@pytest.mark.parametrize("lie", [mirrored, red])
def test_under_a_lying_prior_the_model_is_the_unguided_one_bit_for_bit(
    no_points, tmp_path, monkeypatch, views, folds, lie
):
    flags = ("--n_views", views, "--iterations", 40, *FEW)
    run_train(no_points, tmp_path / "plain", *flags)
    with_oracle(monkeypatch, Oracle(lie), PilotPlan(folds, 100))
    run_train(no_points, tmp_path / "gated", *flags, *GUIDED)
    found = gate_of(tmp_path / "gated")
    assert found["decision"] == "off" and [each["lambda_sds"] for each in found["trials"]] == [0.2, 0.1]
    assert ply(tmp_path / "gated", 40) == ply(tmp_path / "plain", 40)
    run_train(no_points, tmp_path / "ungated", *flags, *GUIDED, "--guidance_gate", "off")
    assert ply(tmp_path / "ungated", 40) != ply(tmp_path / "plain", 40)


def test_a_gate_that_keeps_guidance_leaves_no_trace_in_the_run(small_scene, tmp_path, monkeypatch):
    """The model, and everything that a checkpoint holds of generators, optimisers and statistics."""
    with_oracle(monkeypatch, Oracle(true_image), PilotPlan(2, 25))
    flags = ("--iterations", 60, *BUSY, *GUIDED)
    run_train(small_scene, tmp_path / "gated", *flags)
    assert gate_of(tmp_path / "gated")["decision"] == "kept"
    run_train(small_scene, tmp_path / "ungated", *flags, "--guidance_gate", "off")
    assert "gate" not in (load_settings(tmp_path / "ungated") or {})
    first, second = (
        torch.load(checkpoint_path(tmp_path / name, 60), weights_only=True) for name in ("gated", "ungated")
    )
    for part in ("training", "guidance"):
        assert_same(first[part], second[part])
    assert ply(tmp_path / "gated", 60) == ply(tmp_path / "ungated", 60)


def assert_same(first, second) -> None:
    """Equal, tensors bit for bit."""
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.mark.parametrize(("scores", "decision"), [((19.0, 18.0), "off"), ((19.0, 21.0), "halved")])
def test_a_resumed_run_keeps_to_the_decision_and_equals_the_unbroken_one(
    small_scene, tmp_path, monkeypatch, scores, decision
):
    """The pilots say 20 dB without guidance, 19 with it, and the rest with half of it."""
    loaded = with_oracle(monkeypatch, Oracle(true_image), PilotPlan(2, 1))
    by_weight = {0.2: scores[0], 0.1: scores[1]}

    def score(plan, cameras, halfway, fit, lambda_sds, background):
        trials = try_weights(lambda_sds, lambda weight: Trial(weight, {"a.jpg": (20.0, by_weight[weight])}))
        return verdict(trials, "photographs")

    monkeypatch.setattr("training.guidance.run_pilot", score)
    flags = ("--iterations", 20, *BUSY, *GUIDED)
    run_train(small_scene, tmp_path / "unbroken", *flags)
    assert gate_of(tmp_path / "unbroken")["decision"] == decision

    break_off(small_scene, tmp_path / "broken", *flags)
    monkeypatch.setattr("training.guidance.run_pilot", None)  # asked again, it would fail
    loaded.clear()
    run_train(small_scene, tmp_path / "broken", *flags, "--resume")
    assert gate_of(tmp_path / "broken") | {"seconds": 0} == gate_of(tmp_path / "unbroken") | {"seconds": 0}
    assert ply(tmp_path / "broken", 20) == ply(tmp_path / "unbroken", 20)
    assert len(loaded) == (decision == "halved")

    expected = ("--lambda_sds", 0.1) if decision == "halved" else ("--lambda_sds", 0)
    run_train(small_scene, tmp_path / "plain", *flags, *expected, "--guidance_gate", "off")
    assert ply(tmp_path / "plain", 20) == ply(tmp_path / "unbroken", 20)


def test_a_run_killed_during_its_pilots_has_them_again(small_scene, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(*_):
        raise Killed

    with_oracle(monkeypatch, Oracle(true_image), PilotPlan(2, 5))
    flags = ("--iterations", 10, *BUSY, *GUIDED)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("training.guidance.run_pilot", killed)
        run_train(small_scene, tmp_path, *flags)
    run_train(small_scene, tmp_path, *flags, "--resume")
    assert gate_of(tmp_path)["decision"] in ("kept", "halved", "off")


@pytest.mark.parametrize(("views", "reason"), [(9, "too few"), (2, "2 of 3 photographs")])
def test_without_pilots_guidance_stays_on_and_it_is_said_once(
    small_scene, tmp_path, monkeypatch, capsys, views, reason
):
    with_oracle(monkeypatch, Oracle(true_image), None)
    words = ["-s", small_scene, "-m", tmp_path, "--device", "cpu", "--iterations", 10, "--n_views", views]
    words = [str(word) for word in [*words, *GUIDED]]
    train.main(parse(train.Options, words))
    assert gate_of(tmp_path)["decision"] == "not measured"
    assert capsys.readouterr().out.count(reason) == 1
    assert (tmp_path / "guidance.csv").is_file()


def test_the_photographs_of_the_test_never_enter_a_pilot(small_scene, tmp_path, monkeypatch):
    seen, original = [], vars(Camera)["own_photograph"].fget

    def watched(camera):
        seen.append(camera.name)
        return original(camera)

    judged: list[str] = []

    def judging(plan, cameras, *rest):
        judged.extend(camera.name for camera in cameras)
        return run_pilot(plan, cameras, *rest)

    monkeypatch.setattr(Camera, "own_photograph", property(watched))
    monkeypatch.setattr("training.guidance.run_pilot", judging)
    with_oracle(monkeypatch, Oracle(true_image), PilotPlan(3, 5))
    run_train(small_scene, tmp_path, "--eval", "--iterations", 5, *BUSY, *GUIDED)
    found = (load_settings(tmp_path) or {})["scene"]
    assert found["test_photographs"] and len(seen) > 5  # pilots and run
    assert set(judged) == set(found["train_photographs"]) >= set(seen)
