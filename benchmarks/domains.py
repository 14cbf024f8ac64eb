"""What fine-tuning on a domain brings: denoising losses before and after, under generic and expert prompts.

    python benchmarks/domains.py --data output/scans output/aerial --model small --output output/domains

Every set (`tools/make_scans.py`, `tools/make_aerial.py`, or any with "expert", "generic" and "split" in its
rows) is learnt twice from the same pictures, once with each kind of caption. Every model is then asked to
denoise the held-out pictures, told by their expert captions, by the expert captions of other pictures
(swapped: what is it worth that the words are right?), by the generic caption, and by none. What is finished
is not repeated.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from sds_guidance.finetune.bands import BANDS, losses_per_band
from sds_guidance.finetune.cache import CachedPictures, cache_pictures, cached
from sds_guidance.finetune.captioned import CaptionedImage, read_captioned
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.pictures import read_picture
from sds_guidance.finetune.preprocessing import PreprocessingOptions, standardise
from sds_guidance.finetune.program import finetune, split
from sds_guidance.finetune.samples import sample, write_sheet
from sds_guidance.finetune.trainer import TrainingOptions
from sds_guidance.lora import read_lora
from sds_guidance.models import digest, find_model
from sds_guidance.prior import LatentDiffusionPrior, load_prior
from sds_guidance.text import encode_prompts
from tools.studio.captioned_sets import DATASET
from utils.errors import UserError, Warnings, demand, run_program
from utils.files import write_json, write_text
from utils.options import differences, parse, to_plain
from utils.tables import markdown_table

RESULTS, REPORT = "results.json", "report.md"
CAPTIONS = ("expert", "generic")
PROMPTS = ("expert", "swapped", "generic", "empty")
BEFORE = "before"
MAY_DIFFER = frozenset({"data", "methods", "output", "device"})


@dataclass
class Options:
    """Measures what fine-tuning on captioned sets brings."""

    data: tuple[str, ...]
    """Folders of the sets."""
    model: str = "small"
    """The model to start from, as --guidance_model has it."""
    output: str = "output/domains"
    """Folder for results.json, report.md, the sheets and the tuned models."""
    methods: tuple[Literal["lora", "full"], ...] = ("lora",)
    """What is trained: adapters of the U-Net, all of it, or both in turn."""
    steps: int = 2000
    """Steps of each training."""
    minutes: float = 0.0
    """Minutes of each training, if that is earlier; results then vary. 0: no limit."""
    batch_size: int = 16
    """Pictures in a step."""
    learning_rate: float = 1e-4
    """Peak learning rate, for all methods."""
    lora_rank: int = 16
    """Rank of the adapters."""
    pictures: int = 150
    """Held-out pictures that are measured on, at most."""
    draws: int = 4
    """Draws of noise for each picture and band; their spread is reported."""
    samples: int = 8
    """Pictures drawn for each sheet; 0: no sheets."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of the sheets."""
    seed: int = 0
    """Seed of all draws and of the trainings."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to run; auto: a GPU where there is one."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range; what trains has checks of its own."""
        names = [Path(folder).name for folder in self.data]
        demand(len(set(names)) == len(names), "data", " ".join(self.data), "folders of different names")
        for name in ("pictures", "draws"):
            demand(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        demand(self.samples >= 0, "samples", self.samples, "0 or more")


@dataclass(frozen=True)
class Domain:
    """A set and what is measured on it.

    Attributes:
        name: of its folder.
        images: all of it, with the captions of its table.
        preprocessing: size and intensity window.
        held_out: the pictures to measure on, encoded.
        states: (4, N, tokens, width) float32 text states: `PROMPTS` for each held-out picture.
    """

    name: str
    images: list[CaptionedImage]
    preprocessing: PreprocessingOptions
    held_out: CachedPictures
    states: Tensor


@dataclass(frozen=True)
class Run:
    """One model to be measured.

    Attributes:
        method: how it was tuned, as `finetune` has it; "" for the model as it is.
        captions: a kind of `CAPTIONS`: what it learnt, and what its sheet is drawn from.
    """

    method: str
    captions: str

    @property
    def name(self) -> str:
        """Its name in the results."""
        return f"{self.method}, {self.captions}" if self.method else BEFORE

    @property
    def slug(self) -> str:
        """Its name in the names of files."""
        return self.name.replace(", ", "_")


def main(options: Options) -> None:
    """Trains and measures what is missing, and writes the tables after each run."""
    options.check()
    warnings = Warnings()
    base = find_model(options.model, None, warnings).folder
    output = Path(options.output)
    results = load_results(output, options)
    device = torch.device("cuda" if options.device == "auto" and torch.cuda.is_available() else "cpu")
    prior = load_prior(base, device, torch.float32)
    for folder in map(Path, options.data):
        domain = read_domain(folder, base, prior, options, warnings)
        warnings.show()
        runs = results["domains"].setdefault(
            domain.name, {"pictures": len(domain.held_out.images), "runs": {}}
        )
        draw_originals(output / domain.name / "held_out.png", domain, options)
        for run in planned(options):
            if run.name not in runs["runs"]:
                runs["runs"][run.name] = measured(run, domain, base, prior, options)
                write_json(output / RESULTS, results)
            write_text(output / REPORT, report(results))
    print(report(results))


def planned(options: Options) -> list[Run]:
    """The runs of a set; the first is the model as it is."""
    tuned_ones = [Run(method, captions) for method in options.methods for captions in CAPTIONS]
    return [Run("", "expert"), *tuned_ones]


def load_results(output: Path, options: Options) -> dict[str, Any]:
    """What an earlier call with the same settings measured, or nothing yet.

    Raises:
        UserError: the folder holds results of other settings.
    """
    path, settings = output / RESULTS, to_plain(options)
    if not path.is_file():
        return {"options": settings, "domains": {}}
    found = json.loads(path.read_text(encoding="utf-8"))
    if changed := differences(found["options"], settings, MAY_DIFFER):
        lines = "\n  ".join(changed)
        raise UserError(f"{path} has results of other settings:\n  {lines}\nChoose another --output")
    return found


def read_domain(
    folder: Path, base: Path, prior: LatentDiffusionPrior, options: Options, warnings: Warnings
) -> Domain:
    """Reads a set, encodes its held-out pictures and all prompts for them.

    Raises:
        UserError: it cannot be read, its rows lack a caption of either kind, or nothing is held out.
    """
    images = read_captioned(folder, warnings)
    for image in images:
        if missing := [key for key in CAPTIONS if not image.attributes.get(key)]:
            raise UserError(
                f"{folder}: the row of {image.path.name} has no {' and no '.join(missing)} caption"
            )
    about = json.loads((folder / DATASET).read_text(encoding="utf-8")) if (folder / DATASET).is_file() else {}
    window = about.get("intensity_window")
    preprocessing = PreprocessingOptions(
        resolution=prior.resolution, intensity_window=tuple(window) if window else None
    )
    _, held = split(images, 0.0, options.pictures, options.seed)
    if not held:
        raise UserError(
            f'{folder}: no row has a "split" other than "train"; make the set with --held_out_share'
        )
    chosen = [image for pool in held.values() for image in pool]
    cache = Path(options.output) / folder.name / "cache"
    vae = digest(base, ["vae"])
    encoded = cache_pictures(chosen, prior, vae, preprocessing, cache, warnings, seed=options.seed)
    expert = [image.attributes["expert"] for image in encoded.images]
    generic = [image.attributes["generic"] for image in encoded.images]
    shift = max(1, len(expert) // 3)
    prompts = [*expert, *expert[shift:], *expert[:shift], *generic, *[""] * len(expert)]
    states = _states(base, prompts, prior.unet.device, cache, warnings)
    return Domain(
        folder.name, images, preprocessing, encoded, states.unflatten(0, (len(PROMPTS), len(expert)))
    )


def _states(base: Path, prompts: list[str], device: torch.device, cache: Path, warnings: Warnings) -> Tensor:
    """(P, tokens, width) states of prompts, each different one encoded once."""
    different = sorted(set(prompts))

    def make() -> dict[str, Tensor]:
        return {"states": encode_prompts(base, different, device, torch.float32, warnings).cpu()}

    text = digest(base, ["text_encoder", "tokenizer"])
    states = cached(cache, ["prompts", text, different], make)["states"]
    return states[[different.index(prompt) for prompt in prompts]]


def measured(
    run: Run, domain: Domain, base: Path, prior: LatentDiffusionPrior, options: Options
) -> dict[str, Any]:
    """Trains, measures and draws one run: losses by prompt, (draws, bands), and seconds of training.

    Args:
        base: folder of the model before, which `prior` is.
    """
    print(f"{domain.name}: {run.name}", flush=True)
    started = time.perf_counter()
    model = tuned(run, domain, base, prior, options) if run.method else prior
    seconds = time.perf_counter() - started
    found = {
        prompt: [
            losses_per_band(model, domain.held_out.latents[:, 0], states.__getitem__, options.seed + draw)
            for draw in range(options.draws)
        ]
        for prompt, states in zip(PROMPTS, domain.states, strict=True)
    }
    if options.samples:
        draw_samples(run, domain, base, model, options)
    return {"losses": found, "training_seconds": round(seconds, 1)}


def tuned(
    run: Run, domain: Domain, base: Path, prior: LatentDiffusionPrior, options: Options
) -> LatentDiffusionPrior:
    """The model fine-tuned on the set's training pictures, or what lies in the output folder of it."""
    folder = Path(options.output) / domain.name / run.slug
    result = finetune(
        FinetuneOptions(
            model_path=str(folder),
            guidance_model=options.model,
            method=run.method,  # type: ignore[arg-type]
            lora_rank=options.lora_rank,
            validation_pictures=options.pictures,
            samples=0,
            cache=str(folder.parent / "cache"),
            device=options.device,
            resume=True,
            preprocessing=domain.preprocessing,
            training=TrainingOptions(
                steps=options.steps,
                minutes=options.minutes,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                seed=options.seed,
            ),
        ),
        [replace(image, caption=image.attributes[run.captions]) for image in domain.images],
    )
    device = prior.unet.device
    if run.method == "lora":
        return load_prior(base, device, torch.float32, lora=read_lora(result))
    return load_prior(result, device, torch.float32)


def draw_samples(run: Run, domain: Domain, base: Path, model: LatentDiffusionPrior, options: Options) -> None:
    """A sheet of what a model makes of held-out captions, of the kind that it was taught."""
    shown = _shown(domain, options)
    states = domain.states[PROMPTS.index(run.captions), shown]
    pictures = sample(
        model,
        DDIMScheduler.from_pretrained(base, subfolder="scheduler", local_files_only=True),
        states,
        domain.states[PROMPTS.index("empty"), 0],
        side=domain.held_out.latents.shape[-1],
        guidance_scale=options.guidance_scale,
        seed=options.seed,
    )
    captions = [domain.held_out.images[row].attributes[run.captions] for row in shown]
    write_sheet(Path(options.output) / domain.name / f"samples_{run.slug}.png", pictures, captions)


def draw_originals(path: Path, domain: Domain, options: Options) -> None:
    """A sheet of the held-out pictures themselves, for comparison."""
    images = [domain.held_out.images[row] for row in _shown(domain, options)]
    if not images or path.is_file():
        return
    window = domain.preprocessing.intensity_window
    pictures = [standardise(read_picture(image.path, window), domain.preprocessing) for image in images]
    write_sheet(path, torch.stack(pictures), [image.attributes["expert"] for image in images])


def _shown(domain: Domain, options: Options) -> list[int]:
    """The held-out pictures on the sheets, spread over them."""
    count = len(domain.held_out.images)
    return [place * count // options.samples for place in range(min(options.samples, count))]


def report(results: dict[str, Any]) -> str:
    """The tables in Markdown: means over all bands under each prompt, then band by band."""
    parts = []
    for name, found in results["domains"].items():
        runs = found["runs"].items()
        parts.append(f"### {name}: {found['pictures']} held-out pictures\n\n")
        header = ["model, captions it learnt", *(f"{prompt} prompts" for prompt in PROMPTS)]
        rows = [[run, *(_mean_and_spread(one["losses"][prompt]) for prompt in PROMPTS)] for run, one in runs]
        parts += ["Loss over all levels, +- its spread over draws:\n\n", markdown_table(header, rows), "\n"]
        header = ["model, prompts", *(f"{100 * band}" for band in range(BANDS))]
        rows = [
            [f"{run}, {prompt}", *(f"{value:.4f}" for value in _over_draws(one["losses"][prompt]))]
            for run, one in runs
            for prompt in (PROMPTS if run == BEFORE else (run.rsplit(", ", 1)[-1], "empty"))
        ]
        parts += ["Band by band (from t = ...):\n\n", markdown_table(header, rows), "\n"]
    return "".join(parts)


def _over_draws(losses: Sequence[Sequence[float]]) -> list[float]:
    """The mean over draws, for each band."""
    return [statistics.fmean(values) for values in zip(*losses, strict=True)]


def _mean_and_spread(losses: Sequence[Sequence[float]]) -> str:
    """The mean over bands and draws, with the standard deviation over draws of the mean over bands."""
    means = [statistics.fmean(draw) for draw in losses]
    spread = statistics.stdev(means) if len(means) > 1 else 0.0
    return f"{statistics.fmean(means):.4f} +- {spread:.4f}"


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
