"""Photographs as they come: found, named, turned, of 8 bits, cut out, with their focal length kept."""

import os
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfm.intake import counted, find_photographs, look_at, said_of, take_in
from tests.scene.icc import DISPLAY_P3, shown_in_srgb
from tests.scene.test_colours import OTHER_SRGB, P3
from tests.scene.test_photographs import png_of_16_bits
from utils.errors import UserError

PIXELS = np.random.default_rng(1).integers(0, 256, (60, 80, 4), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS[..., :3])


def exif(orientation=1, focal_35=0):
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x0110] = "a telephone"
    if focal_35:
        tags.get_ifd(0x8769)[0xA405] = focal_35
    return tags


def optional_heif():
    """Whether HEIC can be written."""
    if find_spec("pillow_heif") is None:
        return False
    import_module("pillow_heif").register_heif_opener()
    return True


def taken_in(folder, *names):
    """What becomes of the named files: by their names, and the folder where they lie."""
    incoming = look_at(folder, [folder / name for name in names])
    into = folder / "taken"
    take_in(incoming, into)
    return {each.file.name: each for each in incoming}, into


def test_photographs_are_looked_for_in_input_then_images_then_the_folder(tmp_path):
    for part in (".", "images", "input"):
        (tmp_path / part).mkdir(exist_ok=True)
        for number in (1, 2, 10):
            Image.new("RGB", (8, number)).save(tmp_path / part / f"p{number}.png")
        folder, files = find_photographs(tmp_path)
        assert folder == tmp_path / part
        assert [file.name for file in files] == ["p1.png", "p2.png", "p10.png"]


def test_folders_without_enough_photographs(tmp_path):
    with pytest.raises(UserError, match=r"no folder or video .*/gone"):
        find_photographs(tmp_path / "gone")
    with pytest.raises(UserError, match=r"has 0 photographs .*found: nothing"):
        find_photographs(tmp_path)
    PICTURE.save(tmp_path / "a.JPG")
    (tmp_path / "b.mp4").touch()
    (tmp_path / "._a.JPG").touch()  # as some systems leave it beside every photograph
    with pytest.raises(
        UserError, match=r"has 1 photographs .*found: \.JPG, \.mp4\); at least 3.*of a video.*give train\.py"
    ):
        find_photographs(tmp_path)


