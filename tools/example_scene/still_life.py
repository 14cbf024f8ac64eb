"""The still life on the table: flowers, pottery, fruit, books, a page, wire, cloth.

World frame: metres, z up, the middle of the table's top at the origin; the cameras stand on the side of -y.
"""

import numpy as np
from numpy.random import Generator

from tools.example_scene import prints
from tools.example_scene.flowers import vase
from tools.studio import textures
from tools.studio.materials import Item, Material
from tools.studio.meshes import (
    Mesh,
    Profile,
    blade,
    box,
    grid,
    joined,
    lathe,
    rotation,
    sheet,
    spline,
    tube,
)
from tools.studio.textures import colour

PAGE_TEXT = (
    "a picture holds the light that one place saw. many pictures, laid side by side, hold the place itself, "
    "and let the eye walk where no lens has been."
)


def placed(items: list[Item], place: tuple[float, float, float], turn: float = 0.0) -> list[Item]:
    """The items turned by so many degrees about z, then moved to `place`."""
    return [(mesh.turned(rotation(turn)).moved(place), material) for mesh, material in items]


def cloth(rng: Generator) -> list[Item]:
    """A checked runner over the table that hangs down in folds in front, with a fringe."""
    width, length, edge = 0.50, 1.02, 0.48
    points = sheet(width, length, 205, 101)
    x, along = points[..., 0].copy(), points[..., 1] - 0.21
    hanging = np.maximum(-along - edge, 0)
    wrinkles = textures.fractal_noise(rng, 256, 128, 2.2)[:205, :101]
    points[..., 0] = x + 0.16 * along - 0.05 + 0.02 * hanging * np.sin(9 * x)
    points[..., 1] = np.maximum(along, -edge) - 0.008 * np.minimum(hanging / 0.01, 1)
    points[..., 1] -= (0.012 + 0.022 * np.sin(34 * x + 6 * hanging)) * np.minimum(hanging / 0.1, 1)
    points[..., 2] = 0.0035 + 0.0011 * wrinkles * (hanging == 0) - hanging
    threads = []
    for start in points[-1, ::2]:
        fall = [rng.normal(0, 0.004), rng.normal(-0.003, 0.003), -rng.uniform(0.03, 0.042)]
        end = start + np.array(fall)
        threads.append(tube(spline([start, (start + end) / 2 + rng.normal(0, 0.002, 3), end], 5), 0.0016, 5))
    linen = textures.woven_cloth(rng, 990, 495, (330, 165), "#2f4f86", "#ece4d2")
    return [(grid(points), Material(linen, 0.95)), (joined(threads), Material(colour("#e3d9c4"), 0.95))]


def teapot() -> list[Item]:
    """A teal teapot with spout, handle and lid."""
    shoulder: Profile = [[0.030, 0.118], [0.040, 0.118], [0.062, 0.098], [0.077, 0.062]]
    body = lathe([*shoulder, [0.066, 0.022], [0.045, 0.004], [0, 0]], 80, 60)
    lid = lathe([[0.0, 0.136], [0.022, 0.132], [0.039, 0.120], [0.040, 0.115], [0.02, 0.112]], 48, 24)
    knob = lathe([[0, 0.158], [0.009, 0.154], [0.011, 0.147], [0.006, 0.139], [0.008, 0.132]], 24, 20)
    path = spline([[0.058, 0, 0.040], [0.095, 0, 0.058], [0.112, 0, 0.095], [0.136, 0, 0.118]], 30)
    spout = tube(path, np.linspace(0.019, 0.0085, 30), 20)
    loop = spline(
        [[-0.055, 0, 0.100], [-0.095, 0, 0.110], [-0.120, 0, 0.075], [-0.098, 0, 0.037], [-0.060, 0, 0.030]],
        40,
    )
    handle = tube(loop, 0.0062, 12)
    paint = textures.painted_bands(256, 512, "#2d7f80", "#e9dcb8", "#d9862c", 7, 0.34)
    glaze = colour("#2d7f80")
    return [
        (body, Material(paint, 0.3, 0.7)),
        (joined([lid, spout, handle]), Material(glaze, 0.3, 0.7)),
        (knob, Material(colour("#d9862c"), 0.3, 0.7)),
    ]


