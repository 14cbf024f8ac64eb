"""One photograph without a pose: its lens by EXIF or by default, its points, and what is no such thing."""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scene.dataset import SceneOptions, load_scene, posed_photographs
from scene.photographs import EXIF_PART
from scene.points import visible
from scene.single import EQUIVALENT, FOCAL_LENGTHS, focal_length_35mm, read_single, single_photograph
from utils.errors import UserError, Warnings


def photograph(path, width=60, height=40, equivalent=None):
    """A grey JPEG, with that focal length in its EXIF if there is one."""
    tags = Image.Exif()
    if equivalent is not None:
        tags.get_ifd(EXIF_PART)[EQUIVALENT] = equivalent
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 150)).save(path, exif=tags)
    return path


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60)])
def test_a_lens_sees_what_it_saw_on_film(tmp_path, width, height):
    """35 mm film is 36 mm wide: a photograph of its shape, upright or not, has the same angle of view."""
    photograph(tmp_path / "a.jpg", width, height, equivalent=28)
    warnings = Warnings()
    (posed,), none = read_single(tmp_path, hold_out=False, warnings=warnings)
    assert none == [] and warnings.lines() == []
    assert posed.name == "a.jpg" and np.array_equal(posed.world_to_camera, np.eye(4))
    fx, fy, cx, cy = posed.lens.params
    angle = 2 * math.atan(max(width, height) / 2 / fx)
    assert angle == pytest.approx(2 * math.atan(18 / 28)) and fx == fy
    assert (cx, cy) == (width / 2, height / 2)


@pytest.mark.parametrize("equivalent", [None, 0, 65535])
def test_without_a_likely_focal_length_one_is_supposed_and_said(tmp_path, equivalent):
    photograph(tmp_path / "a.jpg", equivalent=equivalent)
    warnings = Warnings()
    (posed,), _ = read_single(tmp_path, hold_out=True, warnings=warnings)
    assert list(posed.lens.params) == [72, 72, 30, 20]
    said = " ".join(warnings.lines())
    assert "45 degrees across the longer side" in said and "none is left for the test" in said


def test_a_picture_on_its_side_is_told(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=tags)
    warnings = Warnings()
    (posed,), _ = read_single(tmp_path, hold_out=False, warnings=warnings)
    assert (posed.lens.width, posed.lens.height) == (60, 40)
    assert "save it turned" in warnings.lines()[0]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(6, 80), st.integers(0, 255)), max_size=4),
    rest=st.binary(max_size=20),
)
def test_damaged_exif_is_a_focal_length_or_none_or_a_message(tmp_path_factory, changes, rest):
    tags = Image.Exif()
    tags.get_ifd(EXIF_PART)[EQUIVALENT] = 28
    content = bytearray(tags.tobytes() + rest)
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged" / "any.jpg"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, exif=bytes(content))
    value = focal_length_35mm(path)
    assert value is None or FOCAL_LENGTHS[0] <= value <= FOCAL_LENGTHS[1]
    with contextlib.suppress(UserError):
        (posed,), _ = read_single(path.parent, hold_out=False, warnings=Warnings())
        assert 0 < posed.lens.params[0] < 10_000


def test_a_scene_of_one_photograph(tmp_path):
    """Masks are found as in any dataset; points lie in its view, any scale being as good as another."""
    photograph(tmp_path / "images" / "a.jpg", equivalent=36)
    (tmp_path / "masks").mkdir()
    Image.new("L", (60, 40), 0).save(tmp_path / "masks" / "a.jpg.png")
    scene = load_scene(SceneOptions(source_path=str(tmp_path), eval=True, init_random=300), seed=1)
    (camera,) = scene.train_cameras
    assert (scene.kind, scene.test_cameras) == ("photograph", [])
    inside, depths = visible(camera, scene.points.positions)
    assert inside.all() and len(depths) == 300
    assert 1 <= depths.min() < 2 and 5 < depths.max() <= 10
    assert scene.points_source == "300 random points in the photograph's view"
    assert 1 < scene.extent < 11
    assert camera.own_photograph.pixels().mask is not None


def test_what_is_no_single_photograph(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert single_photograph(tmp_path) is None
    photograph(tmp_path / "a.jpg")
    assert single_photograph(tmp_path) == tmp_path / "a.jpg"
    photograph(tmp_path / "b.JPG")
    assert single_photograph(tmp_path) is None
    options = SceneOptions(source_path=str(tmp_path))
    with pytest.raises(UserError, match=r"convert.py -s"):
        posed_photographs(options, Warnings())
    photograph(tmp_path / "images" / "a.jpg")
    assert single_photograph(tmp_path) == tmp_path / "images" / "a.jpg"
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"images/a.jpg cannot be read as a picture"):
        posed_photographs(options, Warnings())
