"""Images written and read back, rounding, and videos that a decoder opens."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from utils.errors import UserError
from utils.images import image_pixels, image_tensor, write_png
from utils.video import write_video


def test_every_8_bit_value_survives():
    pixels = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    tensor = image_tensor(pixels)
    assert tensor.shape == (3, 16, 16)
    assert tensor[2, 1, 3].item() == pytest.approx(pixels[1, 3, 2] / 255)
    assert np.array_equal(image_pixels(tensor), pixels)


def test_values_are_rounded_and_clamped():
    values = torch.tensor([-3.0, 0.49 / 255, 0.51 / 255, 0.5, 254.51 / 255, 1.7])
    image = values.expand(3, 1, 6)
    assert image_pixels(image)[0, :, 1].tolist() == [0, 0, 1, 128, 255, 255]


def test_a_png_holds_the_pixels(tmp_path):
    image = torch.rand((3, 7, 11), generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "new" / "image.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "image.png")), image_pixels(image))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["image.png"]


def test_a_video_of_odd_size_is_read_back(tmp_path):
    rows, columns = np.mgrid[0:49, 0:65]
    frames = [
        np.stack([rows * 4, columns * 3, np.full_like(rows, 20 * index)], axis=2).astype(np.uint8)
        for index in range(10)
    ]
    write_video(tmp_path / "video.mp4", iter(frames), frames_per_second=25)
    decoder = imageio_ffmpeg.read_frames(str(tmp_path / "video.mp4"))
    meta = next(decoder)
    assert meta["size"] == (64, 48)
    assert meta["fps"] == 25
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    decoded = [np.frombuffer(frame, np.uint8).reshape(48, 64, 3) for frame in decoder]
    assert len(decoded) == len(frames)
    for seen, frame in zip(decoded, frames, strict=True):
        assert np.abs(seen.astype(int) - frame[:48, :64]).mean() < 4


def test_a_video_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def frames():
        yield np.zeros((4, 4, 3), np.uint8)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "video.mp4", frames())
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: "false")
    with pytest.raises(UserError, match=r"video encoder .* exit code 1"):
        write_video(tmp_path / "video.mp4", [np.zeros((4, 4, 3), np.uint8)])
    assert not list(Path(tmp_path).iterdir())
