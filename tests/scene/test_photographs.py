"""Photographs: every mode is read right, the cache keeps its budget, targets are composited and weighed."""

import io
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from scene.photographs import (
    Photograph,
    PixelCache,
    decode_all,
    find_mask,
    read_header,
    read_image,
    read_upright,
    stored_size,
)
from utils.errors import UserError

BLACK = torch.zeros(3)
NOISE = np.random.default_rng(3).integers(0, 256, (12, 16, 4), dtype=np.uint8)


def rgb_of(path):
    picture = read_image(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write; (H, W, 1 to 4) uint16."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_eight_bit_colour_and_grey_are_read_to_the_bit(tmp_path):
    Image.fromarray(NOISE[..., :3]).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(rgb_of(tmp_path / "rgb.png"), NOISE[..., :3])
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(rgb_of(tmp_path / "grey.png"), NOISE[..., [0, 0, 0]])
    Image.fromarray(NOISE).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "rgba.png")), NOISE)
    Image.fromarray(NOISE[..., :2], "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "la.png")), NOISE[..., [0, 0, 0, 1]])
    Image.fromarray(NOISE[..., 0] > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(
        rgb_of(tmp_path / "bits.png")[..., 1], np.where(NOISE[..., 0] > 127, 255, 0)
    )


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_of_grey_are_scaled_and_not_cut(tmp_path, ending):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / f"grey.{ending}")
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(rgb_of(tmp_path / f"grey.{ending}"), np.dstack([expected] * 3))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_every_kind(tmp_path, channels):
    values = np.random.default_rng(channels).integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    values[0, 0], values[0, 1] = 65535, 0
    (tmp_path / "a.png").write_bytes(png_of_16_bits(values))
    read = np.asarray(read_image(tmp_path / "a.png")).astype(float)
    expected = values[..., {1: [0, 0, 0], 2: [0, 0, 0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]] / 257
    assert read.shape == expected.shape
    assert abs(read - expected).max() < 1  # Pillow keeps the high byte of coloured files
    assert (read[0, 0] == 255).all() and (read[0, 1] == 0).all()


def test_palettes_with_and_without_transparency(tmp_path):
    picture = Image.fromarray(NOISE[..., :3]).quantize(16)
    picture.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(rgb_of(tmp_path / "palette.png"), np.asarray(picture.convert("RGB")))
    picture.save(tmp_path / "clear.png", transparency=int(np.asarray(picture)[2, 3]))
    read = read_image(tmp_path / "clear.png")
    assert read.mode == "RGBA"
    indices = np.asarray(picture)
    np.testing.assert_array_equal(np.asarray(read)[..., 3], np.where(indices == indices[2, 3], 0, 255))


def test_cmyk_is_read_as_printed_colours(tmp_path):
    for ending in ("tif", "jpg"):
        picture = Image.new("CMYK", (16, 16), (255, 0, 255, 0))  # cyan and yellow ink: green
        picture.save(tmp_path / f"a.{ending}", quality=95)
        assert abs(rgb_of(tmp_path / f"a.{ending}").astype(int) - [0, 255, 0]).max() <= 3


@pytest.mark.parametrize("kind", ["cut jpeg", "cut png", "words", "empty", "floats"])
def test_unreadable_files_are_named(tmp_path, kind):
    path = tmp_path / "bad.jpg"
    buffer = io.BytesIO()
    big = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    if kind == "floats":
        Image.fromarray(np.ones((4, 4), np.float32)).save(buffer, "TIFF")
    elif kind.startswith("cut"):
        big.save(buffer, kind.split()[1])
    content = {"words": b"hello", "empty": b""}.get(kind, buffer.getvalue())
    path.write_bytes(content[: len(content) * 2 // 3] if kind.startswith("cut") else content)
    with pytest.raises(UserError, match=r"bad\.jpg"):
        Photograph(path, 8, 8, PixelCache(10**6)).pixels()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stored_size_and_orientation_are_read_without_turning(tmp_path, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    for name in ("a.jpg", "a.png", "a.tif", "a.webp"):
        Image.fromarray(NOISE[..., :3]).save(tmp_path / name, exif=tags)
        assert stored_size(tmp_path / name) == (16, 12, orientation)
        assert read_image(tmp_path / name).size == (16, 12)
    for name in ("a.png", "a.tif"):  # Pillow itself turns TIFF files
        np.testing.assert_array_equal(rgb_of(tmp_path / name), NOISE[..., :3])
    Image.fromarray(NOISE[..., :3]).save(tmp_path / "b.png")
    assert stored_size(tmp_path / "b.png") == (16, 12, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_without_poses_photographs_are_turned_as_viewers_turn_them(tmp_path, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    picture = Image.fromarray(NOISE[..., :3])
    for name in ("a.png", "a.tif"):
        picture.save(tmp_path / name, exif=tags)
        assert read_header(tmp_path / name).orientation == orientation
    with Image.open(tmp_path / "a.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(np.asarray(read_upright(tmp_path / name)), expected)


def test_heic_is_read_upright_and_its_damage_is_named(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    tags = Image.Exif()
    tags[0x0112] = 6
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[:, None], (48, 64)[::-1])
    picture = Image.fromarray(np.dstack([ramp] * 3))  # (64, 48), darker above
    picture.save(tmp_path / "a.heic", exif=tags.tobytes(), quality=95)  # turned by HEIC's own box "irot"
    read = np.asarray(read_upright(tmp_path / "a.heic")).astype(int)
    assert read.shape == (48, 64, 3)
    assert abs(read - np.asarray(picture.transpose(Image.Transpose.ROTATE_270)).astype(int)).max() < 12
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"cut\.heic cannot be read"):
        read_image(tmp_path / "cut.heic")


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.HEIC").touch()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.HEIC is read by pillow_heif.*pip install pillow_heif"):
        stored_size(tmp_path / "a.HEIC")


def test_resizing_is_pillows_bicubic_as_in_the_reference(tmp_path):
    Image.fromarray(NOISE[..., :3]).save(tmp_path / "a.png")
    pixels = Photograph(tmp_path / "a.png", 8, 6, PixelCache(10**6)).pixels()
    expected = Image.fromarray(NOISE[..., :3]).resize((8, 6), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels.rgb, np.asarray(expected))


def noisy_photographs(folder, count, budget, size=(16, 12)):
    cache = PixelCache(budget)
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    return cache, [Photograph(folder / f"{number}.png", size[0], size[1], cache) for number in range(count)]


@pytest.mark.parametrize("fitting", [0, 1, 3, 20])
def test_the_cache_never_exceeds_its_budget_and_pixels_are_right_either_way(tmp_path, fitting):
    one = 16 * 12 * 3
    cache, photographs = noisy_photographs(tmp_path, 12, fitting * one + one // 2)
    most = []

    def visit(seed):
        for number in np.random.default_rng(seed).permutation(12):
            expected = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            np.testing.assert_array_equal(photographs[number].pixels().rgb, expected)
            most.append(cache.used)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(8)))
    assert max(most) <= cache.budget
    assert len(cache) == min(fitting, 12)
    assert cache.used == len(cache) * one


def test_a_cached_photograph_is_decoded_once_and_one_beyond_the_budget_every_time(tmp_path):
    for fitting, times in ((1, 1), (0, 3)):
        cache, (photograph,) = noisy_photographs(tmp_path, 1, fitting * 16 * 12 * 3)
        calls: list[int] = []

        def decode(photograph=photograph, calls=calls):
            calls.append(1)
            return photograph._decoded()

        for _ in range(3):
            cache.get(photograph, decode)
        assert len(calls) == times


def test_decoding_in_parallel_equals_decoding_one_by_one(tmp_path):
    cache, photographs = noisy_photographs(tmp_path, 12, 10**6, size=(7, 5))
    decode_all(photographs)
    assert len(cache) == 12
    _, others = noisy_photographs(tmp_path, 12, 0, size=(7, 5))
    for one, other in zip(photographs, others, strict=True):
        np.testing.assert_array_equal(one.pixels().rgb, other.pixels().rgb)


def test_decoding_all_finds_a_damaged_file_even_beyond_the_budget(tmp_path):
    _, photographs = noisy_photographs(tmp_path, 6, 0)
    photographs[4].path.write_text("no picture")
    before = threading.active_count()
    with pytest.raises(UserError, match=r"4\.png"):
        decode_all(photographs)
    assert threading.active_count() == before


def test_transparent_parts_show_the_background(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    background = torch.tensor([0.2, 0.9, 0.5])
    image, weight = Photograph(tmp_path / "a.png", 16, 12, PixelCache(10**6)).target(background)
    colour, alpha = NOISE[..., :3] / 255, NOISE[..., 3:] / 255
    expected = colour * alpha + background.numpy() * (1 - alpha)
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert image.dtype == torch.float32 and image.is_contiguous() and weight is None


def test_hidden_colours_do_not_leak_when_transparent_photographs_shrink(tmp_path):
    pixels = np.zeros((12, 16, 4), np.uint8)
    pixels[..., :3] = (0, 255, 0)
    pixels[:, :7] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, _ = Photograph(tmp_path / "a.png", 4, 3, PixelCache(10**6)).target(torch.tensor([0.0, 0.0, 1.0]))
    assert image[1].max() < 0.01
    torch.testing.assert_close(image[0] + image[2], torch.ones(3, 4), rtol=0, atol=0.01)


def test_full_alpha_and_full_masks_cost_nothing(tmp_path):
    Image.fromarray(NOISE[..., :3]).convert("RGBA").save(tmp_path / "a.png")
    Image.new("L", (16, 12), 255).save(tmp_path / "mask.png")
    photograph = Photograph(tmp_path / "a.png", 16, 12, PixelCache(10**6), mask_path=tmp_path / "mask.png")
    assert photograph.pixels().alpha is None and photograph.pixels().mask is None
    assert photograph.pixels().nbytes == 16 * 12 * 3


@pytest.mark.parametrize("white", [255, 1])  # pictures, and maps of labels 0 and 1
def test_masks_weigh_or_make_transparent(tmp_path, white):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    keep = np.zeros((12, 16), np.uint8)
    keep[3:9, 4:14] = white
    Image.fromarray(keep).save(tmp_path / "mask.png")
    background = torch.tensor([1.0, 0.0, 1.0])

    def target(**mask):
        photograph = Photograph(tmp_path / "a.png", 16, 12, PixelCache(10**6))
        return replace(photograph, **mask).target(background)

    plain, _ = target()
    ignored, weight = target(mask_path=tmp_path / "mask.png")
    torch.testing.assert_close(ignored, plain, rtol=0, atol=0)
    np.testing.assert_array_equal(weight.numpy(), (keep > 0).astype(np.float32))
    cut_out, weight = target(mask_path=tmp_path / "mask.png", mask_is_alpha=True)
    assert weight is None
    inside = torch.from_numpy(keep > 0).expand(3, 12, 16)
    expected = torch.where(inside, plain, background[:, None, None].expand(3, 12, 16))
    torch.testing.assert_close(cut_out, expected, rtol=0, atol=1e-6)


def test_masks_of_another_size_are_averaged_to_the_photographs(tmp_path):
    Image.fromarray(NOISE[..., :3]).save(tmp_path / "a.png")
    mask = np.zeros((24, 32), np.uint8)
    mask[:, :13] = 255  # six and a half columns of the photograph
    Image.fromarray(mask).save(tmp_path / "mask.png")
    photograph = Photograph(tmp_path / "a.png", 16, 12, PixelCache(10**6), mask_path=tmp_path / "mask.png")
    weight = photograph.target(BLACK)[1]
    assert weight is not None
    np.testing.assert_allclose(weight.numpy(), np.tile([1] * 6 + [128 / 255] + [0] * 9, (12, 1)), atol=1e-6)


def test_a_mask_is_found_by_either_way_of_naming(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg.png", "a/2.png", "a/3.jpg", "0.5.png"):
        (tmp_path / name).touch()
    assert find_mask(tmp_path, "a/1.jpg") == tmp_path / "a/1.jpg.png"
    assert find_mask(tmp_path, "a/2.jpg") == tmp_path / "a/2.png"
    assert find_mask(tmp_path, "a/3.jpg") == tmp_path / "a/3.jpg"
    assert find_mask(tmp_path, "0.5") == tmp_path / "0.5.png"  # a Blender name has no ending to strip
    assert find_mask(tmp_path, "a/4.jpg") is None


def test_targets_have_the_same_bits_at_any_thread_count(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (300, 401, 4), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    photograph = Photograph(tmp_path / "a.png", 401, 300, PixelCache(10**7))
    threads = torch.get_num_threads()
    images = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            images.append(photograph.target(torch.tensor([0.3, 0.6, 0.1]))[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])
