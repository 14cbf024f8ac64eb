"""What conditions a run, and where it came from; written to `conditioning.json`, and read from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sds_guidance.prompts import DIRECTIONS, USUAL_WORDS, PromptStates, view_directions
from utils.errors import UserError
from utils.files import write_text

if TYPE_CHECKING:
    from scene.cameras import Camera

CONDITIONING_FILE = "conditioning.json"
MADE_FOLDER = "conditioning"
"""Folder in a run's for what was made for it before training: pictures, a LoRA, a word."""
STAGING = "conditioning.part"
"""Folder in a new run's in which `MADE_FOLDER` comes about, while what an earlier run left is still there."""
BY_HAND = "by hand"
DEFAULT = "default"
NUMBER = (int, float)
HEAVIEST = 1e6  # weight of a prompt: what sums of them can be drawn by


@dataclass(frozen=True)
class Words:
    """A text, and where it came from: a flag, "default", a language model, or somebody's hand."""

    text: str
    source: str = BY_HAND


@dataclass(frozen=True)
class Prompt(Words):
    """One of the texts that a guided view may be conditioned by.

    Attributes:
        weight: how often it is drawn, in proportion; 0 to a million.
        similarity: mean cosine in CLIP's space to the training photographs, in [-1, 1]; None: not measured.
    """

    weight: float = 1.0
    similarity: float | None = None


@dataclass(frozen=True)
class ConditionImage:
    """A picture beside the photographs.

    Attributes:
        path: of the file; a relative one starts at the folder of `conditioning.json`.
        source: where it came from, as of `Words`.
    """

    path: str
    source: str = BY_HAND


def usual_directions() -> dict[str, Words]:
    """DreamFusion's words for the four directions."""
    return {name: Words(text, DEFAULT) for name, text in USUAL_WORDS.items()}


