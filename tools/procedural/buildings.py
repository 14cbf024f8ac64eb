"""Buildings: house, tower. The door is on the side of -y."""

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import Part, block, slab, turned
from tools.studio.meshes import Mesh, Profile, rotation


def house(rng: Generator) -> list[Part]:
    """Walls with windows and a door under a dark pitched roof with a chimney."""
    width, depth, wall = rng.uniform(0.75, 1.0), rng.uniform(0.55, 0.75), rng.uniform(0.4, 0.62)
    roof, eaves = rng.uniform(0.26, 0.42), 0.06
    x = np.array([-0.5, 0, 0.5])
    ridge = wall + roof * np.array([0, 1, 0])
    parts: list[Part] = [(block((width, depth, wall), (0, 0, 0)), "main")]
    role = str(rng.choice(["dark", "brown"]))
    if rng.random() < 0.5:  # the gable to the front
        parts.append((slab(x * width, wall, ridge, depth), "main"))
        cover = slab(x * (width + 2 * eaves), ridge - 0.03, ridge + 0.04, depth + 2 * eaves)
    else:
        parts.append((slab(x * depth, wall, ridge, width).turned(rotation(90)), "main"))
        cover = slab(x * (depth + 2 * eaves), ridge - 0.03, ridge + 0.04, width + 2 * eaves).turned(
            rotation(90)
        )
    parts.append((cover, role))
    parts.append((block((0.1, 0.1, 0.34), (0.26 * width, 0.12 * depth, wall + 0.3 * roof)), role))
    door = rng.choice([-0.25, 0.0, 0.25]) * width
    parts.append((block((0.14, 0.02, 0.28), (door, -depth / 2, 0)), "brown"))
    for share in (-0.3, 0.0, 0.3):
        for y in (-1, 1):
            if y > 0 or abs(share * width - door) > 0.15:
                at = (share * width, y * depth / 2, 0.45 * wall)
                parts += [
                    (block((0.17, 0.015, 0.17), at), "light"),
                    (block((0.13, 0.025, 0.13), (*at[:2], at[2] + 0.02)), "glass"),
                ]
    for side in (-1, 1):
        parts.append((block((0.025, 0.15, 0.15), (side * width / 2, 0, 0.45 * wall)), "glass"))
    return parts


def tower(rng: Generator) -> list[Part]:
    """A tall, round or square tower: battlements or a pointed roof, a door, slits of windows."""
    height, radius = rng.uniform(0.8, 1.0), rng.uniform(0.16, 0.21)
    is_round = rng.random() < 0.6
    top = radius * (1.15 if is_round else 1.1)
    if is_round:
        walls = turned([[0, height], [radius, height], [1.15 * radius, 0], [0, 0]])
        head = turned([[0, height + 0.1], [top, height + 0.1], [top, height], [0, height - 0.02]])
    else:
        walls = block((2 * radius, 2 * radius, height))
        head = block((2 * top, 2 * top, 0.1), (0, 0, height))
    parts: list[Part] = [(walls, "main"), (head, "main")]
    if rng.random() < 0.5:
        parts += [(merlon, "main") for merlon in _battlements(top, height + 0.1, is_round)]
    else:
        tall, wide = rng.uniform(0.3, 0.42), radius * (1.3 if is_round else 1.95)
        low = height + 0.09
        profile: Profile = [[0, low + 0.01 + tall], [wide, low], [0, low]]
        roof = turned(profile, segments=36 if is_round else 4).turned(rotation(0 if is_round else 45))
        parts.append((roof, str(rng.choice(["dark", "brown"]))))
    front = 1.15 * radius if is_round else radius
    parts.append((block((0.13, 0.04, 0.22), (0, -front + 0.01, 0)), "brown"))
    for turn in (0, 90, 180, 270):
        for share in (0.45, 0.72):
            out = radius * (1.15 - 0.15 * share) if is_round else radius
            slit = block((0.05, 0.03, 0.12), (0, -out, share * height))
            parts.append((slit.turned(rotation(turn)), "dark"))
    return parts


def _battlements(reach: float, height: float, is_round: bool) -> list[Mesh]:
    """Teeth along the edge of a tower's top: ten round it, or three on each of four sides."""
    if is_round:
        merlon = block((0.07, 0.05, 0.08), (0, -reach + 0.035, height))
        return [merlon.turned(rotation(36 * number)) for number in range(10)]
    side = [block((0.09, 0.05, 0.08), (x * (reach - 0.045), -reach + 0.025, height)) for x in (-1, 0, 1)]
    return [merlon.turned(rotation(turn)) for turn in (0, 90, 180, 270) for merlon in side]
