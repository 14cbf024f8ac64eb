"""PSNR, SSIM and LPIPS against torchmetrics, values worked by hand, and weights that are not there."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

from utils.errors import UserError
from utils.image_metrics import BACKBONES, LpipsRange, LpipsUnavailable, load_lpips, psnr, ssim
from utils.images import image_tensor
from utils.losses import WINDOW


def pair(seed: int = 0, height: int = 47, width: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth 8-bit picture and a noisy copy of it."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    target = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    image = np.clip(target + generator.normal(0, 20, target.shape), 0, 255).astype(np.uint8)
    return image_tensor(image), image_tensor(target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's cache in an empty folder, behind a network that refuses at once."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


def save_backbone(path: Path, name: str = "squeezenet1_1") -> Path:
    """A backbone of torchvision's with random weights, in half precision."""
    torch.manual_seed(0)
    state = torchvision.models.get_model(name, weights=None).state_dict()
    torch.save({key: value.half() for key, value in state.items()}, path)
    return path


def test_psnr_of_values_worked_by_hand():
    grey = torch.full((3, 4, 5), 0.5)
    assert psnr(grey + 0.1, grey) == pytest.approx(20, abs=1e-5)
    one_channel_off = grey.clone()
    one_channel_off[0] += 0.1
    assert psnr(one_channel_off, grey) == pytest.approx(20 + 10 * math.log10(3), abs=1e-5)
    assert psnr(grey, grey) == math.inf
    assert math.isnan(psnr(grey * math.nan, grey))


def test_psnr_agrees_with_torchmetrics():
    image, target = pair()
    assert psnr(image, target) == pytest.approx(float(peak_signal_noise_ratio(image, target, 1.0)), abs=1e-4)


def test_ssim_of_a_single_pixel_worked_by_hand():
    image, target = torch.full((3, 1, 1), 0.8), torch.full((3, 1, 1), 0.4)
    centre = float(WINDOW[5]) ** 2  # all of the window but its centre lies outside
    mx, my = centre * 0.8, centre * 0.4
    vx, vy, cxy = (centre * a - b for a, b in ((0.64, mx * mx), (0.16, my * my), (0.32, mx * my)))
    expected = (2 * mx * my + 1e-4) * (2 * cxy + 9e-4) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))
    assert ssim(image, target) == pytest.approx(expected, abs=1e-6)


def test_ssim_agrees_with_torchmetrics_in_a_frame_of_zeros():
    # Torchmetrics mirrors the image at its border. With five zeros round it, the windows of the image's own
    # pixels see what they see with zero padding.
    image, target = pair(1)
    x, y = (torch.nn.functional.pad(it, (5, 5, 5, 5))[None] for it in (image, target))
    _, values = structural_similarity_index_measure(
        x, y, sigma=1.5, kernel_size=11, data_range=1.0, return_full_image=True
    )
    assert ssim(image, target) == pytest.approx(values[..., 5:-5, 5:-5].mean().item(), abs=1e-5)
    assert ssim(target, target) == pytest.approx(1, abs=1e-6)


def test_lpips_agrees_with_torchmetrics_in_both_ranges(hub):
    image, target = pair(2)
    address = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    file = save_backbone(hub / Path(address).name)
    input_range: LpipsRange
    for input_range, normalize in (("correct", True), ("reference", False)):
        expected = learned_perceptual_image_patch_similarity(
            image[None], target[None], net_type="squeeze", normalize=normalize
        ).item()
        assert load_lpips("squeeze", input_range)(image, target) == pytest.approx(expected, rel=1e-3)
        from_file = load_lpips("squeeze", input_range, file)
        assert from_file(image, target) == pytest.approx(expected, rel=1e-3)
        assert from_file(target, target) == 0


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_weights_of_the_large_nets_reach_every_layer(net, tmp_path):
    """With all weights equal, so are all channels; any layer left at random would show."""
    name = BACKBONES[net][0]
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name, weights=None).features.state_dict(prefix="features.")
    values = {"weight": 0.01, "bias": 10.0}  # every ReLU is open
    state = {key: torch.full(value.shape, values[key.split(".")[-1]]) for key, value in shapes.items()}
    torch.save(state, tmp_path / "weights.pth")
    image, target = pair(3)
    lpips = load_lpips(net, "correct", tmp_path / "weights.pth")
    assert lpips(image, target) < 1e-6  # all channels alike: normalised, the images agree


@pytest.mark.data
def test_lpips_of_two_photographs_is_the_published_nets(data_root):
    images = [
        image_tensor(np.asarray(Image.open(data_root / "fern" / "images" / f"{name}.jpg")))
        for name in ("000", "001")
    ]
    weights = data_root / "weights" / "squeezenet1_1_fp16.pth"
    assert load_lpips("squeeze", "correct", weights)(*images) == pytest.approx(0.15564, abs=2e-5)
    assert load_lpips("squeeze", "reference", weights)(*images) == pytest.approx(0.13019, abs=2e-5)


def test_weights_that_cannot_be_had_are_one_line(hub):
    with pytest.raises(LpipsUnavailable) as caught:
        load_lpips("vgg", "reference")
    message = str(caught.value)
    assert "\n" not in message
    assert "vgg16" in message
    assert "--lpips_weights" in message
    assert str(hub) in message


def test_wrong_weight_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_lpips("squeeze", "correct", tmp_path / "nothing.pth")
    for content in (b"not a state dict", b"", b"a", b"hello", b"\x80\x02\x85"):
        (tmp_path / "text.pth").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load_lpips("squeeze", "correct", tmp_path / "text.pth")
    squeeze = save_backbone(tmp_path / "squeeze.pth")
    with pytest.raises(UserError, match="not torchvision's alexnet"):
        load_lpips("alex", "correct", squeeze)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="not torchvision's squeezenet1_1"):
        load_lpips("squeeze", "correct", tmp_path / "list.pth")
    lpips = load_lpips("squeeze", "correct", squeeze)
    with pytest.raises(UserError, match="17 x 17"):
        lpips(torch.zeros(3, 16, 40), torch.zeros(3, 16, 40))
    assert lpips(torch.zeros(3, 17, 40), torch.ones(3, 17, 40)) > 0
