"""Scores of each view as a line plot: SVG inside a page, coloured by its style sheet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from comparison.document import words

WIDTH, HEIGHT = 960, 260  # user units; the page scales them to its width
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 34  # margins
COLOURS = 8  # classes series-0 to series-7 of page.css; from the ninth line on they return dashed
Series = Mapping[str, Sequence[Sequence[float]]]
"""By name, for each view its values, one for each seed; perhaps none."""
Point = tuple[str, float, Sequence[float]]
"""A view's name, where it is across the plot, and its values."""


def view_plot(views: Sequence[str], series: Series, unit: str) -> str:
    """A figure with a line of means for each series, their range over seeds, and a legend.

    Args:
        views: what the views are called, shown where the pointer rests.
        series: finite values; a view without any is a gap.
        unit: of the values.
    """
    values = [value for line in series.values() for seeds in line for value in seeds]
    if not values:
        return ""
    ticks = tick_values(min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    across = [LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / len(views) for number in range(len(views))]
    lines = []
    for value in ticks:
        y = down(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="y" x="{LEFT - 8}" y="{y + 4:.1f}">{value:g}</text>')
    for number in range(0, len(views), math.ceil(len(views) / 40)):
        lines.append(f'<text class="x" x="{across[number]:.1f}" y="{HEIGHT - 16}">{number}</text>')
    lines.append(f'<text class="x" x="{WIDTH / 2}" y="{HEIGHT - 1}">test view</text>')
    for number, (name, line) in enumerate(series.items()):
        points = list(zip(views, across, line, strict=True))
        lines.append(f'<g class="{_kind(number)}">{_line(name, points, down, unit)}</g>')
    legend = "".join(
        f'<li><svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true"><path class="{_kind(number)}" '
        f'd="M0 4H24"/></svg>{words(name)}</li>'
        for number, name in enumerate(series)
    )
    label = words(f"{unit} of each test view: {', '.join(series)}")
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">\n'
        + "\n".join(lines)
        + f'\n</svg><figcaption><ul class="series">{legend}</ul></figcaption></figure>\n'
    )


def tick_values(low: float, high: float) -> list[float]:
    """About five round numbers, evenly spaced, the first at most `low` and the last at least `high`."""
    rough = max((high - low) / 4, 1e-3)
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 6) for number in range(first, max(last, first + 1) + 1)]


def _kind(number: int) -> str:
    return f"series-{number % COLOURS}" + " dashed" * (number >= COLOURS)


def _line(name: str, points: Sequence[Point], down: Callable[[float], float], unit: str) -> str:
    """The path through a series' means, with a dot and, of several seeds, a bar for each view."""
    path, marks, drawing = [], [], False
    for view, x, seeds in points:
        if not seeds:
            drawing = False
            continue
        mean = statistics.fmean(seeds)
        path.append(f"{'L' if drawing else 'M'}{x:.1f} {down(mean):.1f}")
        drawing = True
        span = ""
        if len(seeds) > 1:
            span = f" (seeds from {min(seeds):.2f} to {max(seeds):.2f})"
            marks.append(f'<path d="M{x:.1f} {down(min(seeds)):.1f}V{down(max(seeds)):.1f}"/>')
        said = words(f"{name}, {view}: {mean:.2f} {unit}{span}")
        marks.append(f'<circle cx="{x:.1f}" cy="{down(mean):.1f}" r="3"><title>{said}</title></circle>')
    return f'<path class="mean" d="{"".join(path)}"/>{"".join(marks)}'
