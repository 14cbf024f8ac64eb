"""The model card of the small prior, written from what was recorded while it was made and measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from utils.files import write_text

GOALS = {"both": 0.8, "recall": 0.5, "psnr": 30.0}
PARTS = ("unet", "vae", "text_encoder", "image_encoder")
STAGES = {
    "vae": "VAE, crops",
    "vae_whole": "VAE, whole pictures",
    "clip": "CLIP",
    "unet": "U-Net",
    "unet_again": "U-Net, second go",
    "unet_third": "U-Net, third go",
    "decoder": "VAE's decoder",
}


def write_card(model: Path, record: dict[str, Any], measured: dict[str, Any]) -> None:
    """Writes `README.md` into the model's folder.

    Args:
        model: the finished model; its weights are counted.
        record: what `training_record` gave.
        measured: what `evaluation.evaluate` gave.
    """
    write_text(model / "README.md", card(count_weights(model), record, measured))


def training_record(build: Path) -> dict[str, Any]:
    """The settings of a build, its sets of pictures, and how far each stage came: steps, seconds, loss."""
    saved = json.loads((build / "settings.json").read_text(encoding="utf-8"))
    sets = [Path(folder) / "dataset.json" for folder in saved["options"]["data"]]
    return {
        "options": saved["options"],
        "versions": saved["versions"],
        "sets": [json.loads(path.read_text(encoding="utf-8")) for path in sets if path.is_file()],
        "stages": {stage: _last_row(build / stage / "log.jsonl") for stage in STAGES},
    }


def _last_row(log: Path) -> dict[str, Any]:
    """The last row of a log that has a loss."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "loss" in row][-1]


def count_weights(model: Path) -> dict[str, int]:
    """Numbers in each part's safetensors."""
    result = {}
    for part in PARTS:
        result[part] = 0
        for path in (model / part).glob("*.safetensors"):
            with safe_open(path, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - no mapping
                    count = 1
                    for length in weights.get_slice(name).get_shape():
                        count *= length
                    result[part] += count
    return result


TEXT = """# The small prior

A text-to-image latent diffusion model for 128 x 128 pixels, trained from nothing by this project on pictures
of procedural objects that the project makes itself; `--guidance_model small` takes it. It exists so that
guidance runs and is tested without a network and without a GPU; it is no substitute for Stable Diffusion.

Weights, in half precision: {weights}.
The VAE learnt from random crops, then from whole pictures, half of them mirrored; the towers from pictures
that were mirrored, moved, zoomed and brightened a little; the U-Net, in three goes, and last the decoder
alone, from each picture and two mirrored or slightly cropped copies.
The U-Net predicts the velocity; latents are 4 x 16 x 16 with mean 0 and deviation 1.

## How it was made

{made}

## What was measured

{goals}

Denoising: mean squared error of the noise estimate in ten equal bands of t, with captions, beside the Wiener
denoiser (the exact posterior mean under a Gaussian with the training latents' mean and full covariance).

{bands}

Samples: {count} captions of held-out instances, no still lifes, DDIM with {steps} steps, guidance scale
{scale:g}. Colour: a linear classifier of the colour histogram of the pixels that differ from their row's
border, fitted to training renders. Family: that of the nearest held-out render, as a small convolutional
network sees it that has learnt to tell the families of training renders apart. The same judges on the
held-out renders themselves (family: the nearest other one) show how far they can be trusted.

{samples}

## Limits

One kind of picture: one to three objects of a family above, or a still life of two or three of different
ones, in the colours of the set, on a plain floor. It knows no other words; they are spelt in bytes and mean
nothing to it. What the table of goals marks as missed is missed.
"""


def card(weights: dict[str, int], record: dict[str, Any], measured: dict[str, Any]) -> str:
    """The text of the card."""
    samples = measured["samples"]
    kinds = ("colour", "family", "both")
    judged = (("samples", "of_samples"), ("held-out renders", "of_held_out_renders"))
    rows = [(name, *(f"{100 * samples[key][kind]:.1f} %" for kind in kinds)) for name, key in judged]
    return TEXT.format(
        weights=", ".join(f"{part} {weights[part] / 1e6:.2f} M" for part in PARTS),
        made="\n".join(_made(record, measured)),
        goals="\n".join(_goals(measured)),
        bands="\n".join(_bands(measured["denoising"])),
        count=samples["count"],
        steps=samples["steps"],
        scale=samples["guidance_scale"],
        samples="\n".join(_table(("", *kinds), rows)),
    )


def _made(record: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """Data, command, and the stages."""
    options = record["options"]
    flags = [
        f"--{name} {value:g}" if isinstance(value, int | float) else f"--{name} {value}"
        for name, value in options.items()
        if name.startswith(("vae_", "clip_", "unet_", "decoder_", "seed", "precision")) and value
    ]
    lines = []
    for made in record["sets"]:
        settings = made["settings"]
        words = " ".join(f"--{name} {settings[name]}" for name in ("count", "seed", "resolution", "samples"))
        lines += [
            f"Data: `python -m {made['made_by']} --output DATA {words}`. Families: "
            f"{', '.join(made['families'])}; held "
            f"out entirely: {', '.join(made['held_out_families'])}.",
            "",
        ]
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in measured["pictures"].items())
    return [
        *lines,
        f"Pictures: {counts}.",
        "",
        f"Command: `python -m tools.small_prior build --data DATA --output BUILD {' '.join(flags)}`.",
        "A stage with a limit in minutes ends at that limit, and a repetition then gives the same kind of "
        "model, not the same bits.",
        "",
        *_table(
            ("stage", "steps done", "minutes", "last loss"),
            [
                (title, str(row["iteration"]), f"{row['seconds'] / 60:.1f}", f"{row['loss']:.4f}")
                for stage, title in STAGES.items()
                for row in (record["stages"][stage],)
            ],
        ),
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".",
    ]


def _goals(measured: dict[str, Any]) -> list[str]:
    """Each goal with what was reached."""
    rows = []
    for name, found in measured["denoising"].items():
        below = sum(u < w for u, w in zip(found["unet"], found["wiener"], strict=True))
        rows.append((f"bands below Wiener, {_words(name)}", "10 of 10", f"{below} of 10", below == 10))
    both = measured["samples"]["of_samples"]["both"]
    rows.append(
        (
            "samples with colour and family of the caption",
            ">= 80 %",
            f"{100 * both:.1f} %",
            both >= GOALS["both"],
        )
    )
    for name, found in measured["retrieval"].items():
        lower = min(found["picture_to_caption"], found["caption_to_picture"])
        shown = f"{100 * found['picture_to_caption']:.1f} % / {100 * found['caption_to_picture']:.1f} %"
        title = f"CLIP R@1 of 64, picture to caption / back, {_words(name)}"
        rows.append((title, ">= 50 %", shown, lower >= GOALS["recall"]))
    for name, value in measured["round_trip_psnr"].items():
        rows.append((f"VAE round trip, {_words(name)}", "> 30 dB", f"{value:.2f} dB", value > GOALS["psnr"]))
    return _table(
        ("goal", "wanted", "found", ""), [(*row[:3], "reached" if row[3] else "missed") for row in rows]
    )


def _bands(denoising: dict[str, dict[str, list[float]]]) -> list[str]:
    """The losses per band."""
    return _table(
        ("band of t", *(str(band) for band in range(10))),
        [
            (f"{kind}, {_words(name)}", *(f"{value:.4f}" for value in values))
            for name, found in denoising.items()
            for kind, values in found.items()
        ],
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
