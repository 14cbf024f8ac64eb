"""Frames of a video: the sharpest of each stretch, and every file that is no video."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageFilter

from sfm.video_frames import count_frames, read_frames, sharpness, write_sharpest_frames
from utils.errors import UserError
from utils.images import laplacian
from utils.video import write_video

SIZE = (96, 64)


def noise(seed):
    """A picture of blocks of random colours."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(SIZE, Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Twenty frames, of which 3, 5, 12 and 19 are sharp."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    blur = ImageFilter.GaussianBlur(2)
    pictures = [noise(7) if number in (3, 5, 12, 19) else noise(7).filter(blur) for number in range(20)]
    write_video(path, (np.asarray(picture) for picture in pictures))
    return path


def test_the_laplacian_is_scipys():
    grey = np.random.default_rng(0).integers(0, 256, (9, 11), dtype=np.uint8)
    expected = scipy.ndimage.laplace(grey.astype(np.float32))[1:-1, 1:-1]
    np.testing.assert_array_equal(laplacian(grey), expected)


def test_blur_lowers_sharpness_and_noise_of_the_sensor_does_not_hide_it():
    sharp, one, three = (noise(1).filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 3))
    assert sharpness(sharp) > sharpness(one) > sharpness(three) > 0
    cells = np.random.default_rng(2).integers(0, 256, (160, 240), dtype=np.uint8)
    large = Image.fromarray(cells).resize((1920, 1280), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(3).normal(0, 5, (1280, 1920))
    blurred = np.asarray(large.filter(ImageFilter.GaussianBlur(4))) + grain
    noisy = Image.fromarray(np.clip(blurred, 0, 255).astype(np.uint8))
    assert laplacian(np.asarray(noisy)).var() > laplacian(np.asarray(large)).var()
    assert sharpness(noisy) < sharpness(large)
    assert sharpness(Image.new("RGB", SIZE, (5, 6, 7))) == 0
    assert sharpness(Image.new("RGB", (2, 2))) == 0


def test_the_sharpest_frame_of_each_stretch_is_taken(video, tmp_path):
    names = write_sharpest_frames(video, 4, tmp_path)
    assert names == [f"frame_{number:06d}.jpg" for number in (3, 5, 12, 19)]  # of five frames each
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / names[0]) as written:
        difference = np.asarray(written).astype(int) - np.asarray(noise(7)).astype(int)
        assert written.size == SIZE and abs(difference).mean() < 12


def test_a_video_of_fewer_frames_gives_all(video, tmp_path):
    names = write_sharpest_frames(video, 50, tmp_path)
    assert names == [f"frame_{number:06d}.jpg" for number in range(20)]


def test_a_turned_video_is_read_as_players_show_it(video, tmp_path):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-i", str(video)]
    subprocess.run([*command, "-c", "copy", str(tmp_path / "r.mp4")], check=True)
    first, turned = next(read_frames(video)), next(read_frames(tmp_path / "r.mp4"))
    expected = np.asarray(first.transpose(Image.Transpose.ROTATE_90)).astype(int)
    assert abs(np.asarray(turned).astype(int) - expected).mean() < 8  # colours of 2 x 2 pixels, turned


@pytest.mark.parametrize("kind", ["words", "empty", "cut", "sound", "two frames", "picture"])
def test_what_is_no_video_is_named(kind, video, tmp_path):
    path = tmp_path / ("v.jpg" if kind == "picture" else "v.mp4")
    if kind == "sound":
        source = ("-f", "lavfi", "-i", "sine=duration=1")
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    elif kind == "two frames":
        write_video(path, [np.asarray(noise(0))] * 2)
    else:
        content = video.read_bytes()
        path.write_bytes({"words": b"hello", "empty": b""}.get(kind, content[: len(content) // 2]))
    expected = {"two frames": "has 2 frames; at least 3", "picture": r"is no video \(\.mp4"}
    with pytest.raises(UserError, match=expected.get(kind, r"v\.mp4 cannot be read as a video \(.+\)")):
        count_frames(path)


@pytest.mark.parametrize("ending", ["avi", "webm"])
def test_what_is_left_of_a_video_is_too_little(ending, tmp_path):
    """Cut off before the first frame is whole, of which ffmpeg says nothing, or tells the time N/A."""
    path = tmp_path / f"v.{ending}"
    source = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=3")
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])
    with pytest.raises(UserError, match=r"cannot be read as a video \((?!lib|\[|frame=).+\); check that it"):
        count_frames(path)
