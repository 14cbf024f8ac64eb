"""Things: bone, book, ball, guitar, umbrella, hammer, hat, candle. Their front looks to -y."""

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import Part, arc, ball, block, rod, slab, turned, wire
from tools.studio.meshes import Mesh, Profile, grid, joined, rotation

UPENDED = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # x to z, z to -x


def bone(rng: Generator) -> list[Part]:
    """A shaft with two knobs at each end, lying slantwise or standing."""
    half, shaft, knob = rng.uniform(0.36, 0.44), rng.uniform(0.055, 0.08), rng.uniform(0.1, 0.13)
    heights = np.linspace(half, -half, 20)
    width = shaft * (1 + 0.55 * (heights / half) ** 4)
    pieces = [turned(np.stack([width, heights], axis=1), rows=24)]
    for end in (-1, 1):
        pieces += [
            ball((side * 0.8 * knob, 0, end * (half + 0.3 * knob)), (knob, knob * 0.9, knob))
            for side in (-1, 1)
        ]
    whole = joined(pieces)
    lean = rotation(float(rng.uniform(-25, 25)), "y")
    if rng.random() < 0.5:
        lean = rotation(float(rng.uniform(-35, 35))) @ rotation(90, "x") @ rotation(90, "y")
    return [(whole.turned(lean), "main")]


def book(rng: Generator) -> list[Part]:
    """A thick book, standing or lying flat; pale pages between coloured covers."""
    tall, wide, thick = rng.uniform(0.75, 0.95), rng.uniform(0.55, 0.68), rng.uniform(0.14, 0.22)
    board = 0.03
    pages = block((wide - 0.05, thick - 2 * board, tall - 0.06), (0.0, 0, 0.03))
    covers = [block((wide, board, tall), (0, side * (thick - board) / 2, 0)) for side in (-1, 1)]
    spine = block((board, thick, tall), (-wide / 2, 0, 0))
    parts: list[Part] = [(part, "main") for part in (*covers, spine)]
    parts.append((pages, "light"))
    band = block((0.7 * wide, 0.008, 0.1 * tall), (0.02, -thick / 2, 0.66 * tall))
    parts.append((band, "light"))
    pose = rotation(float(rng.uniform(-20, 35)))
    if rng.random() < 0.5:
        pose = pose @ rotation(-90, "x")
    return [(mesh.turned(pose), role) for mesh, role in parts]


def sphere(rng: Generator) -> list[Part]:
    """A ball: plain, or with a pale belt."""
    parts: list[Part] = [(ball((0, 0, 0.5), 0.5), "main")]
    if rng.random() < 0.35:
        angle = arc(12, -12, 9)
        belt = turned(0.503 * np.stack([np.cos(angle), np.sin(angle)], axis=1), rows=12, segments=48)
        tilt = rotation(float(rng.uniform(0, 360))) @ rotation(float(rng.uniform(0, 60)), "y")
        parts.append((belt.turned(tilt).moved([0, 0, 0.5]), "light"))
    return parts


def guitar(rng: Generator) -> list[Part]:
    """A waisted body with a hole, a bridge, a long neck and a head with pegs, upright."""
    body, waist, neck = rng.uniform(0.48, 0.54), rng.uniform(0.62, 0.78), rng.uniform(0.42, 0.52)
    lower, upper = rng.uniform(0.2, 0.235), rng.uniform(0.15, 0.18)
    share = np.linspace(0, 1, 40)
    ends = np.clip(np.minimum(share, 1 - share) / 0.2, 0, 1)
    half = (lower + (upper - lower) * share) * np.sqrt(1 - (1 - ends) ** 2)
    half *= 1 - (1 - waist) * np.exp(-(((share - 0.6) / 0.16) ** 2))
    plate = slab(share * body, -half, half, 0.11).turned(UPENDED)
    parts: list[Part] = [(plate, "main")]
    hole = 0.6 * body
    parts.append((rod((0, -0.05, hole), (0, -0.058, hole), 0.07), "dark"))
    parts.append((block((0.15, 0.02, 0.025), (0, -0.06, 0.2 * body)), "dark"))
    parts.append((block((0.055, 0.03, neck + 0.3 * body), (0, -0.055, 0.74 * body)), "brown"))
    top = 1.04 * body + neck
    parts.append((block((0.09, 0.03, 0.14), (0, -0.05, top)), "dark"))
    for side in (-1, 1):
        parts += [
            (rod((side * 0.04, -0.05, top + z), (side * 0.075, -0.05, top + z), 0.012), "light")
            for z in (0.03, 0.07, 0.11)
        ]
        parts.append((rod((side * 0.012, -0.074, 0.2 * body), (side * 0.012, -0.074, top), 0.003), "light"))
    return parts


