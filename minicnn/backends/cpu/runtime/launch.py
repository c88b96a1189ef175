"""One parallel loop for all fast kernels, and calls through addresses, so that nothing is compiled twice.

Numba compiles a function anew inside each of its callers, and a parallel function takes seconds. So a fast kernel is
compiled once, by itself, to machine code; `call(address, arguments)` jumps to it from another kernel, and `launch` runs

    for worker in prange(workers):  kernel(arrays, numbers, table, scratch, worker)

for any of them; `program` runs several in a row. All kernels therefore have the same arguments, and each begins by
giving names to its arrays and numbers: `x, y = arrays[:2]` and `C, F = unpack(numbers, 2)`. Addresses are arguments at
run time, so that Numba's cache on disk holds all the code. It halves the time of the first start. Who owns what is the
kernel's business: a worker writes only what is its own.

An exception in a kernel that is called so would be lost; kernels raise none, since their arguments were checked before,
by `minicnn.backends.guard`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import from_dtype, prange, types
from numpy.typing import ArrayLike

from minicnn.backends.cpu.runtime.dry_run import dry, noted
from minicnn.backends.cpu.runtime.jit import inlined, parallel, serial
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.backends.cpu.runtime.numba_internals import (
    address_of,
    array_in_memory,
    call_address,
    element_pointer,
    intrinsic,
    no_result,
    tuple_of,
)
from minicnn.plain import Array

ARRAYS = 12  # every kernel gets this many flat arrays; those it has no use for are empty
ALIGNED = 64  # bytes: of a cache line and of the widest vector; scratch begins on a multiple

Signature = Callable[[Any], tuple[Any, ...]]  # from a dtype to the Numba types of a function's arguments


class Launch(NamedTuple):
    """A kernel and what it is run on: up to ARRAYS arrays, integers, and how much each worker gets to work with, in
    int64 (table_size) and in numbers of the arrays' dtype (scratch_size)."""

    kernel: Callable[..., None]
    arrays: Sequence[Any]
    numbers: ArrayLike
    workers: int
    table_size: int = 0
    scratch_size: int = 0


_addresses: dict[tuple[Callable[..., None], Any], int] = {}


def launch(
    kernel: Callable[..., None],
    arrays: Sequence[Any],
    numbers: ArrayLike,
    workers: int,
    table_size: int = 0,
    scratch_size: int = 0,
    *,
    dtype: Any,
) -> None:
    """Run kernel(arrays, numbers, table, scratch, worker) for worker = 0 … workers - 1, in parallel.

    Args:
        arrays: up to ARRAYS arrays of `dtype` or None; the kernel sees them flat.
        numbers: integers, addresses of functions among them.
        table_size, scratch_size: how many int64 and how many numbers of `dtype` each worker gets to work with.
    """
    numbers = np.asarray(numbers, np.int64)
    rows, memory_size = _one_row(kernel, len(numbers), workers, table_size, scratch_size, np.dtype(dtype))
    if dry(arrays):
        return
    run = run_serially if workers == 1 else run_in_parallel  # no need to wake the other threads for one
    run(
        rows,
        _IN_ORDER,
        np.empty((ARRAYS, SLOT_NUMBERS), np.int64),
        flat_arrays(arrays, dtype),
        numbers,
        np.empty(workers * table_size, np.int64),
        working_memory(memory_size, dtype),
    )


@lru_cache(maxsize=1024)
def _one_row(
    kernel: Callable[..., None], n_numbers: int, workers: int, table_size: int, scratch_size: int, dtype: np.dtype[Any]
) -> tuple[Array, int]:
    """The table of one launch, and how many numbers it works with: kept, since launches are much alike."""
    pitch = whole_lines(scratch_size, dtype)
    row = Row(address(kernel, dtype, kernel_signature), workers, 0, n_numbers, table_size, 0, scratch_size, pitch)
    return np.array([row], np.int64), workers * pitch


def flat_arrays(arrays: Sequence[Array | None], dtype: Any) -> tuple[Array, ...]:
    """The arrays flat, None as no numbers, and as many without numbers as make ARRAYS of them."""
    nothing = _no_numbers(dtype)
    flat = [nothing if array is None else array.reshape(-1) for array in arrays]
    return (*flat, *(nothing,) * (ARRAYS - len(flat)))


