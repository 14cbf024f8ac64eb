"""Powers and logarithms of sixteen lanes, by polynomials: what LLVM has no vector instruction for."""

import numpy as np
from numba.core import types

from gaussian_renderer.cpu.compilation import device_function
from gaussian_renderer.cpu.simd import (
    FLOATS,
    INTEGERS,
    constant,
    intrinsic,
    lanes,
    multiply_add,
    where_at_least,
)


@intrinsic
def _scale_by_power(typing, mantissa, shifted):
    """Adds the low bits of `shifted` (a float32 with an integer in its last bits) to mantissa's exponent."""

    def generate(context, builder, sig, arguments):
        mantissa, shifted = (builder.bitcast(value, INTEGERS) for value in arguments)
        exponent = builder.shl(shifted, constant(23))
        return builder.bitcast(builder.add(mantissa, exponent), FLOATS)

    return lanes(lanes, lanes), generate


# Adding it pushes a float32's fraction out of the mantissa, which rounds to the nearest integer.
_ROUNDER = np.float32(1.5 * 2**23)
# Minimax polynomial of 2^f on [-1/2, 1/2]; its relative error is below 2e-7 in float32.
_P0, _P1, _P2, _P3, _P4, _P5 = (
    np.float32(number)
    for number in (1.0, 0.693146977598, 0.240222420849, 0.055507337442, 0.009671512660, 0.001326472691)
)


@device_function
def power_of_two(y):
    """2^y, lane by lane, to 2e-7 relative, for -126 <= y <= 127; anything outside."""
    shifted = y + _ROUNDER
    f = y - (shifted - _ROUNDER)
    p = multiply_add(f, _P5, _P4)
    p = multiply_add(p, f, _P3)
    p = multiply_add(p, f, _P2)
    p = multiply_add(p, f, _P1)
    p = multiply_add(p, f, _P0)
    return _scale_by_power(p, shifted)


@intrinsic
def _exponent(typing, a):
    """e and m of a = 2^e m, 1 <= m < 2, of positive normal numbers, as lanes."""

    def generate(context, builder, sig, arguments):
        bits = builder.bitcast(arguments[0], INTEGERS)
        exponent = builder.sub(builder.lshr(bits, constant(23)), constant(127))
        mantissa = builder.or_(builder.and_(bits, constant(0x7FFFFF)), constant(0x3F800000))
        parts = builder.sitofp(exponent, FLOATS), builder.bitcast(mantissa, FLOATS)
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(lanes, 2)(lanes), generate


# log2(m) = 2 artanh((m - 1) / (m + 1)) / ln 2, for m in [sqrt(1/2), sqrt(2)] to 1e-7 with these terms.
_L1, _L3, _L5, _L7, _L9 = (np.float32(2.0 / np.log(2.0) / k) for k in (1, 3, 5, 7, 9))
_SQRT2 = np.float32(np.sqrt(2.0))


@device_function
def log_of_two(a):
    """log2(a), lane by lane, to 2e-7 absolute or relative, for positive normal numbers; anything outside."""
    exponent, m = _exponent(a)
    large = where_at_least(m, _SQRT2, np.float32(1), np.float32(0))
    m = m - large * m * np.float32(0.5)
    q = (m - np.float32(1)) / (m + np.float32(1))
    qq = q * q
    p = multiply_add(qq, _L9, _L7)
    p = multiply_add(p, qq, _L5)
    p = multiply_add(p, qq, _L3)
    p = multiply_add(p, qq, _L1)
    return multiply_add(p, q, exponent + large)
