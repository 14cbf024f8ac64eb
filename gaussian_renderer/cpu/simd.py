"""Sixteen float32 lanes as one value inside compiled functions: one vector register, or a few on older CPUs.

Numba leaves it to chance whether a loop becomes vector instructions. A value of type `lanes` always does:
it is LLVM's <16 x float>, which every CPU's code generator knows how to spread over the registers it has.
`+ - * /` work between lanes and between lanes and float32 scalars. All operations round as IEEE prescribes,
in a fixed order, but for `multiply_add`, which is fused where the CPU can.
"""

import operator
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import lower_builtin, models, register_model
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature

from gaussian_renderer.cpu.compilation import device_function

LANES = 16
# Its result has other arguments than the function below it, which type checkers cannot know.
intrinsic: Any = numba.extending.intrinsic

FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)


class Lanes(types.Type):
    """The type of sixteen float32 numbers."""

    def __init__(self):
        super().__init__(name="lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


def _splat(builder, scalar):
    """A scalar in all lanes."""
    single = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(INTEGERS, [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(FLOATS, ir.Undefined), zeros)


def constant(number):
    """A number in all lanes, as a constant of either kind."""
    if isinstance(number, int):
        return ir.Constant(INTEGERS, [number] * LANES)
    return ir.Constant(FLOATS, [number] * LANES)


def _operator(symbol, method):
    """Teaches Numba one arithmetic operator on lanes, and on lanes and a scalar."""

    @infer_global(symbol)
    class _Typing(ConcreteTemplate):
        cases = [  # noqa: RUF012
            signature(lanes, lanes, lanes),
            signature(lanes, lanes, types.float32),
            signature(lanes, types.float32, lanes),
        ]

    def lower(context, builder, sig, arguments):
        wide = [
            value if kind == lanes else _splat(builder, value)
            for value, kind in zip(arguments, sig.args, strict=True)
        ]
        return getattr(builder, method)(*wide)

    for left, right in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(symbol, left, right)(lower)


for _symbol, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(_symbol, _method)


def _wide(builder, kind, value):
    return value if kind == lanes else _splat(builder, value)


def _call(builder, name, arguments):
    """LLVM's intrinsic function of this name for sixteen floats."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * len(arguments))
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32"), arguments
    )


def _address(context, builder, kind, array, index):
    """Pointer to element `index` of a one-dimensional contiguous float32 array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index], source_etype=ir.FloatType())


@intrinsic
def splat(typing, scalar):
    """The float32 scalar in all lanes."""

    def generate(context, builder, sig, arguments):
        return _splat(builder, arguments[0])

    return lanes(types.float32), generate


@intrinsic
def pick(typing, array, index):
    """Element `index` of a float32 array; without Python's sense of a negative index, which costs time."""

    def generate(context, builder, sig, arguments):
        pointer = _address(context, builder, sig.args[0], *arguments)
        return builder.load(pointer, typ=ir.FloatType())

    return types.float32(array, types.intp), generate