def umbrella(rng: Generator) -> list[Part]:
    """An open umbrella, upright: a canopy of eight gores with points, a stick with a hook."""
    radius, dome, stick, gores = rng.uniform(0.5, 0.6), rng.uniform(0.24, 0.34), rng.uniform(0.65, 0.8), 8
    turn, out = np.meshgrid(np.linspace(0, 2 * np.pi, 8 * gores, endpoint=False), np.linspace(0.01, 1, 16))
    scallop = np.abs(np.sin(gores * turn / 2))
    reach = radius * out * (1 - 0.07 * scallop * out)
    height = stick + dome * (1 - out**2) + 0.05 * scallop * out**2 - 0.02
    points = np.stack([reach * np.cos(turn), reach * np.sin(turn), height], axis=2)
    canopy = grid(points, closed=True)
    canopy = Mesh(canopy.vertices, canopy.normals, canopy.uv * [4, 1], canopy.faces)
    parts: list[Part] = [(canopy, "main"), (rod((0, 0, 0.1), (0, 0, stick + dome + 0.07), 0.016), "dark")]
    parts.append(
        (
            wire([[0, 0, 0.12], [0.01, 0, 0.03], [0.06, 0, 0], [0.11, 0, 0.04], [0.11, 0, 0.09]], 0.022),
            "brown",
        )
    )
    return parts


def hammer(rng: Generator) -> list[Part]:
    """A long handle and a head with a face and a wedge, standing on its handle."""
    handle, head, thick = rng.uniform(0.55, 0.7), rng.uniform(0.2, 0.25), rng.uniform(0.08, 0.1)
    parts: list[Part] = [
        (rod((0, 0, 0), (0, 0, handle), 0.045, 0.032), "brown" if rng.random() < 0.6 else "dark")
    ]
    z = handle + 0.02
    parts.append((block((1.2 * head, 1.5 * thick, 1.6 * thick), (0, 0, z - 0.8 * thick)), "main"))
    parts.append((rod((0.5 * head, 0, z), (1.05 * head, 0, z), 0.7 * thick), "main"))
    parts.append((rod((1.0 * head, 0, z), (1.45 * head, 0, z), 1.15 * thick), "main"))
    x = np.array([-1.5, -0.55]) * head
    parts.append(
        (slab(x, z - thick * np.array([0.6, 0.75]), z + thick * np.array([-0.4, 0.75]), 1.2 * thick), "main")
    )
    lean = rotation(float(rng.uniform(-12, 12)), "y")
    return [(mesh.turned(lean), role) for mesh, role in parts]


def hat(rng: Generator) -> list[Part]:
    """A crown with a band and a wide brim: flat or domed."""
    crown, brim = rng.uniform(0.22, 0.27), rng.uniform(0.42, 0.52)
    tall, style = rng.uniform(0.24, 0.34), int(rng.integers(2))
    edge = rng.uniform(-0.02, 0.07)
    rim: Profile = [[brim, 0.03 + edge], [brim, edge]]
    if style == 0:
        tall += 0.14
        body = turned([[0, tall], [crown * 1.08, tall], [crown, 0.03], *rim, [0, 0]], segments=48)
    else:
        angle = arc(90, 8, 12)
        dome = np.stack([crown * np.cos(angle) ** 0.8, 0.05 + tall * np.sin(angle)], axis=1)
        body = turned(np.vstack([dome, [crown + 0.03, 0.03], *rim, [0, 0]]), segments=48)
    ring = crown * 1.025
    return [(body, "main"), (turned([[ring, 0.11], [ring, 0.045]], segments=48), "dark")]


def candle(rng: Generator) -> list[Part]:
    """A thick candle with a wick, on a plate with a ring."""
    tall, radius, plate = rng.uniform(0.6, 0.85), rng.uniform(0.1, 0.14), rng.uniform(0.26, 0.34)
    wax = turned([[0, tall - 0.01], [0.7 * radius, tall], [radius, tall - 0.02], [radius, 0.04], [0, 0.04]])
    edge: Profile = [[0.85 * plate, 0.04], [plate, 0.09], [plate + 0.015, 0.085], [0.8 * plate, 0]]
    dish = turned([[0, 0.03], *edge, [0, 0]])
    ring = wire(
        [
            [plate, 0, 0.06],
            [plate + 0.1, 0, 0.11],
            [plate + 0.16, 0, 0.05],
            [plate + 0.08, 0, 0.02],
            [plate - 0.02, 0, 0.05],
        ],
        0.018,
    )
    parts: list[Part] = [(wax, "main"), (rod((0, 0, tall - 0.02), (0.01, 0, tall + 0.06), 0.01), "dark")]
    flame = turned([[0.001, 0.13], [0.018, 0.08], [0.03, 0.03], [0.001, 0]], (0.01, 0, tall + 0.05), rows=16)
    role = str(rng.choice(["dark", "light"]))
    return [*parts, (flame, "flame"), (dish, role), (ring, role)]
