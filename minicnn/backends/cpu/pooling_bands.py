"""Pooling over long windows: down the columns first, a vector of them at a time, and then along what is left.

The windows of one row of outputs have the same rows, a band of the image. What is taken from each column of the band,
its largest cell or its sum, is found for LANES neighbouring columns at once; each window then joins its columns.

What is done here to one plane has its plain form in `pooling`, which serves images narrower than a vector.
"""

import numpy as np

from minicnn.backends.cpu.convolution.registers import LANES, TERMS
from minicnn.backends.cpu.convolution.vectors import fill, load, store, where_greater
from minicnn.backends.cpu.runtime.jit import serial, serial_sum
from minicnn.plain import Array

START, STOP, EXTENT = range(3)  # of a window: the columns of a table


@serial
def max_by_bands(
    x: Array, width: int, rows: Array, columns: Array, best: Array, best_rows: Array, y: Array, argmax: Array
) -> None:
    """y and argmax of one plane; best and best_rows are memory for a number of each column."""
    for p in range(len(rows)):
        top, bottom = rows[p, START], rows[p, STOP]
        s = 0
        while s < width:
            s = min(s, width - LANES)  # the last vector overlaps the one before it
            value, row = load(x, top * width + s), fill(best_rows, top)
            for r in range(top + 1, bottom):
                cell = load(x, r * width + s)
                row = where_greater(cell, value, fill(best_rows, r), row)
                value = where_greater(cell, value, cell, value)
            store(best, s, value)
            store(best_rows, s, row)
            s += LANES
        for q in range(len(columns)):
            winner = columns[q, START]
            value, row = best[winner], best_rows[winner]
            for s in range(columns[q, START] + 1, columns[q, STOP]):
                cell, cell_row = best[s], best_rows[s]
                # In reading order the first maximum wins, and the last NaN: rows count before columns.
                if (
                    cell > value
                    or (cell == value and cell_row < row)
                    or (cell != cell and (value == value or cell_row >= row))
                ):
                    value, row, winner = cell, cell_row, s
            out = p * len(columns) + q
            y[out], argmax[out] = value, row * width + winner


@serial_sum
def mean_by_bands(x: Array, width: int, rows: Array, columns: Array, sums: Array, y: Array) -> None:
    """y of one plane; sums is memory for a number of each column."""
    for p in range(len(rows)):
        of_windows = y[p * len(columns) : (p + 1) * len(columns)]
        of_windows[:] = 0
        for first in range(rows[p, START], rows[p, STOP], TERMS):
            s = 0
            while s < width:
                s = min(s, width - LANES)
                value = load(x, first * width + s)
                for r in range(first + 1, min(rows[p, STOP], first + TERMS)):
                    value = value + load(x, r * width + s)
                store(sums, s, value)
                s += LANES
            for q in range(len(columns)):
                window_sum = np.float64(of_windows[q])  # windows may be whole images
                for s in range(columns[q, START], columns[q, STOP]):
                    window_sum += sums[s]
                of_windows[q] = window_sum
        for q in range(len(columns)):
            of_windows[q] = of_windows[q] / (rows[p, EXTENT] * columns[q, EXTENT])


@serial
def mean_gradient_by_bands(dy: Array, width: int, rows: Array, columns: Array, band: Array, dx: Array) -> None:
    """dx of one plane: each row of dx gets the band of the windows above it."""
    dx[:] = 0
    for p in range(len(rows)):
        band[:] = 0
        for q in range(len(columns)):
            share = dx.dtype.type(dy[p * len(columns) + q] / (rows[p, EXTENT] * columns[q, EXTENT]))
            for s in range(columns[q, START], columns[q, STOP]):
                band[s] += share
        for r in range(rows[p, START], rows[p, STOP]):
            row = dx[r * width : (r + 1) * width]
            for s in range(width):
                row[s] += band[s]
