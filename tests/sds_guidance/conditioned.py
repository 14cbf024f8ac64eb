"""Flags, a file and what is gathered from them, for tests of what conditions a run."""

import json
from pathlib import Path

from sds_guidance import GuidanceOptions
from sds_guidance.conditioning import Conditioning, Prompt, Words
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.conditioning_sources import gather_conditioning
from tests.sds_guidance.runs import cpu_run

MADE = Conditioning(
    prompts=(Prompt("a fern", "--prompt"), Prompt("a potted fern", "language model", 0.25, 0.31)),
    negative_prompt=Words("blurry", "default"),
    language_model={"model": "m", "notes": "0123", "answer": {"descriptions": ["a potted fern"]}},
).recorded(0)


def options(**changes) -> GuidanceOptions:
    """Flags of guidance; those of conditioning by their names."""
    ours = {name: changes.pop(name) for name in list(changes) if hasattr(ConditioningOptions, name)}
    result = GuidanceOptions(words=ConditioningOptions(**ours), **changes)
    result.check()
    return result


def gather(flags: GuidanceOptions, cameras, model: Path, run: Path | None = None, warnings=None, folder=None):
    """What conditions a run that goes on in `run`, or a new one, in `folder` if it has one."""
    started = cpu_run(run or folder, resumed=run is not None, warnings=warnings)
    return gather_conditioning(flags, cameras, model, started)


def edit(folder: Path, change) -> None:
    """What a person does with the file: `change` alters its values in place."""
    path = folder / "conditioning.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")
