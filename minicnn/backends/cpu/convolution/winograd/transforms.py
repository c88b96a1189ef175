"""The five transforms of Winograd's algorithm, and how they are applied to tiles.

In one dimension they are plain Python on anything that has + - *: here on vectors in registers, LANES tiles at once.

They are the values of polynomials at 0, ±3/4, ±3/2 and infinity. Any five numbers would do. With the usual 0, ±1, ±2
the largest weights, 8 and 1/24, meet in the last row and column of a tile and a kernel, where differences of large
numbers cost digits. A pair of points with a product near 1 treats both ends alike, and these are exact in binary: the
largest error of an output and of a weight's gradient is 0.3 of what it is with ±1 and ±2, at as many instructions.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from minicnn.backends.cpu.convolution.emit import constant, itemsize, load_vector, store_vector, vector_type
from minicnn.backends.cpu.runtime.numba_internals import element_pointer, intrinsic, llvm_type, no_result
from minicnn.plain import Array


def input_1d(d: Sequence[Any]) -> list[Any]:
    """Bᵀ d, 6 → 6."""
    even, odd = d[4] - 9 / 4 * d[2], 3 / 4 * (d[3] - 9 / 4 * d[1])
    even2, odd2 = d[4] - 9 / 16 * d[2], 3 / 2 * (d[3] - 9 / 16 * d[1])
    return [
        81 / 64 * d[0] - 45 / 16 * d[2] + d[4],
        even + odd,
        even - odd,
        even2 + odd2,
        even2 - odd2,
        81 / 64 * d[1] - 45 / 16 * d[3] + d[5],
    ]


def output_1d(m: Sequence[Any]) -> list[Any]:
    """Aᵀ m, 6 → 4."""
    even, odd = m[1] + m[2], m[1] - m[2]
    even2, odd2 = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + even + even2,
        3 / 4 * odd + 3 / 2 * odd2,
        9 / 16 * even + 9 / 4 * even2,
        27 / 64 * odd + 27 / 8 * odd2 + m[5],
    ]


def output_adjoint_1d(y: Sequence[Any]) -> list[Any]:
    """A y, 4 → 6."""
    even, odd = y[0] + 9 / 16 * y[2], 3 / 4 * y[1] + 27 / 64 * y[3]
    even2, odd2 = y[0] + 9 / 4 * y[2], 3 / 2 * y[1] + 27 / 8 * y[3]
    return [y[0], even + odd, even - odd, even2 + odd2, even2 - odd2, y[3]]


def weight_1d(g: Sequence[Any]) -> list[Any]:
    """G g, 3 → 6."""
    even, odd = -128 / 243 * g[0] - 8 / 27 * g[2], 32 / 81 * g[1]
    even2, odd2 = 32 / 243 * g[0] + 8 / 27 * g[2], 16 / 81 * g[1]
    return [64 / 81 * g[0], even - odd, even + odd, even2 + odd2, even2 - odd2, g[2]]


def weight_adjoint_1d(u: Sequence[Any]) -> list[Any]:
    """Gᵀ u, 6 → 3."""
    a, b = u[1] + u[2], u[3] + u[4]
    return [
        64 / 81 * u[0] - 128 / 243 * a + 32 / 243 * b,
        32 / 81 * (u[2] - u[1]) + 16 / 81 * (u[3] - u[4]),
        8 / 27 * (b - a) + u[5],
    ]


class _Vector:
    """A vector in a register of the code that is being generated: + - * emit instructions."""

    def __init__(self, builder: ir.IRBuilder, value: Any) -> None:
        self.builder, self.value = builder, value

    def _emit(self, operation: str, a: Any, b: Any) -> "_Vector":
        return _Vector(self.builder, getattr(self.builder, operation)(a, b, flags=("contract",)))

    def __add__(self, other: "_Vector") -> "_Vector":
        return self._emit("fadd", self.value, other.value)

    def __sub__(self, other: "_Vector") -> "_Vector":
        return self._emit("fsub", self.value, other.value)

    def __rmul__(self, number: float) -> "_Vector":
        return self._emit("fmul", self.value, constant(self.value.type, float(number)))


class Grid(NamedTuple):
    """Where the numbers of a tile lie in an array: number (i, j) at flat index at + i * row_step + j * column_step.
    There, LANES tiles lie side by side."""

    array: Array
    at: int
    row_step: int
    column_step: int


def _tile_transform(one_d: Callable[[Sequence[Any]], list[Any]], size: int) -> Callable[[Grid, Grid], None]:
    """An intrinsic that applies `one_d` to the columns and then to the rows of LANES tiles, size × size, side by side.
    It reads them from one `Grid` and writes the result to another."""

    @intrinsic
    def tile_transform(typingctx: Any, source: Any, target: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            result = _Tile(context, builder, target, args[1])
            for p, q, number in _transformed(_Tile(context, builder, source, args[0]), one_d, size):
                result.store(p, q, number)
            return no_result(context)

        return types.void(source, target), codegen

    return tile_transform


@intrinsic
def output_transform(typingctx: Any, source: Any, target: Any, bias: Any) -> Any:
    """The same for `output_1d`; `bias`, a vector, is added to each of the tile's outputs."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        result, of_filters = _Tile(context, builder, target, args[1]), _Vector(builder, args[2])
        for p, q, number in _transformed(_Tile(context, builder, source, args[0]), output_1d, 6):
            result.store(p, q, number + of_filters)
        return no_result(context)

    return types.void(source, target, bias), codegen


def _transformed(
    tile: "_Tile", one_d: Callable[[Sequence[Any]], list[Any]], size: int
) -> Iterator[tuple[int, int, _Vector]]:
    """Row, column and number of the transformed tile."""
    columns = [one_d([tile.load(i, j) for i in range(size)]) for j in range(size)]
    for p in range(len(columns[0])):
        for q, number in enumerate(one_d([column[p] for column in columns])):
            yield p, q, number


class _Tile:
    """The numbers of a `Grid` in the code that is being generated, each of them a vector."""

    def __init__(self, context: Any, builder: ir.IRBuilder, grid_type: Any, grid: Any) -> None:
        self._context, self._builder = context, builder
        self._array_type = Grid(*grid_type).array
        self._grid = Grid(*(builder.extract_value(grid, position) for position in range(len(Grid._fields))))

    def load(self, i: int, j: int) -> _Vector:
        vector, number_bytes = vector_type(self._context, self._array_type), itemsize(self._array_type)
        return _Vector(self._builder, load_vector(self._builder, vector, self._place(i, j), number_bytes))

    def store(self, i: int, j: int, vector: _Vector) -> None:
        store_vector(self._builder, vector.value, self._place(i, j), itemsize(self._array_type))

    def _place(self, i: int, j: int) -> Any:
        builder, index = self._builder, llvm_type(self._context, types.intp)
        row = builder.mul(self._grid.row_step, ir.Constant(index, i))
        column = builder.mul(self._grid.column_step, ir.Constant(index, j))
        at = builder.add(self._grid.at, builder.add(row, column))
        return element_pointer(self._context, builder, self._array_type, self._grid.array, at)


input_transform = _tile_transform(input_1d, 6)
output_adjoint_transform = _tile_transform(output_adjoint_1d, 4)
weight_transform = _tile_transform(weight_1d, 3)
weight_adjoint_transform = _tile_transform(weight_adjoint_1d, 6)
