"""The examination: every photograph and camera is measured, and what is doubtful gets a reason."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scene.check.arrangement import Arrangement, arrange
from scene.check.looks import Look, exposures, look
from scene.dataset import Posed, Scene, SceneOptions, fitting_of, posed_photographs, scene_of
from scene.points import visible
from scene.source import MissingPhotographs
from utils.errors import UserError, Warnings

BLURRED = 0.5  # times the median sharpness, below which a photograph is doubtful
FEW_POINTS = 30  # of SfM, below which a photograph's pose is doubtful
MOST_NAMES = 100  # of missing photographs in the message
LITTLE = 0.15  # overlap, below which a photograph is doubtful


@dataclass
class View:
    """A photograph and its camera.

    Attributes:
        name, use: use is "train" or "test".
        size: width and height in pixels at which it is used.
        sharpness: over the median of all; NaN where it shows nothing.
        stops: how much brighter than the others it is.
        points: how many of the points it sees.
        overlap: the largest share of them that another training photograph sees too.
        angle: degrees to the nearest of these, as its points see the two.
        doubts: what speaks against it, a few words each.
    """

    name: str
    use: str
    size: tuple[int, int]
    sharpness: float
    stops: float
    points: int
    overlap: float
    angle: float
    doubts: list[str] = field(default_factory=list)


@dataclass
class Health:
    """All that was found.

    Attributes:
        options: the flags of the scene.
        scene: as a training would have it.
        views: the training photographs, then those for the test.
        arrangement: of the cameras, in the same order.
        by_points: whether exposures are told by points that several photographs show; else by the mean.
        points: "observed" are those that say who saw them; of those that are "given" what lies in a picture
            counts as seen, and so it does of "random" ones, which are not there.
        nbytes: memory that all decoded photographs take.
        transparent: how many photographs have a transparent part.
        warnings: what was odd but usable.
    """

    options: SceneOptions
    scene: Scene
    views: list[View]
    arrangement: Arrangement
    by_points: bool
    points: Literal["observed", "given", "random"]
    nbytes: int
    transparent: int
    warnings: Warnings


def examine(options: SceneOptions) -> Health:
    """The health of a scene.

    Raises:
        UserError: it cannot be trained; the message names all that is missing or does not fit.
    """
    options.check()
    warnings = Warnings()
    posed, scene = loaded(options, warnings)
    cameras = scene.train_cameras + scene.test_cameras
    trains = np.arange(len(cameras)) < len(scene.train_cameras)
    observed = bool(posed.observed and len(posed.observed.positions))
    positions, seen = seen_points(posed, scene)
    jobs = zip(tqdm(cameras, desc="photographs", leave=False, disable=None), seen, strict=True)
    looks = [look(camera, positions[rows]) for camera, rows in jobs]
    arrangement = arrange(cameras, trains, positions, seen)
    stops = exposures(looks, seen, len(positions)) if observed else np.full(len(looks), np.nan)
    by_points = bool(np.isfinite(stops).any())
    if not by_points:
        brightness = np.array([each.brightness for each in looks])
        stops = brightness - np.nanmedian(brightness)
    sharpness = np.array([each.sharpness for each in looks])
    sharpness = sharpness / np.nanmedian(sharpness) if np.isfinite(sharpness).any() else sharpness
    views = [
        View(
            name=camera.name,
            use="train" if trains[number] else "test",
            size=(camera.width, camera.height),
            sharpness=float(sharpness[number]),
            stops=float(stops[number]),
            points=len(seen[number]),
            overlap=float(arrangement.overlap[number]),
            angle=float(arrangement.nearest[number]),
        )
        for number, camera in enumerate(cameras)
    ]
    add_doubts(views, looks, arrangement, observed)
    return Health(
        options=options,
        scene=scene,
        views=views,
        arrangement=arrangement,
        by_points=by_points,
        points="observed" if observed else "random" if "random points" in scene.points_source else "given",
        nbytes=sum(each.nbytes for each in looks),
        transparent=sum(each.transparent for each in looks),
        warnings=warnings,
    )


def loaded(options: SceneOptions, warnings: Warnings) -> tuple[Posed, Scene]:
    """The dataset and its scene.

    Raises:
        UserError: as `examine` does.
    """
    # dense stereo takes minutes, and --train_test_exp would list test photographs twice
    points = "seen" if options.points == "dense" else options.points
    options = replace(options, points=points, train_test_exp=False)
    try:
        posed = posed_photographs(options, warnings)
    except MissingPhotographs as missing:
        names, more = missing.names[:MOST_NAMES], len(missing.names) - MOST_NAMES
        rest = f" and {more} more" * (more > 0)
        raise UserError(f"{missing}\nmissing: {', '.join(names)}{rest}") from None
    demand_fitting(posed, options)
    return posed, scene_of(posed, options, 0, warnings)


def seen_points(posed: Posed, scene: Scene) -> tuple[NDArray[np.floating], list[NDArray[np.int64]]]:
    """Points of structure from motion and who saw them, else those to start from and in whose view they lie.

    Returns:
        positions: (N, 3), world frame.
        seen: for each camera, training ones first, the rows of the points that are finite.
    """
    cameras = scene.train_cameras + scene.test_cameras
    if posed.observed is None or not len(posed.observed.positions):
        positions = scene.points.positions
        return positions, [np.flatnonzero(visible(camera, positions)[0]) for camera in cameras]
    finite = np.all(np.isfinite(posed.observed.positions), axis=1)
    every = [posed.observed.seen.get(camera.name, np.zeros(0, np.int64)) for camera in cameras]
    return posed.observed.positions, [rows[finite[rows]] for rows in every]


def demand_fitting(posed: Posed, options: SceneOptions) -> None:
    """A UserError that tells of every photograph that is damaged or of another size than its camera's."""
    fitting, faults = fitting_of(options, Warnings()), []
    for photograph in {each.name: each for each in posed.train + posed.test}.values():
        try:
            fitting.camera(photograph)
        except UserError as fault:
            faults.append(str(fault))
    if len(faults) > 1:
        faults.insert(0, f"{len(faults)} photographs cannot be used:")
    if faults:
        raise UserError("\n".join(faults))


def add_doubts(views: list[View], looks: list[Look], arrangement: Arrangement, observed: bool) -> None:
    """Gives every view the reasons to doubt it.

    Args:
        views, looks: in the same order.
        arrangement: of their cameras.
        observed: whether the points say who saw them.
    """
    first: dict[bytes, str] = {}
    for view, its, apart, distance in zip(
        views, looks, arrangement.apart, arrangement.distances, strict=True
    ):
        if np.isnan(view.sharpness):
            view.doubts.append("shows nothing: all is of one colour, masked or transparent")
        elif view.sharpness < BLURRED:
            view.doubts.append(f"blurred: {view.sharpness:.2f} times as sharp as the others")
        if first.setdefault(its.digest, view.name) != view.name:
            view.doubts.append(f"the same picture as {first[its.digest]}")
        if apart:
            view.doubts.append(f"stands apart: {distance:.0f} times as far from the middle as the others")
        if observed and view.points < FEW_POINTS:
            view.doubts.append(f"{view.points} points tell its pose")
        if len(views) > 1 and view.points and view.overlap < LITTLE:
            view.doubts.append(f"shares {view.overlap:.0%} of its points with another photograph")
