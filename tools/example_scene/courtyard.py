"""What stands round the still life: floor, walls, ivy, potted plants and the table itself."""

import numpy as np
from numpy.random import Generator

from tools.studio import textures
from tools.studio.materials import Item, Material
from tools.studio.meshes import blade, box, facing, grid, joined, lathe, rotation, sheet, spline, tube
from tools.studio.textures import colour

FLOOR = -0.74  # metres; the table's height below the origin


def walls(rng: Generator) -> list[Item]:
    """A floor of stone tiles, a brick wall behind, ochre plaster on the left, blue boards on the right."""
    tiles, tile_relief = textures.masonry(
        rng, 880, 800, rows=13, columns=9, joint=0.035, bond=0.5,
        stones=("#b9a78c", "#a8927a", "#c7b8a0", "#93867a", "#b48f72"), mortar="#6f665c",
    )  # fmt: skip
    bricks, brick_relief = textures.masonry(
        rng, 500, 1100, rows=20, columns=15, joint=0.07, bond=0.5,
        stones=("#a3553c", "#b4654a", "#8f4634", "#c07b5c", "#7d4a3c", "#a86a50"), mortar="#c9bda9",
    )  # fmt: skip
    ochre, ochre_relief = textures.plaster(rng, 400, 1000, ("#dba95c", "#c28640", "#a9705a"))
    boards, board_relief = textures.wood(rng, 1000, 500, 17, ("#7fa5ae", "#3f6675"))
    floor = grid(sheet(4.0, 4.4, 2, 2)).moved([0, -0.5, FLOOR])
    wall = grid(sheet(4.4, 2.0, 2, 2)).turned(rotation(90, "x")).moved([0, 0, FLOOR + 1.0])
    return [
        (floor, Material(tiles, 0.9, relief=tile_relief, depth=0.008)),
        (wall.moved([0, 1.65, 0]), Material(bricks, 0.9, relief=brick_relief, depth=0.012)),
        (
            wall.turned(rotation(90)).moved([-1.95, -0.5, 0]),
            Material(ochre, 0.9, relief=ochre_relief, depth=0.006),
        ),
        (
            wall.turned(rotation(-90)).moved([1.95, -0.5, 0]),
            Material(np.rot90(boards), 0.9, relief=np.rot90(board_relief), depth=0.010),
        ),
    ]


def ivy(rng: Generator) -> list[Item]:
    """Vines that climb the ochre wall, with a leaf every few centimetres."""
    stems, leaves = [], []
    for start in (-0.9, -0.35, 0.45, 1.0):
        steps = np.cumsum(rng.normal([0, 0.14], [0.09, 0.03], (12, 2)), axis=0)
        path = np.stack([rng.uniform(-1.945, -1.925, 12), start + steps[:, 0], FLOOR + steps[:, 1]], axis=-1)
        vine = spline(path, 90)
        stems.append(tube(vine, 0.006, 6))
        for point in vine[::2]:
            size = rng.uniform(0.06, 0.12)
            leaf = blade(size, 0.85 * size, fold=0.15, droop=0.2, point=0.6).turned(
                rotation(rng.uniform(0, 360))
            )
            outwards = np.array([1, 0, 0.4]) + rng.normal(0, 0.35, 3)
            place = point + np.array([0.02, *rng.normal(0, 0.035, 2)])
            leaves.append(leaf.turned(facing(outwards)).moved(place))
    green = textures.leaf(rng, 64, 64, ("#2f5a2a", "#5c8a3c", "#a9bf7c"))
    return [(joined(stems), Material(colour("#5d4a36"), 0.9)), (joined(leaves), Material(green, 0.45))]


def potted_plant(
    rng: Generator, place: tuple[float, float], reach: float, tones: tuple[str, ...]
) -> list[Item]:
    """A terracotta pot on the floor with a fountain of long leaves."""
    pot = lathe(
        [
            [0, 0.27],
            [0.15, 0.27],
            [0.155, 0.30],
            [0.185, 0.30],
            [0.185, 0.25],
            [0.165, 0.245],
            [0.12, 0],
            [0, 0],
        ],
        48,
    )
    down, _ = textures.coordinates(256, 256)
    clay = textures.fractal_noise(rng, 256, 256, 1.2)
    ring = textures.smooth_step(0.02, 0.0, np.abs(down - 0.72))
    terracotta = textures.mix(colour("#b5623f"), colour("#cf9272"), 0.4 + 0.25 * clay + 0.6 * ring)
    leaves = []
    for turn in np.arange(26) * 137.5:
        length = reach * rng.uniform(0.7, 1.1)
        leaf = blade(length, 0.13 * length + 0.02, fold=0.3, droop=rng.uniform(0.1, 0.6))
        tilted = leaf.turned(rotation(-rng.uniform(35, 80), "y")).turned(rotation(turn + rng.normal(0, 8)))
        leaves.append(tilted.moved([0, 0, 0.27]))
    foot = [*place, FLOOR]
    striped = textures.leaf(rng, 128, 64, tones)
    return [
        (pot.moved(foot), Material(terracotta, 0.85)),
        (joined(leaves).moved(foot), Material(striped, 0.4)),
    ]


def table(rng: Generator) -> list[Item]:
    """A table of oiled planks, its top at height 0."""
    planks, relief = textures.wood(rng, 540, 768, 6, ("#b98a58", "#7a4c2b"))
    top = grid(sheet(1.36, 0.96, 2, 2))
    slab = box([1.36, 0.96, 0.034]).moved([0, 0, -0.0345])
    legs = [
        box([0.06, 0.06, -FLOOR - 0.034]).moved([x, y, FLOOR]) for x in (-0.60, 0.60) for y in (-0.40, 0.40)
    ]
    apron = [box([1.2, 0.02, 0.08]).moved([0, y, -0.114]) for y in (-0.40, 0.40)]
    return [
        (top, Material(planks, 0.42, 0.25, relief=relief, depth=0.004)),
        (joined([slab, *legs, *apron]), Material(planks[:84], 0.6)),
    ]


def courtyard(rng: Generator) -> list[Item]:
    """Everything round the still life."""
    return [
        *walls(rng),
        *ivy(rng),
        *potted_plant(rng, (-1.30, 1.10), 0.75, ("#5f8f4a", "#3c6b3a", "#d6dca0")),
        *potted_plant(rng, (1.25, 1.15), 0.95, ("#6a9a5f", "#2f6145", "#9cc48a")),
        *potted_plant(rng, (1.45, -0.15), 0.6, ("#8a9a4a", "#5d7434", "#d9d48a")),
        *table(rng),
    ]
