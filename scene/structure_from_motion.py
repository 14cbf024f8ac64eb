"""Structure from motion by pycolmap, on the CPU: features, matches of every pair, incremental mapping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pycolmap

from scene.fitting import WIDEST
from scene.photographs import stored_size
from utils.errors import UserError

FEWEST = 3  # photographs; from two, focal length and shape cannot be told apart


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
    """The model with most registered photographs.

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
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    database = work / "database.db"
    pycolmap.set_random_seed(seed)
    say(f"finding features in {len(names)} photographs")
    pycolmap.Database.open(database).close()
    add_features(database, folder, names, lens)
    say(f"matching {len(names) * (len(names) - 1) // 2} pairs")
    pycolmap.match_exhaustive(database, verification_options=verification(seed), device=pycolmap.Device.cpu)
    say("finding poses")
    # one thread: the same model each time, but for the last digits (Ceres orders its unknowns by address)
    mapping = pycolmap.IncrementalPipelineOptions(random_seed=seed, min_model_size=FEWEST, num_threads=1)
    mapping.triangulation.ignore_two_view_tracks = not points_of_two
    (work / "models").mkdir()
    models = pycolmap.incremental_mapping(database, folder, work / "models", mapping)
    if not models:
        raise UserError(
            f"none of the {len(names)} photographs in {folder} could be registered: they share too little. "
            "Take them from nearby places, in focus, with most of each picture seen in the next one too"
        )
    return max(models.values(), key=lambda model: model.num_reg_images())


def add_features(database: Path, folder: Path, names: Sequence[str], lens: str) -> None:
    """Adds photographs and their SIFT features to a database; they share a camera if all have one size."""
    one_size = len({stored_size(folder / name)[:2] for name in names}) == 1
    sharing = pycolmap.CameraMode.SINGLE if one_size else pycolmap.CameraMode.AUTO
    reading = pycolmap.ImageReaderOptions(camera_model=lens)
    # listed first, because extraction numbers new photographs in the order in which its threads finish
    pycolmap.import_images(database, folder, sharing, names, reading)
    pycolmap.extract_features(
        database,
        folder,
        names,
        sharing,
        reading,
        pycolmap.FeatureExtractionOptions(max_image_size=WIDEST),
        pycolmap.Device.cpu,
    )


def verification(seed: int) -> pycolmap.TwoViewGeometryOptions:
    """How matches of a pair are verified: as COLMAP does, with a seed of ours."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = seed
    return options
