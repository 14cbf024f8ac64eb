"""Makes captioned and posed pictures of a folder of meshes (OBJ, PLY, glTF; ShapeNet's layout), path-traced.

python -m tools.render_meshes --meshes ShapeNetCore.v2 --output output/shapenet --workers 8
python -m tools.render_meshes --meshes scans --output output/scans --captions scans/captions.csv --up z
python train.py -s output/shapenet/03001627/MODEL -m output/chair --eval

The set's metadata.jsonl captions all pictures for fine-tuning; every mesh has a folder with its pictures and
their poses, which train.py reads. What is there is kept, so that a stopped run goes on; a mesh that cannot be
rendered is passed over and listed in skipped.json. Needs `pip install mitsuba trimesh`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from tools.mesh_sets import shapenet
from tools.mesh_sets.finding import MeshFile, find_meshes
from tools.mesh_sets.pictures import MeshShots, View, outputs_of, take
from tools.mesh_sets.reading import load_trimesh
from tools.mesh_sets.words import caption, read_table, seen, subject
from tools.procedural.plan import view_word
from tools.studio.batch import work_through
from tools.studio.cameras import spread_on_path, spread_on_sphere
from tools.studio.captioned_sets import keep_settings, write_metadata
from tools.studio.renderer import load_mitsuba, use_one_thread
from tools.studio.stage import Stage, random_lamp
from tools.studio.textures import Array
from utils.errors import UserError, Warnings, demand, run_program
from utils.files import write_json
from utils.options import parse

SKIPPED = "skipped.json"
LAMP, WORDS = 0, 1  # streams of random numbers of a mesh; `mesh_sets.pictures` has another
NO_PICTURES = frozenset({"meshes", "output", "workers", "captions"})  # options that decide none


@dataclass
class Options:
    """Makes captioned and posed pictures of a folder of meshes."""

    meshes: str
    """Folder of meshes, subfolders included: .obj, .ply, .glb, .gltf."""
    output: str
    """Folder for metadata.jsonl, dataset.json and a folder for each mesh."""
    captions: str = ""
    """CSV with the columns "mesh" and "caption"; without it captions come from names."""
    up: Literal["x", "y", "z"] = "y"
    """The files' axis that points up."""
    front: Literal["auto", "+x", "-x", "+y", "-y", "+z", "-z"] = "auto"
    """The files' axis that points to who looks at the front; auto: as ShapeNet and glTF have it."""
    cameras: Literal["sphere", "path"] = "sphere"
    """Evenly over a part of the sphere, or along a way round the object."""
    elevations: tuple[float, float] = (5.0, 65.0)
    """Degrees over the horizon: the sphere's lowest and highest, or where the way begins and ends."""
    turns: float = 1.0
    """How often the way goes round."""
    train_views: int = 24
    """Pictures of each mesh to train on."""
    test_views: int = 8
    """Pictures of each mesh to test on, between the others."""
    resolution: int = 256
    """Pixels, both ways."""
    samples: int = 36
    """Light paths a pixel; the noise falls with its square root."""
    points: int = 2000
    """Points to start each mesh's training from, on its surface; 0: none, train.py takes random ones."""
    floor: bool = False
    """Stand the mesh on a floor; behind it, and round a mesh without floor, all is white."""
    held_out_share: float = 0.1
    """Part of the meshes whose pictures are held out from fine-tuning."""
    seed: int = 0
    """Of the lamp, the words, the light paths, the points, and what is held out."""
    workers: int = 2
    """Processes that render; they change nothing but the time."""

    def check(self) -> None:
        """Raises a `UserError` for a number out of its range."""
        least = {"train_views": 1, "test_views": 1, "resolution": 16, "samples": 1, "workers": 1}
        for name, low in {**least, "points": 0, "seed": 0}.items():
            demand(getattr(self, name) >= low, name, getattr(self, name), f"{low} or more")
        first, last = self.elevations
        fits = max(abs(first), abs(last)) <= 85 and (self.cameras == "path" or first <= last)
        demand(fits, "elevations", self.elevations, "-85 to 85, on a sphere the lower one first")
        demand(self.turns > 0, "turns", self.turns, "more than 0")
        demand(0 <= self.held_out_share <= 0.5, "held_out_share", self.held_out_share, "0 to 0.5")
        demand(self.up not in self.front, "front", self.front, f"another axis than --up {self.up}, or auto")

    def places(self) -> list[View]:
        """The views of each mesh; the test views are spread evenly among the others."""
        count = self.train_views + self.test_views
        if self.cameras == "sphere":
            places = spread_on_sphere(count, self.elevations)
        else:
            places = spread_on_path(count, self.elevations, self.turns)
        tests = {int((number + 0.5) * count / self.test_views) for number in range(self.test_views)}
        numbers: Counter[str] = Counter()
        result = []
        for index, place in enumerate(places):
            split = "test" if index in tests else "train"
            result.append(View(f"{split}/{numbers[split]:03d}", *place))
            numbers[split] += 1
        return result

    def front_of(self, mesh: MeshFile) -> str:
        """The axis of the mesh's front, "" where it is not known."""
        if self.front != "auto":
            return self.front
        return mesh.front if self.up == "y" else ""

    def upright(self, mesh: MeshFile) -> Array:
        """(3, 3) rotation of the file's axes to z up and the front, known or not, towards -y."""
        up = np.eye(3)["xyz".index(self.up)]
        front = self.front_of(mesh) or {"x": "+z", "y": "+z", "z": "-y"}[self.up]
        towards = np.eye(3)["xyz".index(front[1])] * (1 if front[0] == "+" else -1)
        return np.stack([np.cross(up, towards), -towards, up])


