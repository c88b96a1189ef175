"""How the kernels of a convolution write what a thread has in registers: its square of the tile, and records of rows.

`row` is the first row of the thread's square, `across` which of the squares side by side is its own. Of the columns of
a tile the first `n_pixels` are pixels, the others lie beyond the last.

A record is made of two numbers for each row of a tile. Each thread writes its part of them to shared memory, *parts*
(rows, squares side by side), and when all have, each row's parts are added up in order.
"""

from typing import Any

import numpy as np

from minicnn.backends.cuda.coefficients import distance_and_z
from minicnn.backends.cuda.convolution.plan import Found
from minicnn.backends.cuda.products import FULL, column_of
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import SIDE, TILE_THREADS
from minicnn.plain import Array


@inlined
def store(sums: Array, bias: Array, y: Array, found: Found, row: int, rows: int, across: int, n_pixels: int) -> None:
    """y = sums + bias"""
    for a in range(SIDE):
        for b in range(SIDE):
            column = column_of(b, across, len(found.heights))
            if row + a < rows and column < n_pixels:
                at = FULL(found.writes_at[column] + (row + a) * found.planes[column])
                y[at] = sums[a * SIDE + b] + bias[FULL(row + a)]


@inlined
def store_and_add(sums: Array, bias: Array, y: Array, found: Found, parts: Array, row: int, rows: int,
                  down: int, across: int, n_pixels: int, zero: Any) -> None:  # fmt: skip
    """sums += bias, y = sums; and the thread's parts of the sums of y."""
    columns = len(found.heights)
    for a in range(SIDE):
        total = zero
        for b in range(SIDE):
            column = column_of(b, across, columns)
            if row + a < rows and column < n_pixels:
                number = sums[a * SIDE + b] + bias[FULL(row + a)]
                sums[a * SIDE + b] = number
                y[FULL(found.writes_at[column] + (row + a) * found.planes[column])] = number
                total += number
        parts[FULL(part_at(down * SIDE + a, across, columns))] = total


@inlined
def store_masked(sums: Array, g: Array, raw: Array, coefficients: Array, found: Found, parts: Array, parts_2: Array,
                 row: int, rows: int, down: int, across: int, n_pixels: int, zero: Any) -> None:  # fmt: skip
    """g = sums where z > 0, else 0; and the thread's parts of the sums of g and of g * (y - mean)."""
    columns = len(found.heights)
    for a in range(SIDE):
        total, total_2 = zero, zero
        for b in range(SIDE):
            column = column_of(b, across, columns)
            if row + a < rows and column < n_pixels:
                at = FULL(found.writes_at[column] + (row + a) * found.planes[column])
                number = sums[a * SIDE + b]
                distance, z = distance_and_z(raw[at], coefficients, row + a, rows)
                if z <= zero:
                    number = zero
                g[at] = number
                total += number
                total_2 += number * distance
        parts[FULL(part_at(down * SIDE + a, across, columns))] = total
        parts_2[FULL(part_at(down * SIDE + a, across, columns))] = total_2


@inlined
def find_means(means: Array, parts: Array, columns: int, count: Any, zero: Any) -> None:
    """means[row] = the sum of the row's parts / count. Threads share the rows."""
    for row in range(cuda.threadIdx.x, len(means), TILE_THREADS):
        means[FULL(row)] = total_of(parts, row, columns, zero) / count


@inlined
def add_squares(sums: Array, means: Array, parts: Array, down: int, across: int, columns: int, n_pixels: int,
                zero: Any) -> None:  # fmt: skip
    """The thread's parts of the sums of squared distances from the means of rows."""
    for a in range(SIDE):
        total = zero
        for b in range(SIDE):
            if column_of(b, across, columns) < n_pixels:
                distance = sums[a * SIDE + b] - means[FULL(down * SIDE + a)]
                total += distance * distance
        parts[FULL(part_at(down * SIDE + a, across, columns))] = total


@inlined
def write_record(records: Array, row: int, rows: int, first: Any, second: Any) -> None:
    """The record of a row of the result; those of tiles side by side follow one another."""
    if row < rows:
        at = (cuda.blockIdx.x * np.int64(rows) + row) * 2
        records[FULL(at)], records[FULL(at + 1)] = first, second


@inlined
def total_of(parts: Array, row: int, columns: int, zero: Any) -> Any:
    """The sum of a row's parts, in order."""
    total = zero
    for across in range(columns // SIDE):
        total += parts[FULL(part_at(row, across, columns))]
    return total


@inlined
def part_at(row: int, across: int, columns: int) -> int:
    """The place of a part, in a tile of so many columns."""
    return row * (columns // SIDE) + across
