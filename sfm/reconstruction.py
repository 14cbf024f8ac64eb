"""Structure from motion by pycolmap, on the CPU: features, matches, incremental mapping."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pycolmap
from tqdm import tqdm

from scene.fitting import WIDEST
from utils.errors import UserError

T = TypeVar("T")
FEWEST = 3  # photographs; from two, focal length and shape cannot be told apart
LOOP_PHOTOGRAPHS = 25  # so many, evenly spread, are matched with each other where not every pair is
PART = 32  # photographs or pairs; between parts a bar moves, and an interruption costs one part


def largest_model(
    folder: Path,
    names: Sequence[str],
    work: Path,
    seed: int,
    *,
    lens: str = "OPENCV",
    points_of_two: bool = False,
    say: Callable[[str], object] = print,
) -> pycolmap.Reconstruction:
    """The model with most registered photographs, from matches of every pair.

    Args:
        folder: of the photographs.
        names: theirs, relative to it.
        work: an empty folder, which gets `database.db` with features and matches.
        seed: of the random samples.
        lens: COLMAP's name of the camera model to estimate.
        points_of_two: keeps points of which only two photographs have a match, which few photographs need.
        say: takes a sentence at the beginning of each part.

    Raises:
        UserError: no two photographs share enough to start from.
    """
    database = work / "database.db"
    say(f"finding features in {len(names)} photographs")
    add_features(database, folder, names, lens)
    say(f"matching {len(names) * (len(names) - 1) // 2} pairs")
    pycolmap.match_exhaustive(database, verification_options=verification(seed), device=pycolmap.Device.cpu)
    say("finding poses")
    (work / "models").mkdir()
    models = find_models(database, folder, work / "models", seed, points_of_two=points_of_two)
    if not models:
        raise UserError(
            f"none of the {len(names)} photographs in {folder} could be registered: they share too little. "
            "Take them from nearby places, in focus, with most of each picture seen in the next one too"
        )
    return models[0]


def add_features(
    database: Path,
    folder: Path,
    names: Sequence[str],
    lens: str,
    *,
    masks: Path | None = None,
    one_camera: bool = False,
) -> None:
    """Adds photographs and their SIFT features to a database.

    Photographs of one size and one EXIF focal length share a camera. Where EXIF tells the focal length (that
    of 35 mm film, or in mm for a sensor that COLMAP knows), the camera starts from it, else from 1.2 times
    the longer side.

    Args:
        database: made where it is missing; one with all photographs and some of the features is gone on with.
        folder: of the photographs.
        names: theirs, relative to it.
        lens: COLMAP's name of the camera model.
        masks: folder with NAME.png for every photograph, black where no features are wanted.
        one_camera: shared by all, which have to be of one size, whatever EXIF says.
    """
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    reading = pycolmap.ImageReaderOptions(camera_model=lens, mask_path=masks or "")
    if _count_photographs(database) < len(names):
        database.unlink(missing_ok=True)
        pycolmap.Database.open(database).close()
        # listed first, because extraction numbers new photographs in the order in which its threads finish
        for group in [list(names)] if one_camera else _of_one_camera(folder, names):
            pycolmap.import_images(database, folder, pycolmap.CameraMode.SINGLE, group, reading)
    for part in _parts(names, "photographs"):
        pycolmap.extract_features(
            database,
            folder,
            part,
            pycolmap.CameraMode.AUTO,
            reading,
            pycolmap.FeatureExtractionOptions(max_image_size=WIDEST),
            pycolmap.Device.cpu,
        )


def _count_photographs(database: Path) -> int:
    if not database.is_file():
        return 0
    with pycolmap.Database.open(database) as opened:
        return opened.num_images()


def _of_one_camera(folder: Path, names: Sequence[str]) -> list[list[str]]:
    """The names in groups of one size and one focal length, each in their order."""
    groups: dict[tuple[int, int, float], list[str]] = {}
    for name in names:
        camera = pycolmap.infer_camera_from_image(folder / name)
        key = (camera.width, camera.height, camera.mean_focal_length())
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def sequential_pairs(names: Sequence[str], overlap: int) -> list[tuple[str, str]]:
    """Pairs of photographs that were taken one after another, and some that close loops.

    Each photograph with the `overlap` next ones; and 25 of them, evenly spread, with each other: who walks
    round something comes by the same places again.
    """
    count = len(names)
    near = {(one, two) for one in range(count) for two in range(one + 1, min(one + overlap + 1, count))}
    spread = np.unique(np.linspace(0, count - 1, min(LOOP_PHOTOGRAPHS, count)).round().astype(int)).tolist()
    return [(names[one], names[two]) for one, two in sorted(near | {*itertools.combinations(spread, 2)})]


def match_pairs(database: Path, pairs: Sequence[tuple[str, str]], list_file: Path, seed: int) -> None:
    """Matches the features of pairs of photographs; pairs that the database has already cost nothing.

    Args:
        database: with all features.
        pairs: names without white space.
        list_file: written, several times.
        seed: of the random samples.
    """
    pycolmap.set_random_seed(seed)
    for part in _parts(pairs, "pairs"):
        list_file.write_text("".join(f"{one} {two}\n" for one, two in part), encoding="utf-8")
        pycolmap.match_image_pairs(
            database,
            pairing_options=pycolmap.ImportedPairingOptions(match_list_path=list_file),
            verification_options=verification(seed),
            device=pycolmap.Device.cpu,
        )


def find_models(
    database: Path, folder: Path, models: Path, seed: int, *, points_of_two: bool = False
) -> list[pycolmap.Reconstruction]:
    """The models of incremental mapping, that with most photographs (then points) first.

    Args:
        database: with features and matches.
        folder: of the photographs, for the points' colours.
        models: an empty folder, which gets them, numbered.
        seed: of the random samples.
        points_of_two: keeps points of which only two photographs have a match, which few photographs need.
    """
    pycolmap.set_random_seed(seed)
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value  # that there is no model is for us to say
    # One thread: the same model each time, but for the last digits (Ceres orders its unknowns by address).
    # With several, few photographs gave models that differ as a whole.
    mapping = pycolmap.IncrementalPipelineOptions(random_seed=seed, min_model_size=FEWEST, num_threads=1)
    mapping.triangulation.ignore_two_view_tracks = not points_of_two
    return ranked(pycolmap.incremental_mapping(database, folder, models, mapping).values())


def read_models(models: Path) -> list[pycolmap.Reconstruction]:
    """What `find_models` wrote and returned."""
    return ranked(pycolmap.Reconstruction(model) for model in sorted(models.iterdir()))


def ranked(models: Iterable[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """The models, that with most photographs (then points) first."""
    return sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def verification(seed: int) -> pycolmap.TwoViewGeometryOptions:
    """How matches of a pair are verified: as COLMAP does, with a seed of ours."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = seed
    return options


def _parts(items: Sequence[T], unit: str) -> Iterator[list[T]]:
    """The items in parts, with a bar where the output is a terminal."""
    with tqdm(total=len(items), unit=f" {unit}", disable=None, leave=False) as bar:
        for start in range(0, len(items), PART):
            part = list(items[start : start + PART])
            yield part
            bar.update(len(part))
