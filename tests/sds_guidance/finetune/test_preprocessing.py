"""Each step of preprocessing does what its flag says, and nothing where it is off."""

import pytest
import torch

from sds_guidance.finetune.preprocessing import PreprocessingOptions, copies, standardise
from utils.errors import UserError


@pytest.fixture
def picture():
    """(3, 24, 40), noise whose left and right differ."""
    noise = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0))
    return 0.3 + 0.2 * noise + 0.3 * torch.linspace(0, 1, 40)


def draw(picture, seed=0, **flags):
    random = torch.Generator().manual_seed(seed)
    return copies(picture, PreprocessingOptions(resolution=16, **flags), random)


def test_switched_off_a_square_of_the_right_size_stays_as_it_is(picture):
    whole = picture[:, :, :24]
    torch.testing.assert_close(standardise(whole, PreprocessingOptions(resolution=24)), whole)


def test_cropping_keeps_the_middle_and_padding_the_whole(picture):
    middle = standardise(picture, PreprocessingOptions(resolution=24))
    torch.testing.assert_close(middle, picture[:, :, 8:32])
    padded = standardise(picture, PreprocessingOptions(resolution=40, fit="pad"))
    torch.testing.assert_close(padded[:, 8:32], picture)
    above = padded[:, :8]
    assert above.std(dim=(1, 2)).max() < 1e-6  # one colour, between those of the border
    assert (above[:, 0, 0] > picture.amin((1, 2))).all() and (above[:, 0, 0] < picture.amax((1, 2))).all()


def test_contrast_is_stretched_between_its_percentiles_alike_in_all_colours(picture):
    options = PreprocessingOptions(resolution=24, normalise_contrast=1)
    dull = 0.4 + 0.1 * picture[:, :, :24]
    grey = dull.mean(dim=0, keepdim=True).expand(3, -1, -1)
    stretched = standardise(grey, options)[0]
    assert float(stretched.quantile(0.01)) == pytest.approx(0, abs=0.01)
    assert float(stretched.quantile(0.99)) == pytest.approx(1, abs=0.01)

    coloured = standardise(dull, options)
    inside = (coloured > 0) & (coloured < 1)
    low, high = torch.quantile(grey[0], torch.tensor([0.01, 0.99]))
    torch.testing.assert_close(coloured[inside], ((dull - low) / (high - low))[inside], atol=1e-3, rtol=0)
    flat = torch.full((3, 24, 24), 0.5)
    assert torch.isfinite(standardise(flat, options)).all()


def test_the_first_copy_is_never_changed_and_the_seed_decides_the_others(picture):
    flags = {"augmented_copies": 3, "augment_flip": True, "augment_crop": 0.4, "augment_colour": 0.3}
    drawn = draw(picture, **flags, augment_blur=1.0)
    assert drawn.shape == (4, 3, 16, 16)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert torch.equal(drawn[0], draw(picture)[0])
    assert torch.equal(drawn, draw(picture, **flags, augment_blur=1.0))
    other = draw(picture, seed=1, **flags, augment_blur=1.0)
    assert all(not torch.equal(a, b) for a, b in zip(drawn[1:], other[1:], strict=True))


def test_flips_mirror_half_of_the_copies(picture):
    drawn = draw(picture, augmented_copies=40, augment_flip=True)
    same = [torch.equal(copy, drawn[0]) for copy in drawn[1:]]
    mirrored = [torch.equal(copy, drawn[0].flip(2)) for copy in drawn[1:]]
    assert 10 < sum(same) < 30
    assert sum(same) + sum(mirrored) == 40


def test_crops_show_a_smaller_part(picture):
    ramp = torch.linspace(0, 1, 24).expand(3, 24, 24)
    spans = [float(c[0, 0].max() - c[0, 0].min()) for c in draw(ramp, augmented_copies=30, augment_crop=0.5)]
    assert max(spans[1:]) <= spans[0] + 1e-6
    assert 0.4 < min(spans[1:]) < 0.7


def test_colours_change_and_places_do_not(picture):
    black_and_white = torch.zeros(3, 24, 24)
    black_and_white[:, :, 12:] = 0.5
    for copy in draw(black_and_white, augmented_copies=5, augment_colour=0.2)[1:]:
        left, right = copy[0, :, :6], copy[0, :, 10:]
        assert left.std() < 1e-5 and right.std() < 1e-5
        assert 0.3 < float(right.mean() - left.mean()) < 0.75
        assert float(right.mean() - left.mean()) != pytest.approx(0.5, abs=1e-4)


def test_blur_takes_detail_and_leaves_the_mean(picture):
    drawn = draw(picture[:, :, :24], augmented_copies=10, augment_blur=2.0)
    detail = [float((copy[:, :, 1:] - copy[:, :, :-1]).square().mean()) for copy in drawn]
    assert max(detail[1:]) <= detail[0]
    assert min(detail[1:]) < 0.3 * detail[0]
    assert all(float(copy.mean()) == pytest.approx(float(drawn[0].mean()), abs=0.02) for copy in drawn)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"resolution": 30}, "--resolution 30: allowed is a multiple of 4"),
        ({"intensity_window": (5.0, 5.0)}, "--intensity_window"),
        ({"normalise_contrast": 50.0}, "--normalise_contrast"),
        ({"augment_crop": 1.0, "augmented_copies": 1}, "--augment_crop"),
        ({"augment_flip": True}, "augmentation needs --augmented_copies"),
        ({"augmented_copies": 2}, "at least one of --augment_flip"),
    ],
)
def test_senseless_values_are_refused_by_name(flags, message):
    with pytest.raises(UserError, match=message):
        PreprocessingOptions(**{"resolution": 16} | flags).check(size_multiple=4)