def fruit(rng: Generator, profile: Profile, lumps: float) -> Mesh:
    """A turned body with gentle lumps, standing on the origin."""
    body = lathe(profile, 48, 40)
    turn = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    phase = rng.uniform(0, 6, 2)
    swell = 1 + lumps * np.sin(2 * turn + phase[0]) + lumps * np.sin(3 * turn + phase[1])
    return Mesh(
        body.vertices * np.stack([swell, swell, np.ones_like(swell)], -1), body.normals, body.uv, body.faces
    )


def fruit_bowl(rng: Generator) -> list[Item]:
    """A footed bowl of lemons and oranges."""
    within: Profile = [[0, 0.022], [0.05, 0.026], [0.09, 0.052], [0.108, 0.082], [0.112, 0.085]]
    outside: Profile = [[0.111, 0.078], [0.093, 0.044], [0.052, 0.016], [0.042, 0.010], [0.042, 0], [0, 0]]
    paint = textures.painted_bands(256, 512, "#efe3cb", "#a4452c", "#2f6f6a", 12, 0.19)
    items = [(lathe([*within, *outside], 96, 90), Material(paint, 0.4, 0.5))]
    lemon: Profile = [
        [0, 0.098],
        [0.006, 0.093],
        [0.012, 0.086],
        [0.030, 0.068],
        [0.034, 0.048],
        [0.026, 0.022],
        [0.008, 0.006],
        [0, 0],
    ]
    orange: Profile = [
        [0, 0.066],
        [0.012, 0.067],
        [0.029, 0.057],
        [0.036, 0.035],
        [0.028, 0.010],
        [0.01, 0.001],
        [0, 0],
    ]
    yellow = textures.fruit_skin(rng, 256, 256, ("#e9bf26", "#f3d44a", "#b9b03a"), 0.05)
    amber = textures.fruit_skin(rng, 256, 256, ("#e07a18", "#f09a2c", "#8c6a24"), 0.05)
    lemons = [
        fruit(rng, lemon, 0.02)
        .moved([0, 0, -0.049])
        .turned(rotation(turn) @ rotation(tilt, "y"))
        .moved(place)
        for turn, tilt, place in (
            (20, 80, [-0.045, -0.035, 0.068]),
            (130, 95, [0.015, 0.052, 0.068]),
            (75, 70, [0.0, -0.005, 0.118]),
        )
    ]
    oranges = [
        fruit(rng, orange, 0.01).turned(rotation(tilt, "x")).moved(place)
        for tilt, place in ((10, [0.045, -0.028, 0.036]), (-25, [-0.048, 0.030, 0.038]))
    ]
    items += [(joined(lemons), Material(yellow, 0.4, 0.2)), (joined(oranges), Material(amber, 0.45, 0.2))]
    return items


def apple(rng: Generator) -> list[Item]:
    """A red and yellow apple with its stalk and a leaf."""
    profile: Profile = [
        [0, 0.058],
        [0.008, 0.062],
        [0.020, 0.070],
        [0.034, 0.062],
        [0.039, 0.042],
        [0.030, 0.014],
        [0.014, 0.002],
    ]
    skin = textures.fruit_skin(rng, 256, 256, ("#d9b548", "#b3261e", "#a9a24a"), 0.45)
    stalk = tube(spline([[0, 0, 0.056], [0.002, 0, 0.070], [0.007, 0.002, 0.082]], 8), 0.0018, 6)
    leaf = blade(0.04, 0.02, fold=0.25, droop=0.3).turned(rotation(-15, "y")).moved([0.003, 0, 0.072])
    green = textures.leaf(rng, 64, 32, ("#3f6d2f", "#6f9a45", "#a8c07a"))
    return [
        (fruit(rng, [*profile, [0, 0.004]], 0.015), Material(skin, 0.3, 0.4)),
        (stalk, Material(colour("#5a4028"), 0.9)),
        (leaf, Material(green, 0.5)),
    ]


