"""Vectors in Numba: a type `Lanes`, and functions on it for kernels.

Numba compiles through LLVM, and LLVM knows vectors (`<16 x float>`). This module lets a kernel say so:
`load`, `store`, `fill`, `fma`, `+ - *` on vectors of LANES numbers. LLVM splits a vector that is wider than
the machine's registers, so the same code runs everywhere; LANES only says which width is best here.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, models, register_model, type_callable

from minicnn.backends.cpu.convolution.emit import (
    fma_of,
    itemsize,
    load_vector,
    shuffled,
    splat,
    store_vector,
    vector_type,
)
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.runtime.numba_internals import converted, element_pointer, intrinsic, llvm_type, no_result

# The type.


class Lanes(types.Type):
    """A vector of LANES numbers of one dtype, held in registers."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({LANES} x {dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        vector = ir.VectorType(dmm.lookup(fe_type.dtype).get_data_type(), LANES)
        super().__init__(dmm, fe_type, vector)  # type: ignore[no-untyped-call] # of Numba


# Loads and stores.


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """LANES numbers of `array` from flat index `index` on."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, array, args[0], args[1])
        return load_vector(builder, vector_type(context, array), pointer, itemsize(array))

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + LANES] = value, flat."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_vector(builder, args[2], element_pointer(context, builder, array, args[0], args[1]), itemsize(array))
        return no_result(context)

    return types.void(array, types.intp, value), codegen


@intrinsic
def transpose(
    typingctx: Any,
    source: Any,
    source_at: Any,
    source_stride: Any,
    target: Any,
    target_at: Any,
    target_stride: Any,
) -> Any:
    """target[l, m] = source[m, l] for a block of LANES x LANES numbers, in log2(LANES) rounds of shuffles.

    Round d swaps the off-diagonal d x d blocks of each pair of vectors (m, m + d): 4 rounds of 16 shuffles for 16.
    """
    intp = types.intp

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source_v, source_at, source_stride, target_v, target_at, target_stride = args
        vector, size, index = vector_type(context, source), itemsize(source), llvm_type(context, intp)

        def row(array: Any, value: Any, at: Any, stride: Any, m: int) -> Any:
            offset = builder.mul(stride, ir.Constant(index, m))
            return element_pointer(context, builder, array, value, builder.add(at, offset))

        v = [
            load_vector(builder, vector, row(source, source_v, source_at, source_stride, m), size) for m in range(LANES)
        ]
        d = LANES // 2
        while d:
            low = [k if not k & d else LANES + (k ^ d) for k in range(LANES)]
            high = [k ^ d if not k & d else LANES + k for k in range(LANES)]
            for m in range(LANES):
                if not m & d:
                    a, b = v[m], v[m | d]
                    v[m], v[m | d] = shuffled(builder, a, b, low), shuffled(builder, a, b, high)
            d //= 2
        for m in range(LANES):
            store_vector(builder, v[m], row(target, target_v, target_at, target_stride, m), size)
        return no_result(context)

    return types.void(source, intp, intp, target, intp, intp), codegen


@intrinsic
def every_second(typingctx: Any, array: Any, index: Any, first: Any) -> Any:
    """LANES numbers of `array`, every second from flat index `index` + first on; first is 0 or 1, a literal."""
    if not isinstance(first, types.IntegerLiteral):
        return None
    odd = first.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, array, args[0], args[1])
        vector, size = vector_type(context, array), itemsize(array)
        low, high = (load_vector(builder, vector, pointer, size, at) for at in (0, LANES))
        return shuffled(builder, low, high, range(odd, 2 * LANES, 2))

    return Lanes(array.dtype)(array, types.intp, first), codegen


@intrinsic
def store_in_turn(typingctx: Any, array: Any, index: Any, even: Any, odd: Any) -> Any:
    """array[index + 2 k] = even[k], array[index + 2 k + 1] = odd[k], flat: the reverse of two `every_second`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        *_, even_value, odd_value = args
        for half in range(2):
            lanes = range(half * LANES // 2, (half + 1) * LANES // 2)
            value = shuffled(builder, even_value, odd_value, [at for k in lanes for at in (k, LANES + k)])
            at = builder.add(args[1], ir.Constant(args[1].type, half * LANES))
            store_vector(builder, value, element_pointer(context, builder, array, args[0], at), itemsize(array))
        return no_result(context)

    return types.void(array, types.intp, even, odd), codegen


# Arithmetic.


@intrinsic
def fill(typingctx: Any, array: Any, scalar: Any) -> Any:
    """A vector of `array`'s dtype whose every lane is `scalar`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, converted(context, builder, args[1], scalar, array.dtype))

    return Lanes(array.dtype)(array, scalar), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the processor can."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return fma_of(builder, *args)

    return a(a, b, c), codegen


@intrinsic
def relu(typingctx: Any, a: Any) -> Any:
    """max(a, 0) lane by lane; NaN stays NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])

    return a(a), codegen


@intrinsic
def where_positive(typingctx: Any, z: Any, g: Any) -> Any:
    """g where z > 0, else 0: the backward of relu."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[1])

    return g(z, g), codegen


@intrinsic
def where_greater(typingctx: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """x where a > b or a is NaN, else y.  where_greater(a, b, a, b) is a maximum that keeps NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, b_, x_, y_ = args
        return builder.select(
            builder.or_(builder.fcmp_ordered(">", a_, b_), builder.fcmp_unordered("uno", a_, a_)), x_, y_
        )

    return x(a, b, x, y), codegen


@intrinsic
def lesser(typingctx: Any, a: Any, b: Any) -> Any:
    """The lesser number of each lane; b where one of them is NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), codegen


@intrinsic
def sum_of_lanes(typingctx: Any, a: Any) -> Any:
    """The sum of a vector's numbers, halves first: the same bits on every machine with the same LANES."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = [shuffled(builder, value, value, range(first, first + width)) for first in (0, width)]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), codegen


def _define_operator(op: Callable[[Any, Any], Any], method: str) -> None:
    @type_callable(op)
    def typed(context: Any) -> Any:
        def result(a: Any, b: Any) -> Any:
            return a if isinstance(a, Lanes) and a == b else None

        return result

    def lowered(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args)

    lower_builtin(op, Lanes, Lanes)(lowered)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
