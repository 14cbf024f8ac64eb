"""The parts of a page: pictures that fit, differences, gains, settings as text."""

import math

import numpy as np
import pytest
import scipy.stats

from comparison.gains import gain_sentence, paired_gain, signed
from comparison.media import PICTURE_BYTES, VIDEO_BYTES, View, levels, views_that_fit
from comparison.settings import shown


def test_a_page_stays_below_15_mb():
    views = [View(str(index), 8, 8, "x" * 700_000, ["x" * 400_000], [""], None) for index in range(20)]
    chosen = views_that_fit(views, PICTURE_BYTES)
    assert [view.name for view in chosen] == ["0", "3", "6", "10", "13", "16", "19"]
    assert sum(view.size for view in chosen) <= PICTURE_BYTES < 15e6 - VIDEO_BYTES * 4 / 3
    assert views_that_fit(views, 10) == views[:1]


def test_differences_are_rounded_and_end_at_255():
    first = np.array([[[0, 0, 0], [10, 20, 30], [255, 255, 255]]], np.uint8)
    second = np.array([[[0, 1, 0], [12, 18, 31], [0, 0, 0]]], np.uint8)
    assert levels(first, second).tolist() == levels(second, first).tolist() == [[1, 7, 255]]


@pytest.mark.parametrize("count", [2, 4, 9])
def test_gain_is_that_of_scipys_paired_test(count):
    random = np.random.default_rng(count)
    first = random.normal(25, 2, count)
    second = first + random.normal(0.1, 0.3, count)
    gain = paired_gain(list(first), list(second))
    assert gain is not None
    test = scipy.stats.ttest_rel(second, first)
    interval = test.confidence_interval(0.95)
    assert gain.mean == pytest.approx(np.mean(second - first))
    assert gain.standard_error == pytest.approx(scipy.stats.sem(second - first))
    assert gain.interval == pytest.approx((interval.low, interval.high))
    assert gain.within_noise == (test.pvalue >= 0.05)


def test_the_sentence_says_what_the_gain_is_worth():
    def sentence(second):
        return gain_sentence("plain", "guided", paired_gain([20.0, 21.0, 22.0], second))

    assert sentence([20.5, 21.6, 22.4]).startswith(
        "guided minus plain over 3 held-out views: mean +0.50 dB, standard error 0.06, "
        "95 % interval +0.25 to +0.75 dB (Student's t)."
    )
    assert "better on these views by more than their noise" in sentence([20.5, 21.6, 22.4])
    assert "worse on these views by more than their noise" in sentence([19.5, 20.4, 21.6])
    assert "mean -0.13 dB" in sentence([20.5, 20.1, 22.0])
    assert "within the noise of these views" in sentence([20.5, 20.1, 22.0])
    assert "over 2 held-out views (1 more of infinite PSNR left out)" in sentence([20.5, 21.6, math.inf])
    assert "no view has a finite" in gain_sentence("a", "b", paired_gain([math.inf], [math.inf]))
    one = gain_sentence("a", "b", paired_gain([20.0], [20.5]))
    assert "+0.50 dB" in one and "One view has no spread" in one
    assert [signed(value) for value in (0.004, -0.004, -0.006, math.nan)] == ["0.00", "0.00", "-0.01", "-"]


def test_of_paths_only_the_last_part_is_shown():
    assert [
        shown(value) for value in ("/home/me/model", "C:\\me\\model", "owner/model", "", None, [1, 2], [])
    ] == [*("model", "model", "owner/model", "none", "-", "1, 2", "none")]
