"""LLVM's instructions on vectors, for the functions that generate code: `vectors`, `gather_gemm` and the transforms.

In a kernel none of this is seen; it says what `load(x, at)` and the like become.
"""

from collections.abc import Iterable
from typing import Any

from llvmlite import ir

from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.runtime.numba_internals import declared_function, llvm_type


def itemsize(array_type: Any) -> int:
    """The bytes of one number of an array."""
    return int(array_type.dtype.bitwidth // 8)


def vector_type(context: Any, array_type: Any) -> ir.VectorType:
    return ir.VectorType(llvm_type(context, array_type.dtype), LANES)


def load_vector(builder: ir.IRBuilder, vector: ir.VectorType, pointer: Any, number_bytes: int, at: int = 0) -> Any:
    value = builder.load(builder.bitcast(_moved(builder, pointer, at), vector.as_pointer()))
    value.align = number_bytes
    return value


def store_vector(builder: ir.IRBuilder, value: Any, pointer: Any, number_bytes: int) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = number_bytes


def _moved(builder: ir.IRBuilder, pointer: Any, elements: int) -> Any:
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), elements)]) if elements else pointer


def splat(builder: ir.IRBuilder, scalar: Any) -> Any:
    """A vector whose every lane is `scalar`."""
    vector = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return shuffled(builder, one, ir.Constant(vector, ir.Undefined), [0] * LANES)


def shuffled(builder: ir.IRBuilder, a: Any, b: Any, positions: Iterable[int]) -> Any:
    """The numbers at `positions` of a and b laid end to end."""
    mask = [ir.Constant(ir.IntType(32), position) for position in positions]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), mask))


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * vector.count)


def fma_of(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the processor can; without it, as with SSE, `llvm.fma` would call C's fmaf."""
    element = "f32" if a.type.element == ir.FloatType() else "f64"
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(declared_function(builder, f"llvm.fmuladd.v{LANES}{element}", function_type), [a, b, c])
