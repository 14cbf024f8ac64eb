"""Recorded paths: cameras come back as they were, and whatever else a file holds is one message."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scene.recorded_paths import MOST_BYTES, read_path
from tests.small_scene import FIELD_OF_VIEW, arc_of_cameras
from utils.errors import UserError

FRAME: dict[str, Any] = {
    "camera_to_world": [[1, 0, 0, 4], [0, 1, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1]],
    "fov_y_degrees": 40,
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "path.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def posed(**entries: Any) -> dict[str, Any]:
    """A path of two frames, of which the second's pose has these entries: row_column=value."""
    matrix = [list(row) for row in FRAME["camera_to_world"]]
    for place, value in entries.items():
        matrix[int(place[1])][int(place[2])] = value
    return {"frames": [FRAME, {**FRAME, "camera_to_world": matrix}]}


def test_cameras_come_back(tmp_path):
    cameras = arc_of_cameras(4)
    frames = [
        {
            "camera_to_world": torch.linalg.inv(camera.world_to_camera.double()).tolist(),
            "fov_y_degrees": math.degrees(camera.field_of_view[1]),
        }
        for camera in cameras
    ]
    path = read_path(written(tmp_path, {"frames": frames, "fps": 24, "more": 1}), 96, 80)
    assert path.frames_per_second == 24
    for read, camera in zip(path.cameras, cameras, strict=True):
        assert torch.allclose(read.world_to_camera, camera.world_to_camera, atol=1e-6)
        assert torch.allclose(read.intrinsics, camera.resized(96, 80).intrinsics, rtol=1e-5)
        assert (read.width, read.height, read.photograph) == (96, 80, None)
        assert read.field_of_view[0] == pytest.approx(FIELD_OF_VIEW)


def test_thirty_frames_a_second_where_it_says_nothing(tmp_path):
    path = read_path(written(tmp_path, {"frames": [FRAME]}), 10, 10)
    assert path.frames_per_second == 30
    assert path.cameras[0].position.tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ('{"frames": [', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "holds a list"),
        ({}, 'has no list "frames"'),
        ({"frames": []}, 'has no list "frames"'),
        ({"frames": {}}, 'has no list "frames"'),
        ({"frames": [FRAME], "fps": 0}, '"fps" is 0;'),
        ({"frames": [FRAME], "fps": "30"}, "\"fps\" is '30'"),
        ({"frames": [FRAME], "fps": None}, '"fps" is None'),
        ({"frames": [FRAME, 7]}, 'frame 1: "camera_to_world" or "fov_y_degrees" is missing'),
        ({"frames": [{"camera_to_world": []}]}, "frame 0.*is missing"),
        ({"frames": [{**FRAME, "fov_y_degrees": 180}]}, 'frame 0: "fov_y_degrees" is 180; wanted'),
        ({"frames": [{**FRAME, "fov_y_degrees": float("nan")}]}, '"fov_y_degrees" is nan'),
        ({"frames": [{**FRAME, "fov_y_degrees": True}]}, '"fov_y_degrees" is True'),
        ({"frames": [{**FRAME, "camera_to_world": [[1, 2], [3, 4]]}]}, "frame 0.*no rigid motion"),
        ({"frames": [{**FRAME, "camera_to_world": 3}]}, "no rigid motion"),
        (posed(_03=float("nan")), "frame 1.*no rigid motion"),
        (posed(_03=1e300), "frame 1.*no rigid motion"),
        (posed(_03=10**400), "frame 1.*no rigid motion"),
        (posed(_03="4"), "frame 1.*no rigid motion"),
        (posed(_00=2), "frame 1.*no rigid motion"),
        (posed(_00=-1), "frame 1.*no rigid motion"),  # a mirror
        (posed(_01=0.1), "frame 1.*no rigid motion"),
        (posed(_32=1), "frame 1.*no rigid motion"),
    ],
)
def test_mistakes_are_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as raised:
        read_path(written(tmp_path, content), 10, 10)
    assert str(tmp_path / "path.json") in str(raised.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=re.escape(f"no file {tmp_path / 'nothing.json'}")):
        read_path(tmp_path / "nothing.json", 10, 10)
    with pytest.raises(UserError, match="is a folder"):
        read_path(tmp_path, 10, 10)
    (tmp_path / "binary.json").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(UserError, match="is not valid JSON"):
        read_path(tmp_path / "binary.json", 10, 10)
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a hole: nothing is written, and nothing must be read
    with pytest.raises(UserError, match="has 100 MB, more than any path"):
        read_path(tmp_path / "huge.json", 10, 10)


NUMBERS = st.one_of(st.integers(), st.floats(), st.just(10**400))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
MATRICES = st.lists(st.lists(st.one_of(NUMBERS, ANYTHING), min_size=4, max_size=4), min_size=4, max_size=4)
FRAMES = st.fixed_dictionaries(
    {"camera_to_world": st.one_of(MATRICES, st.just(FRAME["camera_to_world"]), ANYTHING)},
    optional={"fov_y_degrees": st.one_of(NUMBERS, st.just(40), ANYTHING)},
)
PATHS = st.fixed_dictionaries(
    {"frames": st.one_of(st.lists(st.one_of(FRAMES, ANYTHING), max_size=3), ANYTHING)},
    optional={"fps": st.one_of(NUMBERS, ANYTHING)},
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(PATHS.map(json.dumps), ANYTHING.map(json.dumps), st.text(max_size=30)))
def test_any_file_ends_in_cameras_or_in_one_message(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        result = read_path(path, 10, 10)
    except UserError:
        return
    assert result.cameras and 0 < result.frames_per_second <= 1000
    for camera in result.cameras:
        assert torch.isfinite(camera.world_to_camera).all() and torch.isfinite(camera.intrinsics).all()