@intrinsic
def prefetch(typing, array, index):
    """Asks for the memory line of element `index` of a float32 array ahead of its use."""

    def generate(context, builder, sig, arguments):
        byte = ir.IntType(8).as_pointer()
        pointer = builder.bitcast(_address(context, builder, sig.args[0], *arguments), byte)
        numbers = [ir.IntType(32)] * 3
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, *numbers]), "llvm.prefetch.p0"
        )
        builder.call(function, [pointer, *(ir.Constant(numbers[0], number) for number in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load(typing, array, index):
    """Elements index .. index + 15 of a float32 array."""

    def generate(context, builder, sig, arguments):
        pointer = _address(context, builder, sig.args[0], *arguments)
        pointer = builder.bitcast(pointer, FLOATS.as_pointer())
        return builder.load(pointer, align=4, typ=FLOATS)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing, array, index, value):
    """Writes elements index .. index + 15 of a float32 array."""

    def generate(context, builder, sig, arguments):
        pointer = _address(context, builder, sig.args[0], *arguments[:2])
        pointer = builder.bitcast(pointer, FLOATS.as_pointer())
        builder.store(arguments[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def multiply_add(typing, a, b, c):
    """a b + c, lane by lane; each of the three lanes or a float32 scalar."""

    def generate(context, builder, sig, arguments):
        wide = [_wide(builder, kind, value) for kind, value in zip(sig.args, arguments, strict=True)]
        return _call(builder, "llvm.fmuladd", wide)

    return lanes(a, b, c), generate


@intrinsic
def negate(typing, a):
    """-a."""

    def generate(context, builder, sig, arguments):
        return builder.fneg(arguments[0])

    return lanes(lanes), generate


@intrinsic
def absolute(typing, a):
    """|a|."""

    def generate(context, builder, sig, arguments):
        return _call(builder, "llvm.fabs", arguments)

    return lanes(lanes), generate


@intrinsic
def larger(typing, a, b):
    """The larger of two, lane by lane (b where either is NaN)."""

    def generate(context, builder, sig, arguments):
        a, b = (_wide(builder, kind, value) for kind, value in zip(sig.args, arguments, strict=True))
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return lanes(a, b), generate


@intrinsic
def smaller(typing, a, b):
    """The smaller of two, lane by lane (b where either is NaN)."""

    def generate(context, builder, sig, arguments):
        a, b = (_wide(builder, kind, value) for kind, value in zip(sig.args, arguments, strict=True))
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    return lanes(a, b), generate


@intrinsic
def where_at_least(typing, a, b, yes, no):
    """`yes` where a >= b, else `no`; each of the four lanes or a float32 scalar."""

    def generate(context, builder, sig, arguments):
        a, b, yes, no = (_wide(builder, kind, value) for kind, value in zip(sig.args, arguments, strict=True))
        return builder.select(builder.fcmp_ordered(">=", a, b), yes, no)

    return lanes(a, b, yes, no), generate


@intrinsic
def root(typing, a):
    """The square root, lane by lane."""

    def generate(context, builder, sig, arguments):
        return _call(builder, "llvm.sqrt", arguments)

    return lanes(lanes), generate


@intrinsic
def round_up(typing, a):
    """The next integer at or above, lane by lane."""

    def generate(context, builder, sig, arguments):
        return _call(builder, "llvm.ceil", arguments)

    return lanes(lanes), generate


def _bits(comparison):
    """An intrinsic that sets bit i of an integer where the comparison holds in lane i; a NaN never does."""

    def bits(typing, a, b):
        def generate(context, builder, sig, arguments):
            a, b = (_wide(builder, kind, value) for kind, value in zip(sig.args, arguments, strict=True))
            bits = builder.bitcast(builder.fcmp_ordered(comparison, a, b), ir.IntType(LANES))
            return builder.zext(bits, ir.IntType(64))

        return types.int64(a, b), generate

    return intrinsic(bits)


bits_at_least = _bits(">=")
bits_above = _bits(">")


@intrinsic
def first_bit(typing, bits):
    """Position of the lowest set bit of a positive integer."""

    def generate(context, builder, sig, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def last_bit(typing, bits):
    """Position of the highest set bit of a positive integer."""

    def generate(context, builder, sig, arguments):
        leading = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.sub(ir.Constant(ir.IntType(64), 63), leading)

    return types.int64(types.int64), generate


def _halves(builder, a, b, width):
    """Each run of `width` lanes of `a`, then of `b`, folded to half its length by adding its two halves."""
    low = [i for i in range(2 * LANES) if i % width < width // 2]
    high = [i + width // 2 for i in low]
    pick = [ir.Constant(INTEGERS, positions) for positions in (low, high)]
    return builder.fadd(*(builder.shuffle_vector(a, b, positions) for positions in pick))


@intrinsic
def store_sums(typing, array, index, a, b, c, d, e, f, g, h):
    """Writes the sums over the lanes of eight values to elements index .. index + 7 of a float32 array.

    A tree of 24 operations in a fixed order; eight separate sums would take 64.
    """

    def generate(context, builder, sig, arguments):
        values = list(arguments[2:])
        width = LANES
        while len(values) > 1:
            pairs = zip(values[0::2], values[1::2], strict=True)
            values = [_halves(builder, first, second, width) for first, second in pairs]
            width //= 2
        total = _halves(builder, values[0], values[0], width)
        eight = ir.VectorType(ir.FloatType(), 8)
        front = ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(8)))
        pointer = _address(context, builder, sig.args[0], *arguments[:2])
        pointer = builder.bitcast(pointer, eight.as_pointer())
        builder.store(builder.shuffle_vector(total, total, front), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, *[lanes] * 8), generate


@intrinsic
def take_number(typing, counter):
    """The counter's value before it is raised by one, so that no two threads get the same.

    Args:
        counter: one-dimensional int64 array, its first element.
    """

    def generate(context, builder, sig, arguments):
        data = context.make_array(sig.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


@intrinsic
def _address_bits(typing, array):
    """Where the array's first element lies in memory, an integer."""

    def generate(context, builder, sig, arguments):
        data = context.make_array(sig.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), generate


@device_function
def aligned(count):
    """An uninitialised float32 array of `count` times sixteen elements, aligned to 64 bytes; for kernels."""
    array = np.empty((count + 1) * LANES, np.float32)
    start = -_address_bits(array) // array.itemsize % LANES
    return array[start : start + count * LANES]


def aligned_rows(rows, width):
    """An uninitialised (rows, width x 16) float32 array, aligned to 64 bytes; for what calls kernels.

    `aligned` would be compiled anew in every process that calls it from Python.
    """
    array = np.empty((rows * width + 1) * LANES, np.float32)
    start = -array.ctypes.data // array.itemsize % LANES
    return array[start : start + rows * width * LANES].reshape(rows, width * LANES)
