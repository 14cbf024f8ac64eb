"""The pelvis: hip bones, sacrum, hips, bladder, rectum, the muscles of the buttocks."""

from __future__ import annotations

from numpy.random import Generator

from tools.scans.phantom import SIDES, Finding, Phantom
from tools.scans.shapes import block, column, ellipsoid, half_space, tube, walls_between
from tools.scans.trunk import Trunk, add_loop, add_trunk, add_wall

HEIGHTS = (-26.0, 74.0)
FINDINGS = ("hip prosthesis", "bladder stone", "lytic bone lesion", "free pelvic fluid")


def level(z: float) -> str:
    """What a slice at that height is known by."""
    if z > 40:
        return "the iliac wings"
    if z > 20:
        return "the acetabular roofs"
    return "the femoral heads" if z > -14 else "the pubic symphysis"


def make(rng: Generator, contrast: bool, finding: str) -> Phantom:
    """A pelvis; z = 0 is at the middle of the femoral heads. The arguments are those of `abdomen.make`."""
    phantom = Phantom(0.0)
    trunk = add_trunk(phantom, rng, (112, 80), (62, 12, 60))
    phantom.side = 2.08 * float(trunk.outline.high[0]) + 6
    add_wall(phantom, rng, trunk)
    _add_muscles(phantom, rng, trunk)
    inner = column((0, 6, 0), (66, 66), power=2.3).wobbly(rng, 2, 60)
    upper = trunk.cavity.grown(-4) & half_space((0, 0, -1), -28)
    phantom.add("fat", inner | upper, -104)
    if finding == "free pelvic fluid":
        pool = ellipsoid((0, 30, 16), (rng.uniform(38, 52), rng.uniform(18, 26), 34)) & inner.grown(-2)
        phantom.add("water", pool, 10, name="free fluid")
        phantom.findings.append(Finding(finding, "free pelvic fluid", float(rng.uniform(0, 28)), 20))
    _add_iliopsoas(phantom, rng)
    side = int(rng.choice([-1, 1]))
    _add_organs(phantom, rng, trunk, contrast, finding)
    _add_sacrum(phantom, rng)
    for which in (-1, 1):
        replaced = finding == "hip prosthesis" and which == side
        _add_hip_bone(phantom, rng, which)
        if replaced:
            _add_prosthesis(phantom, rng, which)
        else:
            _add_femur(phantom, which)
    if finding == "lytic bone lesion":
        size, z = float(rng.uniform(10, 16)), float(rng.uniform(45, 66))
        lesion = ellipsoid((side * 84, 20, z), (size, size, size)).wobbly(rng, 1.5, 15)
        phantom.add("tumour", lesion, 48, name="lytic bone lesion")
        words = f"lytic lesion, {SIDES[side]} iliac bone"
        phantom.findings.append(Finding(finding, words, z, 0.7 * size))
    return phantom


def _add_muscles(phantom: Phantom, rng: Generator, trunk: Trunk) -> None:
    """Fat between the large muscles of buttock and hip."""
    phantom.add(
        "fat", trunk.wall & half_space((0, -1, 0), -(trunk.depth + 4)) & column((0, 120, 0), (16, 60))
    )
    for side in (-1, 1):
        great = ellipsoid((side * 76, 97, 5), (80, 38, 110), side * -22, power=2.3) & trunk.outline.grown(-9)
        middle = ellipsoid((side * 128, 8, 52), (27, 62, 62), side * 16) & trunk.wall
        front = ellipsoid((side * 128, -48, 10), (24, 20, 80), side * -30) & trunk.wall
        thigh = ellipsoid((side * 92, -64, -10), (22, 18, 60), side * 12) & trunk.wall
        ring = trunk.wall & half_space((-side, 0, 0), -3)
        phantom.add("fat", ring & block((side * 110, 10, 0), (90, 110, 200)), -98)
        for muscle in (great, middle, front, thigh):
            phantom.add("muscle", muscle)
        seeds = rng.uniform((20, 60), (155, 138), (11, 2)) * (side, 1)
        phantom.add("fascia", walls_between(seeds, 1.2) & great, -35)
        deep = ellipsoid((side * 96, 34, -12), (34, 16, 46), side * -12)
        phantom.add("muscle", deep & trunk.wall)
        inner = ellipsoid((side * 66, -36, -26), (26, 30, 30), side * 20)
        phantom.add("muscle", inner & trunk.wall)
        wall = ellipsoid((side * 61, 12, -8), (9, 36, 34), side * 6)
        phantom.add("muscle", wall)
    phantom.add("muscle", ellipsoid((0, -trunk.depth - 4, 50), (56, 7, 90)))


