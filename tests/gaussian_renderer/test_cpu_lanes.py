"""The sixteen-lane values of the CPU engine against numpy."""

import numba
import numpy as np

from gaussian_renderer.cpu.lane_functions import log_of_two, power_of_two
from gaussian_renderer.cpu.simd import (
    LANES,
    aligned,
    aligned_rows,
    bits_above,
    bits_at_least,
    first_bit,
    last_bit,
    load,
    multiply_add,
    root,
    round_up,
    store,
    store_sums,
    where_at_least,
)


@numba.njit
def _powers(exponents, results):
    for i in range(0, len(exponents), LANES):
        store(results, i, power_of_two(load(exponents, i)))


@numba.njit
def _logarithms(numbers, results):
    for i in range(0, len(numbers), LANES):
        store(results, i, log_of_two(load(numbers, i)))


@numba.njit
def _roots_rounded_up(numbers, roots, rounded):
    store(roots, 0, root(load(numbers, 0)))
    store(rounded, 0, round_up(load(numbers, 0)))
    return bits_above(load(numbers, 0), np.float32(2)), bits_at_least(load(numbers, 0), np.float32(2))


@numba.njit
def _arithmetic(a, b, result):
    x, y = load(a, 0), load(b, 0)
    store(result, 0, where_at_least(x, y, x - y, multiply_add(x, y, np.float32(2)) / y))


@numba.njit
def _sums(values, sums):
    store_sums(
        sums, 1,
        load(values, 0), load(values, 16), load(values, 32), load(values, 48),
        load(values, 64), load(values, 80), load(values, 96), load(values, 112),
    )  # fmt: skip


@numba.njit
def _range(a, limit):
    bits = bits_at_least(load(a, 0), limit)
    return bits, first_bit(bits), last_bit(bits)


@numba.njit
def _aligned_address(count):
    array = aligned(count)
    array[:] = np.float32(1)
    return array.ctypes.data, array.size


def test_power_of_two_is_exact_to_the_last_digits():
    exponents = np.linspace(-126, 127, 16 * 50_000).astype(np.float32)
    powers = np.empty_like(exponents)
    _powers(exponents, powers)
    assert np.abs(powers / np.exp2(exponents.astype(np.float64)) - 1).max() < 2e-7


def test_arithmetic_and_choice_are_numpys():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, LANES)).astype(np.float32)
    result = np.empty_like(a)
    _arithmetic(a, b, result)
    np.testing.assert_allclose(result, np.where(a >= b, a - b, (a * b + 2) / b), rtol=1e-5)


def test_eight_sums_land_in_order_and_nothing_else_is_written():
    values = np.random.default_rng(1).normal(size=(8, LANES)).astype(np.float32)
    sums = np.full(10, 7, np.float32)
    _sums(values.reshape(-1), sums)
    np.testing.assert_allclose(sums[1:9], values.sum(axis=1), rtol=1e-4, atol=1e-5)
    assert sums[0] == sums[9] == 7


def test_bits_of_a_comparison_treat_nan_as_false():
    a = np.zeros(LANES, np.float32)
    a[[3, 4, 9]] = 1
    a[12] = np.nan
    assert _range(a, np.float32(0.5)) == (1 << 3 | 1 << 4 | 1 << 9, 3, 9)


def test_scratch_memory_starts_at_a_cache_line():
    for count in (1, 2, 7, 33):
        address, size = _aligned_address(count)
        assert address % 64 == 0
        assert size == count * LANES
        rows = aligned_rows(count, 2)
        assert rows.ctypes.data % 64 == 0
        assert rows.shape == (count, 2 * LANES)


def test_log_of_two_is_exact_to_the_last_digits():
    numbers = np.exp2(np.linspace(-126, 127, 16 * 50_000)).astype(np.float32)
    logarithms = np.empty_like(numbers)
    _logarithms(numbers, logarithms)
    exact = np.log2(numbers.astype(np.float64))
    assert (np.abs(logarithms - exact) / np.maximum(1, np.abs(exact))).max() < 2e-7


def test_roots_rounding_and_strict_comparison():
    numbers = np.array([0, 0.3, 1, 1.5, 2, 2.5, 3, np.nan, np.inf, 5, 6, 7, 8, 9.1, 1e9, 1e-9], np.float32)
    roots, rounded = np.empty_like(numbers), np.empty_like(numbers)
    above, at_least = _roots_rounded_up(numbers, roots, rounded)
    np.testing.assert_array_equal(roots, np.sqrt(numbers))
    np.testing.assert_array_equal(rounded, np.ceil(numbers))
    assert above == sum(1 << i for i, number in enumerate(numbers) if number > 2)
    assert at_least == sum(1 << i for i, number in enumerate(numbers) if number >= 2)
