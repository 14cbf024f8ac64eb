"""Variants: named flags of train.py in a TOML file, with words that differ from scene to scene."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError

DEFAULT = Path(__file__).with_name("variants.toml")
WORD = re.compile(r"\{(\w+)\}")
NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Variants:
    """What a file of variants says.

    Attributes:
        path: the file.
        flags: by variant, the flags as one text, in which {another variant} stands for that one's flags.
        words: what {word} stands for, in all scenes.
        scene_words: the same for single scenes, by name.
    """

    path: Path
    flags: Mapping[str, str]
    words: Mapping[str, str]
    scene_words: Mapping[str, Mapping[str, str]]

    def words_of(self, variant: str, scene: str) -> list[str]:
        """The variant's flags for a scene, split into words as a shell does, {word} filled in.

        Raises:
            UserError: there is no such variant, it names itself, or a word of it is not said for the scene.
        """
        if variant not in self.flags:
            raise UserError(
                f"--variants {variant}: {self.path} has {', '.join(self.flags)}; name one of them"
            )
        known = {**self.words, **self.scene_words.get(scene, {})}
        text = self._whole(variant)
        unknown = [word for word in WORD.findall(text) if word not in known]
        if unknown:
            raise UserError(
                f"variant {variant} wants {{{unknown[0]}}}, which is not said for the scene {scene}: give "
                f'--words {unknown[0]}=TEXT, or a line {unknown[0]} = "TEXT" under [words.{scene}] in a '
                "--variants_file"
            )
        try:
            words = shlex.split(text)
        except ValueError as failure:
            raise UserError(f"{self.path}, variant {variant}: {failure}: {text}") from None
        return [WORD.sub(lambda found: known[found[1]], word) for word in words]

    def _whole(self, variant: str, within: tuple[str, ...] = ()) -> str:
        """The variant's text with those of the variants that it names; `within` those that name it."""
        if variant in within:
            raise UserError(f"{self.path}: variant {variant} names itself; write its flags out")
        named = (*within, variant)
        return WORD.sub(
            lambda found: self._whole(found[1], named) if found[1] in self.flags else found[0],
            self.flags[variant],
        )


def read_variants(path: Path, words: Sequence[str] = ()) -> Variants:
    """The variants of a TOML file.

    Args:
        path: the file; see `variants.toml` beside this one.
        words: texts NAME=TEXT that go before the file's, in all scenes.

    Raises:
        UserError: the file is missing or of another form, or a text has no name.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        flags, said = content["variants"], content.get("words", {})
        general = {name: text for name, text in said.items() if not isinstance(text, dict)}
        by_scene = {name: texts for name, texts in said.items() if isinstance(texts, dict)}
        for texts in (flags, general, *by_scene.values()):
            if not all(isinstance(text, str) for text in texts.values()):
                raise TypeError("every entry is a text")
        if not flags or not all(NAME.fullmatch(name) for name in flags):
            raise ValueError("names of variants are letters, digits, _, - and .")
    except OSError as failure:
        raise UserError(
            f"--variants_file {path} cannot be read ({failure.strerror}); check the path"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise UserError(
            f"--variants_file {path} cannot be used ({failure!r}); it needs TOML with a table [variants] of "
            f"texts, as {DEFAULT} has it"
        ) from None
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            raise UserError(f"--words {word}: allowed is NAME=TEXT")
        general[name] = text
        by_scene = {scene: {**texts, name: text} for scene, texts in by_scene.items()}
    return Variants(path, flags, general, by_scene)
