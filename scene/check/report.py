"""The report in words: what was found, what is doubtful, and the flags of train.py that follow from it."""

import dataclasses
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scene.check.health import BLURRED, FEW_POINTS, LITTLE, Health
from scene.dataset import SceneOptions
from utils.tables import markdown_table

KINDS = {
    "colmap": "COLMAP",
    "blender": "Blender",
    "nerfstudio": "Nerfstudio",
    "photograph": "one photograph without a pose",
}
UNLIKE = 0.5  # stops from the others, from which on a photograph is named
SPREAD = 0.3  # stops between the darkest and the brightest photograph, from which on --exposure is suggested
ENOUGH = 16  # photographs, from which on some can be spared for a test
WIDE = 30.0  # degrees between neighbours, above which surfaces hidden in one view are not seen in the next


def findings(health: Health) -> list[str]:
    """What was found, a sentence a line."""
    scene, views, its = health.scene, health.views, health.arrangement
    sizes = sorted({view.size for view in views})
    size = f"{sizes[0][0]} x {sizes[0][1]} pixels"
    if len(sizes) > 1:
        size = f"{len(sizes)} sizes from {size} to {sizes[-1][0]} x {sizes[-1][1]}"
    lines = [
        f"{KINDS[scene.kind]}, photographs: {len(scene.train_cameras)} to train from, "
        f"{len(scene.test_cameras)} for the test; {size}, {health.nbytes / 1e9:.2f} GB decoded",
        f"start: {scene.points_source}",
    ]
    counts = [view.points for view in views]
    if health.points != "random":
        what = (
            "that each photograph observed"
            if health.points == "observed"
            else "in each one's view, hidden or not"
        )
        few = f" (its pose is doubtful below {FEW_POINTS})" if health.points == "observed" else ""
        lines.append(f"points {what}: {min(counts)} at least, median {np.median(counts):.0f}{few}")
    if len(views) == 1:
        return lines
    low, high = stop_range(health)
    told = f"points that several show; above {SPREAD} --exposure helps"
    if not health.by_points:
        told = "the pictures' means, so by what they show too"
    worst = min(views, key=lambda view: view.sharpness if math.isfinite(view.sharpness) else math.inf)
    shared = "of a photograph's points are seen by the neighbour that shares most"
    if health.points != "observed":
        shared = "of a photograph's view the neighbour that shares most has too, were nothing hidden"
    middle, least, angles = np.median(its.overlap), its.overlap.min(), its.nearest
    return [
        *lines,
        f"exposure: {high - low:.1f} stops from darkest to brightest (by {told})",
        f"sharpness: {worst.sharpness:.2f} times the median at least ({worst.name}; blurred below {BLURRED})",
        f"neighbours: median {np.median(angles):.1f} degrees apart, {angles.max():.1f} at most "
        f"(above {WIDE:.0f} much is seen in one photograph alone)",
        f"overlap: median {middle:.0%}, {least:.0%} at least {shared} (doubtful below {LITTLE:.0%})",
        f"the cameras stand within {its.round_about:.0f} degrees of the circle round what they see; views "
        "from elsewhere show what no photograph does",
    ]


def to_look_at(health: Health) -> list[str]:
    """What may harm, a line each: of the scene as a whole, then of photographs."""
    lines = [line.removeprefix("warning: ") for line in health.warnings.lines()]
    apart = float(np.median(health.arrangement.nearest))
    if apart > WIDE:
        lines.append(
            f"neighbours are {apart:.0f} degrees apart (median): much is seen in one photograph alone; "
            "photographs in between help more than any flag"
        )
    unlike = [view.name for view in health.views if health.by_points and abs(view.stops) > UNLIKE]
    if unlike:
        names = ", ".join(unlike[:5]) + ", ..." * (len(unlike) > 5)
        lines.append(f"exposed {UNLIKE} stops or more unlike the others: {names}")
    lines += [f"{view.name}: {'; '.join(view.doubts)}" for view in health.views if view.doubts]
    return lines


