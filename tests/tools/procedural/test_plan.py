"""The plan of a set: splits that share nothing, captions that say what is there, colours far apart."""

import re

import numpy as np
import pytest

from tools.procedural.appearance import COLOURS, FLOORS, draw_colour, floors_for, main_material
from tools.procedural.captions import NUMBERS, VIEW_WORDS
from tools.procedural.families import FAMILIES, MATERIALS
from tools.procedural.plan import SPLITS, Plan, row, view_word

PLAN = Plan(seed=3)
INSTANCES = [PLAN.instance(number) for number in range(1500)]


def test_held_out_families_are_in_no_other_split() -> None:
    kept, held_out = PLAN.families()
    assert len(held_out) == 4
    assert sorted(kept + held_out) == sorted(FAMILIES)
    for instance in INSTANCES:
        assert (instance.family in held_out) == (instance.split == "held_out_families")
    assert {instance.family for instance in INSTANCES} == set(FAMILIES)
    shares = [np.mean([instance.split == split for instance in INSTANCES]) for split in SPLITS]
    assert shares == pytest.approx([0.84, 0.08, 0.08], abs=0.025)


def test_the_seed_chooses_families_and_instances() -> None:
    assert Plan(3).instance(8) == PLAN.instance(8)
    assert Plan(4).families() != PLAN.families()
    assert [Plan(4).instance(number) for number in range(5)] != INSTANCES[:5]


def test_a_share_of_the_instances_are_still_lifes_of_different_things() -> None:
    mixed = [instance for instance in INSTANCES if instance.beside]
    assert len(mixed) / len(INSTANCES) == pytest.approx(0.1, abs=0.02)
    assert {len(instance.things) for instance in mixed} == {2, 3}
    _, held_out = PLAN.families()
    for instance in mixed:
        assert (instance.count, instance.size) == (1, "")
        assert len({thing.family for thing in instance.things}) == len(instance.things)
        assert len({thing.colour for thing in instance.things}) == len(instance.things)
        for thing in instance.things:
            assert (thing.family in held_out) == (instance.split == "held_out_families")
            assert instance.floor in floors_for(thing.colour)
    assert not any(Plan(3, still_life_share=0).instance(number).beside for number in range(200))


def test_without_still_lifes_all_other_instances_are_the_same() -> None:
    plain = Plan(3, still_life_share=0)
    assert [i for i in INSTANCES if not i.beside] == [
        plain.instance(i.number) for i in INSTANCES if not i.beside
    ]


def test_nothing_is_held_out_where_nothing_is_asked_for() -> None:
    plan = Plan(0, held_out_families=0, held_out_share=0.0)
    assert {plan.instance(number).split for number in range(100)} == {"train"}
    assert plan.families() == (sorted(FAMILIES), [])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_captions_say_what_the_attributes_say(number: int) -> None:
    other_colours = {name: set(COLOURS) - {name} for name in COLOURS}
    for instance in INSTANCES[:400]:
        view = PLAN.view(instance, number)
        text = re.sub(r" on a [a-z ]+ floor", "", view.text)
        words = set(re.findall("[a-z]+", text))
        for thing in instance.things:
            assert thing.colour in words
            assert (thing.family if instance.count == 1 else FAMILIES[thing.family].plural) in words
        if not instance.beside:
            assert not words & other_colours[instance.colour]
        assert words & set(NUMBERS.values()) == ({NUMBERS[instance.count]} if instance.count > 1 else set())
        assert words & {"small", "large"} == ({instance.size} if instance.size else set())
        if text != view.text:
            assert f" on a {instance.floor} floor" in view.text
        for word, phrases in VIEW_WORDS.items():
            assert word == view.view or not text.endswith(phrases)
        assert not re.search(r"\ba [aeio]|\ban [^aeio]", view.text)
        assert row(instance, view, "x.png")["text"] == view.text


def test_views_are_called_by_where_they_are_from() -> None:
    assert [view_word(angle, 20, True) for angle in (0, 44, -90, 136, -180, 350)] == [
        *("front", "front", "side", "back", "back", "front")
    ]
    assert view_word(0, 20, False) == "side"
    assert view_word(0, 50, False) == view_word(0, 50, True) == "above"
    drawn = {PLAN.view(instance, 0).view for instance in INSTANCES[:200]}
    assert drawn == set(VIEW_WORDS)


def test_a_row_is_seen_across() -> None:
    for instance in INSTANCES:
        if instance.in_row:
            for number in range(4):
                away = (PLAN.view(instance, number).azimuth - instance.facing + 90) % 180 - 90
                assert abs(away) <= 30.01


def test_objects_stand_out_from_their_floor() -> None:
    for instance in INSTANCES:
        assert instance.floor in floors_for(instance.colour)
    for name in COLOURS:
        assert len(floors_for(name)) >= 3
        shade = draw_colour(np.random.default_rng(0), name)
        assert min(np.abs(shade - FLOORS[floor][0]).max() for floor in floors_for(name)) > 0.1


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("name", COLOURS)
def test_most_of_every_pattern_is_near_the_named_colour(name: str, material: str) -> None:
    shade = draw_colour(np.random.default_rng(1), name)
    surface = main_material(np.random.default_rng(2), shade, material).colour.reshape(-1, 3)
    shades = {other: draw_colour(np.random.default_rng(3), other) for other in COLOURS}
    share = np.mean(np.linalg.norm(surface - shade, axis=1) < 0.35)
    assert share >= 0.5
    assert min(shades, key=lambda other: float(np.linalg.norm(shades[other] - shade))) == name
