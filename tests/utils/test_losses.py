"""The fused loss against plain torch in float64, finite differences, a loop over pixels, and poison."""

import math
import threading

import numba
import pytest
import torch

from utils.kernels import kernel_lock
from utils.losses import photometric_loss, torch_photometric_loss


def images(seed: int = 0, shape: tuple[int, int, int] = (3, 37, 53)) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture with structure at several scales, and a noisy copy of it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, shape[0], 5, 6), generator=generator)
    target = torch.nn.functional.interpolate(coarse, shape[1:], mode="bicubic")[0].clamp(0, 1)
    rgb = target + 0.15 * torch.randn(shape, generator=generator)
    return rgb.clamp(0, 1), target


def value_and_gradient(function, rgb, *arguments):
    rgb = rgb.clone().requires_grad_()
    loss = function(rgb, *arguments)
    loss.backward()
    return loss.item(), rgb.grad


def ssim_of_one_pixel(x: torch.Tensor, y: torch.Tensor, row: int, column: int) -> float:
    """SSIM of the window round one pixel of two (H, W) float64 images, straight from the definition."""
    taps = [(i, j, math.exp(-(i * i + j * j) / 4.5)) for i in range(-5, 6) for j in range(-5, 6)]
    norm = sum(weight for _, _, weight in taps)

    def at(image, i, j):
        inside = 0 <= row + i < image.shape[0] and 0 <= column + j < image.shape[1]
        return float(image[row + i, column + j]) if inside else 0.0

    def mean(first, second):
        return sum(weight * first(i, j) * second(i, j) for i, j, weight in taps) / norm

    def one(i, j):
        return 1.0

    def px(i, j):
        return at(x, i, j)

    def py(i, j):
        return at(y, i, j)

    mx, my = mean(px, one), mean(py, one)
    vx, vy, cxy = mean(px, px) - mx * mx, mean(py, py) - my * my, mean(px, py) - mx * my
    return ((2 * mx * my + 1e-4) * (2 * cxy + 9e-4)) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))


def test_ssim_follows_its_definition_pixel_by_pixel():
    rgb, target = images(shape=(1, 9, 14))
    expected = torch.tensor(
        [[ssim_of_one_pixel(rgb[0].double(), target[0].double(), i, j) for j in range(14)] for i in range(9)]
    )
    assert photometric_loss(rgb, target, None, 1.0).item() == pytest.approx(
        1 - expected.mean().item(), abs=2e-6
    )
    # A weight of one pixel picks that window, seen in an image of which the rest is not there.
    alone = torch.zeros(9, 14)
    alone[4, 7] = 1
    x, y = ((image[0] * alone).double() for image in (rgb, target))
    loss = photometric_loss(rgb, target, alone, 1.0).item()
    assert loss == pytest.approx(1 - ssim_of_one_pixel(x, y, 4, 7), abs=2e-6)


