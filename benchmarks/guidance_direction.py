"""Where guidance pulls a trained model's held-out views, and where their photographs are: no training.

    python benchmarks/guidance_direction.py --models output/a output/b --prompts "a white flower" "a red hat"
    python benchmarks/guidance_direction.py --models output/a --prompts "a fern" --flags "--guidance_model D"

Two trainings with the same flags but for a seed differ by more than guidance brings, so that trainings say
little about its settings. Here a view is rendered once, guidance is asked at each noise level, and its answer
is laid beside the photograph that was kept out.
"""

from __future__ import annotations

import math
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.measured import fill
from rendering.model import ModelOptions, load_model
from scene.cameras import Camera
from scene.dataset import Scene, load_scene
from sds_guidance import Guidance, Run, View
from sds_guidance.loading import choose_mode, evenly
from sds_guidance.mode import Mode as GuidanceMode
from sds_guidance.options import GuidanceOptions
from sds_guidance.targets import Targets
from training.guidance import make_guidance, view_from
from training.presets import read_options
from utils.errors import UserError, Warnings, demand, run_program
from utils.files import write_json, write_text
from utils.image_metrics import psnr
from utils.options import parse
from utils.tables import markdown_table, mean_and_spread

BLOCK = "measured direction"
FLAGS = "--guidance_model small --negative_prompt '' --image_condition none"
Mode = Literal["sds", "ism", "targets"]
Figures = Mapping[str, Any]
"""model, view, mode, scale, t, and what `compared` returns."""
Conditions = Callable[[Camera, torch.Generator], Tensor]
MIDDLE = 0.5  # of a run, where a mode still depends on its progress
TITLES = {
    "cosine": "Cosine between guidance's pull and the way from a held-out view to its photograph",
    "gain": "PSNR of targets less that of the renderings that they were made from, dB",
}


@dataclass
class Options:
    """Compares guidance's pull with photographs that were kept out."""

    models: tuple[str, ...]
    """Folders of models that train.py made with test photographs."""
    prompts: tuple[str, ...]
    """What each of them shows, in their order."""
    flags: str = FLAGS
    """Guidance flags of train.py's for all that is compared, beside prompt, mode, scale and noise level."""
    modes: tuple[Mode, ...] = ("sds", "ism", "targets")
    """Modes of guidance."""
    scales: tuple[float, ...] = (1.0, 3.0, 7.5)
    """Classifier-free guidance, a row each."""
    levels: tuple[float, ...] = (0.05, 0.1, 0.2, 0.35, 0.5)
    """Noise levels, fractions of the model's, a column each."""
    views: int = 6
    """Held-out views of each model, evenly spread."""
    draws: int = 3
    """How often the noise of sds and ism is drawn; their pulls are averaged. Targets have one."""
    output: str = "output/guidance_direction"
    """Folder of direction.json and report.md."""
    docs: str = ""
    """A page whose block of these tables is filled; empty: none."""

    def check(self) -> None:
        """Raises a `UserError` that names the flag, its value and what is allowed."""
        count = len(self.models)
        demand(count > 0, "models", self.models, "one folder or more")
        demand(len(self.prompts) == count, "prompts", self.prompts, f"as many as --models ({count})")
        for flag in ("views", "draws"):
            demand(getattr(self, flag) >= 1, flag, getattr(self, flag), "1 or more")
        for level in self.levels:
            demand(0 < level < 1, "levels", level, "fractions above 0 and below 1")


def main(options: Options) -> None:
    """Measures every model, writes figures and tables, and prints these.

    Raises:
        UserError: a flag or a model cannot be used, or the model's scene has no test photographs.
    """
    options.check()
    figures: list[Figures] = []
    for model, prompt in zip(options.models, options.prompts, strict=True):
        figures += measured(Path(model), prompt, options)
        write_json(Path(options.output) / "direction.json", figures)
    text = report(figures, options)
    write_text(Path(options.output) / "report.md", text)
    print(text)
    if options.docs:
        fill(Path(options.docs), BLOCK, text)


def measured(folder: Path, prompt: str, options: Options) -> list[Figures]:
    """The figures of a model, for every mode, scale and level at every chosen view."""
    model_options = ModelOptions(model_path=str(folder), quiet=True)
    scene_options = model_options.scene_options()
    model = load_model(model_options, scene_options.white_background)
    scene = load_scene(scene_options, seed=0)
    cameras = scene.test_cameras
    if not cameras:
        raise UserError(f"{folder}: its scene has no test photographs; train with --eval or --split")
    with torch.no_grad():
        views = [view_from(camera, model.look) for camera in middles(cameras, options.views)]
    warnings = Warnings()
    run = Run(model.background.device, 0, sys.argv, warnings, Path(options.output))
    guidance = guidance_of(scene, run, prompt, options.flags)
    warnings.show()
    asked = list(product(options.modes, options.scales, options.levels))
    found: list[Figures] = []
    for mode, scale, level in tqdm(asked, desc=folder.name):
        one_level = at_level(guidance.options, mode, scale, level)
        for view in views:
            where = partial(_here, view.camera)
            ask = choose_mode(one_level, guidance.mode.prior, where, evenly, scene.train_cameras)
            draws = 1 if mode == "targets" else options.draws
            which = {"model": str(folder), "view": view.camera.name, "mode": mode, "scale": scale, "t": level}
            found.append(which | compared(ask, guidance.conditions, view, model.background, draws))
    return found


