"""What a set shows: instances, their attributes and split, the views of them. All from one seed."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from tools.procedural.appearance import COLOURS, FLOORS, floors_for
from tools.procedural.captions import caption
from tools.procedural.families import FAMILIES

SPLITS = ("train", "held_out_instances", "held_out_families")
ATTRIBUTES, VIEW = 0, 1  # streams of random numbers of an instance; `pictures` has further ones
STILL_LIFE = 8


@dataclass(frozen=True)
class Thing:
    """A kind of object, its colour and its material."""

    family: str
    colour: str
    material: str

    @property
    def has_front(self) -> bool:
        """Whether front, side and back differ."""
        return FAMILIES[self.family].has_front


@dataclass(frozen=True)
class Instance:
    """One object, a group of alike ones, or a still life of different ones, on its stage.

    Attributes:
        number: which one of the set.
        size: how much of the picture it takes: "small", "large" or "" (in between).
        floor: a key of `appearance.FLOORS`.
        facing: azimuth in degrees from which it is first seen; several stand in a row across that direction.
        beside: in a still life, what stands beside the one object.
    """

    number: int
    split: str
    family: str
    colour: str
    material: str
    count: int
    size: str
    floor: str
    facing: float
    beside: tuple[Thing, ...] = ()

    @property
    def things(self) -> tuple[Thing, ...]:
        """What is to be seen, without repetition."""
        return (Thing(self.family, self.colour, self.material), *self.beside)

    @property
    def in_row(self) -> bool:
        """Whether several objects stand in a row."""
        return self.count > 1 or bool(self.beside)

    @property
    def has_front(self) -> bool:
        """Whether front, side and back of all that is to be seen differ."""
        return all(thing.has_front for thing in self.things)


@dataclass(frozen=True)
class View:
    """One picture of an instance: where the camera stands, in degrees, and the words for it."""

    azimuth: float
    elevation: float
    view: str
    text: str


@dataclass(frozen=True)
class Plan:
    """Decides all that a set shows; the same plan gives the same instances and views.

    Attributes:
        seed: 0 or more.
        held_out_families: how many families no training picture shows.
        held_out_share: part of the instances in each of the two held-out splits.
        still_life_share: part of the instances that are still lifes.
    """

    seed: int
    held_out_families: int = 4
    held_out_share: float = 0.08
    still_life_share: float = 0.1

    def rng(self, number: int, *stream: int) -> Generator:
        """The generator of an instance for one purpose."""
        return np.random.default_rng([self.seed, 1, number, *stream])

    def families(self) -> tuple[list[str], list[str]]:
        """The families of training and those held out, each in alphabetical order."""
        drawn = np.random.default_rng([self.seed, 0]).permutation(sorted(FAMILIES)).tolist()
        return sorted(drawn[self.held_out_families :]), sorted(drawn[: self.held_out_families])

    def instance(self, number: int) -> Instance:
        """The instance of that number."""
        rng = self.rng(number, ATTRIBUTES)
        chance, kept, held_out = rng.random(), *self.families()
        if chance < self.held_out_share and held_out:
            split, names = "held_out_families", held_out
        else:
            split, names = ("held_out_instances" if chance < 2 * self.held_out_share else "train"), kept
        family = names[int(rng.integers(len(names)))]
        colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
        floors, materials = floors_for(colour), FAMILIES[family].materials
        count = int(rng.choice([1, 2, 3], p=[0.74, 0.15, 0.11]))
        size = ("", "small", "large")[int(rng.choice(3, p=[0.78, 0.11, 0.11]))]
        drawn = Instance(
            number,
            split,
            family,
            colour,
            material=materials[int(rng.integers(len(materials)))],
            count=count,
            size=size if count == 1 else "",  # a row has the size that fits
            floor=floors[int(rng.integers(len(floors)))],
            facing=_draw_azimuth(rng, FAMILIES[family].has_front),
        )
        rng = self.rng(number, STILL_LIFE)
        return self._still_life(rng, drawn, names) if rng.random() < self.still_life_share else drawn

    def _still_life(self, rng: Generator, drawn: Instance, names: list[str]) -> Instance:
        """What was drawn, once, and one or two of other families and colours beside it."""
        count = int(rng.integers(1, 3))
        families = rng.permutation([name for name in names if name != drawn.family])[:count].tolist()
        colours = rng.permutation([name for name in COLOURS if name != drawn.colour])[:count].tolist()
        beside = []
        for family, colour in zip(families, colours, strict=False):
            materials = FAMILIES[family].materials
            beside.append(Thing(family, colour, materials[int(rng.integers(len(materials)))]))
        mixed = replace(drawn, count=1, size="", beside=tuple(beside))
        floors = [name for name in FLOORS if all(name in floors_for(t.colour) for t in mixed.things)]
        facing = _draw_azimuth(rng, mixed.has_front)
        return replace(mixed, floor=floors[int(rng.integers(len(floors)))], facing=facing)

    def view(self, instance: Instance, number: int) -> View:
        """The view of that number: the first one faces the instance, the others go round it.

        A row is seen across, from one of its two sides, so that none of it hides another.
        """
        rng = self.rng(instance.number, VIEW, number)
        azimuth = instance.facing
        if number and not instance.in_row:
            azimuth = _draw_azimuth(rng, instance.has_front)
        elif number:
            azimuth += rng.uniform(-30, 30) + 180 * rng.integers(2)
        elevation = rng.uniform(50, 72) if rng.random() < 0.25 else rng.uniform(8, 32)
        return self.described(instance, number, azimuth, elevation)

    def described(self, instance: Instance, number: int, azimuth: float, elevation: float) -> View:
        """The view from a given place, in degrees, with the words for it."""
        azimuth = (float(azimuth) + 180) % 360 - 180
        view = view_word(azimuth, elevation, instance.has_front)
        text = caption(
            self.rng(instance.number, VIEW, number, 1),
            [(thing.family, thing.colour, thing.material) for thing in instance.things],
            count=instance.count,
            size=instance.size,
            view=view,
            floor=instance.floor,
        )
        return View(round(azimuth, 2), round(float(elevation), 2), view, text)


def row(instance: Instance, view: View, file_name: str) -> dict[str, Any]:
    """The entry of a picture in `metadata.jsonl`."""
    return {
        "file_name": file_name,
        "text": view.text,
        "family": instance.family,
        "colour": instance.colour,
        "material": instance.material,
        "count": instance.count,
        "size": instance.size,
        "beside": [asdict(thing) for thing in instance.beside],
        "floor": instance.floor,
        "view": view.view,
        "azimuth": view.azimuth,
        "elevation": view.elevation,
        "instance": instance.number,
        "split": instance.split,
    }


def view_word(azimuth: float, elevation: float, has_front: bool) -> str:
    """The word for a place of the camera, in degrees: "front", "side", "back" or "above"."""
    if elevation >= 45:
        return "above"
    away = abs((azimuth + 180) % 360 - 180)
    return "side" if not has_front or 45 < away < 135 else "front" if away <= 45 else "back"


def _draw_azimuth(rng: Generator, has_front: bool) -> float:
    """Degrees: before, beside or behind what has a front, well inside each; from anywhere else."""
    if not has_front:
        return float(rng.uniform(-180, 180))
    middle = rng.choice([0, 90, -90, 180], p=[0.4, 0.2, 0.2, 0.2])
    return float(middle + rng.uniform(-32, 32))
