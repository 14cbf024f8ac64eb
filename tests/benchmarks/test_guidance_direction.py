"""`benchmarks/guidance_direction.py`: its cosines, the levels it asks at, and a model measured as a whole."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.guidance_direction import BLOCK, ROOT, Options, at_level, compared, cosine, main, middles
from scene.cameras import Camera
from sds_guidance import View
from sds_guidance.mode import Guided, Mode
from sds_guidance.options import GuidanceOptions
from sds_guidance.sds import Distillation
from sds_guidance.targets import Targets
from tests.benchmarks.in_process import in_this_process
from utils.errors import UserError

PAGE = "<!-- measured direction: begin -->\nold\n<!-- measured direction: end -->\n"
GREY = torch.full((3, 4, 6), 0.5)


class Says:
    """What both kinds of mode below do: answer with given pictures, one after the other."""

    def __init__(self, *answers: Tensor) -> None:
        self.answers = list(answers)

    def cameras(self, generator: torch.Generator, progress: float) -> list[Camera]:
        return []

    def __call__(self, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Guided:
        said = self.answers.pop(0)
        return Guided(said, 0.0, 1, 1.0, 1, True, pictures=lambda: {"target": said})


class Paints(Says, Targets):
    """Has targets."""


class Pulls(Says, Distillation):
    """Has gradients."""


def photographed(photograph: Tensor, weight: Tensor | None = None) -> View:
    """A grey rendering at a camera that has this photograph."""
    taken: Any = SimpleNamespace(target=lambda background, device: (photograph, weight))
    camera = Camera("test", torch.eye(4), torch.eye(3), 6, 4, photograph=taken)
    return View(camera, GREY, torch.ones(1, 4, 6), torch.ones(1, 4, 6))


def ask(mode: Mode, view: View, draws: int = 1) -> dict[str, float]:
    return compared(mode, lambda camera, generator: torch.zeros(2, 1, 1), view, torch.zeros(3), draws)


def test_a_cosine_says_what_the_best_step_takes_away() -> None:
    generator = torch.Generator().manual_seed(0)
    way, error = torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    weight = torch.rand(4, 6, generator=generator).round()
    for counts in (None, weight):
        factor = 1.0 if counts is None else counts
        steps = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None, None, None]
        left = (factor * (error - steps * way) ** 2).sum(dim=(1, 2, 3)).min() / (factor * error**2).sum()
        assert cosine(way, error, counts) ** 2 == pytest.approx(1 - float(left), abs=1e-5)
    assert cosine(error, error, None) == pytest.approx(1) == -cosine(error, -3 * error, weight)
    assert cosine(0 * way, error, None) == 0


def test_a_pull_towards_the_photograph_counts_and_draws_are_averaged() -> None:
    photograph = GREY.clone()
    photograph[0] = 1.0
    right, wrong = GREY - photograph, torch.zeros(3, 4, 6)  # gradients point away from where it pulls
    wrong[1] = 1.0
    assert ask(Pulls(right), photographed(photograph)) == {"cosine": pytest.approx(1)}
    assert ask(Pulls(wrong), photographed(photograph))["cosine"] == pytest.approx(0)
    both = ask(Pulls(right + wrong, right - wrong, wrong), photographed(photograph), draws=2)
    assert both["cosine"] == pytest.approx(1)


def test_a_target_is_scored_as_a_picture_and_masked_pixels_do_not_count() -> None:
    photograph = GREY + 0.1
    left_half = torch.zeros(4, 6)
    left_half[:, :3] = 1
    target = torch.where(left_half > 0, GREY + 0.05, 0.0)
    found = ask(Paints(target), photographed(photograph, left_half))
    assert found["cosine"] == pytest.approx(1)
    assert found["gain"] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert ask(Paints(target), photographed(photograph))["gain"] < 0


def test_a_level_is_asked_whatever_the_mode_and_the_progress() -> None:
    for mode in ("sds", "ism", "targets"):
        found = at_level(GuidanceOptions(), mode, 2.0, 0.3)
        assert found.guidance == mode
        assert found.sds_t_min == found.sds_t_max == found.ism_t == found.targets.targets_t == (0.3, 0.3)
        assert found.guidance_scale == found.targets.targets_scale == 2.0


def test_views_are_evenly_spread() -> None:
    cameras: list[Any] = list(range(10))
    assert middles(cameras, 2) == [2, 7] and middles(cameras, 5) == [1, 3, 5, 7, 9]
    assert middles(cameras, 10) == middles(cameras, 99) == cameras


def test_a_model_is_measured_in_every_mode(small_scene: Path, tiny_model: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "model", tmp_path / "page.md"
    page.write_text(PAGE)
    words = ["-s", str(small_scene), "-m", str(model), "--eval", "--n_views", "3", "--iterations", "20"]
    in_this_process("train.py", *words, "--lambda_sds", "0", "--quiet", "--disable_viewer")
    before = sorted(path.relative_to(model) for path in model.rglob("*"))
    options = Options(
        models=(str(model),),
        prompts=("a ball",),
        flags=f"--guidance_model {tiny_model} --guidance_resolution 64 --image_condition none",
        scales=(1.0, 3.0),
        levels=(0.1, 0.6),
        views=2,
        draws=2,
        output=str(tmp_path / "out"),
        docs=str(page),
    )
    main(options)
    figures = json.loads((tmp_path / "out" / "direction.json").read_text())
    assert len(figures) == 3 * 2 * 2 * 2  # modes, scales, levels, views
    assert all(-1 <= it["cosine"] <= 1 for it in figures)
    assert {it["mode"] for it in figures if "gain" in it} == {"targets"}
    assert len({it["cosine"] for it in figures}) > 20  # each level, scale and mode says something of its own
    text = page.read_text()
    assert "old" not in text and text.count("| targets |") == 4 and text.count("| ism ") == 2
    assert sorted(path.relative_to(model) for path in model.rglob("*")) == before


def test_the_documentation_has_a_place_for_the_tables() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    assert page.count(f"<!-- {BLOCK}: begin -->\n") == page.count(f"<!-- {BLOCK}: end -->") == 1


def test_what_cannot_be_measured(small_scene: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--prompts"):
        main(Options(models=("a", "b"), prompts=("a ball",)))
    with pytest.raises(UserError, match=r"--levels 1\.0"):
        main(Options(models=("a",), prompts=("a ball",), levels=(1.0,)))
    model = tmp_path / "model"
    words = ["-s", str(small_scene), "-m", str(model), "--iterations", "1", "--lambda_sds", "0", "--quiet"]
    in_this_process("train.py", *words, "--disable_viewer")
    with pytest.raises(UserError, match="no test photographs"):
        main(Options(models=(str(model),), prompts=("a ball",), output=str(tmp_path / "out")))
