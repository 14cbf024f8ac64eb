"""A trained, rendered and scored model in its folder: what its JSON files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from utils.errors import UserError
from utils.options import load_settings

METRICS = ("PSNR", "SSIM", "LPIPS")


@dataclass(frozen=True)
class ScoredModel:
    """What is known of a model without looking at its pictures.

    Attributes:
        name: what the page calls it.
        path: its folder.
        method: the folder of test/ that was scored, "ours_N"; the largest N where there are several.
        means: by metric, the mean over the held-out views; PSNR in dB; None: not computed.
        scores: by metric and file name, the value of a view, as `means`.
        conventions: how they were computed, as metrics.py wrote it.
        settings: settings.json; empty for a model of another program.
        training: training.json where it is of this method's iteration; else empty.
        guided_steps: how many steps the log says were guided; None without a log.
        video: its orbit; None where there is none.
    """

    name: str
    path: Path
    method: str
    means: dict[str, float | None]
    scores: dict[str, dict[str, float | None]]
    conventions: dict[str, Any]
    settings: dict[str, Any]
    training: dict[str, Any]
    guided_steps: int | None
    video: Path | None

    @property
    def views(self) -> list[str]:
        """The file names of the held-out views that were scored, in order."""
        return sorted(self.scores["PSNR"])

    @property
    def iteration(self) -> int | None:
        """The iteration that was rendered; None where the method's name does not say it."""
        return iteration_of(self.method)

    @property
    def lambda_sds(self) -> float | None:
        """The weight of guidance; None where no settings are recorded."""
        guidance = self.settings.get("options", {}).get("guidance", {})
        return guidance.get("lambda_sds")

    def score(self, metric: Literal["PSNR", "SSIM"], view: str) -> float:
        """A score of a view; PSNR in dB, infinity where rendering and photograph are equal."""
        value = self.scores[metric][view]
        assert value is not None
        return value

    def photograph_name(self, view: str) -> str:
        """The name of a view's photograph in the dataset; the view's file name where it is not recorded."""
        return photograph_name(self.settings, view)


def read_model(path: Path, name: str) -> ScoredModel:
    """The model in a folder that train.py, render.py and metrics.py wrote.

    Raises:
        UserError: there is no such folder, it was not scored, or a file is damaged; says what to run.
    """
    if not path.is_dir():
        raise UserError(f"model folder {path} does not exist; check -m")
    results, per_view, conventions = (
        _scored(path / file) for file in ("results.json", "per_view.json", "metrics_conventions.json")
    )
    try:
        method = max(results, key=_place)
        means = {metric: _number(results[method][metric]) for metric in METRICS}
        scores = {
            metric: {view: _number(value) for view, value in per_view[method][metric].items()}
            for metric in METRICS
        }
        values = [scores[metric].get(view) for metric in ("PSNR", "SSIM") for view in scores["PSNR"]]
        if not values or None in values:
            raise ValueError("a view without a score")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"results.json and per_view.json in {path} do not belong together or are not of the form that "
            f"metrics.py writes; run it again: python metrics.py -m {path}"
        ) from None
    training = _read_json(path / "training.json", "train again") or {}
    video = path / "orbit" / f"{method}.mp4"
    return ScoredModel(
        name=name,
        path=path,
        method=method,
        means=means,
        scores=scores,
        conventions=conventions,
        settings=load_settings(path) or {},
        training=training if training.get("iteration") == iteration_of(method) else {},
        guided_steps=_guided_steps(path / "log.jsonl"),
        video=video if video.is_file() else None,
    )


def photograph_name(settings: Mapping[str, Any], view: str) -> str:
    """What the dataset calls the photograph of a view, 00000.png, by settings.json; the view if unknown."""
    names = settings.get("scene", {}).get("test_photographs", [])
    number = Path(view).stem
    return names[int(number)] if number.isdigit() and int(number) < len(names) else view


def iteration_of(method: str) -> int | None:
    """N of "ours_N"; None for another name."""
    number = method.removeprefix("ours_")
    return int(number) if number.isdigit() else None


def _place(method: str) -> tuple[int, str]:
    """By what methods are put in order: ours_30000 after ours_7000, and before both the file of a --ply."""
    iteration = iteration_of(method)
    return (-1 if iteration is None else iteration), method


def _scored(path: Path) -> dict[str, Any]:
    """A file that metrics.py writes."""
    folder = path.parent
    found = _read_json(path, f"run again: python metrics.py -m {folder}")
    if found is None:
        raise UserError(
            f"no {path.name} in {folder}: it is not rendered and scored yet; run render.py and metrics.py "
            f"first: python render.py -m {folder} --orbit && python metrics.py -m {folder}"
        )
    return found


def _read_json(path: Path, advice: str) -> dict[str, Any] | None:
    """The object in a JSON file, None where there is no file; `advice` ends the message of a damaged one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} is not valid JSON ({problem}); {advice}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; {advice}")
    return value


def _guided_steps(log: Path) -> int | None:
    """How many rows of the training log are of a guided step; train.py writes one for each."""
    if not log.is_file():
        return None
    with log.open(encoding="utf-8") as lines:
        return sum('"guidance_loss"' in line for line in lines)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
