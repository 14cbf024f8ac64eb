"""Vehicles: car, truck, boat, aeroplane, rocket. Each points to -y and stands on its wheels or keel."""

import numpy as np
from numpy.random import Generator

from tools.procedural.shapes import Part, arc, ball, block, rod, slab, turned
from tools.studio.meshes import Mesh, rotation

LENGTHWISE = rotation(90)  # what was built along x, its front at -x, then has it at -y
LAID = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # x to y, y to z, z to x


def _wheels(along: list[float], width: float, radius: float) -> list[Part]:
    parts: list[Part] = []
    for x in along:
        for side in (-1, 1):
            inner, outer = side * (width / 2 - 0.09), side * (width / 2 + 0.015)
            parts.append((rod((x, inner, radius), (x, outer, radius), radius), "dark"))
            parts.append((rod((x, inner, radius), (x, outer * 1.02, radius), 0.5 * radius), "light"))
    return parts


def _lengthwise(parts: list[Part]) -> list[Part]:
    return [(mesh.turned(LENGTHWISE), role) for mesh, role in parts]


def car(rng: Generator) -> list[Part]:
    """A low body with bonnet, windows all round, four wheels, lights."""
    length, width, wheel = rng.uniform(1.1, 1.3), rng.uniform(0.48, 0.56), rng.uniform(0.1, 0.13)
    belt, roof = wheel + rng.uniform(0.2, 0.25), rng.uniform(0.17, 0.23)
    end, low = length / 2, 0.7 * wheel
    hood, boot = rng.uniform(0.75, 0.92), rng.uniform(0.8, 1.0)
    x = np.array([-1, -0.97, -0.5, 0.6, 0.96, 1.0]) * end
    top = low + (belt - low) * np.array([0.62, hood - 0.1, 0.98, 1.0, boot, boot - 0.2])
    parts: list[Part] = [(slab(x, low, top, width), "main")]
    front, back = -rng.uniform(0.42, 0.52) * end, rng.uniform(0.62, 0.9) * end
    x = np.array([front, front + 0.2, back - rng.uniform(0.08, 0.22), back])
    parts.append(
        (slab(x, belt - 0.03, belt + np.array([0.0, roof, roof, 0.0]) - 0.01, width * 0.86), "glass")
    )
    parts.append(
        (slab(x[1:3] + np.array([-0.03, 0.03]), belt + roof - 0.03, belt + roof + 0.02, width * 0.88), "main")
    )
    for at in np.linspace(x[1], x[2], 3):
        parts.append((block((0.035, width * 0.885, roof), (at, 0, belt - 0.01)), "main"))
    for side in (-1, 1):
        y = side * width * 0.36
        parts.append((ball((-end, y, low + 0.5 * (belt - low)), (0.02, 0.05, 0.035)), "light"))
    return _lengthwise(parts + _wheels([-0.6 * end, 0.6 * end], width, wheel))


def truck(rng: Generator) -> list[Part]:
    """A cab with a windscreen and a tall box or an open bed behind it, six wheels."""
    length, width, wheel = rng.uniform(1.2, 1.4), rng.uniform(0.44, 0.5), rng.uniform(0.09, 0.11)
    cab, high, tall = rng.uniform(0.28, 0.34), rng.uniform(0.42, 0.5), rng.uniform(0.5, 0.68)
    end, low = length / 2, wheel + 0.05
    x = np.array([-end, -end + 0.05, -end + cab])
    parts: list[Part] = [(slab(x, wheel * 0.8, low + np.array([0.55, 1.0, 1.0]) * high, width), "main")]
    window = slab(
        x[:2] + np.array([-0.008, -0.004]),
        low + 0.55 * high,
        low + np.array([0.58, 0.94]) * high,
        0.86 * width,
    )
    parts.append((window, "glass"))
    parts.append((block((0.14, width * 1.01, 0.36 * high), (-end + 0.17, 0, low + 0.56 * high)), "glass"))
    parts.append((block((length - 0.1, width * 0.7, 0.06), (0, 0, wheel)), "dark"))
    start, bed = -end + cab + 0.03, length - cab - 0.03
    if rng.random() < 0.65:
        parts.append((block((bed, width * 1.04, tall), (start + bed / 2, 0, low)), "main"))
    else:
        parts.append((block((bed, width, 0.05), (start + bed / 2, 0, low)), "main"))
        for side in (-1, 1):
            parts.append((block((bed, 0.03, 0.2), (start + bed / 2, side * width / 2, low)), "main"))
            parts.append((block((0.03, width, 0.2), (start + bed / 2 + side * bed / 2, 0, low)), "main"))
    return _lengthwise(parts + _wheels([-end + 0.2, end - 0.4, end - 0.15], width, wheel))


def _hull(length: float, width: float, depth: float) -> Mesh:
    """A boat's body along x with its pointed bow at -x, from stacked, narrowing outlines."""
    share = np.linspace(0, 1, 20)
    half = width / 2 * np.minimum(np.sin(np.pi * np.clip(share * 0.62, 0, 0.5)), 1.0) ** 0.8
    sheer = depth * (1 + 0.28 * (1 - share) ** 2)
    return slab((share - 0.5) * length, depth * 0.55 * (1 - share) ** 3, sheer, 2 * np.maximum(half, 0.004))