def middles(cameras: Sequence[Camera], count: int) -> list[Camera]:
    """The camera in the middle of each of so many equal parts; all cameras, if there are no more."""
    count = min(count, len(cameras))
    return [cameras[(2 * place + 1) * len(cameras) // (2 * count)] for place in range(count)]


def guidance_of(scene: Scene, run: Run, prompt: str, flags: str) -> Guidance:
    """The guidance that train.py would have with these flags, its networks loaded for every mode."""
    words = ["--source_path", str(scene.source_path), *shlex.split(flags), "--prompt", prompt]
    options = read_options([*words, "--guidance", "targets"])  # which needs the whole model
    options.check()
    guidance = make_guidance(options, scene, run, None)
    if guidance is None:
        raise UserError("--flags: with --lambda_sds 0 there is no guidance")
    return guidance


def at_level(options: GuidanceOptions, mode: Mode, scale: float, level: float) -> GuidanceOptions:
    """The options of a mode that asks at one noise level, whatever the run's progress."""
    both = (level, level)
    result = replace(
        options,
        guidance=mode,
        guidance_scale=scale,
        sds_t_min=both,
        sds_t_max=both,
        ism_t=both,
        targets=replace(options.targets, targets_t=both, targets_scale=scale),
    )
    result.check()
    return result


def compared(
    mode: GuidanceMode, conditions: Conditions, view: View, background: Tensor, draws: int
) -> dict[str, float]:
    """A mode's answer to a view against the way to its photograph.

    Args:
        mode: of one noise level, which looks from the view's camera.
        conditions: as `Guidance` has them.
        view: the rendering, whose camera has a photograph.
        background: (3,) float32, shown where the photograph is transparent.
        draws: of the noise, whose answers are averaged.

    Returns:
        cosine: between the way to a target, or else minus the gradient at the pixels, and photograph -
            rendering, masked pixels left out. Its square is the share of the squared error that the best step
            this way takes away.
        gain: of a target, its PSNR less the rendering's, dB.
    """
    rgb = view.rgb.clamp(0, 1)
    photograph, weight = view.camera.own_photograph.target(background, rgb.device)
    generator = torch.Generator().manual_seed(0)
    answers = []
    for _ in range(draws):
        mode.cameras(generator, MIDDLE)
        answers.append(mode(view, conditions(view.camera, generator), MIDDLE, generator))
    if not isinstance(mode, Targets):
        pull = -torch.stack([answer.gradient for answer in answers]).sum(dim=0)
        return {"cosine": cosine(pull, photograph - rgb, weight)}
    target = answers[0].pictures()["target"]
    gain = psnr(target, photograph, weight) - psnr(rgb, photograph, weight)
    return {"cosine": cosine(target - rgb, photograph - rgb, weight), "gain": gain}


def cosine(first: Tensor, second: Tensor, weight: Tensor | None) -> float:
    """The cosine between two (3, H, W) changes of a picture, pixels weighted; 0 where one is nothing."""
    counts = 1.0 if weight is None else weight
    products = [
        (counts * one * other).double().sum()
        for one, other in ((first, second), (first, first), (second, second))
    ]
    dot, *squares = map(float, products)
    return dot / math.sqrt(squares[0] * squares[1]) if min(squares) > 0 else 0.0


def report(figures: Sequence[Figures], options: Options) -> str:
    """Both tables in Markdown: means over views, then over models with their spread."""
    header = ["mode", "scale", *(f"t = {level}" for level in options.levels)]
    rows = list(product(options.modes, options.scales))
    tables = []
    for name, decimals, which in (
        ("cosine", 2, rows),
        ("gain", 1, [it for it in rows if it[0] == "targets"]),
    ):
        lines = [
            [
                mode,
                f"{scale:g}",
                *(_mean(figures, name, decimals, mode, scale, level) for level in options.levels),
            ]
            for mode, scale in which
        ]
        if lines:
            tables.append(f"{TITLES[name]}:\n\n{markdown_table(header, lines)}")
    return "\n".join(tables)


def _mean(figures: Sequence[Figures], name: str, decimals: int, *cell: Any) -> str:
    own = [it for it in figures if (it["mode"], it["scale"], it["t"]) == cell]
    by_model = [
        statistics.fmean(it[name] for it in own if it["model"] == model)
        for model in dict.fromkeys(it["model"] for it in own)
    ]
    return mean_and_spread(by_model, decimals, signed=True)


def _here(camera: Camera, generator: torch.Generator, progress: float) -> Camera:
    return camera


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
