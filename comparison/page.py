"""The page of compare.py: results, settings, held-out views side by side, orbits."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.document import document, table, words
from comparison.gains import gain_sentence, paired_gain, signed
from comparison.media import AMPLIFIED, JPEG_QUALITY, PICTURE_BYTES, RAMP, View, views_that_fit
from comparison.model import ScoredModel
from comparison.settings import UNKNOWN, all_settings, main_settings, other_differences, scene_name

TIMES = (
    "Training: seconds of the training loop, guidance included; they compare only on one machine that had "
    "nothing else to do."
)
EXACT = (
    f"Photographs and renderings are shown in full size as JPEG of quality {JPEG_QUALITY}; figures and "
    "differences come from the PNG files themselves."
)


def page(models: Sequence[ScoredModel], views: Sequence[View], videos: Sequence[str | None]) -> str:
    """The page as one HTML text.

    Args:
        models: one or more, scored alike on the same views.
        views: the pictures of all their views, of the models in the same order.
        videos: for each model the address of its orbit; None where there is none.
    """
    scenes = dict.fromkeys(name for name in map(scene_name, models) if name)
    title = f"{', '.join(scenes) or 'Guided Splatting'}: {', '.join(model.name for model in models)}"
    several = f"by {len(models)} models side by side" if len(models) > 1 else "by one model"
    sections = (
        _results(models),
        _settings(models),
        _views(models, views),
        _orbits(models, videos),
        _details(models),
    )
    lead = (
        f"Photographs that were kept out of training, and renderings of the same views {several}: 3D "
        "Gaussian Splatting, trained by Guided Splatting."
    )
    return document(title, lead, "".join(sections))


def _results(models: Sequence[ScoredModel]) -> str:
    """The table of means, what the differences are worth, and how the figures were computed."""
    columns = {
        "PSNR, dB": [_number(model.means["PSNR"], 2) for model in models],
        "SSIM": [_number(model.means["SSIM"], 4) for model in models],
        "LPIPS": [_number(model.means["LPIPS"], 4) for model in models],
        "Gaussians": [_count(model.training.get("gaussians")) for model in models],
        "Iterations": [_count(model.iteration) for model in models],
        "Training, s": [_seconds(model) for model in models],
    }
    if set(columns["LPIPS"]) == {UNKNOWN}:
        del columns["LPIPS"]
    rows = [[model.name, *cells] for model, *cells in zip(models, *columns.values(), strict=True)]
    gains = "".join(f"<p>{words(sentence)}</p>\n" for sentence in _verdicts(models))
    count = len(models[0].views)
    return (
        f"<h2>Results on {count} held-out view{'s' * (count != 1)}</h2>\n"
        + table("numbers", ["Model", *columns], rows)
        + (f'<div class="verdict">\n{gains}</div>\n' if gains else "")
        + f'<p class="note">{words(_caveat(models))}</p>\n'
        + f'<p class="note">{words(_conventions(models[0].conventions))} {TIMES}</p>\n'
    )


def _verdicts(models: Sequence[ScoredModel]) -> list[str]:
    """What each later model's gain in PSNR over the first is worth, a sentence each."""
    first, *others = models
    values = [[model.score("PSNR", view) for view in first.views] for model in models]
    return [
        gain_sentence(first.name, other.name, paired_gain(values[0], scores))
        for other, scores in zip(others, values[1:], strict=True)
    ]


def _caveat(models: Sequence[ScoredModel]) -> str:
    """What these figures cannot say, whatever they are."""
    seeds = dict.fromkeys(main_settings(model)["Seed"] for model in models)
    said = f"seed {seeds.popitem()[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
    one = "Each model is one run" if len(models) > 1 else "The model is one run"
    many = " Of several intervals at 95 %, one may leave zero out by chance." if len(models) > 2 else ""
    return (
        f"{one} ({said}). One seed says nothing of the spread over seeds, which may be as large as a "
        "difference shown here; and views of one scene are not independent of each other, nor do they speak "
        f"for other scenes.{many}"
    )


