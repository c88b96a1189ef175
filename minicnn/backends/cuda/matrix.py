"""The product of two matrices, in the scheme of `products`.

    c[m, n] = bias[n] + sum over k of  left[m, k] * right[k, n]

A matrix comes as flat numbers with two *pitches*: how far it is from one of its lines to the next (rows on the left,
columns on the right), and from one term of a sum to the next. So a transposed matrix is the same numbers with other
pitches, and one kernel serves x Wᵀ + bias, dy W and dyᵀ x.

Who owns what: a block its tile of c, a thread its square of it. Where c has few tiles and long sums, the sums are cut
into parts, and block (., ., z) owns part z of its tile; `products.add_partial_sums` adds them in order. The results are
the same in every run. All threads stay to the last `syncthreads`, those beyond the edge with zeros.
"""

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from minicnn.backends.cuda.elementwise import blocks_for, real_of
from minicnn.backends.cuda.products import FULL, HALF, SPARE, add_partial_sums, add_strip, clear, column_of, own_square
from minicnn.backends.cuda.runtime.device import Kernel, cuda, inlined
from minicnn.backends.cuda.runtime.device_array import empty, launch, zeros
from minicnn.backends.cuda.tiles import (
    DEPTH,
    MATRIX_BLOCKS,
    SHORTEST_PART,
    SIDE,
    THREADS,
    TILE_THREADS,
    tile_for,
)
from minicnn.plain import Array, Pair

Factor: TypeAlias = tuple[Array, int, int]  # a matrix: its numbers, the pitch of its lines, the pitch of its terms


def product(left: Factor, right: Factor, bias: Array | None, shape: Pair, terms: int) -> Array:
    """c (rows, columns) of `shape`, sums of `terms` products each. bias (columns,) or None."""
    (rows, columns), dtype = shape, left[0].dtype
    tile = tile_for(rows, columns)
    tiles = -(-columns // tile[1]), -(-rows // tile[0])
    chunk = _chunk(terms, MATRIX_BLOCKS // (tiles[0] * tiles[1]))
    parts = -(-terms // chunk)
    c = empty(shape, dtype)
    partial = c if parts == 1 else empty((parts, *shape), dtype)
    launch(
        matrix_product(real_of(c), tile),
        (*tiles, parts),
        TILE_THREADS,
        left[0],
        right[0],
        zeros(columns, dtype) if bias is None else bias,
        partial,
        *(*left[1:], *right[1:], rows, columns, terms, chunk),
    )
    if parts > 1:
        launch(add_partial_sums, blocks_for(c.size), THREADS, partial, c, c.size, parts)
    return c


def _chunk(terms: int, parts: int) -> int:
    """Terms of each of at most `parts` parts, in whole strips, and at least SHORTEST_PART."""
    chunk = max(-(-terms // max(parts, 1)), SHORTEST_PART)
    return -(-chunk // DEPTH) * DEPTH


@inlined
def fetch_strip(strip: Array, lines: int, matrix: Array, line: int, end_line: int, line_pitch: int,
                term: int, end_term: int, term_pitch: int, zero: Any) -> None:  # fmt: skip
    """strip[d, k] = matrix[line + k, term + d], and 0 from `end_line` and from `end_term` on.

    64 threads in a row take 8 terms of 8 lines: whole runs of memory, whichever of the two are neighbours there.
    """
    for cell in range(cuda.threadIdx.x, lines * DEPTH, TILE_THREADS):
        k, d = cell // DEPTH, cell % DEPTH
        number = zero
        if line + k < end_line and term + d < end_term:
            number = matrix[FULL((line + k) * line_pitch + (term + d) * term_pitch)]
        strip[FULL(d * (lines + SPARE) + k)] = number


@lru_cache
def matrix_product(real: Any, tile: Pair) -> Kernel:
    """The kernel, for numbers of type `real`. Sums are cut into parts of `chunk` terms, and c is (parts, m, n)."""
    ROWS, COLUMNS = tile
    LEFT, RIGHT, SUMS = DEPTH * (ROWS + SPARE), DEPTH * (COLUMNS + SPARE), SIDE * SIDE
    zero = real(0)

    def kernel(left: Array, right: Array, bias: Array, c: Array, left_pitch: int, left_term: int,
               right_pitch: int, right_term: int, rows: int, columns: int, terms: int,
               chunk: int) -> None:  # fmt: skip
        left_strip = cuda.shared.array(LEFT, real)
        right_strip = cuda.shared.array(RIGHT, real)
        sums = cuda.local.array(SUMS, real)
        first_row, first_column = cuda.blockIdx.y * np.int64(ROWS), cuda.blockIdx.x * np.int64(COLUMNS)
        down, across = own_square(COLUMNS)
        clear(sums, zero)

        start = cuda.blockIdx.z * chunk
        stop = min(start + chunk, terms)
        for k in range(start, stop, DEPTH):
            fetch_strip(left_strip, ROWS, left, first_row, rows, left_pitch, k, stop, left_term, zero)
            fetch_strip(right_strip, COLUMNS, right, first_column, columns, right_pitch, k, stop, right_term, zero)
            cuda.syncthreads()
            add_strip(
                left_strip, down * SIDE, ROWS + SPARE, right_strip, across * HALF, COLUMNS + SPARE, COLUMNS // 2, sums
            )
            cuda.syncthreads()

        for a in range(SIDE):
            row = first_row + down * SIDE + a
            for b in range(SIDE):
                column = first_column + column_of(b, across, COLUMNS)
                if row < rows and column < columns:
                    number = sums[a * SIDE + b]
                    if cuda.blockIdx.z == 0:  # one part alone has the bias
                        number += bias[FULL(column)]
                    c[FULL((cuda.blockIdx.z * rows + row) * columns + column)] = number

    return kernel
