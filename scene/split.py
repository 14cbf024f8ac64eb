"""A split of one's own: a JSON file that names the photographs to train from and those for the test."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scene.source import PosedPhotograph
from utils.errors import UserError
from utils.files import write_json


def write_split(path: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """Writes the names as `--split` takes them."""
    write_json(path, {"train": list(train), "test": list(test)})


def read_split(path: Path) -> tuple[list[str], list[str]]:
    """The names to train from, at least one, and those for the test.

    Raises:
        UserError: no such file, another content, or a name that is listed twice.
    """
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        train, test = split["train"], split["test"]
        if not all(isinstance(names, list) for names in (train, test)) or not train:
            raise ValueError("`train` and `test` are lists, `train` with an entry")
        if not all(isinstance(name, str) for name in (*train, *test)):
            raise ValueError("names are texts")
    except OSError as failure:
        raise UserError(f"--split {path} cannot be read ({failure.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, RecursionError) as failure:
        raise UserError(
            f"--split {path} cannot be used ({failure!r}); it needs JSON of this form: "
            '{"train": ["a.jpg"], "test": ["b.jpg"]}'
        ) from None
    twice = sorted(name for name, times in Counter([*train, *test]).items() if times > 1)
    if twice:
        raise UserError(
            f"--split {path} lists {', '.join(twice[:3])} more than once; each photograph has one use"
        )
    return train, test


def named(
    photographs: Sequence[PosedPhotograph], path: Path
) -> tuple[list[PosedPhotograph], list[PosedPhotograph]]:
    """The training and the test photographs that a split names, in the dataset's order; others are left out.

    Raises:
        UserError: what `read_split` raises, or the dataset has no photograph of a name.
    """
    by_name = {photograph.name: photograph for photograph in photographs}
    found = []
    for names in read_split(path):
        unknown = [name for name in names if name not in by_name]
        if unknown:
            shown = ", ".join(unknown[:3]) + ", ..." * (len(unknown) > 3)
            raise UserError(
                f"--split {path} names {shown}, which the dataset does not have; its {len(by_name)} "
                f"photographs are called like {next(iter(by_name))}"
            )
        wanted = set(names)
        found.append([photograph for name, photograph in by_name.items() if name in wanted])
    return found[0], found[1]