def _conventions(conventions: dict) -> str:
    """How the figures were computed, from metrics.py's own record."""
    names = ("images", "mean", "PSNR", "SSIM", "masks")
    found = [f"{name}: {conventions[name]}." for name in names if name in conventions]
    lpips = conventions.get("LPIPS")
    found.append(
        f"LPIPS: version {lpips['version']}, {lpips['net']}, fed {lpips['input_range']}."
        if lpips
        else "LPIPS was not computed."
    )
    return "How the figures were computed. " + " ".join(text[0].upper() + text[1:] for text in found)


def _settings(models: Sequence[ScoredModel]) -> str:
    """The settings that the figures rest on, and whether anything but guidance differs."""
    settings = [main_settings(model) for model in models]
    rows = [[name, *(each[name] for each in settings)] for name in settings[0]]
    rows = [row for row in rows if set(row[1:]) != {UNKNOWN}]
    note = ""
    if len(models) > 1:
        flags = other_differences(models)
        said = f"they also differ in {', '.join(flags)}" if flags else "no other setting differs"
        note = f'<p class="note">Guidance aside, {words(said)}.</p>\n'
    header = ["Setting", *(model.name for model in models)]
    return f"<h2>What was trained</h2>\n{table('texts', header, rows)}{note}"


def _views(models: Sequence[ScoredModel], views: Sequence[View]) -> str:
    """The views' pictures, as many as fit, and a table of all their figures."""
    chosen = views_that_fit(views, PICTURE_BYTES)
    fewer = ""
    if len(chosen) < len(views):
        fewer = (
            f'<p class="note">Pictures of {len(chosen)} of {len(views)} views, evenly spaced: with all of '
            "them the page would outgrow 15 MB. The table below has every view.</p>\n"
        )
    first, *others = models
    header = ["View", *(f"{model.name} {metric}" for model in models for metric in ("PSNR", "SSIM"))]
    header += [f"{other.name} minus {first.name}, dB" for other in others]
    rows = []
    for view in first.views:
        row = [first.photograph_name(view)]
        for model in models:
            row += [f"{model.score('PSNR', view):.2f}", f"{model.score('SSIM', view):.4f}"]
        rows.append(row + [signed(other.score("PSNR", view) - first.score("PSNR", view)) for other in others])
    return (
        f"<h2>Held-out views</h2>\n{_legend(len(models))}{fewer}"
        + "".join(_view(models, view) for view in chosen)
        + f"<details>\n<summary>Figures of every view</summary>\n{table('numbers', header, rows)}</details>\n"
    )


def _legend(models: int) -> str:
    """What the dark pictures are, with the ramp of their colours."""
    between = "under the photograph the difference between the first two renderings, " if models > 1 else ""
    stops = ", ".join("rgb({}, {}, {})".format(*colour) for colour in RAMP)
    return (
        f'<p class="note">Dark pictures: {between}under each rendering its error against the photograph. '
        f"They show the mean absolute difference of the three colours, amplified {AMPLIFIED} times. "
        f"{EXACT}</p>\n"
        '<p class="note legend"><span>0</span>'
        f'<span class="ramp" style="background: linear-gradient(to right, {stops})"></span>'
        f"<span>{round(255 / AMPLIFIED)} or more of 255 grey levels</span></p>\n"
    )