def _add_iliopsoas(phantom: Phantom, rng: Generator) -> None:
    for side in (-1, 1):
        line = [(side * 52, 22, 110), (side * 62, 0, 60), (side * 84, -30, 12), (side * 98, -30, -30)]
        phantom.add("fascia", tube(line, [25, 25, 20, 15]))
        phantom.add("muscle", tube(line, [23.5, 23.5, 18.5, 13.5]).wobbly(rng, 1, 30))
        sheet = ellipsoid((side * 92, 6, 66), (15, 50, 40), side * 36)
        phantom.add("muscle", sheet)


def _add_organs(phantom: Phantom, rng: Generator, trunk: Trunk, contrast: bool, finding: str) -> None:
    """Bladder, womb or prostate, rectum, loops of bowel above, and the large vessels."""
    for x in range(-48, 49, 24):
        for z in (40, 62, 84):
            place = (x + rng.uniform(-8, 8), rng.uniform(-50, 12), z + rng.uniform(-8, 8))
            other = (place[0] + rng.uniform(-20, 20), place[1] + rng.uniform(-16, 16), place[2] + 8)
            loop = tube([place, other], float(rng.uniform(9, 13))) & trunk.cavity.grown(-6)
            add_loop(phantom, rng, loop, place[1] - rng.uniform(3, 12), 20)
    womb = ellipsoid((rng.uniform(-6, 6), 16, rng.uniform(-4, 10)), (27, 18, 24))
    phantom.add("muscle", womb.wobbly(rng, 1.5, 30), 80 if contrast else 46, name="womb or prostate")
    full = rng.uniform(0.75, 1.15)
    bladder = ellipsoid((0, -24, 4), (40 * full, 28 * full, 30 * full), power=2.2).wobbly(rng, 1.5, 50)
    phantom.add("bowel wall", bladder.grown(2.6))
    phantom.add("water", bladder, name="bladder")
    if finding == "bladder stone":
        size, height = float(rng.uniform(6, 10)), float(rng.uniform(-6, 8))
        place = (rng.uniform(-8, 8), -24 + 28 * full - size, height)
        stone = ellipsoid(place, (1.2 * size, 0.8 * size, size))
        phantom.add("stone", stone, name="bladder stone")
        phantom.findings.append(Finding(finding, "bladder stone", height, 0.65 * size))
    rectum = tube([(0, 50, -60), (0, 58, 0), (4, 46, 50), (14, 30, 80)], [13, 17, 16, 15]).wobbly(
        rng, 1.5, 24
    )
    add_loop(phantom, rng, rectum, 46.0, 35)
    for side in (-1, 1):
        for x, y, radius, blood in ((72, -58, 5.0, 175.0), (64, -52, 6.5, 150.0)):
            vessel = tube(
                [(side * (x - 24), y + 58, 90), (side * x, y, 5), (side * (x + 4), y - 4, -40)], radius
            )
            phantom.add("fat", vessel.grown(2.5))
            phantom.add("blood", vessel, blood if contrast else 42)


