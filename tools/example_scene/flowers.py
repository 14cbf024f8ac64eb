"""A painted vase with daisies, poppies, lavender and twigs of eucalyptus."""

import numpy as np
from numpy.random import Generator

from tools.studio import textures
from tools.studio.materials import Item, Material
from tools.studio.meshes import Mesh, Profile, blade, facing, joined, lathe, rotation, spline, tube
from tools.studio.textures import Array, colour

STEM = colour("#5f8142")


def blossom(
    rng: Generator, centre: Array, direction: Array, size: float, petals: int
) -> tuple[list[Mesh], Mesh]:
    """The petals and the heart of one flower that looks towards `direction`."""
    turn = facing(direction)
    leaves = [
        blade(size, size * 3.4 / petals + 0.005, fold=0.2, droop=rng.uniform(-0.1, 0.3), point=0.55)
        .turned(rotation(-rng.uniform(5, 22), "y"))
        .turned(rotation(360 * number / petals + rng.normal(0, 4)))
        .turned(turn)
        .moved(centre)
        for number in range(petals)
    ]
    heart = lathe([[0, 0.35], [0.7, 0.22], [1, -0.1], [0, -0.3]], 16, 12)
    scaled = Mesh(heart.vertices * size * 0.32, heart.normals, heart.uv, heart.faces)
    return leaves, scaled.turned(turn).moved(centre)


def stem_path(rng: Generator, turn: float, lean: float, height: float) -> Array:
    """(40, 3) a stem from inside the vase's neck outwards to its tip, bent by its weight."""
    way = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
    knots = [
        [*(-0.012 * way), 0.15],
        [*(0.012 * way), 0.26],
        [*(0.45 * lean * way + rng.normal(0, 0.008, 2)), 0.26 + 0.6 * (height - 0.26)],
        [*(lean * way), height],
    ]
    return spline(knots, 40)


def daisies_and_poppies(rng: Generator) -> list[Item]:
    """Nine flowers on stems with narrow leaves; every third is a poppy."""
    stems, leaves = [], []
    daisies: list[Mesh] = []
    poppies: list[Mesh] = []
    hearts: list[Mesh] = []
    dark_hearts: list[Mesh] = []
    flowers = [(10, 0.10, 0.41), (75, 0.07, 0.49), (150, 0.13, 0.40), (215, 0.10, 0.44), (262, 0.12, 0.37)]
    flowers += [(318, 0.13, 0.43), (40, 0.17, 0.35), (185, 0.19, 0.36), (290, 0.04, 0.47)]
    for number, (turn, lean, height) in enumerate(flowers):
        path = stem_path(rng, turn + rng.normal(0, 5), lean, height)
        stems.append(tube(path, 0.0021, 6))
        outwards = path[-1] - path[-6] + np.array([0.25, 0.25, 0]) * path[-1] + np.array([0, -0.010, 0])
        red = number % 3 == 1
        petals, heart = blossom(rng, path[-1], outwards, 0.034 if red else 0.030, 6 if red else 13)
        (poppies if red else daisies).extend(petals)
        (dark_hearts if red else hearts).append(heart)
        for point in path[18:34:6]:
            leaf = blade(0.05, 0.014, fold=0.3, droop=0.3).turned(rotation(-40, "y"))
            leaves.append(leaf.turned(rotation(rng.uniform(0, 360))).moved(point))
    green = textures.leaf(rng, 64, 32, ("#3f6d2f", "#6f9a45", "#a8c07a"))
    white = textures.leaf(rng, 64, 32, ("#f7f3ea", "#fffdf6", "#e9dfc8"))
    red_petal = textures.leaf(rng, 64, 32, ("#c8281e", "#dd4a2a", "#8f1616"))
    return [
        (joined(stems), Material(STEM, 0.6)),
        (joined(leaves), Material(green, 0.5)),
        (joined(daisies), Material(white, 0.7)),
        (joined(poppies), Material(red_petal, 0.6)),
        (joined(hearts), Material(colour("#e0a21a"), 0.9)),
        (joined(dark_hearts), Material(colour("#2c2420"), 0.9)),
    ]


def eucalyptus(rng: Generator) -> list[Item]:
    """Four twigs with pairs of round grey leaves, each pair across the one below."""
    stems, leaves = [], []
    for turn, lean, height in ((100, 0.19, 0.43), (238, 0.20, 0.42), (350, 0.22, 0.40), (130, 0.06, 0.53)):
        path = stem_path(rng, turn, lean, height)
        stems.append(tube(path, 0.0018, 6))
        for point, spin in zip(path[14::3], np.arange(9) * 90 + rng.uniform(0, 90), strict=True):
            size = 0.030 * rng.uniform(0.75, 1.1)
            leaf = blade(size, 0.85 * size, fold=0.1, droop=0.15, point=0.5).turned(rotation(-25, "y"))
            leaves += [leaf.turned(rotation(angle)).moved(point) for angle in (spin, spin + 180)]
    grey = textures.leaf(rng, 64, 64, ("#7f9f8c", "#5d8273", "#b9cdb8"))
    return [(joined(stems), Material(STEM, 0.6)), (joined(leaves), Material(grey, 0.6))]


def lavender(rng: Generator) -> list[Item]:
    """Four spikes of small purple buds."""
    bud = lathe([[0, 0.008], [0.0035, 0.003], [0.003, -0.004], [0, -0.006]], 8, 7)
    bud = bud.turned(rotation(40, "y")).moved([0.005, 0, 0])
    stems, buds = [], []
    for turn, lean, height in ((30, 0.13, 0.47), (170, 0.11, 0.48), (300, 0.17, 0.44), (200, 0.03, 0.52)):
        path = stem_path(rng, turn, lean, height)
        stems.append(tube(path, 0.0015, 5))
        for point in path[29:]:
            buds += [bud.turned(rotation(angle)).moved(point) for angle in rng.uniform(0, 360, 4)]
    return [(joined(stems), Material(STEM, 0.6)), (joined(buds), Material(colour("#6b569f"), 0.8))]


def vase(rng: Generator) -> list[Item]:
    """A white vase painted in cobalt, standing on the origin, with its flowers."""
    neck: Profile = [[0.024, 0.20], [0.029, 0.25], [0.036, 0.262], [0.038, 0.258], [0.031, 0.232]]
    body: Profile = [[0.034, 0.205], [0.062, 0.160], [0.079, 0.105], [0.068, 0.050], [0.046, 0.012]]
    paint = textures.painted_bands(256, 512, "#f2efe6", "#1f3f8c", "#c98a1c", 6, 0.19)
    return [
        (lathe([*neck, *body, [0.046, 0], [0, 0]], 96, 120), Material(paint, 0.35, 0.6)),
        *daisies_and_poppies(rng),
        *eucalyptus(rng),
        *lavender(rng),
    ]