def test_l1_is_the_weighted_mean_of_differences():
    rgb, target = images()
    assert photometric_loss(rgb, target, None, 0.0).item() == pytest.approx(
        (rgb - target).abs().mean().item()
    )
    weight = torch.zeros(37, 53)
    weight[3, 4], weight[30, 50] = 1.0, 0.5
    expected = ((rgb - target).abs().mean(0) * weight).sum() / 1.5
    assert photometric_loss(rgb, target, weight, 0.0).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("shape", [(3, 37, 53), (3, 16, 16), (3, 1, 1), (3, 4, 200), (1, 65, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_fused_loss_equals_plain_torch_in_double_precision(shape, weighted):
    rgb, target = images(1, shape)
    weight = None
    if weighted:
        weight = torch.rand(shape[1:], generator=torch.Generator().manual_seed(2))
        weight[weight < 0.3] = 0
    ours, gradient = value_and_gradient(photometric_loss, rgb, target, weight, 0.2)
    exact_weight = torch.ones(shape[1:], dtype=torch.double) if weight is None else weight.double()
    theirs, exact = value_and_gradient(
        torch_photometric_loss, rgb.double(), target.double(), exact_weight, 0.2
    )
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(
        gradient.double(), exact, rtol=1e-3, atol=1e-4 * exact.abs().max().item() + 1e-9
    )


def test_the_plain_gradient_agrees_with_finite_differences():
    rgb, target = images(3, (2, 7, 9))
    weight = torch.rand((7, 9), generator=torch.Generator().manual_seed(4)).double()
    weight[2:4, 3] = 0
    assert torch.autograd.gradcheck(
        lambda image: torch_photometric_loss(image, target.double(), weight, 0.3),
        rgb.double().requires_grad_(),
        fast_mode=True,
    )


@pytest.mark.parametrize("function", [photometric_loss, torch_photometric_loss])
def test_masked_pixels_count_for_nothing(function):
    rgb, target = images(5)
    weight = torch.ones(37, 53)
    weight[10:20, 15:40] = 0
    weight[:, 0] = 0
    clean, clean_gradient = value_and_gradient(function, rgb, target, weight, 0.2)
    hidden = (weight == 0).expand_as(rgb)
    for poison in (math.nan, math.inf, -7.0):
        loss, gradient = value_and_gradient(function, rgb, target.masked_fill(hidden, poison), weight, 0.2)
        assert loss == clean
        assert torch.equal(gradient, clean_gradient)
        loss, gradient = value_and_gradient(function, rgb.masked_fill(hidden, poison), target, weight, 0.2)
        assert loss == clean
        assert torch.equal(gradient, clean_gradient)
    assert not clean_gradient[hidden].any()
    assert clean_gradient[~hidden].all()


@pytest.mark.parametrize("function", [photometric_loss, torch_photometric_loss])
def test_an_image_all_masked_has_no_loss(function):
    rgb, target = images(6)
    loss, gradient = value_and_gradient(function, rgb, target, torch.zeros(37, 53), 0.2)
    assert loss == 0
    assert not gradient.any()


def test_a_nan_in_view_is_not_hidden():
    rgb, target = images(7)
    rgb[1, 20, 20] = math.nan
    assert math.isnan(photometric_loss(rgb, target).item())


def test_equal_images_have_no_loss_and_no_gradient():
    _, target = images(8)
    loss, gradient = value_and_gradient(photometric_loss, target, target)
    assert loss == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-7


def test_the_gradient_scales_with_what_follows_and_leaves_the_target_alone():
    rgb, target = images(9)
    target.requires_grad_()
    _, once = value_and_gradient(photometric_loss, rgb, target)
    _, thrice = value_and_gradient(lambda *arguments: 3 * photometric_loss(*arguments), rgb, target)
    torch.testing.assert_close(thrice, 3 * once)
    assert target.grad is None


def test_strided_images_are_read_right():
    rgb, target = images(10)
    turned = rgb.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    loss, gradient = value_and_gradient(photometric_loss, turned, target)
    expected, expected_gradient = value_and_gradient(photometric_loss, rgb, target)
    assert loss == expected
    assert torch.equal(gradient, expected_gradient)


def test_the_number_of_threads_changes_no_bit():
    rgb, target = images(11, (3, 150, 211))
    weight = torch.rand((150, 211), generator=torch.Generator().manual_seed(12))
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    threads = numba.get_num_threads(), torch.get_num_threads()
    results = []
    try:
        for count in sorted({1, 2, most}):
            numba.set_num_threads(min(count, most))
            torch.set_num_threads(count)
            results.append(value_and_gradient(photometric_loss, rgb, target, weight))
    finally:
        numba.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])
    for loss, gradient in results[1:]:
        assert loss == results[0][0]
        assert torch.equal(gradient, results[0][1])


def test_the_loss_waits_for_other_kernels():
    # A viewer's rendering in another thread holds the lock; some of Numba's threading layers would die.
    rgb, target = images(13)
    values: list[float] = []
    other = threading.Thread(target=lambda: values.append(photometric_loss(rgb, target).item()))
    with kernel_lock:
        other.start()
        other.join(timeout=0.3)
        assert not values
    other.join(timeout=60)
    assert values == [photometric_loss(rgb, target).item()]


def test_shapes_that_do_not_fit_are_refused():
    rgb, target = images()
    with pytest.raises(ValueError, match="one shape"):
        photometric_loss(rgb, target[:, :-1])
    with pytest.raises(ValueError, match="weight has shape"):
        photometric_loss(rgb, target, torch.ones(53, 37))
