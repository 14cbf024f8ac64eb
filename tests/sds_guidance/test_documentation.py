"""docs/guidance.md and docs/prompts.md: every flag of guidance stands there, with the default it has."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sds_guidance.options import GuidanceOptions

DOCS = Path(__file__).resolve().parents[2] / "docs"


def flags(options: Any) -> Iterator[tuple[str, Any]]:
    """Every flag with its default, groups flattened."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from flags(value)
        else:
            yield field.name, value


@pytest.fixture(scope="module")
def text() -> str:
    return "".join((DOCS / name).read_text() for name in ("guidance.md", "prompts.md"))


@pytest.mark.parametrize("flag", [name for name, _ in flags(GuidanceOptions())])
def test_every_flag_is_explained(text: str, flag: str) -> None:
    assert f"`--{flag}" in text or f"--{flag} " in text


def test_tables_give_the_defaults_in_force() -> None:
    defaults = dict(flags(GuidanceOptions()))
    page = (DOCS / "guidance.md").read_text()
    named = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `--")]
    told = [found for cell in named for found in re.findall(r"`--(\w+)` ([\w. ]+)", cell)]
    assert len(told) > 20
    for flag, value in told:
        assert value.split() == shown(defaults[flag]), flag


def shown(default: Any) -> list[str]:
    """A default as the tables write it."""
    values = default if isinstance(default, tuple) else (default,)
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
