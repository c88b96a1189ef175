"""One parallel loop for all fast kernels, and calls through addresses, so that nothing is compiled twice.

Numba compiles a function anew inside each of its callers, and a parallel function takes seconds. So a fast kernel is
compiled once, by itself, to machine code; `call(address, arguments)` jumps to it from another kernel, and `launch` runs

    for worker in prange(workers):  kernel(arrays, numbers, tables[worker], scratch[worker], worker)

for any of them. All kernels therefore have the same arguments, and each begins by giving names to its arrays and
numbers: `x, y = arrays[:2]` and `C, F = unpack(numbers, 2)`. Addresses are arguments at run time, so that Numba's cache
on disk holds all the code. It halves the time of the first start. Who owns what is the kernel's business: a worker
writes only what is its own.

An exception in a kernel that is called so would be lost; kernels raise none, since their arguments were checked before,
by `minicnn.backends.guard`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, prange, types
from numpy.typing import ArrayLike

from minicnn.backends.cpu.runtime.jit import parallel, serial
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.backends.cpu.runtime.numba_internals import (
    address_of,
    call_address,
    element_pointer,
    intrinsic,
    no_result,
    tuple_of,
)
from minicnn.plain import Array

ARRAYS = 12  # every kernel gets this many flat arrays; those it has no use for are empty

Signature = Callable[[Any], tuple[Any, ...]]  # from a dtype to the Numba types of a function's arguments

_addresses: dict[tuple[Callable[..., None], Any], int] = {}


def launch(
    kernel: Callable[..., None],
    arrays: Sequence[Array | None],
    numbers: ArrayLike,
    *,
    workers: int,
    dtype: Any,
    table_size: int = 0,
    scratch_size: int = 0,
) -> None:
    """Run kernel(arrays, numbers, table, scratch, worker) for worker = 0 … workers - 1, in parallel.

    Args:
        arrays: up to ARRAYS arrays of `dtype` or None; the kernel sees them flat.
        numbers: integers, addresses of functions among them.
        table_size, scratch_size: how many int64 and how many numbers of `dtype` each worker gets to work with.
    """
    nothing = _no_numbers(0, dtype)
    flat_arrays = [nothing if array is None else array.reshape(-1) for array in arrays]
    flat_arrays += [nothing] * (ARRAYS - len(arrays))
    start = address(kernel, dtype, kernel_signature)
    tables = np.empty((workers, table_size), np.int64)
    scratch = empty((workers, scratch_size), dtype) if scratch_size else _no_numbers((workers, 0), dtype)
    run = _run_alone if workers == 1 else _run  # no need to wake the other threads for one
    run(start, tuple(flat_arrays), np.asarray(numbers, np.int64), tables, scratch)


@lru_cache(maxsize=64)
def _no_numbers(shape: int | tuple[int, ...], dtype: Any) -> Array:
    return np.empty(shape, dtype)


def address(function: Callable[..., None], dtype: Any, signature: Signature) -> int:
    """Where the machine code of `function` for arguments of types signature(dtype) starts; compiles it if need be."""
    key = function, dtype
    if key not in _addresses:
        _addresses[key] = address_of(function, signature(dtype))
    return _addresses[key]


def flat(dtype: Any) -> Any:
    """The Numba type of a flat array."""
    return types.Array(from_dtype(np.dtype(dtype)), 1, "C")


def kernel_signature(dtype: Any) -> tuple[Any, ...]:
    return types.UniTuple(flat(dtype), ARRAYS), flat(np.int64), flat(np.int64), flat(dtype), types.intp


@parallel
def _run(kernel: int, arrays: tuple[Array, ...], numbers: Array, tables: Array, scratch: Array) -> None:
    for worker in prange(len(scratch)):
        call(kernel, (arrays, numbers, tables[worker], scratch[worker], np.int64(worker)))


@serial
def _run_alone(kernel: int, arrays: tuple[Array, ...], numbers: Array, tables: Array, scratch: Array) -> None:
    call(kernel, (arrays, numbers, tables[0], scratch[0], 0))


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the compiled function at `address` with the members of the tuple `arguments`. It returns nothing."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        call_address(context, builder, args[0], sig.args[1].types, args[1])
        return no_result(context)

    return types.void(types.intp, arguments), codegen


@intrinsic
def unpack(typingctx: Any, array: Any, count: Any) -> Any:
    """The first `count` members of a flat array as a tuple; count is known when compiling."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    length = count.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        positions = [ir.Constant(ir.IntType(64), position) for position in range(length)]
        cells = [element_pointer(context, builder, array, args[0], position) for position in positions]
        return tuple_of(context, builder, sig.return_type, [builder.load(cell) for cell in cells])

    return types.UniTuple(array.dtype, length)(array, count), codegen