def working_memory(size: int, dtype: Any) -> Array:
    """Memory for `size` numbers, from its first aligned address on."""
    return empty(size + ALIGNED // np.dtype(dtype).itemsize, dtype) if size else _no_numbers(dtype)


def whole_lines(size: int, dtype: Any) -> int:
    """So many numbers rounded up to whole cache lines."""
    numbers = ALIGNED // np.dtype(dtype).itemsize
    return -(-size // numbers) * numbers


@lru_cache(maxsize=8)
def _no_numbers(dtype: Any) -> Array:
    return np.empty(0, dtype)


def address(function: Callable[..., None], dtype: Any, signature: Signature) -> int:
    """Where the machine code of `function` for arguments of types signature(dtype) starts; compiles it if need be."""
    key = function, dtype
    if key not in _addresses:
        argument_types = signature(dtype)
        _addresses[key] = 0 if noted(function, argument_types) else address_of(function, argument_types)
    return _addresses[key]


def flat(dtype: Any) -> Any:
    """The Numba type of a flat array."""
    return types.Array(from_dtype(np.dtype(dtype)), 1, "C")


def kernel_signature(dtype: Any) -> tuple[Any, ...]:
    return types.UniTuple(flat(dtype), ARRAYS), flat(np.int64), flat(np.int64), flat(dtype), types.intp


# The loops. All they are given of a launch are integers, so that one of each serves every kernel of a dtype.


class Row(NamedTuple):
    """What a loop is told of a launch: a row of a table of integers."""

    kernel: int  # an address
    workers: int
    numbers_at: int
    numbers_stop: int
    table_size: int
    scratch_at: int  # in the working memory
    scratch_size: int
    scratch_pitch: int  # from one worker's to the next's


# Of a slot, where an array of a launch may be found: its address, how many numbers it has, and whether the address
# counts from the beginning of the working memory. The first ARRAYS slots are those of the arrays that are given.
ADDRESS, SIZE, IN_MEMORY = range(3)
SLOT_NUMBERS = 3
ROW_NUMBERS = len(Row._fields)

_IN_ORDER = np.arange(ARRAYS).reshape(1, ARRAYS)  # of one launch: its arrays are those that are given


@parallel
def run_in_parallel(
    rows: Array,
    places: Array,
    slots: Array,
    given: tuple[Array, ...],
    numbers: Array,
    tables: Array,
    memory: Array,
) -> None:
    """The launches in `rows`, one after another. places (launches, ARRAYS): in which slots their arrays are."""
    start = _find_arrays(slots, given, memory)
    for k in range(len(rows)):
        workers = rows[k, 1]
        if workers == 1:
            _work(rows[k], places[k], slots, numbers, tables, memory[start:], 0)
        else:
            for worker in prange(workers):
                _work(rows[k], places[k], slots, numbers, tables, memory[start:], np.int64(worker))


@serial
def run_serially(
    rows: Array,
    places: Array,
    slots: Array,
    given: tuple[Array, ...],
    numbers: Array,
    tables: Array,
    memory: Array,
) -> None:
    """The same without other threads; so that several Python threads, each with one, do not wait for each other.

    Its loops stand here again, since `prange` runs in parallel only where it is compiled so."""
    start = _find_arrays(slots, given, memory)
    for k in range(len(rows)):
        for worker in range(rows[k, 1]):
            _work(rows[k], places[k], slots, numbers, tables, memory[start:], worker)


@serial
def note_addresses(slots: Array, given: tuple[Array, ...]) -> None:
    """Fill in the addresses of the first arrays; an address takes Python's `array.ctypes` five times as long."""
    for slot in range(min(len(slots), ARRAYS)):
        slots[slot, ADDRESS], slots[slot, SIZE] = np.int64(given[slot].ctypes.data), given[slot].size


@inlined
def _find_arrays(slots: Array, given: tuple[Array, ...], memory: Array) -> int:
    """Fill in the addresses. Returns where the working memory begins."""
    start = np.int64(0)
    while memory[start:].ctypes.data % ALIGNED != 0 and start < memory.size:
        start += 1
    note_addresses(slots, given)
    for slot in range(ARRAYS, len(slots)):
        if slots[slot, IN_MEMORY]:
            slots[slot, ADDRESS] += np.int64(memory[start:].ctypes.data)
    return start


@inlined
def _work(row: Array, places: Array, slots: Array, numbers: Array, tables: Array, memory: Array, worker: int) -> None:
    """One worker of a launch."""
    this = Row(*unpack(row, ROW_NUMBERS))
    table_at, scratch_at = worker * this.table_size, this.scratch_at + worker * this.scratch_pitch
    call(
        this.kernel,
        (
            _arrays_at(slots, places, memory),
            numbers[this.numbers_at : this.numbers_stop],
            tables[table_at : table_at + this.table_size],
            memory[scratch_at : scratch_at + this.scratch_size],
            worker,
        ),
    )


@intrinsic
def _arrays_at(typingctx: Any, slots: Any, places: Any, like: Any) -> Any:
    """The ARRAYS arrays in the slots that `places` names, of the dtype of `like`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def integer(array_type: Any, array: Any, at: Any) -> Any:
            return builder.load(element_pointer(context, builder, array_type, array, at))

        arrays = []
        for position in range(ARRAYS):
            slot = integer(places, args[1], ir.Constant(ir.IntType(64), position))
            at = builder.mul(slot, ir.Constant(ir.IntType(64), SLOT_NUMBERS))
            start = integer(slots, args[0], at)
            size = integer(slots, args[0], builder.add(at, ir.Constant(ir.IntType(64), SIZE)))
            arrays.append(array_in_memory(context, builder, like, start, size))
        return tuple_of(context, builder, sig.return_type, arrays)

    return types.UniTuple(like, ARRAYS)(slots, places, like), codegen


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