@dataclass(frozen=True)
class Conditioning:
    """What conditions a run.

    Attributes:
        prompts: one or more, of which one at least has a weight above 0.
        negative_prompt: what pictures should not look like.
        directions: what is added to a prompt, by direction; used where there is a front view.
        front_view: the name of the training photograph of an object's front; empty: no words for directions.
        images: what CLIP sees, and what is fitted to, beside the photographs.
        language_model: its answer as it came, who gave it, and a digest of the notes it had; None: not asked.
        history: what was in force after which iteration, oldest first, each as in the file.
        folder: where relative paths of images start.
    """

    prompts: tuple[Prompt, ...]
    negative_prompt: Words
    directions: dict[str, Words] = field(default_factory=usual_directions)
    front_view: str = ""
    images: tuple[ConditionImage, ...] = ()
    language_model: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()
    folder: Path = field(default=Path(), compare=False)

    def texts(self) -> list[str]:
        """What is to be encoded, in `PromptStates`'s order: the negative prompt first."""
        endings = [f", {self.directions[name].text}" for name in DIRECTIONS] if self.front_view else [""]
        return [
            self.negative_prompt.text,
            *(prompt.text + ending for prompt in self.prompts for ending in endings),
        ]

    def image_files(self) -> list[Path]:
        """Where the pictures lie."""
        return [self.folder / image.path for image in self.images]

    def conditions(self, states: Tensor, cameras: Sequence[Camera]) -> PromptStates:
        """What a view is conditioned by.

        Args:
            states: (T, tokens, width), the encoded `texts()`.
            cameras: the training cameras, among them the front view where there is one.
        """
        directions = view_directions(cameras, self.front_view) if self.front_view else None
        return PromptStates(states, [prompt.weight for prompt in self.prompts], directions)

    def naming(self, word: str) -> Conditioning:
        """The same with a learnt word at the end of every prompt that has it nowhere."""
        named = (
            prompt if word in prompt.text else replace(prompt, text=f"{prompt.text}, {word}")
            for prompt in self.prompts
        )
        return replace(self, prompts=tuple(named))

    def in_force(self) -> dict[str, Any]:
        """All that has an effect, as JSON values: an entry of the history without its iteration."""
        values = asdict(self)
        del values["language_model"], values["history"], values["folder"]
        return {**values, "prompts": list(values["prompts"]), "images": list(values["images"])}

    def recorded(self, iteration: int) -> Conditioning:
        """The same with its history brought to a run that goes on after `iteration`.

        What the history says of later iterations goes, since these are trained again; what is in force now
        is added where it differs from what was in force before.
        """
        history = [entry for entry in self.history if entry["after_iteration"] < iteration]
        if not history or _effect(history[-1]) != _effect(self.in_force()):
            history.append({"after_iteration": iteration, **self.in_force()})
        return replace(self, history=tuple(history))

    def change(self, iteration: int) -> str:
        """A sentence on what the history says changed after this iteration; empty where nothing did."""
        if len(self.history) < 2 or self.history[-1]["after_iteration"] != iteration:
            return ""
        before, now = (_effect(entry) for entry in self.history[-2:])
        old, new = dict(before["prompts"]), dict(now["prompts"])
        kept = old.keys() & new.keys()
        parts = [
            f"{len(new) - len(kept)} new, {len(old) - len(kept)} gone and {len(kept)} kept prompts, "
            f"{sum(old[text] != new[text] for text in kept)} of these with another weight"
        ]
        for name in ("negative_prompt", "directions", "front_view"):
            if before[name] != now[name]:
                parts.append(f"another {name.replace('_', ' ')}")
        if before["images"] != now["images"]:
            parts.append("other images")
        return f"conditioning changed after iteration {iteration}: {'; '.join(parts)}"

    def record(self, folder: Path, iteration: int, say: Callable[[str], object]) -> None:
        """Writes it as what is in force after `iteration` of the run in `folder`; says what changed.

        What was made for the run takes its place there.
        """
        for path in sorted((folder / STAGING / MADE_FOLDER).glob("*")):
            (folder / MADE_FOLDER).mkdir(exist_ok=True)
            shutil.rmtree(folder / MADE_FOLDER / path.name, ignore_errors=True)
            path.replace(folder / MADE_FOLDER / path.name)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        now = self.recorded(iteration)
        now.save(folder)
        if change := now.change(iteration):
            say(change)

    def save(self, folder: Path) -> None:
        """Writes `conditioning.json`, whole."""
        values = {
            **self.in_force(),
            "language_model": self.language_model,
            "history": list(self.history),
        }
        # letters of all languages as they are: the file is there to be edited
        write_text(folder / CONDITIONING_FILE, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_conditioning(path: Path) -> Conditioning:
    """What `Conditioning.save` wrote, perhaps edited since, or what somebody wrote by hand.

    A text that no entry of the history has, was edited: its source becomes "by hand".

    Raises:
        UserError: the file cannot be read, or is not of this form; the message says where.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        json.dumps(found, ensure_ascii=False).encode()  # or half of a pair could be read and not be written
    except (OSError, ValueError, RecursionError) as failure:
        raise UserError(f"the prompts in {path} cannot be read as JSON: {failure}") from failure
    reader = _Reader(path)
    file = reader.fields(
        "the file",
        found,
        {"prompts": list, "negative_prompt": dict},
        {
            "directions": dict,
            "front_view": str,
            "images": list,
            "language_model": (dict, type(None)),
            "history": list,
        },
    )
    history = file.get("history", [])
    for entry in history:
        reader.entry(entry)
    directions = usual_directions()
    for name, words in reader.fields(
        "directions", file.get("directions", {}), {}, dict.fromkeys(DIRECTIONS, dict)
    ).items():
        directions[name] = reader.words(f"directions: {name}", words)
    conditioning = Conditioning(
        prompts=tuple(
            reader.prompt(f"prompts: number {number}", value)
            for number, value in enumerate(file["prompts"], start=1)
        ),
        negative_prompt=reader.words("negative_prompt", file["negative_prompt"]),
        directions=directions,
        front_view=file.get("front_view", ""),
        images=tuple(
            reader.image(f"images: number {number}", value)
            for number, value in enumerate(file.get("images", []), start=1)
        ),
        language_model=file.get("language_model"),
        history=tuple(history),
        folder=path.parent,
    )
    if not any(prompt.weight > 0 for prompt in conditioning.prompts):
        raise reader.mistake("prompts", "holds none with a weight above 0")
    return _with_edits(conditioning)


@dataclass(frozen=True)
class _Reader:
    """Checks the values of a file, naming the place of a mistake."""

    path: Path

    def mistake(self, where: str, what: str) -> UserError:
        return UserError(f"{self.path}: {where} {what}; correct it, or take another file (docs/prompts.md)")

    def fields(
        self, where: str, value: Any, needed: Mapping[str, Any], allowed: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The value: an object with all needed fields, and none but these and the allowed, of such types."""
        if not isinstance(value, dict):
            raise self.mistake(where, "is not an object {...}")
        kinds = {**needed, **allowed}
        if unknown := [name for name in value if name not in kinds]:
            raise self.mistake(where, f"has an unknown field {unknown[0]!r}; known are {', '.join(kinds)}")
        for name, kind in kinds.items():
            if name in needed and name not in value:
                raise self.mistake(where, f"lacks the field {name!r}")
            wrong = name in value and (not isinstance(value[name], kind) or isinstance(value[name], bool))
            if wrong:
                raise self.mistake(where, f"has a value of a wrong type in {name!r}: {value[name]!r}")
        return value

    def words(self, where: str, value: Any) -> Words:
        return Words(**self.fields(where, value, {"text": str}, {"source": str}))

    def prompt(self, where: str, value: Any) -> Prompt:
        optional = {"source": str, "weight": NUMBER, "similarity": (*NUMBER, type(None))}
        prompt = Prompt(**self.fields(where, value, {"text": str}, optional))
        if not 0 <= prompt.weight <= HEAVIEST:
            raise self.mistake(where, f"has a weight that is no number from 0 to a million: {prompt.weight}")
        return prompt

    def image(self, where: str, value: Any) -> ConditionImage:
        return ConditionImage(**self.fields(where, value, {"path": str}, {"source": str}))

    def entry(self, value: Any) -> None:
        """Checks an entry of the history as far as it is used."""
        where = "history (which is not to be edited)"
        kinds = {"prompts": list, "negative_prompt": dict, "directions": dict, "front_view": str}
        entry = self.fields(where, value, {"after_iteration": int, **kinds}, {"images": list})
        self.words(where, entry["negative_prompt"])
        for words in self.fields(where, entry["directions"], dict.fromkeys(DIRECTIONS, dict), {}).values():
            self.words(where, words)
        for prompt in entry["prompts"]:
            self.prompt(where, prompt)
        for image in entry.get("images", []):
            self.image(where, image)


def _with_edits(conditioning: Conditioning) -> Conditioning:
    """The same, with "by hand" as the source of texts that the history does not know."""
    if not conditioning.history:
        return conditioning
    known = {
        words["text"]
        for entry in conditioning.history
        for words in (*entry["prompts"], entry["negative_prompt"], *entry["directions"].values())
    }

    def marked(words: Any) -> Any:
        return words if words.text in known else replace(words, source=BY_HAND)

    return replace(
        conditioning,
        prompts=tuple(marked(prompt) for prompt in conditioning.prompts),
        negative_prompt=marked(conditioning.negative_prompt),
        directions={name: marked(words) for name, words in conditioning.directions.items()},
    )


def _effect(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What of an entry of the history reaches the pictures: texts and weights, not where they came from."""

    def texts(words: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
        return [(each["text"], each.get("weight", 1.0)) for each in words]

    used = entry["front_view"]
    return {
        "prompts": texts(entry["prompts"]),
        "negative_prompt": entry["negative_prompt"]["text"],
        "directions": texts([entry["directions"][name] for name in DIRECTIONS]) if used else [],
        "front_view": used,
        "images": [image["path"] for image in entry.get("images", [])],
    }
