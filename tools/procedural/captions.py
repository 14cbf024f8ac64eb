"""Captions from attributes, in varied words."""

from collections.abc import Sequence

from numpy.random import Generator

from tools.procedural.families import FAMILIES

NUMBERS = {2: "two", 3: "three"}
OPENINGS = ("", "", "", "a photo of ", "a picture of ", "a rendering of ")
MATERIAL_WORDS = {
    "matte": ("", "", "matte"),
    "glossy": ("glossy", "glossy", "shiny"),
    "metal": ("metal", "metal", "metallic"),
    "wooden": ("wooden",),
    "striped": ("striped",),
    "checkered": ("checkered",),
    "spotted": ("spotted",),
}
VIEW_WORDS = {
    "front": (", seen from the front", " from the front", ", front view"),
    "side": (", seen from the side", " from the side", ", side view"),
    "back": (", seen from the back", " from behind", ", back view"),
    "above": (", seen from above", " from above", ", top view"),
}


def caption(
    rng: Generator, things: Sequence[tuple[str, str, str]], *, count: int, size: str, view: str, floor: str
) -> str:
    """A caption; colour, family and count are always named, the rest mostly or sometimes.

    Args:
        things: family, colour and material of each kind of object; a still life has several.
        count: how many there are of the first, where it is the only one.
        size: of the first, "small", "large" or "" (not named).
        view: a key of `VIEW_WORDS`.
        floor: what the floor is called.
    """
    names = [_name(rng, *thing, count=count, size=size) for thing in things]
    subject = " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
    place = f" on a {floor} floor" if rng.random() < 0.35 else ""
    seen = _one_of(rng, VIEW_WORDS[view]) if rng.random() < 0.7 else ""
    opening = _one_of(rng, OPENINGS if len(things) == 1 else (*OPENINGS, "a still life of "))
    return f"{opening}{subject}{place}{seen}"


def short_prompt(family: str, colour: str) -> str:
    """What a person would type of one object: "a cyan chair"."""
    return f"{_article(colour)} {colour} {family}"


def detailed_prompt(family: str, colour: str, material: str, size: str, floor: str) -> str:
    """What a language model would say of one object, from a fixed template; no language model is asked.

    Args:
        family, colour: as `caption` has them.
        material: a key of `MATERIAL_WORDS`.
        size: "small", "large" or "" (not named).
        floor: what the floor is called.
    """
    name = " ".join(word for word in (size, material, colour, family) if word)
    return f"a rendering of a single {name} standing on a plain {floor} floor, in soft even light"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _name(rng: Generator, family: str, colour: str, material: str, *, count: int, size: str) -> str:
    """A noun with its article or number and its adjectives."""
    words = [colour, _one_of(rng, MATERIAL_WORDS[material])]
    if rng.random() < 0.3:
        words.reverse()
    noun = family if count == 1 else FAMILIES[family].plural
    name = " ".join(word for word in (size, *words, noun) if word)
    return f"{NUMBERS[count]} {name}" if count > 1 else f"{_article(name)} {name}"


def _one_of(rng: Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]
