"""Tables in Markdown, readable as plain text too, and how a mean is written with its spread."""

import statistics
from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others (numbers) to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join(padded) + " |\n")
    return "".join(lines)


def mean_and_spread(values: Sequence[float], decimals: int, *, signed: bool = False) -> str:
    """The mean, and where there are several values their standard deviation."""
    mean = f"{statistics.fmean(values):{'+' if signed else ''}.{decimals}f}"
    return f"{mean} +- {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else mean
