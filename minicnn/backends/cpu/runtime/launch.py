"""One parallel loop for all fast kernels, and calls through addresses, so that nothing is compiled twice.

Numba compiles a function anew inside each of its callers, and a parallel function takes seconds. So a fast kernel is
compiled once, by itself, to machine code; `call(address, arguments)` jumps to it from another kernel, and `launch` runs

    for worker in prange(workers):  kernel(arrays, numbers, tables[worker], scratch[worker], worker)

for any of them. Addresses are arguments at run time, so that Numba's cache on disk holds all the code. It halves the
time of the first start. Who owns what is the kernel's business: a worker writes only what is its own.

An exception in a kernel that is called so would be lost; kernels raise none, since what they are given was checked at
the door, `minicnn.backends.guard`.
"""

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import from_dtype, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backends.cpu.runtime.jit import parallel, serial
from minicnn.backends.cpu.runtime.memory import empty

ARRAYS = 12  # every kernel gets this many flat arrays; those it has no use for are empty

_addresses = {}


def launch(kernel, arrays, numbers, table_size, scratch_size, workers, dtype):
    """Run kernel(arrays, numbers, table, scratch, worker) for worker = 0 … workers - 1, in parallel.

    Args:
        arrays: up to ARRAYS arrays of `dtype` or None; the kernel sees them flat.
        numbers: a tuple of integers, addresses of functions among them.
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
def _no_numbers(shape, dtype):
    return np.empty(shape, dtype)


def address(function, dtype, signature):
    """Where the machine code of `function` for arguments of types signature(dtype) starts; compiles it if need be."""
    key = function, dtype
    if key not in _addresses:
        argument_types = signature(dtype)
        function.compile(argument_types)
        compiled = function.overloads[argument_types]
        _addresses[key] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return _addresses[key]


def flat(dtype):
    """The Numba type of a flat array."""
    return types.Array(from_dtype(np.dtype(dtype)), 1, "C")


def kernel_signature(dtype):
    return types.UniTuple(flat(dtype), ARRAYS), flat(np.int64), flat(np.int64), flat(dtype), types.intp


@parallel
def _run(kernel, arrays, numbers, tables, scratch):
    for worker in prange(len(scratch)):
        call(kernel, (arrays, numbers, tables[worker], scratch[worker], np.int64(worker)))


@serial
def _run_alone(kernel, arrays, numbers, tables, scratch):
    call(kernel, (arrays, numbers, tables[0], scratch[0], 0))


@intrinsic
def call(typingctx, address, arguments):
    """Call the compiled function at `address` with the members of the tuple `arguments`. It returns nothing."""

    def codegen(context, builder, sig, args):
        argument_types = list(sig.args[1].types)
        values = cgutils.unpack_tuple(builder, args[1], len(argument_types))
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, argument_types)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        result = cgutils.alloca_once(builder, function_type.args[0].pointee)
        exception = cgutils.alloca_once(builder, function_type.args[1].pointee)
        packed = convention._get_arg_packer(argument_types).as_arguments(builder, values)
        builder.call(function, [result, exception, *packed])
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


@intrinsic
def unpack(typingctx, array, count):
    """The first `count` members of a flat array as a tuple; count is known when compiling."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    length = count.literal_value

    def codegen(context, builder, sig, args):
        data = context.make_array(array)(context, builder, args[0]).data
        cells = [builder.gep(data, [ir.Constant(ir.IntType(64), position)]) for position in range(length)]
        return context.make_tuple(builder, sig.return_type, [builder.load(cell) for cell in cells])

    return types.UniTuple(array.dtype, length)(array, count), codegen
