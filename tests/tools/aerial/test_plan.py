"""Places and captions: what is drawn is what is said; every kind of place can be seen."""

import re

import numpy as np
import pytest

from tools.aerial.plan import GENERIC, KINDS, SEASONS, Place, Plan, expert, sun_words

PLAN = Plan(seed=2, held_out_share=0.2)
PLACES = [PLAN.place(number) for number in range(400)]


def test_the_seed_makes_the_place_and_its_picture() -> None:
    assert Plan(2, 0.2).place(5) == PLACES[5]
    assert [Plan(3).place(number) for number in range(5)] != PLACES[:5]
    first, again = (PLAN.picture(PLACES[5], 32) for _ in range(2))
    assert np.array_equal(first, again)


def test_places_are_held_out_by_the_seed() -> None:
    assert np.mean([place.split == "held_out" for place in PLACES]) == pytest.approx(0.2, abs=0.05)
    assert {Plan(0, 0.0).place(number).split for number in range(20)} == {"train"}


def test_all_kinds_and_seasons_occur_within_their_limits() -> None:
    assert {place.kind for place in PLACES} == set(KINDS)
    for place in PLACES:
        kind = KINDS[place.kind]
        assert place.season in kind.seasons
        assert 0.9 * kind.gsd[0] <= place.gsd <= 1.1 * kind.gsd[1] + 0.06
        assert 80 <= place.azimuth <= 280
        assert 16 <= place.elevation <= 62


def test_captions_say_what_the_attributes_say() -> None:
    for place in PLACES:
        row = PLAN.row(place, "x.png")
        text, details = row["expert"], row["details"]
        assert row["generic"] == GENERIC
        assert place.words in text
        assert text.endswith(f"{sun_words(place.azimuth, place.elevation)}, {place.gsd:g} m GSD")
        for season, words in SEASONS.items():
            assert not words or (words in text) == (season == place.season)
        if place.kind == "fields" and place.season != "winter":
            assert all(crop in text for crop in details["crops"])
        for key, word in {"bridge": "bridge", "reeds": "reeds", "pools": "pools", "track": "track"}.items():
            assert key not in details or (word in text) == details[key]
        if place.kind == "village":
            assert (details["roof"] in text) == (place.season != "winter")
        assert not re.search(r"\s\s|, ,|,$|\ba [aeio]", text)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "words"),
    [
        (90, 20, "low sun from the east"),
        (271, 40, "sun from the west"),
        (224, 27, "low sun from the southwest"),
        (180, 60, "high sun"),
    ],
)
def test_the_sun_is_called_by_where_it_stands(azimuth: float, elevation: float, words: str) -> None:
    assert sun_words(azimuth, elevation) == words


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_place_is_a_picture_in_every_season(kind: str) -> None:
    for season in KINDS[kind].seasons:
        rng = np.random.default_rng(7)
        words, details = KINDS[kind].draw(rng, season)
        place = Place(3, "train", kind, words, details, season, KINDS[kind].gsd[0], 140, 35)
        picture = PLAN.picture(place, 32)
        assert (picture.shape, picture.dtype) == ((32, 32, 3), np.uint8)
        assert picture.std() > 3
        assert 20 < picture.mean() < 250
        assert expert(place).startswith(f"nadir aerial image of {words}")
