"""What the remote viewer asks is understood as it is meant; what no viewer asks is refused in a sentence."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.viewer.remote_client import HEIGHT, WIDTH, opengl_projection, opengl_view, request
from viewer.protocol import (
    LONGEST_REQUEST,
    ProtocolError,
    Request,
    answer,
    parse_request,
    request_length,
)


def parsed(fields: object) -> Request | None:
    return parse_request(json.dumps(fields).encode())


@pytest.mark.parametrize("seed", range(3))
def test_points_lie_in_the_picture_where_opengl_puts_them(seed):
    random = np.random.default_rng(seed)
    view = opengl_view(random.normal(size=3) * 4, random.normal(size=3) * 0.1)
    points = random.normal(size=(20, 3))
    clip = np.c_[points, np.ones(20)] @ (opengl_projection() @ view).T
    expected = (clip[:, :2] / clip[:, 3:] * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]  # rows run downwards

    found = parsed(request(view))
    assert found is not None
    camera = found.camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    seen = camera.world_to_camera.double().numpy() @ np.c_[points, np.ones(20)].T
    pixels = camera.intrinsics.double().numpy() @ seen[:3]
    np.testing.assert_allclose((pixels[:2] / pixels[2]).T, expected, atol=1e-3)
    np.testing.assert_allclose(pixels[2], clip[:, 3], atol=1e-5)


def test_the_other_fields():
    found = parsed(request(train=0, keep_alive=1, scaling_modifier=0.25))
    assert found and (found.train, found.keep_alive, found.scaling_modifier) == (False, True, 0.25)
    found = parsed(request(train=True, keep_alive=False, scaling_modifier=1))
    assert found and (found.train, found.keep_alive, found.scaling_modifier) == (True, False, 1.0)


@pytest.mark.parametrize("size", [(0, 0), (0, 600), (800, 0)])
def test_without_a_size_nothing_else_is_looked_at(size):
    assert parsed({"resolution_x": size[0], "resolution_y": size[1], "view_matrix": "none yet"}) is None


def test_an_answer_is_the_picture_from_the_top_cut_to_bytes_then_the_path():
    rgb = torch.tensor([[[0.0, 0.999], [-1.0, 0.5], [2.0, 1.0]]]).repeat(3, 1, 1) * torch.tensor(
        [1.0, 0.5, 0.25]
    ).reshape(3, 1, 1)
    sent = answer(rgb, "/data/Gärten")
    path = "/data/Gärten".encode()
    expected = np.floor(rgb.clamp(0, 1).numpy() * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
    assert sent == expected.tobytes() + struct.pack("<I", len(path)) + path
    assert sent[:6] == bytes([0, 0, 0, 254, 127, 63])
    assert answer(None, "/data") == b"\5\0\0\0/data"


def test_a_claim_of_four_gigabytes_is_refused_by_its_prefix():
    assert request_length(struct.pack("<I", LONGEST_REQUEST)) == LONGEST_REQUEST
    for claim in (LONGEST_REQUEST + 1, 2**31, 2**32 - 1):
        with pytest.raises(ProtocolError, match=f"{claim} bytes"):
            request_length(struct.pack("<I", claim))


IDENTITY = np.eye(4).reshape(16).tolist()


def changed(index: int, value: object) -> list:
    return [*IDENTITY[:index], value, *IDENTITY[index + 1 :]]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("resolution_x", [-1, 4097, 10**30, 640.0, "640", None, [640]]),
        ("resolution_y", [-5, 2**31, float("inf")]),
        ("fov_x", [0, -1.0, 3.2, float("nan"), "0.9", None]),
        ("fov_y", [float("inf"), 0.0, {}]),
        ("scaling_modifier", [0, 1.5, -1, float("nan"), True, 10**400]),
        ("train", [2, -1, 0.5, "1", None]),
        ("keep_alive", [7, []]),
        ("view_matrix", [None, 3, [], IDENTITY[:15], [*IDENTITY, 0], [IDENTITY] * 16, {"0": 1}, "x" * 16]),
        ("view_matrix", [changed(3, float("nan")), changed(12, float("inf")), changed(12, 1e30)]),
        ("view_matrix", [changed(12, 10**400), changed(13, True), changed(14, "0")]),
        (
            "view_matrix",
            [changed(0, 1.1), changed(0, -1.0), changed(1, 0.2), changed(3, 0.5), changed(15, 2)],
        ),
        ("view_matrix", [[0.0] * 16, [1e8] * 16, [1e-30] * 16]),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_refused_by_its_field(field, values):
    for value in values:
        with pytest.raises(ProtocolError, match=f"^{field} "):
            parsed(request(**{field: value}))


def test_every_field_that_is_used_must_be_there():
    unused = {"z_near", "z_far", "shs_python", "rot_scale_python", "view_projection_matrix"}
    for field in request():
        fields = request()
        del fields[field]
        if field in unused:
            assert parsed(fields)
        else:
            with pytest.raises(ProtocolError, match=f"^{field} "):
                parsed(fields)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * LONGEST_REQUEST,
        b'{"a":' * 3000,
        b"1" * LONGEST_REQUEST,
        b'{"resolution_x": ' + b"9" * 8000 + b"}",
        b"null",
        b"[]",
        b'"resolution_x"',
        json.dumps(request()).encode()[:-1],
        json.dumps(request()).encode("utf-16"),
    ],
)
def test_what_is_no_json_object_is_refused(message):
    with pytest.raises(ProtocolError, match=r"^a request that is not "):
        parse_request(message)


def sane(message: bytes) -> None:
    """Parses; what comes out is something that can be rendered."""
    try:
        found = parse_request(message)
    except ProtocolError as refusal:
        assert len(str(refusal)) < 300
        return
    if found:
        camera = found.camera
        assert 1 <= camera.width <= 4096 and 1 <= camera.height <= 4096
        assert torch.isfinite(camera.world_to_camera).all() and torch.isfinite(camera.intrinsics).all()
        assert torch.det(camera.world_to_camera[:3, :3]) == pytest.approx(1, abs=0.01)
        assert 0 < found.scaling_modifier <= 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(message):
    sane(message)


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 0.5, 640, -(10**400)])
ODD: list[Any] = [None, True, "", "640", [], [[]], {}, {"a": []}, [0.0] * 16, IDENTITY]
VALUES = NUMBERS | st.sampled_from(ODD)
FIELDS = st.sampled_from(sorted(request()))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(FIELDS, VALUES, max_size=2),
    st.lists(FIELDS, max_size=1),
    st.lists(st.tuples(st.integers(0, 15), NUMBERS), max_size=2),
)
def test_requests_with_some_fields_replaced_or_missing(replaced, missing, entries):
    fields = request(**replaced)
    for index, value in entries:
        fields["view_matrix"] = changed(index, value)
    for field in missing:
        del fields[field]
    sane(json.dumps(fields).encode())
