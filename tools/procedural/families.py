"""The families of objects: how each is made, called, seen, and what it may be made of."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from tools.procedural import buildings, furniture, plants, things, vehicles, vessels
from tools.procedural.shapes import Part

MATERIALS = ("matte", "glossy", "metal", "wooden", "striped", "checkered", "spotted")
PLANT_MATERIALS = ("matte", "glossy")


@dataclass(frozen=True)
class Family:
    """A parametric family of objects.

    Attributes:
        make: draws one: its parts about the origin, its front towards -y, of any size.
        plural: the name's.
        has_front: whether front, side and back differ; without, it is seen from the side or from above.
        materials: what its main parts may be made of.
    """

    make: Callable[[Generator], list[Part]]
    plural: str
    has_front: bool = True
    materials: tuple[str, ...] = MATERIALS


FAMILIES = {
    "chair": Family(furniture.chair, "chairs"),
    "table": Family(furniture.table, "tables", has_front=False),
    "sofa": Family(furniture.sofa, "sofas"),
    "lamp": Family(furniture.lamp, "lamps", has_front=False),
    "ladder": Family(furniture.ladder, "ladders"),
    "vase": Family(vessels.vase, "vases", has_front=False),
    "bottle": Family(vessels.bottle, "bottles", has_front=False),
    "bowl": Family(vessels.bowl, "bowls", has_front=False),
    "cup": Family(vessels.cup, "cups", has_front=False),
    "teapot": Family(vessels.teapot, "teapots", has_front=False),
    "car": Family(vehicles.car, "cars"),
    "truck": Family(vehicles.truck, "trucks"),
    "boat": Family(vehicles.boat, "boats"),
    "aeroplane": Family(vehicles.aeroplane, "aeroplanes"),
    "rocket": Family(vehicles.rocket, "rockets", has_front=False),
    "cactus": Family(plants.cactus, "cacti", has_front=False, materials=PLANT_MATERIALS),
    "tree": Family(plants.tree, "trees", has_front=False, materials=PLANT_MATERIALS),
    "flower": Family(plants.flower, "flowers", materials=PLANT_MATERIALS),
    "mushroom": Family(plants.mushroom, "mushrooms", has_front=False, materials=PLANT_MATERIALS),
    "apple": Family(plants.apple, "apples", has_front=False, materials=PLANT_MATERIALS),
    "house": Family(buildings.house, "houses"),
    "tower": Family(buildings.tower, "towers", has_front=False),
    "bone": Family(things.bone, "bones", has_front=False),
    "book": Family(things.book, "books"),
    "ball": Family(things.sphere, "balls", has_front=False),
    "guitar": Family(things.guitar, "guitars"),
    "umbrella": Family(things.umbrella, "umbrellas", has_front=False),
    "hammer": Family(things.hammer, "hammers"),
    "hat": Family(things.hat, "hats", has_front=False),
    "candle": Family(things.candle, "candles", has_front=False),
}