def test_copies_are_left_out_and_nothing_but_copies_is_refused(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        PICTURE.save(tmp_path / name)
    with pytest.raises(UserError, match=r"the 3 photographs in .* are 1 different ones, copied"):
        find_photographs(tmp_path)
    for number, name in enumerate(("d.png", "e.png")):
        Image.fromarray(PIXELS[..., number]).save(tmp_path / name)
    assert [file.name for file in find_photographs(tmp_path)[1]] == ["a.png", "d.png", "e.png"]


@given(st.lists(st.text(min_size=1), max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_name_can_be_sorted(names):
    assert len(sorted(names, key=counted)) == len(names)
    assert ["".join(str(part) for part in counted(name)) for name in ("a9b10", "7")] == ["a9b10", "7"]


def test_what_colmap_reads_as_it_is_becomes_a_link(tmp_path):
    PICTURE.save(tmp_path / "a.jpg")
    PICTURE.save(tmp_path / "b.png")
    found, into = taken_in(tmp_path, "a.jpg", "b.png")
    for name in ("a.jpg", "b.png"):
        assert found[name].work == ()
        assert (into / "images" / name).readlink() == tmp_path / name
    assert not (into / "masks").exists()


def test_photographs_of_a_telephone_are_turned_and_keep_their_focal_length_alone(tmp_path):
    PICTURE.save(tmp_path / "a.jpg", exif=exif(6, focal_35=28), quality=97, subsampling=0)
    PICTURE.save(tmp_path / "b.png", exif=exif(3, focal_35=28))
    found, into = taken_in(tmp_path, "a.jpg", "b.png")
    assert said_of(found.values()) == ["2 photographs are turned upright, as their EXIF orientation asks"]
    turned = np.asarray(PICTURE.transpose(Image.Transpose.ROTATE_270)).astype(int)
    with Image.open(into / "images/a.jpg") as written:
        assert written.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(written).astype(int) - turned).mean() < 6  # JPEG twice
    with Image.open(into / "images/b.png") as written:
        np.testing.assert_array_equal(np.asarray(written), PIXELS[::-1, ::-1, :3])
    for name, size in (("a.jpg", (60, 80)), ("b.png", (80, 60))):
        camera = pycolmap.infer_camera_from_image(into / "images" / name)
        assert camera.has_prior_focal_length
        assert (camera.width, camera.height) == size
        # 35 mm film has a diagonal of 43.27 mm, the picture one of 100 pixels
        assert camera.mean_focal_length() == pytest.approx(28 / 43.2666 * 100, rel=1e-4)


def test_heic_becomes_jpeg_with_its_focal_length(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    smooth = Image.fromarray(PIXELS[:6, :8, :3]).resize((80, 60), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "IMG 1.HEIC", "HEIF", exif=exif(focal_35=26).tobytes(), quality=95)
    found, into = taken_in(tmp_path, "IMG 1.HEIC")
    assert found["IMG 1.HEIC"].name == "IMG_1.jpg"
    assert said_of(found.values()) == ["1 photographs are written as .jpg (HEIF)"]
    with Image.open(into / "images/IMG_1.jpg") as written:
        assert abs(np.asarray(written).astype(int) - np.asarray(smooth).astype(int)).mean() < 8
    assert pycolmap.infer_camera_from_image(into / "images/IMG_1.jpg").has_prior_focal_length


def test_colours_of_a_telephone_become_srgb_and_that_is_said_once(tmp_path):
    picture = Image.fromarray(PIXELS[:2, :2, :3] // 2 + 60).resize((80, 60), Image.Resampling.NEAREST)
    names = ["a.jpg", "b.png", "c.jpg"]
    for name, content in zip(names, (P3, P3, OTHER_SRGB), strict=True):
        picture.save(tmp_path / name, icc_profile=content, quality=97)
    if optional_heif():
        names.append("d.heic")
        picture.save(tmp_path / "d.heic", "HEIF", icc_profile=P3, quality=97)
    found, into = taken_in(tmp_path, *names)
    assert said_of(found.values())[0] == f"{len(names) - 1} photographs are converted from Display P3 to sRGB"
    assert found["c.jpg"].work == ()
    stored = np.asarray(picture).astype(float)
    expected = shown_in_srgb(stored, DISPLAY_P3)
    for each in found.values():
        with Image.open(into / "images" / each.name) as written:
            off = np.asarray(written) - (stored if each.file.stem == "c" else expected)
        assert np.abs(off).mean() < 2 < np.abs(expected - stored).mean()


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.random.default_rng(2).integers(0, 65536, (60, 80, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(values))
    Image.fromarray(values[..., 0]).save(tmp_path / "b.tif")
    found, into = taken_in(tmp_path, "a.png", "b.tif")
    assert said_of(found.values())[0] == "2 photographs are scaled from 16 bits to 8"
    for name, expected in (("a.png", values), ("b.png", values[..., [0, 0, 0]])):
        with Image.open(into / "images" / name) as written:
            assert written.mode == "RGB"
            assert abs(np.asarray(written) - expected / 257).max() < 1


def test_cut_out_photographs_are_grey_outside_and_masked_with_a_rim(tmp_path):
    pixels = PIXELS.copy()
    pixels[..., 3] = 0
    pixels[:, 30:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    PICTURE.save(tmp_path / "b.jpg")
    found, into = taken_in(tmp_path, "a.png", "b.jpg")
    assert (found["a.png"].transparent, found["b.jpg"].transparent) == (True, False)
    with Image.open(into / "images/a.png") as written:
        assert (np.asarray(written)[:, :30] == 127).all()
        np.testing.assert_array_equal(np.asarray(written)[:, 30:], pixels[:, 30:, :3])
    with Image.open(into / "masks/a.png.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask) == 255, np.arange(80) >= np.full((60, 1), 34))
    with Image.open(into / "masks/b.jpg.png") as mask:  # COLMAP wants one for every photograph
        assert mask.size == (80, 60) and np.asarray(mask).min() == 255


def test_names_that_would_become_one_are_refused(tmp_path):
    PICTURE.save(tmp_path / "a.tif")
    PICTURE.save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png and .*a\.tif would both become a\.png"):
        look_at(tmp_path, [tmp_path / "a.png", tmp_path / "a.tif"])


def test_names_get_rid_of_what_colmaps_lists_cannot_have(tmp_path):
    names = ["#1 Größe.JPG", "sub/#1 Größe.JPG", os.fsdecode(b"\xfc.jpg")]
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(names):
        Image.fromarray(PIXELS[..., number]).convert("RGB").save(tmp_path / name)
    _, files = find_photographs(tmp_path)
    incoming = look_at(tmp_path, files)
    assert {each.name for each in incoming} == {"_1_Größe.JPG", "sub/_1_Größe.JPG", "_.jpg"}
    take_in(incoming, tmp_path / "taken")
    assert all((tmp_path / "taken/images" / each.name).is_file() for each in incoming)


def test_an_ending_that_lies_is_put_right(tmp_path):
    PICTURE.save(tmp_path / "a.png", "JPEG")
    (name,) = (each.name for each in look_at(tmp_path, [tmp_path / "a.png"]))
    assert name == "a.jpg"


def test_a_damaged_photograph_is_named(tmp_path):
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(UserError, match=r"c\.png cannot be read"):
        look_at(tmp_path, [tmp_path / "c.png"])


def test_damage_that_a_header_does_not_tell_is_found_too(tmp_path):
    PICTURE.save(tmp_path / "c.jpg")
    content = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"c\.jpg cannot be read as a picture"):
        taken_in(tmp_path, "c.jpg")
