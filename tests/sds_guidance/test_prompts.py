"""Prompts of a view: which is drawn, how often, and in which direction's words."""

import math
from collections import Counter

import pytest
import torch
from scipy.spatial.transform import Rotation

from scene.camera_paths import look_at
from scene.cameras import Camera
from sds_guidance.prompts import DIRECTIONS, PromptStates, view_directions
from utils.errors import UserError

UP = torch.tensor([0.0, 0.0, 1.0])
FOCUS = torch.tensor([1.0, -2.0, 0.5])
LENS = torch.tensor([[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]])


def seen_from(azimuth: float, elevation: float = 20.0, distance: float = 4.0) -> Camera:
    """An upright camera round FOCUS, angles in degrees; its name is the azimuth."""
    a, e = math.radians(azimuth), math.radians(elevation)
    towards = torch.tensor([math.cos(a) * math.cos(e), math.sin(a) * math.cos(e), math.sin(e)])
    return Camera(f"{azimuth:g}", look_at(FOCUS + distance * towards, FOCUS, UP), LENS, 64, 48)


def moved(camera: Camera, turn: torch.Tensor, scale: float, shift: torch.Tensor) -> Camera:
    """The camera in a world that is turned, scaled and shifted."""
    pose = torch.eye(4)
    pose[:3, :3] = camera.world_to_camera[:3, :3] @ turn.T
    pose[:3, 3] = -pose[:3, :3] @ (scale * turn @ camera.position + shift)
    return Camera(camera.name, pose, LENS, 64, 48)


RING = [seen_from(azimuth) for azimuth in range(0, 360, 40)]
WORDS: dict[str, list[tuple[float, float]]] = {
    "front": [(80, 20), (36, 20), (124, -20), (80, 59)],
    "side": [(34, 20), (126, 20), (170, 0), (-10, 20), (214, 20), (-10, 59)],
    "back": [(260, 20), (216, 20), (304, 20)],
    "overhead": [(80, 61), (170, 61), (260, 61), (10, 89.9)],
}


@pytest.mark.parametrize("seed", range(3))
def test_words_for_azimuth_and_elevation_in_any_frame(seed):
    """The front is at 80 degrees; words change 45 degrees from it, and above 60 degrees of elevation."""
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix()).float()
    frame = (turn, 0.5 + seed, torch.tensor([3.0, -1.0, 7.0]))
    directions = view_directions([moved(camera, *frame) for camera in RING], "80")
    for word, angles in WORDS.items():
        for azimuth, elevation in angles:
            assert directions(moved(seen_from(azimuth, elevation), *frame)) == word, (azimuth, elevation)


def test_a_capture_from_one_side_and_above_knows_what_is_level():
    """The mean of the cameras' up directions leans back by 40 degrees here; their x axes do not."""
    cameras = [seen_from(azimuth, 40.0) for azimuth in range(-50, 51, 10)]
    directions = view_directions(cameras, "0")
    for elevation in (0.0, 40.0, 75.0):
        found = math.degrees(directions.elevation(seen_from(10.0, elevation)))
        assert found == pytest.approx(elevation, abs=3.0)
    assert [directions(seen_from(azimuth, 40.0)) for azimuth in (0, 90, 180)] == ["front", "side", "back"]


def parallel(offset: float) -> Camera:
    away = FOCUS + torch.tensor([4.0, offset, 0.0])
    return Camera(f"{offset:g}", look_at(away, away - torch.tensor([4.0, 0.0, 0.0]), UP), LENS, 64, 48)


def outward(azimuth: float) -> Camera:
    away = seen_from(azimuth).position
    return Camera(f"{azimuth:g}", look_at(away, 2 * away - FOCUS, UP), LENS, 64, 48)


@pytest.mark.parametrize(
    ("cameras", "front", "words"),
    [
        (RING, "a.jpg", "those are 0, 40, 80, 120, 160, ..."),
        ([parallel(0.3 * place) for place in range(4)], "0", "one common point"),
        ([outward(azimuth) for azimuth in range(0, 360, 60)], "0", "one common point"),
        ([seen_from(0.0)], "0", "one common point"),
        ([*RING, seen_from(10.0, 70.0)], "10", "from above"),
    ],
    ids=["unknown", "parallel", "outward", "one", "overhead"],
)
def test_where_directions_make_no_sense(cameras, front, words):
    with pytest.raises(UserError, match="front_view") as raised:
        view_directions(cameras, front)
    assert words in str(raised.value)


def test_of_one_prompt_nothing_is_drawn():
    states, generator = torch.randn(2, 5, 3), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(PromptStates(states, [0.3])(RING[0], generator), states)
    assert torch.equal(generator.get_state(), before)


def test_prompts_are_drawn_by_weight():
    states = torch.arange(5.0).view(5, 1, 1).expand(5, 2, 3)
    conditions, generator = PromptStates(states, [1.0, 0.0, 3.0, 4.0]), torch.Generator().manual_seed(0)
    drawn = [conditions(RING[0], generator) for _ in range(2000)]
    assert all(pair.shape == (2, 2, 3) and float(pair[0].max()) == 0 for pair in drawn)
    counts = Counter(int(pair[1, 0, 0]) for pair in drawn)
    assert set(counts) == {1, 3, 4}
    for number, share in ((1, 1 / 8), (3, 3 / 8), (4, 1 / 2)):
        assert counts[number] / 2000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 2000))


def test_the_generator_alone_decides_so_that_a_resumed_run_draws_the_same():
    states, generator = torch.randn(4, 2, 3), torch.Generator().manual_seed(3)
    conditions = PromptStates(states, [1, 1, 1])
    for _ in range(5):
        conditions(RING[0], generator)
    again = torch.Generator()
    again.set_state(generator.get_state())
    anew = PromptStates(states, [1, 1, 1])
    for _ in range(10):
        assert torch.equal(conditions(RING[0], generator), anew(RING[0], again))


def test_a_view_gets_its_own_direction_of_the_prompt_that_is_drawn():
    numbers = torch.arange(1 + 2 * len(DIRECTIONS)).float().view(-1, 1, 1)
    conditions = PromptStates(numbers, [0.0, 1.0], view_directions(RING, "80"))
    generator = torch.Generator().manual_seed(0)
    for place, word in enumerate(DIRECTIONS):
        for azimuth, elevation in WORDS[word]:
            pair = conditions(seen_from(azimuth, elevation), generator).flatten().tolist()
            assert pair == [0.0, 1 + len(DIRECTIONS) + place]