def book(
    rng: Generator, size: tuple[float, float, float], title: tuple[str, str], tones: tuple[str, ...]
) -> list[Item]:
    """A closed book that lies on the origin, its front up, its spine at -x."""
    width, length, height = size
    board = 0.004
    cover = prints.book_cover(rng, 840, 600, title, tones)
    spine = prints.book_spine(rng, 80, 560, " ".join(title), tones)
    boards = [box([width, length, board]).moved([0, 0, z]) for z in (0, height - board)]
    block = box([width - 0.012, length - 0.012, height - 2 * board]).moved([-0.004, 0, board])
    back = box([board, length, height]).moved([-width / 2, 0, 0])
    return [
        (joined(boards), Material(cover, 0.6)),
        (block, Material(prints.page_edges(rng, 40, 64), 0.9)),
        (back, Material(spine, 0.6)),
    ]


def page_and_glasses(rng: Generator) -> list[Item]:
    """A printed sheet that curls at one corner, with wire spectacles on it."""
    points = sheet(0.16, 0.225, 24, 18)
    curl = np.maximum(points[..., 0] + points[..., 1] - 0.10, 0)
    points[..., 2] = 0.0015 + 3.5 * curl**2 + 0.0010 * (1 + np.sin(30 * points[..., 1]))
    paper = prints.printed_page(rng, 840, 600, "on light", PAGE_TEXT)
    angle = np.linspace(0, 2 * np.pi, 40)
    rim = np.stack([0.025 * np.cos(angle), 0 * angle, 0.021 * np.sin(angle) + 0.024], axis=-1)
    wires = [rim + np.array([side * 0.033, 0, 0]) for side in (-1, 1)]
    wires.append(spline([[-0.009, 0, 0.028], [0, -0.002, 0.034], [0.009, 0, 0.028]], 10))
    for side in (-1, 1):
        temple = [
            [side * 0.058, 0, 0.030],
            [side * 0.066, 0.012, 0.031],
            [side * 0.064, 0.09, 0.020],
            [side * 0.058, 0.125, 0.003],
        ]
        wires.append(spline(temple, 24))
    frame = (
        joined([tube(wire, 0.0017, 8) for wire in wires]).turned(rotation(24)).moved([0.005, -0.055, 0.004])
    )
    return [(grid(points), Material(paper, 0.9)), (frame, Material(colour("#8a6a2f"), 0.35, metal=1.0))]


def pencil(paint: str) -> list[Item]:
    """A six-sided pencil that lies along x."""
    radius, length = 0.0045, 0.175
    parts: tuple[tuple[Profile, str], ...] = (
        ([[radius, 0.020], [radius, length]], paint),
        ([[0.0014, 0.005], [radius, 0.020]], "#dcb98a"),
        ([[0, 0], [0.0014, 0.005]], "#2b2b2e"),
        ([[radius, length], [0, length + 0.001]], "#c9b08a"),
    )
    return [
        (
            lathe(profile, 6).turned(rotation(90, "y")).moved([-length / 2, 0, radius]),
            Material(colour(tone), 0.4, 0.3),
        )
        for profile, tone in parts
    ]


def lantern() -> list[Item]:
    """A lantern of black wire with crossed sides, a copper roof, and a candle within."""
    half, height = 0.048, 0.17
    levels = (0.008, height / 2, height)
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    wires = [tube(np.linspace([x, y, 0], [x, y, height], 6), 0.0030, 8) for x, y in corners]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        for z in levels:
            wires.append(tube(np.linspace([x0, y0, z], [x1, y1, z], 4), 0.0022, 8))
        for low, high in (levels[:2], levels[1::-1], levels[1:], levels[:0:-1]):
            wires.append(tube(np.linspace([x0, y0, low], [x1, y1, high], 4), 0.0015, 6))
    angle = np.linspace(0, 2 * np.pi, 36)
    ring = np.stack([0.020 * np.cos(angle), 0 * angle, height + 0.066 + 0.022 * np.sin(angle)], axis=-1)
    wires.append(tube(ring, 0.0022, 8))
    roof = lathe([[0.004, 0.050], [0.012, 0.040], [0.072, 0.0], [0.070, -0.004]], 4).turned(rotation(45))
    base = box([2 * half + 0.008, 2 * half + 0.008, 0.006])
    candle = lathe([[0, 0.086], [0.022, 0.090], [0.025, 0.086], [0.025, 0.006]], 32)
    wick = tube(np.linspace([0, 0, 0.085], [0.002, 0, 0.102], 4), 0.0014, 6)
    return [
        (joined([*wires, base, wick]), Material(colour("#25231f"), 0.5)),
        (roof.moved([0, 0, height]), Material(colour("#b8693d"), 0.4, metal=1.0)),
        (candle, Material(colour("#f0e2c0"), 0.5)),
    ]