def shots(options: Options, mesh: MeshFile, folder: Path) -> MeshShots:
    """The pictures of a mesh: its views, and its lamp."""
    lamp, floor = random_lamp(mesh.rng(options.seed, LAMP, 0)), (0.8, 0.8, 0.8)
    stage = Stage(floor if options.floor else None, **lamp)
    return MeshShots(
        mesh,
        folder / mesh.name,
        tuple(options.places()),
        options.upright(mesh),
        stage,
        options.resolution,
        options.samples,
        options.seed,
        options.points,
    )


def rows(
    options: Options, meshes: Sequence[MeshFile], categories: dict[str, str], table: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """The entries of all pictures in `metadata.jsonl`."""
    by_chance = sorted(meshes, key=lambda mesh: zlib.crc32(f"{options.seed} {mesh.name}".encode()))
    held_out = {mesh.name for mesh in by_chance[: int(options.held_out_share * len(meshes))]}
    result = []
    for mesh in meshes:
        what, texts = subject(mesh, categories), table.get(mesh.name, [])
        for number, view in enumerate(options.places()):
            words = mesh.rng(options.seed, WORDS, number)
            shown = view_word(view.azimuth, view.elevation, True) if options.front_of(mesh) else ""
            text = texts[number % len(texts)] + seen(words, shown) if texts else caption(words, what, shown)
            result.append(
                {
                    "file_name": f"{mesh.name}/{view.name}.png",
                    "text": text,
                    "family": what,
                    "view": shown,
                    "azimuth": round(view.azimuth, 2),
                    "elevation": round(view.elevation, 2),
                    "instance": mesh.name,
                    "split": "held_out_instances" if mesh.name in held_out else "train",
                }
            )
    return result


def facts(options: Options) -> dict[str, Any]:
    """What `dataset.json` says beside the settings."""
    versions = {name: importlib.metadata.version(name) for name in ("mitsuba", "numpy", "trimesh")}
    return {"made_by": "tools.render_meshes", "meshes": options.meshes, "versions": versions}


def main(options: Options) -> None:
    """Renders the pictures that are missing and writes the tables, also when it is stopped on the way.

    Raises:
        UserError: an option, the folder or the table of captions cannot be used, or no mesh can.
    """
    options.check()
    load_mitsuba()
    load_trimesh()
    source, folder, warnings = Path(options.meshes), Path(options.output), Warnings()
    meshes = find_meshes(source)
    table = read_table(Path(options.captions), meshes, warnings) if options.captions else {}
    entries = rows(options, meshes, shapenet.names(source), table)
    chosen = dataclasses.asdict(options)
    settings = {name: value for name, value in chosen.items() if name not in NO_PICTURES}
    keep_settings(folder, settings, facts(options))
    jobs = [shots(options, mesh, folder) for mesh in meshes]
    try:
        done = work_through(
            take, jobs, outputs=outputs_of, workers=options.workers, unit="mesh", prepare=use_one_thread
        )
    finally:
        written = write_metadata(folder, entries)
    skipped = {str(path): reason for path, reason in done if reason}
    write_json(folder / SKIPPED, skipped)
    for path, reason in skipped.items():
        warnings.add(f"a mesh was passed over, see {folder / SKIPPED}", f"{path} {reason}")
    warnings.show()
    if not written:
        raise UserError(f"none of the {len(meshes)} meshes in {source} could be rendered")
    print(f"{folder}: {written} pictures of {len(meshes) - len(skipped)} meshes, {len(skipped)} passed over")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
