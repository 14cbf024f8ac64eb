"""Pictures of a plan's instances: the objects on their stage, the cameras, the files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scene.cameras import Camera
from tools.procedural.appearance import FLOORS, detail_material, draw_colour, main_material
from tools.procedural.families import FAMILIES
from tools.procedural.plan import Instance, Plan, Thing, View
from tools.procedural.shapes import DETAILS
from tools.studio.cameras import direction, fitting_distance, on_sphere
from tools.studio.captioned_sets import write_picture
from tools.studio.materials import Item
from tools.studio.meshes import joined, normalising, rotation
from tools.studio.renderer import picture
from tools.studio.stage import Stage, random_lamp, staged
from tools.studio.textures import Array

SHAPE, LOOK, PLACE, LIGHT, CAMERA, NOISE = range(2, 8)  # streams of random numbers of an instance
FILL = {"small": (0.42, 0.52), "": (0.66, 0.82), "large": (0.9, 0.97)}  # of the picture's half width
ROW_FILL = 0.9  # of several in a row


@dataclass(frozen=True)
class Shots:
    """The pictures of one instance: a job for `studio.batch`.

    Attributes:
        files: (path, view) of each picture.
        resolution: pixels, both ways.
        samples: light paths a pixel.
        steady: one distance and one target for all views, as a reconstruction wants them.
    """

    plan: Plan
    instance: Instance
    files: tuple[tuple[Path, View], ...]
    resolution: int
    samples: int
    steady: bool = False


def files_of(shots: Shots) -> list[Path]:
    """The files that `take` writes."""
    return [path for path, _ in shots.files]


def take(shots: Shots) -> None:
    """Renders and writes the pictures that are not there yet."""
    items = objects(shots.plan, shots.instance)
    scene, placed = staged(items, stage(shots.plan, shots.instance), max_depth=3), cameras(shots, items)
    for number, (path, _) in enumerate(shots.files):
        if not path.is_file():
            seed = int(shots.plan.rng(shots.instance.number, NOISE, number).integers(2**31))
            write_picture(path, picture(scene, placed[number], shots.samples, seed, without_fireflies=True))


def objects(plan: Plan, instance: Instance) -> list[Item]:
    """The meshes and materials of an instance, on z = 0 about the origin; each object is one unit long."""
    made = [(thing, body(plan, instance.number, thing, which)) for which, thing in enumerate(instance.things)]
    place = plan.rng(instance.number, PLACE)
    sideways = direction(instance.facing + 90, 0)
    items: list[Item] = []
    reach = 0.0  # how far the row has come
    for thing, whole in made * instance.count:
        turn = place.uniform(-10, 10) if thing.has_front else place.uniform(0, 360)
        size = place.uniform(0.85, 1.0) if instance.in_row else 1.0
        turned = [(mesh.turned(rotation(turn)).scaled(size), material) for mesh, material in whole]
        along = _points(turned) @ sideways
        deep = place.uniform(-0.2, 0.2) * instance.in_row
        at = (reach - along.min()) * sideways + deep * direction(instance.facing, 0)
        items += [(mesh.moved(at), material) for mesh, material in turned]
        reach += float(np.ptp(along)) + place.uniform(0.06, 0.2)
    middle, _ = normalising(_points(items))
    return [(mesh.moved(middle), material) for mesh, material in items]


def body(plan: Plan, number: int, thing: Thing, which: int) -> list[Item]:
    """One object of an instance, the `which`-th of its things: its parts, one unit long."""
    stream = (which,) if which else ()
    parts = FAMILIES[thing.family].make(plan.rng(number, SHAPE, *stream))
    offset, factor = normalising(np.concatenate([mesh.vertices for mesh, _ in parts]))
    look = plan.rng(number, LOOK, *stream)
    main = main_material(look, draw_colour(look, thing.colour), thing.material)
    materials = {"main": main, **{name: detail_material(name) for name in DETAILS}}
    roles = dict.fromkeys(role for _, role in parts)
    whole = {role: joined([mesh for mesh, its in parts if its == role]) for role in roles}
    return [(mesh.moved(offset).scaled(factor), materials[role]) for role, mesh in whole.items()]


def stage(plan: Plan, instance: Instance) -> Stage:
    """Floor, backdrop and lamp of an instance; the lamp is not behind what the first view sees."""
    rng = plan.rng(instance.number, LIGHT)
    floor = np.array(FLOORS[instance.floor][0])
    backdrop = (0.3 * floor + 0.7 * rng.uniform(0.82, 0.92)) * rng.uniform(0.9, 1.0)
    lit = replace(Stage(floor=tuple(floor.tolist()), backdrop=tuple(backdrop.tolist())), **random_lamp(rng))
    return replace(lit, lamp_azimuth=instance.facing + float(rng.uniform(-110, 110)))


def cameras(shots: Shots, items: list[Item]) -> list[Camera]:
    """The cameras of an instance's pictures; all of it is inside each picture."""
    points = _points(items)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    places = [(view.azimuth, view.elevation) for _, view in shots.files]
    fill = float(shots.plan.rng(shots.instance.number, CAMERA).uniform(*FILL[shots.instance.size]))
    fill = ROW_FILL if shots.instance.in_row else fill
    distances = [fitting_distance(points, middle, *place, fill) for place in places]
    if shots.steady:
        distances = [max(distances)] * len(places)
    result = []
    for number, ((path, _), place, distance) in enumerate(zip(shots.files, places, distances, strict=True)):
        rng = shots.plan.rng(shots.instance.number, CAMERA, number)
        shift = np.zeros(3) if shots.steady else rng.uniform(-0.1, 0.1, 3) * (1 - fill) * distance * 0.5
        lens = {"target": middle + shift, "distance": distance, "resolution": shots.resolution}
        result.append(on_sphere(path.stem, *place, **lens))
    return result


def _points(items: list[Item]) -> Array:
    return np.concatenate([mesh.vertices for mesh, _ in items])
