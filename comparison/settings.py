"""What models were trained with, as text: the settings that figures rest on, all of them, what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from comparison.model import ScoredModel

UNKNOWN = "-"
NO_MATTER = ("--model_path", "--quiet", "--resume", "--overwrite")
"""Flags that may differ between two runs without a word."""


def scene_name(model: ScoredModel) -> str:
    """The name of the scene's folder, or "" where it is not recorded."""
    source = model.settings.get("options", {}).get("scene", {}).get("source_path", "")
    return PurePath(source).name


def main_settings(model: ScoredModel) -> dict[str, str]:
    """The settings that a reader needs beside the figures, by what they are called."""
    scene = model.settings.get("scene") or {}
    options = model.settings.get("options", {})
    return {
        "Scene": scene_name(model) or UNKNOWN,
        "Photographs to train from": _count(scene.get("train_photographs")),
        "Held-out photographs": str(len(model.views)),
        "Start points": shown(scene.get("points")),
        "Iterations": UNKNOWN if model.iteration is None else f"{model.iteration:,}",
        "Seed": shown(options.get("seed")),
        "Guidance weight (lambda_sds)": _weight(model),
        **_guidance(model),
    }


def all_settings(model: ScoredModel) -> dict[str, str]:
    """Everything in settings.json, by flag ("--seed") or by group and name ("versions: torch")."""
    settings = dict(model.settings)
    flags = {f"--{name}": shown(value) for name, value in _leaves(settings.pop("options", {}))}
    groups = {
        f"{group}: {name}" if name else group: shown(value)
        for group, content in settings.items()
        for name, value in (_leaves(content) if isinstance(content, Mapping) else [("", content)])
    }
    return flags | groups


def other_differences(models: Sequence[ScoredModel]) -> list[str]:
    """The flags outside guidance in which not all models agree; those that change nothing are left out."""
    guidance = {
        f"--{name}"
        for model in models
        for name, _ in _leaves(model.settings.get("options", {}).get("guidance", {}))
    }
    found = [all_settings(model) for model in models]
    flags = dict.fromkeys(name for settings in found for name in settings if name.startswith("--"))
    return [
        flag
        for flag in flags
        if flag not in guidance
        and flag not in NO_MATTER
        and len({settings.get(flag, UNKNOWN) for settings in found}) > 1
    ]


def shown(value: Any) -> str:
    """A setting as text. Of an absolute path only the last part: a page is passed on, machines are not."""
    if value is None:
        return UNKNOWN
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value) or "none"
    text = str(value)
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name or text
    return text or "none"


def _weight(model: ScoredModel) -> str:
    weight = model.lambda_sds
    if not weight:
        return UNKNOWN if weight is None else "0 (none)"
    return f"{weight} ({model.settings['options']['guidance'].get('sds_reduction', 'relative')})"


def _guidance(model: ScoredModel) -> dict[str, str]:
    """The settings of guidance; all unknown for a model without it."""
    options: Mapping[str, Any] = {}
    made: Mapping[str, Any] = {}
    if model.lambda_sds:
        options = model.settings["options"]["guidance"]
        made = model.settings.get("guidance") or {}
    steps = model.guided_steps if options else None
    interval = options.get("guidance_interval")
    return {
        "Guidance model": shown(made.get("model", options.get("guidance_model"))),
        "Its revision": shown(made.get("revision")),
        "Prompt": shown(made.get("prompt", options.get("prompt"))),
        "Negative prompt": shown(made.get("negative_prompt", options.get("negative_prompt"))),
        "Guidance scale": shown(options.get("guidance_scale")),
        "Guidance rescale": shown(options.get("guidance_rescale")),
        "Guide every ... steps": "chosen by timing" if interval == 0 else shown(interval),
        "Guided steps": UNKNOWN if steps is None else f"{steps:,}",
        "Gate": _gate(model.settings.get("gate")),
    }


def _gate(gate: Mapping[str, Any] | None) -> str:
    """What the gate decided on guidance, and the weight that was left where it is another one."""
    if not gate:
        return UNKNOWN
    return f"halved to {gate['lambda_sds']}" if gate["decision"] == "halved" else gate["decision"]


def _count(names: Sequence[str] | None) -> str:
    return UNKNOWN if names is None else str(len(names))


def _leaves(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values, groups opened."""
    found: list[tuple[str, Any]] = []
    for name, value in content.items():
        found += _leaves(value) if isinstance(value, Mapping) else [(name, value)]
    return found
