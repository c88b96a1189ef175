"""The five transforms of Winograd's algorithm, and how they are applied to tiles.

In one dimension they are plain Python on anything that has + - *: here on vectors in registers, LANES tiles at once.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minicnn.backends.cpu.convolution.vectors import (
    constant,
    itemsize,
    load_vector,
    pointer_to,
    store_vector,
    vector_type,
)


def input_1d(d):
    """Bᵀ d, 6 → 6."""
    even, odd = d[4] - 4 * d[2], d[3] - 4 * d[1]
    even2, odd2 = d[4] - d[2], d[3] - d[1]
    return [
        4 * d[0] - 5 * d[2] + d[4],
        even + odd,
        even - odd,
        even2 + 2 * odd2,
        even2 - 2 * odd2,
        4 * d[1] - 5 * d[3] + d[5],
    ]


def output_1d(m):
    """Aᵀ m, 6 → 4."""
    even, odd = m[1] + m[2], m[1] - m[2]
    even2, odd2 = m[3] + m[4], m[3] - m[4]
    return [m[0] + even + even2, odd + 2 * odd2, even + 4 * even2, odd + 8 * odd2 + m[5]]


def output_adjoint_1d(y):
    """A y, 4 → 6."""
    even, odd = y[0] + y[2], y[1] + y[3]
    even2, odd2 = y[0] + 4 * y[2], 2 * y[1] + 8 * y[3]
    return [y[0], even + odd, even - odd, even2 + odd2, even2 - odd2, y[3]]


def weight_1d(g):
    """G g, 3 → 6."""
    even, even2 = -1 / 6 * (g[0] + g[2]), 1 / 24 * g[0] + 1 / 6 * g[2]
    return [
        1 / 4 * g[0],
        even - 1 / 6 * g[1],
        even + 1 / 6 * g[1],
        even2 + 1 / 12 * g[1],
        even2 - 1 / 12 * g[1],
        g[2],
    ]


def weight_adjoint_1d(u):
    """Gᵀ u, 6 → 3."""
    a, b = u[1] + u[2], u[3] + u[4]
    return [
        1 / 4 * u[0] - 1 / 6 * a + 1 / 24 * b,
        1 / 6 * (u[2] - u[1]) + 1 / 12 * (u[3] - u[4]),
        1 / 6 * (b - a) + u[5],
    ]


class _Vector:
    """A vector in a register of the code that is being generated: + - * emit instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _emit(self, operation, a, b):
        return _Vector(self.builder, getattr(self.builder, operation)(a, b, flags=("contract",)))

    def __add__(self, other):
        return self._emit("fadd", self.value, other.value)

    def __sub__(self, other):
        return self._emit("fsub", self.value, other.value)

    def __rmul__(self, number):
        return self._emit("fmul", self.value, constant(self.value.type, float(number)))


def _tile_transform(one_d, size):
    """An intrinsic that applies `one_d` to the columns and then to the rows of LANES tiles, size × size, side by side.

    Element (i, j) is read at source_at + i * source_row + j * source_column, and the result's is written likewise.
    """

    @intrinsic
    def tile_transform(
        typingctx, source, source_at, source_row, source_column, target, target_at, target_row, target_column
    ):
        def codegen(context, builder, sig, args):
            _emit_transform(context, builder, source, target, args, one_d, size)
            return context.get_dummy_value()

        return types.void(source, *_PLACE, target, *_PLACE), codegen

    return tile_transform


_PLACE = (types.intp,) * 3  # of a tile in an array: where it starts, from row to row, from column to column


def _emit_transform(context, builder, source, target, args, one_d, size):
    """The instructions of a transform."""
    source_array, source_at, source_row, source_column = args[:4]
    target_array, target_at, target_row, target_column = args[4:]
    vector, size_of_one = vector_type(context, source), itemsize(source)

    def element(array_type, array, start, row, column, i, j):
        i, j = (ir.Constant(context.get_value_type(types.intp), number) for number in (i, j))
        offset = builder.add(builder.mul(row, i), builder.mul(column, j))
        return pointer_to(context, builder, array_type, array, builder.add(start, offset))

    def load_element(i, j):
        place = element(source, source_array, source_at, source_row, source_column, i, j)
        return _Vector(builder, load_vector(builder, vector, place, size_of_one))

    columns = []
    for j in range(size):
        columns.append(one_d([load_element(i, j) for i in range(size)]))
    for p in range(len(columns[0])):
        for q, result in enumerate(one_d([column[p] for column in columns])):
            place = element(target, target_array, target_at, target_row, target_column, p, q)
            store_vector(builder, result.value, place, size_of_one)


input_transform = _tile_transform(input_1d, 6)
output_transform = _tile_transform(output_1d, 6)
output_adjoint_transform = _tile_transform(output_adjoint_1d, 4)
weight_transform = _tile_transform(weight_1d, 3)
weight_adjoint_transform = _tile_transform(weight_adjoint_1d, 6)
