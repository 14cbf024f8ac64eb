"""Dataclasses become the command line, the saved settings and `cfg_args`, and are read back."""

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from utils.errors import UserError
from utils.files import write_json, write_text

T = TypeVar("T")

SETTINGS_FILE = "settings.json"

SIMPLE: Mapping[Any, type | tuple[type, ...]] = {bool: bool, int: int, float: (int, float), str: str}
"""What the saved value of a field of these types has to be."""


def parse(
    options: type[T],
    arguments: Sequence[str] | None = None,
    refused: Mapping[str, str] | None = None,
    default: T | None = None,
) -> T:
    """The options that a command line gives; flags are the fields' names, spelt with underscores.

    Args:
        options: a dataclass; fields that are dataclasses are groups whose flags carry no prefix.
        arguments: the words after the program's name; None: those of this process.
        refused: flags that other programs have and this one does not honour, each with a sentence on what to
            do instead. They are refused by name, never ignored.
        default: what flags that are not given stand at; None: at the fields' own defaults.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for word in words:
        dashes, flag = re.match(r"(-*)([^=]*)", word).groups()  # type: ignore[union-attr]
        flag = dashes + flag.replace("-", "_")
        if refused and flag in refused:
            raise UserError(f"{flag} is not supported: {refused[flag]}")
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    read = partial(tyro.cli, options, prog=_program(), args=words, use_underscores=True, config=config)
    return read() if default is None else read(default=default)


def _program() -> str | None:
    """How a module that was started with `python -m` is called; None for a file, which argparse knows."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else None


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(options: type[T], plain: Mapping[str, Any]) -> T:
    """A dataclass from `to_plain`'s result; what is missing keeps its default, the unknown is left out.

    Raises:
        UserError: a truth value, number or text is of another type than its field.
    """
    hints = get_type_hints(options)
    values = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        if field.name not in plain:
            continue
        value, hint = plain[field.name], hints[field.name]
        wanted = SIMPLE.get(hint)
        if wanted and not isinstance(value, wanted):
            raise UserError(
                f"--{field.name} was saved as {value!r}, which is no {hint.__name__}; restore what train.py "
                "wrote into the model's folder"
            )
        if dataclasses.is_dataclass(hint):
            value = from_plain(hint, value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        values[field.name] = value
    return options(**values)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], ignored: frozenset[str] = frozenset()
) -> list[str]:
    """Lines "--flag: was ..., now ..." for every setting that differs, groups flattened."""
    result = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, now = old.get(name), new.get(name)
        if name in ignored or before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            result += differences(before, now, ignored)
        else:
            result.append(f"--{name}: was {before!r}, now {now!r}")
    return result


def save_settings(model_path: Path, options: Any, **facts: Any) -> None:
    """Writes `settings.json`: the options in force, and `facts` beside them (versions, what was found)."""
    write_json(model_path / SETTINGS_FILE, {**facts, "options": to_plain(options)}, indent=2)


def add_fact(model_path: Path, name: str, value: Any) -> None:
    """Adds a fact to a run's `settings.json`."""
    write_json(model_path / SETTINGS_FILE, {**(load_settings(model_path) or {}), name: value}, indent=2)


def load_settings(model_path: Path) -> dict[str, Any] | None:
    """What `save_settings` wrote, or None where there is no such file."""
    path = Path(model_path) / SETTINGS_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as problem:
        raise UserError(
            f"{path} is not valid JSON ({problem}); restore it or choose another --model_path"
        ) from None
    if not isinstance(saved, dict) or not isinstance(saved.get("options"), dict):
        raise UserError(f"{path} holds no settings of this program")
    return saved


def save_cfg_args(model_path: Path, values: Mapping[str, Any]) -> None:
    """Writes the reference's `cfg_args`, one line `Namespace(key=value, ...)`, for its viewers and tools."""
    write_text(
        Path(model_path) / "cfg_args",
        f"Namespace({', '.join(f'{key}={value!r}' for key, value in values.items())})",
    )


def load_cfg_args(model_path: Path) -> dict[str, Any]:
    """The values of a `cfg_args` file, ours or the reference's, parsed as literals, never evaluated."""
    path = Path(model_path) / "cfg_args"
    try:
        call = ast.parse(path.read_text(encoding="utf-8").strip(), mode="eval").body
        assert isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Namespace"
        return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except FileNotFoundError:
        raise UserError(
            f"{model_path} holds no trained model: neither {SETTINGS_FILE} nor cfg_args was found; check -m"
        ) from None
    except (SyntaxError, ValueError, TypeError, AssertionError, RecursionError, MemoryError) as problem:
        raise UserError(f"{path} is not a line Namespace(key=value, ...): {problem}") from None
