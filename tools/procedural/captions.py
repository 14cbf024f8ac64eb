"""Captions from attributes, in varied words."""

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
    rng: Generator, *, family: str, colour: str, material: str, count: int, size: str, view: str, floor: str
) -> str:
    """A caption; colour, family and count are always named, the rest mostly or sometimes.

    Args:
        size: "small", "large" or "" (not named).
        view: a key of `VIEW_WORDS`.
        floor: what the floor is called.
    """
    words = [colour, _one_of(rng, MATERIAL_WORDS[material])]
    if rng.random() < 0.3:
        words.reverse()
    noun = family if count == 1 else FAMILIES[family].plural
    name = " ".join(word for word in (size, *words, noun) if word)
    subject = f"{NUMBERS[count]} {name}" if count > 1 else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    place = f" on a {floor} floor" if rng.random() < 0.35 else ""
    seen = _one_of(rng, VIEW_WORDS[view]) if rng.random() < 0.7 else ""
    return f"{_one_of(rng, OPENINGS)}{subject}{place}{seen}"


def _one_of(rng: Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]
