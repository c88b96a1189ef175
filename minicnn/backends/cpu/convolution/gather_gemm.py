"""The microkernel of every fast convolution: a matrix product whose left matrix is *addressed*, not stored.

    out[a, l]  (+)=  sum_b  x[rows[a] + taps[b]] * w[b, l]          a < ROWS,  l < vectors * LANES

Everything is this sum. Only the meaning of rows, taps and w changes:

    direct forward      rows: output pixels       taps: (c, i, j)     w: weight      lanes: filters
    direct d_weight     rows: (c, i, j)           taps: pixels        w: dy          lanes: filters
    1 x 1 forward       rows: filters             taps: channels      w: x           lanes: pixels
    Winograd product    rows: tiles               taps: channels      w: U           lanes: filters
    Winograd d_weight   rows: channels            taps: tiles         w: dy's tiles  lanes: filters

The ROWS x vectors accumulators live in registers over the whole sum: per tap, `vectors` loads of w and ROWS
broadcasts of x feed ROWS * vectors multiply-adds.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from minicnn.backends.cpu.convolution.emit import fma_of, itemsize, load_vector, splat, store_vector, vector_type
from minicnn.backends.cpu.convolution.registers import LANES, ROWS
from minicnn.backends.cpu.runtime.numba_internals import (
    element_pointer,
    intrinsic,
    llvm_type,
    local_variable,
    no_result,
)
from minicnn.plain import Array


class Out(NamedTuple):
    """The sums: row a starts at flat index at + a * row_step, its second vector vector_step later."""

    array: Array
    at: int
    row_step: int
    vector_step: int


class Gathered(NamedTuple):
    """The left matrix: element (a, b) is at flat index at + rows[first_row + a] + taps[first_tap + b], b < n_taps."""

    array: Array
    at: int
    rows: Array
    first_row: int
    taps: Array
    first_tap: int
    n_taps: int


class Factors(NamedTuple):
    """The right matrix: row b starts at flat index at + b * row_step."""

    array: Array
    at: int
    row_step: int


@intrinsic
def gather_gemm(typingctx: Any, vectors: Any, out: Any, x: Any, w: Any, accumulate: Any) -> Any:
    """out[a, l] (+)= sum_b x[rows[a] + taps[b]] * w[b, l]: one register tile (see the head of this file).

    vectors     how many vectors of LANES wide the tile is: a literal, 1 or 2
    out, x, w   `Out`, `Gathered` and `Factors`, which cost nothing: they are taken apart when compiling
    accumulate  whether the sum is added to what out holds. It is summed up by itself first: where a long sum is cut
                into calls, each of `TERMS` or so, its error grows with their length and number, not with its own.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    width = vectors.literal_value
    out_types, x_types, w_types = Out(*out), Gathered(*x), Factors(*w)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, out_value, x_value, w_value, accumulate = args
        out = Out(*_members(builder, out_value, Out))
        x = Gathered(*_members(builder, x_value, Gathered))
        w = Factors(*_members(builder, w_value, Factors))
        vector, size = vector_type(context, out_types.array), itemsize(out_types.array)
        index = llvm_type(context, types.intp)

        def out_cell(a: int, v: int) -> Any:
            row = builder.add(out.at, builder.mul(out.row_step, ir.Constant(index, a)))
            cell = builder.add(row, builder.mul(out.vector_step, ir.Constant(index, v)))
            return element_pointer(context, builder, out_types.array, out.array, cell)

        row_table = element_pointer(context, builder, x_types.rows, x.rows, x.first_row)
        x_rows = []
        for a in range(ROWS):
            offset = builder.load(builder.gep(row_table, [ir.Constant(index, a)]))
            x_rows.append(element_pointer(context, builder, x_types.array, x.array, builder.add(x.at, offset)))
        tap_table = element_pointer(context, builder, x_types.taps, x.taps, x.first_tap)
        first_w = element_pointer(context, builder, w_types.array, w.array, w.at)

        sums = [[local_variable(builder, vector) for _ in range(width)] for _ in range(ROWS)]
        for of_row in sums:
            for of_vector in of_row:
                builder.store(ir.Constant(vector, None), of_vector)

        # Two running pointers and one end: with the ROWS row pointers they just fit the integer registers.
        end = builder.gep(tap_table, [x.n_taps])
        tap_cell, w_cell = (local_variable(builder, pointer.type) for pointer in (tap_table, first_w))
        builder.store(tap_table, tap_cell)
        builder.store(first_w, w_cell)
        head, body, done = (builder.append_basic_block(f"taps.{name}") for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        tap_pointer = builder.load(tap_cell)
        builder.cbranch(builder.icmp_unsigned("!=", tap_pointer, end), body, done)
        builder.position_at_end(body)
        w_b = builder.load(w_cell)
        tap = builder.load(tap_pointer)
        w_vectors = [load_vector(builder, vector, w_b, size, v * LANES) for v in range(width)]
        for of_row, x_row in zip(sums, x_rows, strict=True):
            x_ab = splat(builder, builder.load(builder.gep(x_row, [tap])))
            for of_vector, w_vector in zip(of_row, w_vectors, strict=True):
                builder.store(fma_of(builder, x_ab, w_vector, builder.load(of_vector)), of_vector)
        builder.store(builder.gep(tap_pointer, [ir.Constant(index, 1)]), tap_cell)
        builder.store(builder.gep(w_b, [w.row_step]), w_cell)
        builder.branch(head)
        builder.position_at_end(done)

        with builder.if_then(accumulate):
            for a, of_row in enumerate(sums):
                for v, of_vector in enumerate(of_row):
                    before = load_vector(builder, vector, out_cell(a, v), size)
                    builder.store(builder.fadd(before, builder.load(of_vector)), of_vector)
        for a, of_row in enumerate(sums):
            for v, of_vector in enumerate(of_row):
                store_vector(builder, builder.load(of_vector), out_cell(a, v), size)
        return no_result(context)

    return types.void(vectors, out, x, w, types.boolean), codegen


def _members(builder: ir.IRBuilder, value: Any, of: Any) -> list[Any]:
    """The members of a named tuple, in the code that is generated."""
    return [builder.extract_value(value, position) for position in range(len(of._fields))]