def scattered(rng: Generator) -> list[Item]:
    """Walnuts, fallen petals and leaves on the table and the cloth."""
    nut: Profile = [[0, 0.034], [0.010, 0.031], [0.017, 0.020], [0.015, 0.006], [0.006, 0.0], [0, 0]]
    shell = textures.fruit_skin(rng, 128, 128, ("#8f6238", "#c39a63", "#6d4a2a"), 0.5)
    nuts = [
        fruit(rng, nut, 0.05).turned(rotation(rng.uniform(0, 360))).moved(place)
        for place in (
            [0.02, -0.20, 0.003],
            [0.065, -0.165, 0.003],
            [0.045, -0.255, 0.003],
            [0.50, -0.02, 0],
            [0.46, -0.07, 0],
        )
    ]
    petals = [
        blade(0.032, 0.026, fold=0.4, droop=-0.1, point=0.5)
        .turned(rotation(rng.uniform(0, 360)))
        .moved([x, y, 0.005])
        for x, y in ((0.16, 0.05), (0.10, -0.06), (-0.03, -0.02), (-0.40, -0.15), (0.33, -0.34))
    ]
    leaves = [
        blade(0.055, 0.024, fold=0.3, droop=-0.1).turned(rotation(rng.uniform(0, 360))).moved([x, y, 0.004])
        for x, y in ((-0.47, -0.02), (-0.32, -0.33), (0.12, 0.30), (-0.14, 0.26), (0.53, 0.22))
    ]
    red = textures.leaf(rng, 64, 32, ("#c8281e", "#dd4a2a", "#8f1616"))
    green = textures.leaf(rng, 64, 32, ("#6f7d2f", "#a39a45", "#d9c98a"))
    return [
        (joined(nuts), Material(shell, 0.7)),
        (joined(petals), Material(red, 0.6)),
        (joined(leaves), Material(green, 0.6)),
    ]


def still_life(rng: Generator) -> list[Item]:
    """Everything on the table."""
    teal = ("#1f4f4a", "#efe2bd", "#e0a03a", "#7aa08a", "#2f6b5a")
    red = ("#8c2f2a", "#f2dfb4", "#e6b04a", "#c9784a", "#5d3328")
    navy = ("#2a3358", "#e6d9b4", "#d9a94a", "#7a86b0", "#3f4a7a")
    return [
        *cloth(rng),
        *placed(vase(rng), (0.03, 0.14, 0.004)),
        *placed(teapot(), (-0.24, 0.10, 0.002), 205),
        *placed(fruit_bowl(rng), (-0.14, -0.17, 0.004), 30),
        *placed(book(rng, (0.17, 0.23, 0.034), ("light", "fields"), navy), (0.32, 0.12, 0), -14),
        *placed(book(rng, (0.155, 0.215, 0.030), ("guided", "splats"), red), (0.315, 0.11, 0.034), 9),
        *placed(apple(rng), (0.355, 0.175, 0.064), 40),
        *placed(book(rng, (0.15, 0.21, 0.022), ("plain", "views"), teal), (-0.46, -0.16, 0), 62),
        *placed(page_and_glasses(rng), (0.29, -0.22, 0.0), -18),
        *placed(pencil("#c9341f"), (0.43, -0.20, 0.0), 62),
        *placed(pencil("#2f6fa8"), (0.465, -0.24, 0.0), 80),
        *placed(lantern(), (-0.44, 0.24, 0.0), 25),
        *scattered(rng),
    ]
