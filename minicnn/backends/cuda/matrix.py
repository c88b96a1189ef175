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

import numpy as np

from minicnn.backends.cuda.elementwise import blocks_for
from minicnn.backends.cuda.passes import zeros
from minicnn.backends.cuda.products import FULL, HALF, add_partial_sums, add_strip
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import (
    DEPTH,
    MATRIX_BLOCKS,
    SHORTEST_PART,
    SIDE,
    THREADS,
    TILE_THREADS,
    tile_for,
)


def product(left, right, bias, shape, terms):
    """c (rows, columns) of `shape`, sums of `terms` products each. bias (columns,) or None.

    left, right: (array, pitch of its lines, pitch of its terms).
    """
    (rows, columns), dtype = shape, left[0].dtype
    tile = tile_for(rows, columns)
    tiles = -(-columns // tile[1]), -(-rows // tile[0])
    stretch = _stretch(terms, MATRIX_BLOCKS // (tiles[0] * tiles[1]))
    parts = -(-terms // stretch)
    c = empty(shape, dtype)
    partial = c if parts == 1 else empty((parts, *shape), dtype)
    launch(
        matrix_product(dtype.type, tile),
        (*tiles, parts),
        TILE_THREADS,
        left[0],
        right[0],
        zeros(columns, dtype) if bias is None else bias,
        partial,
        *(*left[1:], *right[1:], rows, columns, terms, stretch),
    )
    if parts > 1:
        launch(add_partial_sums, blocks_for(c.size), THREADS, partial, c, c.size, parts)
    return c


def _stretch(terms, parts):
    """Terms of each of at most `parts` parts, in whole strips, and at least SHORTEST_PART."""
    stretch = max(-(-terms // max(parts, 1)), SHORTEST_PART)
    return -(-stretch // DEPTH) * DEPTH


@inlined
def fetch_strip(strip, pitch, lines, matrix, line, end_line, line_pitch, term, end_term, term_pitch, zero):
    """strip[d, k] = matrix[line + k, term + d], and 0 from `end_line` and from `end_term` on.

    64 threads in a row take 8 terms of 8 lines: whole stretches of memory, whichever of the two are neighbours there.
    """
    for cell in range(cuda.threadIdx.x, lines * DEPTH, TILE_THREADS):
        k, d = cell // DEPTH, cell % DEPTH
        number = zero
        if line + k < end_line and term + d < end_term:
            number = matrix[FULL((line + k) * line_pitch + (term + d) * term_pitch)]
        strip[FULL(d * pitch + k)] = number


@lru_cache
def matrix_product(real, tile):
    """The kernel, for numbers of type `real`. Sums are cut into parts of `stretch` terms, and c is (parts, m, n)."""
    ROWS, COLUMNS = tile
    LEFT_PITCH, RIGHT_PITCH = ROWS + 4, COLUMNS + 4  # neighbouring terms are then in different banks
    ACROSS, GAP = COLUMNS // SIDE, COLUMNS // 2
    LEFT, RIGHT, SUMS = DEPTH * LEFT_PITCH, DEPTH * RIGHT_PITCH, SIDE * SIDE
    zero = real(0)

    def kernel(left, right, bias, c, left_pitch, left_term, right_pitch, right_term,
               rows, columns, terms, stretch):  # fmt: skip
        left_strip = cuda.shared.array(LEFT, real)
        right_strip = cuda.shared.array(RIGHT, real)
        sums = cuda.local.array(SUMS, real)
        first_row, first_column = cuda.blockIdx.y * np.int64(ROWS), cuda.blockIdx.x * np.int64(COLUMNS)
        down, across = cuda.threadIdx.x // ACROSS, cuda.threadIdx.x % ACROSS
        for cell in range(SUMS):
            sums[cell] = zero

        start = cuda.blockIdx.z * stretch
        stop = min(start + stretch, terms)
        for k in range(start, stop, DEPTH):
            fetch_strip(left_strip, LEFT_PITCH, ROWS, left, first_row, rows, left_pitch, k, stop, left_term, zero)
            fetch_strip(
                right_strip, RIGHT_PITCH, COLUMNS, right, first_column, columns, right_pitch, k, stop, right_term, zero
            )
            cuda.syncthreads()
            add_strip(left_strip, down * SIDE, LEFT_PITCH, right_strip, across * HALF, RIGHT_PITCH, GAP, sums)
            cuda.syncthreads()

        for a in range(SIDE):
            row = first_row + down * SIDE + a
            for b in range(SIDE):
                column = first_column + across * HALF + b % HALF + b // HALF * GAP
                if row < rows and column < columns:
                    number = sums[a * SIDE + b]
                    if cuda.blockIdx.z == 0:  # one part alone has the bias
                        number += bias[FULL(column)]
                    c[FULL((cuda.blockIdx.z * rows + row) * columns + column)] = number

    return kernel