def _view(models: Sequence[ScoredModel], view: View) -> str:
    """A view: the photograph, then for each model its rendering, each above what it differs by."""
    first, *others = models
    name = first.photograph_name(view.name)
    gains = "".join(_gain(first, other, view.name) for other in others)
    columns = [_figure(view, view.photograph, f"{name}: Photograph", "Photograph")]
    if view.difference:
        pair = f"{others[0].name} against {first.name}, {AMPLIFIED}x"
        columns[0] += _figure(view, view.difference, f"{name}: Difference {pair}", "Difference", pair)
    against = f"against the photograph, {AMPLIFIED}x"
    for model, rendering, error in zip(models, view.renderings, view.errors, strict=True):
        scores = f"{model.score('PSNR', view.name):.2f} dB, SSIM {model.score('SSIM', view.name):.4f}"
        wrong = f"Error of {model.name}"
        columns.append(
            _figure(view, rendering, f"{name}: {model.name}", model.name, scores)
            + _figure(view, error, f"{name}: {wrong}", wrong, against)
        )
    return (
        f"<h3>{words(name)}{gains}</h3>\n"
        f'<div class="scroll"><div class="columns" style="--count: {len(columns)}">\n'
        + "".join(f'<div class="column">\n{column}</div>\n' for column in columns)
        + "</div></div>\n"
    )


def _gain(first: ScoredModel, other: ScoredModel, view: str) -> str:
    """The gain of a model over the first on one view."""
    psnr = signed(other.score("PSNR", view) - first.score("PSNR", view))
    ssim = signed(other.score("SSIM", view) - first.score("SSIM", view), 4)
    psnr_kind, ssim_kind = ({"+": "more", "-": "less"}.get(text[0], "") for text in (psnr, ssim))
    return (
        f'<span class="gain">{words(other.name)} minus {words(first.name)}: '
        f'<span class="{psnr_kind}">{psnr} dB</span>, <span class="{ssim_kind}">SSIM {ssim}</span></span>'
    )


def _figure(view: View, source: str, instead: str, title: str, rest: str = "") -> str:
    """A picture of a view with its caption, and `instead` for those who do not see it."""
    return (
        f'<figure><img src="{source}" width="{view.width}" height="{view.height}" '
        f'alt="{words(instead)}">'
        f"<figcaption><b>{words(title)}</b> {words(rest)}</figcaption></figure>\n"
    )


def _orbits(models: Sequence[ScoredModel], videos: Sequence[str | None]) -> str:
    """The videos that there are, and who has none."""
    figures = "".join(
        f'<figure><video src="{words(source)}" aria-label="{words(f"Orbit of {model.name}")}" controls loop '
        'muted playsinline preload="metadata"></video>'
        f"<figcaption><b>{words(model.name)}</b></figcaption></figure>\n"
        for model, source in zip(models, videos, strict=True)
        if source
    )
    notes = []
    missing = [model.name for model, source in zip(models, videos, strict=True) if not source]
    if missing:
        notes.append(f"No video of {', '.join(missing)}; render.py --orbit makes one.")
    if any(source and not source.startswith("data:") for source in videos):
        notes.append("The videos are too large for the page; they are files beside it, at their own place.")
    said = f'<p class="note">{words(" ".join(notes))}</p>\n' if notes else ""
    return f'<h2>Round the scene</h2>\n<div class="videos">\n{figures}</div>\n{said}'


def _details(models: Sequence[ScoredModel]) -> str:
    """Everything that settings.json says of each model, folded away."""
    found = [all_settings(model) for model in models]
    names = dict.fromkeys(name for settings in found for name in settings)
    if not names:
        return ""
    rows = [[name, *(settings.get(name, UNKNOWN) for settings in found)] for name in names]
    header = ["Setting", *(model.name for model in models)]
    return f"<details>\n<summary>All settings</summary>\n{table('texts', header, rows)}</details>\n"


def _number(value: float | None, decimals: int) -> str:
    return UNKNOWN if value is None else f"{value:.{decimals}f}"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _seconds(model: ScoredModel) -> str:
    """Seconds of training; of a resumed one only the last part is known, and this says so."""
    if "seconds" not in model.training:
        return UNKNOWN
    seconds, iterations = model.training["seconds"], model.training.get("iterations_in_this_process")
    part = "" if iterations == model.iteration else f" (last {iterations} iterations)"
    return f"{seconds:,.0f}{part}"
