"""Colour profiles: sRGB's changes nothing, others do as the standard has it, and damaged ones are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from scene.colours import in_srgb, to_srgb
from scene.photographs import read_image, read_upright, save_picture
from tests.scene.icc import DISPLAY_P3, SRGB, gamma_curve, profile, shown_in_srgb, srgb_curve

PIXELS = np.random.default_rng(6).integers(70, 190, (30, 40, 4), dtype=np.uint8)
P3 = profile(DISPLAY_P3, gamma_curve(), "Display P3")
OTHER_SRGB = profile(SRGB, srgb_curve(), "c2")


@pytest.mark.parametrize(
    "content", [b"", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), OTHER_SRGB]
)
def test_srgb_changes_nothing_whatever_its_name(content, tmp_path):
    assert to_srgb(content) is None
    picture = Image.fromarray(PIXELS)
    assert in_srgb(picture, content) is picture
    picture.save(tmp_path / "a.png", icc_profile=content)
    np.testing.assert_array_equal(np.asarray(read_upright(tmp_path / "a.png")), PIXELS)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_display_p3_is_turned_into_srgb_and_alpha_stays(channels, ending, tmp_path):
    path, pixels = tmp_path / f"a{ending}", PIXELS[..., :channels]
    Image.fromarray(pixels).save(path, icc_profile=P3)
    read = np.asarray(read_upright(path))
    expected = shown_in_srgb(pixels[..., :3], DISPLAY_P3)
    assert np.abs(expected - pixels[..., :3]).max() > 15
    assert np.abs(read[..., :3] - expected).max() < 1.5
    np.testing.assert_array_equal(read[..., 3:], pixels[..., 3:])
    np.testing.assert_array_equal(np.asarray(read_image(path)), pixels)  # datasets with poses: as stored
    conversion = to_srgb(P3)
    assert conversion and conversion.name == "Display P3"


def test_what_is_written_claims_no_profile(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=P3)
    for name in ("b.png", "b.jpg"):
        save_picture(read_upright(tmp_path / "a.png").convert("RGB"), tmp_path / name)
        with Image.open(tmp_path / name) as written:
            assert "icc_profile" not in written.info


@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(P3)).map(lambda end: P3[:end]),
        st.lists(st.tuples(st.integers(0, len(P3) - 1), st.integers(0, 255)), max_size=8).map(
            lambda changes: bytes({**dict(enumerate(P3)), **dict(changes)}.values())
        ),
    )
)
def test_any_profile_gives_a_picture(content):
    assert in_srgb(Image.fromarray(PIXELS), content).size == (40, 30)