def suggestions(health: Health, split: Path | None) -> list[tuple[str, str]]:
    """Flags of train.py that the findings ask for, each with its reason.

    Args:
        split: the file that leaves doubtful training photographs out, where there is one.
    """
    options, scene = health.options, health.scene
    found = [("--lambda_sds 0", "no guidance; it needs a diffusion model (--guidance_model, --prompt)")]
    low, high = stop_range(health)
    if health.by_points and high - low > SPREAD:
        found.append(("--exposure", f"the same points differ by {high - low:.1f} stops between photographs"))
    if health.nbytes > options.image_memory * 1e9:
        memory = math.ceil(health.nbytes / 1e9)
        found.append(
            (f"--image_memory {memory}", "keeps all photographs decoded, if the machine has so much")
        )
    if health.transparent and scene.kind == "blender" and not options.white_background:
        found.append(("--white_background", "photographs are transparent, for which papers take white"))
    if health.points == "random" and scene.kind == "nerfstudio" and options.points != "dense":
        found.append(("--points dense", "there are no points; stereo finds some in minutes"))
    if split:
        found.append((f"--split {shlex.quote(str(split))}", "leaves the doubtful photographs out"))
    elif not (options.eval or options.split) and len(scene.train_cameras) >= ENOUGH:
        found.append(
            ("--eval", "keeps every eighth photograph, or those listed, to tell how good the model is")
        )
    return found


def command(options: SceneOptions, flags: Sequence[str]) -> str:
    """The command line of train.py with the scene's own flags and these."""
    words = [f"-s {shlex.quote(options.source_path)}"]
    for field in dataclasses.fields(SceneOptions):
        value = getattr(options, field.name)
        if field.name == "source_path" or value == field.default:
            continue
        words.append(f"--{field.name}" + ("" if value is True else f" {shlex.quote(str(value))}"))
    name = shlex.quote(f"output/{Path(options.source_path).name}")
    return " ".join(["python train.py", *words, f"-m {name}", *flags])


def text_report(health: Health, split: Path | None = None) -> str:
    """The report for a terminal."""
    doubts, flags = to_look_at(health), suggestions(health, split)
    lines = [health.options.source_path, *(f"  {line}" for line in findings(health))]
    lines += ["to look at:" if doubts else "nothing is doubtful", *(f"  {line}" for line in doubts)]
    lines += ["suggested flags:", *(f"  {flag}: {why}" for flag, why in flags)]
    lines.append(f"it can be trained:\n  {command(health.options, [flag for flag, _ in flags])}")
    return "\n".join(lines)


def markdown_report(health: Health, picture: str, split: Path | None) -> str:
    """The report as Markdown, with the picture and a table of all photographs.

    Args:
        picture: its file's name beside the report.
        split: as in `suggestions`.
    """
    flags = suggestions(health, split)
    rows = [
        [
            view.name,
            view.use,
            f"{view.sharpness:.2f}",
            f"{view.stops:+.2f}",
            str(view.points),
            f"{view.overlap:.0%}",
            f"{view.angle:.1f}",
            "; ".join(view.doubts),
        ]
        for view in health.views
    ]
    header = ["photograph", "use", "sharpness", "stops", "points", "overlap", "neighbour (degrees)", "doubts"]
    parts = [
        f"# {Path(health.options.source_path).name}: it can be trained\n",
        "\n".join(f"- {line}" for line in findings(health)) + "\n",
        f"![the cameras from above and from the side]({picture})\n",
        "## To look at\n",
        "\n".join(f"- {line}" for line in to_look_at(health) or ["nothing"]) + "\n",
        "## Suggested\n",
        "".join(f"- `{flag}`: {why}\n" for flag, why in flags),
        f"```\n{command(health.options, [flag for flag, _ in flags])}\n```\n",
        "## Photographs\n",
        "Sharpness over the median of all; stops brighter than the others; points seen in it, the share of "
        "them that one other training photograph sees too, and degrees to the nearest of these.\n",
        markdown_table(header, rows),
    ]
    return "\n".join(part for part in parts if part)


def stop_range(health: Health) -> tuple[float, float]:
    """The darkest and the brightest photograph's exposure, in stops."""
    stops = [view.stops for view in health.views if math.isfinite(view.stops)] or [0.0]
    return min(stops), max(stops)