def _add_sacrum(phantom: Phantom, rng: Generator) -> None:
    """Sacrum with its canal and holes for the nerves, and the tail bone."""
    bone = ellipsoid((0, 66, 66), (56, 23, 58), lean=(0, -0.25), power=2.3)
    bone = bone & half_space((0, 0, -1), -22)
    holes = column((0, 82, 60), (9, 5.5), lean=(0, -0.25))
    for side in (-1, 1):
        holes = holes | column((side * 20, 66, 60), (5, 6.5), lean=(0, -0.25))
    tail = tube([(0, 80, 26), (0, 80, -8), (0, 70, -24)], [11, 7, 4])
    phantom.add_bone((bone - holes) | tail, cortex=1.3)
    spine = tube([(0, 88, 90), (0, 98, 40)], 4)
    phantom.add_bone(spine)


def _add_hip_bone(phantom: Phantom, rng: Generator, side: int) -> None:
    """Iliac wing, the socket's columns, pubic bone and sitting bone of one side."""
    wing = block((side * 86, 22, 66), (58, 5.2, 46), side * -52, rounding=3)
    thick = tube([(side * 53, 60, 24), (side * 56, 62, 110)], [11, 9.5])
    rim = tube([(side * 96, -22, 18), (side * 113, -26, 50), (side * 120, -20, 100)], [10, 8, 7])
    root = tube([(side * 84, 8, 8), (side * 78, 32, 40)], [17, 10])
    socket = ellipsoid((side * 82, 4, 4), (29, 38, 34)) - ellipsoid((side * 98, 2, 0), (29, 29, 29))
    pubic = tube([(side * 78, -28, 2), (side * 42, -50, -12), (side * 13, -58, -22)], [12, 8, 9])
    lower = tube([(side * 13, -58, -24), (side * 34, -22, -48)], [8, 7])
    sitting = tube([(side * 77, 30, -2), (side * 66, 40, -46)], [13, 15])
    bone = wing | thick | rim | root | socket | pubic | lower | sitting
    phantom.add_bone(bone.wobbly(rng, 0.6, 30), cortex=2.0)
    if side > 0:
        phantom.add("cartilage", block((0, -57, -22), (4, 9, 18), rounding=2))


def _add_femur(phantom: Phantom, side: int) -> None:
    head = ellipsoid((side * 98, 2, 0), (24.5, 24.5, 24.5))
    neck = tube([(side * 100, 3, -2), (side * 132, 14, -26)], [15, 15])
    trochanter = ellipsoid((side * 143, 20, -22), (15, 20, 24))
    shaft = tube([(side * 134, 14, -34), (side * 128, 8, -160)], [19, 15])
    phantom.add("cartilage", head.grown(3), 70)
    phantom.add_bone(head | neck | trochanter | shaft, cortex=2.0)


def _add_prosthesis(phantom: Phantom, rng: Generator, side: int) -> None:
    """An artificial hip: a cup in the socket, a head, a stem in the thigh bone."""
    trochanter = ellipsoid((side * 143, 20, -22), (13, 19, 22))
    shaft = tube([(side * 134, 14, -34), (side * 128, 8, -160)], [19, 15])
    phantom.add_bone(trochanter | shaft, cortex=2.5)
    ball = ellipsoid((side * 98, 2, 0), (28, 28, 28))
    cup = (ball - ball.grown(-4)) & half_space((side * 0.7, 0.0, -0.714), 72.6)
    phantom.add("titanium", cup, name="cup")
    head = ellipsoid((side * 98, 2, 0), (15, 15, 15))
    stem = tube([(side * 98, 2, 0), (side * 126, 12, -26), (side * 130, 10, -130)], [6.5, 8, 5.5])
    phantom.add("steel", head | stem, name="hip prosthesis")
    words = f"{SIDES[side]} hip prosthesis, metal artefacts"
    phantom.findings.append(Finding("hip prosthesis", words, float(rng.uniform(-8, 8)), 20))