def boat(rng: Generator) -> list[Part]:
    """A pointed hull with a mast and two sails, or with a cabin and a funnel."""
    length, width, depth = rng.uniform(0.95, 1.2), rng.uniform(0.34, 0.44), rng.uniform(0.16, 0.22)
    parts: list[Part] = [(_hull(length, width, depth), "main")]
    if rng.random() < 0.6:
        mast, foot = rng.uniform(0.8, 1.0), depth + 0.08
        parts.append((rod((0, 0, depth - 0.02), (0, 0, depth + mast), 0.015), "brown"))
        x = np.linspace(0.03, 0.42 * length, 8)
        share = (x - x[0]) / (x[-1] - x[0])
        role = "light" if rng.random() < 0.6 else "main"
        parts.append((slab(x, foot, foot + 0.02 + 0.92 * (mast - 0.1) * (1 - share), 0.012), role))
        x = np.linspace(-0.42 * length, -0.03, 8)
        share = (x - x[0]) / (x[-1] - x[0])
        parts.append((slab(x, foot, foot + 0.01 + 0.75 * (mast - 0.1) * share, 0.012), role))
    else:
        tall = rng.uniform(0.16, 0.24)
        parts.append((block((0.36 * length, width * 0.6, tall), (0.08, 0, depth)), "light"))
        parts.append((block((0.37 * length, width * 0.62, 0.06), (0.08, 0, depth + 0.5 * tall)), "glass"))
        parts.append((rod((0.14, 0, depth + tall), (0.14, 0, depth + tall + 0.22), 0.06), "main"))
    return _lengthwise(parts)


def aeroplane(rng: Generator) -> list[Part]:
    """A round fuselage, swept wings with engines, a tail plane and a fin."""
    length, radius = rng.uniform(1.0, 1.2), rng.uniform(0.075, 0.1)
    span, sweep, chord = rng.uniform(0.5, 0.65), rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.28)
    share = np.linspace(0, 1, 24)
    shape = radius * np.minimum(
        np.sqrt(np.clip(share / 0.16, 0, 1)), np.clip((1.05 - share) / 0.35, 0, 1) ** 0.7
    )
    profile = np.stack([shape, length * (0.5 - share)], axis=1)
    body = turned(profile, rows=40).turned(rotation(-90, "y")).moved([0, 0, 0.25])
    parts: list[Part] = [(body, "main")]
    for side in (-1, 1):
        for root, reach, wide, high in (
            (-0.12 * length, span, chord, 0.22),
            (0.4 * length, 0.4 * span, 0.6 * chord, 0.28),
        ):
            parts.append((_wing(root, reach * side, wide, sweep * reach / span, high), "main"))
        engine = (-0.1 * length + 0.4 * sweep, side * 0.45 * span, 0.17)
        parts.append((rod(engine, (engine[0] + 0.17, *engine[1:]), 0.042, 0.03), "dark"))
    x = np.array([0.36, 0.44, 0.5]) * length
    parts.append((slab(x, 0.26, 0.27 + np.array([0.02, 0.22, 0.24]), 0.02), "main"))
    parts.append(
        (ball((-0.42 * length, 0, 0.25 + 0.4 * radius), (0.05, 0.6 * radius, 0.6 * radius)), "glass")
    )
    for along, y in ((-0.35 * length, 0), (0.05, 0.12), (0.05, -0.12)):
        parts.append((rod((along, y, 0), (along, y, 0.2), 0.02), "dark"))
    return _lengthwise(parts)


def _wing(root: float, reach: float, chord: float, sweep: float, height: float) -> Mesh:
    """A flat, tapered wing from the middle line to y = `reach`: an upright plate, laid down."""
    across = np.array([0, abs(reach)])
    front = np.array([root, root + sweep])
    plate = slab(across, front, front + np.array([chord, 0.5 * chord]), 0.022).turned(LAID)
    return (plate if reach > 0 else plate.turned(rotation(180, "x"))).moved([0, 0, height])


def rocket(rng: Generator) -> list[Part]:
    """A pointed body that stands on three or four fins, with a porthole ring and a nozzle."""
    height, radius = rng.uniform(0.9, 1.1), rng.uniform(0.12, 0.17)
    angle = arc(90, 0)
    nose = np.stack([radius * np.cos(angle), 0.62 * height + 0.38 * height * np.sin(angle) ** 1.3], axis=1)
    body = turned(np.vstack([nose, [radius, 0.4 * height], [0.7 * radius, 0.12], [0, 0.12]]), rows=50)
    parts: list[Part] = [
        (body, "main"),
        (rod((0, 0, 0.13), (0, 0, 0.05), 0.5 * radius, 0.7 * radius), "dark"),
    ]
    fins, reach = int(rng.integers(3, 5)), rng.uniform(0.14, 0.22)
    x = np.array([0.6 * radius, radius + 0.6 * reach, radius + reach])
    fin = slab(x, np.array([0.16, 0.0, 0.0]), np.array([0.42, 0.26, 0.16]), 0.03)
    role = "main" if rng.random() < 0.5 else "dark"
    parts += [(fin.turned(rotation(360 * number / fins + 20)), role) for number in range(fins)]
    parts.append((ball((0, -radius * 0.9, 0.62 * height), (0.06, 0.03, 0.06)), "glass"))
    ring = radius * 1.02
    parts.append((turned([[ring, 0.47 * height], [ring, 0.43 * height]]), "light"))
    return parts
