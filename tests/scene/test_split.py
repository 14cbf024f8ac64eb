"""`--split`: the photographs that a file names train and test, and masks that count in the test alone."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scene.dataset import SceneOptions, load_scene
from scene.split import read_split, write_split
from tests.scene.models import write_dataset
from tests.scene.test_recorded_paths import ANYTHING
from utils.errors import UserError

NAMES = [f"{number}.png" for number in range(6)]


def load(folder, **options):
    return load_scene(SceneOptions(source_path=str(folder), **options), 0)


def names_of(cameras):
    return [camera.name for camera in cameras]


def test_named_photographs_train_and_test_and_others_are_left_out(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    write_split(tmp_path / "split.json", ["4.png", "1.png", "2.png"], ["0.png"])
    assert read_split(tmp_path / "split.json") == (["4.png", "1.png", "2.png"], ["0.png"])
    for by_rule in (False, True):
        scene = load(folder, split=str(tmp_path / "split.json"), eval=by_rule)
        assert names_of(scene.train_cameras) == ["1.png", "2.png", "4.png"]
        assert names_of(scene.test_cameras) == ["0.png"]
    scene = load(folder, split=str(tmp_path / "split.json"), n_views=2)
    assert names_of(scene.train_cameras) == ["1.png", "4.png"]


def test_points_that_only_others_saw_are_no_start(tmp_path):
    """Points 0 to 119 are seen by views 1 and 2, the other 30 by 0 and 5."""
    folder = write_dataset(tmp_path / "scene", NAMES, seen_by=lambda row: (1, 2) if row < 120 else (0, 5))
    write_split(tmp_path / "split.json", ["1.png", "2.png"], ["0.png"])
    assert len(load(folder, split=str(tmp_path / "split.json")).points) == 120
    assert len(load(folder, split=str(tmp_path / "split.json"), points="all").points) == 150


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("[", "needs JSON of this form"),
        ('{"train": [], "test": []}', "`train` with an entry"),
        ('{"train": ["0.png"]}', "KeyError"),
        ('{"train": [0], "test": []}', "names are texts"),
        ('{"train": ["0.png"], "test": ["0.png"]}', "lists 0.png more than once"),
        ("[" * 100_000, "needs JSON of this form"),
        (json.dumps({"train": [*map(str, range(200_000)), "7"], "test": []}), "lists 7 more than once"),
        ('{"train": ["7.png"], "test": []}', "names 7.png, which the dataset does not have; its 6"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, content, message):
    folder = write_dataset(tmp_path / "scene", NAMES)
    if content is not None:
        (tmp_path / "split.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load(folder, split=str(tmp_path / "split.json"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.text(max_size=30),
        ANYTHING.map(json.dumps),
        st.fixed_dictionaries({"train": ANYTHING, "test": ANYTHING}).map(json.dumps),
    )
)
def test_any_file_is_a_split_or_ends_in_one_message(tmp_path, content):
    (tmp_path / "split.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    try:
        train, test = read_split(tmp_path / "split.json")
    except UserError:
        return
    assert train and len({*train, *test}) == len(train) + len(test)
    assert all(isinstance(name, str) for name in train + test)


def test_masks_may_count_in_the_test_alone(tmp_path):
    folder = write_dataset(tmp_path / "scene", NAMES)
    half = np.zeros((48, 64), np.uint8)
    half[:, :32] = 255
    (folder / "masks").mkdir()
    for name in NAMES:
        Image.fromarray(half).save(folder / "masks" / name)
    scene = load(folder, eval=True, mask_mode="score")
    black = scene.train_cameras[0].intrinsics.new_zeros(3)
    weights = [camera.own_photograph.target(black)[1] for camera in scene.train_cameras]
    assert weights == [None] * 5
    (test,) = scene.test_cameras
    weight = test.own_photograph.target(black)[1]
    assert np.array_equal(weight.numpy() * 255, half)
    assert load(folder, eval=True).train_cameras[0].own_photograph.target(black)[1] is not None
    assert json.dumps(scene.summary())


def test_another_mask_mode_is_refused():
    with pytest.raises(UserError, match="--mask_mode other: allowed is ignore, transparent or score"):
        SceneOptions(source_path=".", mask_mode="other").check()  # type: ignore[arg-type]
