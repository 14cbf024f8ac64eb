"""What a set of aerial pictures shows: places, seasons, the sun, and the captions. All from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from tools.aerial import built, farmland, wild
from tools.aerial.farmland import Details, Drawn
from tools.aerial.ground import Ground, add_snow
from tools.aerial.light import photograph
from tools.domains.sets import instance_rng, split_of
from tools.studio.textures import Array

ATTRIBUTES, SHAPE, CAMERA = range(1, 4)  # streams of a place's random numbers; 0 is its split's
GENERIC = "an aerial photograph"
FINER, MARGIN = 2, 16
"""Points of the ground for a pixel, each way, and pixels round the picture that cast shadows into it."""
SEASONS = {"summer": "", "autumn": "in autumn", "winter": "under snow"}
SEASON_SHARES = {"summer": 0.6, "autumn": 0.2, "winter": 0.2}
COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")


@dataclass(frozen=True)
class Kind:
    """A kind of place.

    Attributes:
        draw: decides what is there in a season: words, and what `paint` is told.
        paint: makes the ground.
        gsd: least and greatest metres on the ground for a pixel.
        seasons: keys of `SEASONS`.
        share: of all places.
    """

    draw: Callable[[Generator, str], Drawn]
    paint: Callable[[Ground, Generator, Details, str], None]
    gsd: tuple[float, float]
    seasons: tuple[str, ...]
    share: float


ALL, WARM = tuple(SEASONS), ("summer",)
KINDS = {
    "fields": Kind(farmland.draw_fields, farmland.paint_fields, (0.4, 1.5), ALL, 0.2),
    "irrigated circles": Kind(farmland.draw_circles, farmland.paint_circles, (4, 10), WARM, 0.06),
    "orchard": Kind(farmland.draw_orchard, farmland.paint_orchard, (0.3, 0.6), ("summer", "autumn"), 0.08),
    "solar farm": Kind(farmland.draw_solar, farmland.paint_solar, (0.3, 0.7), WARM, 0.06),
    "forest": Kind(wild.draw_forest, wild.paint_forest, (0.3, 0.8), ALL, 0.1),
    "river": Kind(wild.draw_river, wild.paint_river, (0.6, 2.5), ALL, 0.1),
    "lake": Kind(wild.draw_lake, wild.paint_lake, (0.6, 2.5), ("summer", "autumn"), 0.08),
    "coast": Kind(wild.draw_coast, wild.paint_coast, (0.6, 2.5), WARM, 0.08),
    "hills": Kind(wild.draw_hills, wild.paint_hills, (3, 10), ("summer", "winter"), 0.1),
    "village": Kind(built.draw_village, built.paint_village, (0.35, 0.7), ALL, 0.14),
    "industry": Kind(built.draw_industry, built.paint_industry, (0.5, 1.0), WARM, 0.06),
}


@dataclass(frozen=True)
class Place:
    """One place and its picture.

    Attributes:
        number: which one of the set.
        kind: a key of `KINDS`.
        words: what is there.
        details: what `Kind.paint` is told.
        season: a key of `SEASONS`.
        gsd: metres on the ground for a pixel.
        azimuth, elevation: of the sun, degrees, clockwise from north and over the horizon.
    """

    number: int
    split: str
    kind: str
    words: str
    details: dict[str, Any]
    season: str
    gsd: float
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class Plan:
    """Decides all that a set shows; the same plan gives the same places."""

    seed: int
    held_out_share: float = 0.1

    def rng(self, number: int, *stream: int) -> Generator:
        """The generator of a place for one purpose."""
        return instance_rng(self.seed, number, *stream)

    def place(self, number: int) -> Place:
        """The place of that number."""
        rng = self.rng(number, ATTRIBUTES)
        shares = np.array([kind.share for kind in KINDS.values()])
        name = list(KINDS)[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
        kind = KINDS[name]
        weights = np.array([SEASON_SHARES[season] for season in kind.seasons])
        season = kind.seasons[int(rng.choice(len(weights), p=weights / weights.sum()))]
        words, details = kind.draw(rng, season)
        return Place(
            number,
            split_of(self.seed, number, self.held_out_share),
            name,
            words,
            details,
            season,
            gsd=float(f"{np.exp(rng.uniform(*np.log(kind.gsd))):.1g}"),
            azimuth=round(float(rng.uniform(80, 280)), 1),
            elevation=round(float(rng.uniform(16, 62)), 1),
        )

    def row(self, place: Place, file_name: str) -> dict[str, Any]:
        """The entry of a place in `metadata.jsonl`."""
        return {
            "file_name": file_name,
            "expert": expert(place),
            "generic": GENERIC,
            "kind": place.kind,
            "season": place.season,
            "details": place.details,
            "ground_sample_distance": place.gsd,
            "sun_azimuth": place.azimuth,
            "sun_elevation": place.elevation,
            "place": place.number,
            "split": place.split,
        }

    def picture(self, place: Place, resolution: int) -> Array:
        """(R, R, 3) uint8: the place from straight above."""
        points = FINER * (resolution + 2 * MARGIN)
        ground = Ground(place.gsd / FINER, points, place.gsd * resolution)
        rng = self.rng(place.number, SHAPE)
        KINDS[place.kind].paint(ground, rng, place.details, place.season)
        if place.season == "winter":
            add_snow(ground, rng)
        camera = self.rng(place.number, CAMERA)
        return photograph(ground, camera, place.azimuth, place.elevation, FINER, MARGIN)


def sun_words(azimuth: float, elevation: float) -> str:
    """How a caption names a sun, by azimuth and elevation in degrees."""
    if elevation >= 48:
        return "high sun"
    side = COMPASS[round(azimuth / 45) % 8]
    return f"{'low sun' if elevation < 28 else 'sun'} from the {side}"


def expert(place: Place) -> str:
    """The caption that a surveyor might write; what matters most comes first."""
    parts = [f"nadir aerial image of {place.words}", SEASONS[place.season]]
    parts += [sun_words(place.azimuth, place.elevation), f"{place.gsd:g} m GSD"]
    return ", ".join(part for part in parts if part)
