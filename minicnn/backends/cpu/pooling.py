"""Pooling: one output cell for each window of an image.

The window of output (p, q) is the rectangle rows[p] × columns[q] of the tables from `minicnn.geometry`; fixed
and adaptive pooling differ in those tables only.

    max   y = the largest cell; backward adds dy to that cell alone, the window's winner
    avg   y = the mean; backward adds dy / area to every cell

Windows may overlap, so backward ADDS what each sends back.

The plain forms here do a plane by this definition. Where they can, `pooling_pairs`, for windows two cells wide side by
side, `pooling_taps`, for other small windows at a fixed stride, and `pooling_bands`, for long ones, do the same for a
vector of cells at a time.

Who owns what: each worker owns a run of planes (see `planes`), channel c of image n, in y or in dx; since windows never
reach into another plane, adding needs no atomics. Cost: each cell is read once for each window that covers it.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_batch, flat
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.planes import equal_runs, plane_bounds
from minicnn.backends.cpu.pooling_bands import EXTENT, START, STOP, max_by_bands, mean_by_bands, mean_gradient_by_bands
from minicnn.backends.cpu.pooling_pairs import in_pairs, max_by_pairs, mean_by_pairs, mean_gradient_by_pairs
from minicnn.backends.cpu.pooling_taps import (
    Taps,
    gradient_memory_for,
    max_by_taps,
    mean_by_taps,
    mean_gradient_by_taps,
    memory_for,
    taps_of,
)
from minicnn.backends.cpu.runtime.jit import parallel, serial, serial_sum
from minicnn.backends.protocol import Windows
from minicnn.images import Batch, sizes_of
from minicnn.plain import Array, Sizes

# Of an image: its width, and where its windows stand in the tables of all images below one another.
WIDTH, FIRST_ROW, STOP_ROW, FIRST_COLUMN, STOP_COLUMN = range(5)
PLACE = 5

LONG = 8  # cells in a window's row from which on they are compared several at a time

AllWindows: TypeAlias = tuple[Array, Array, Array]  # the rows of all images, their columns, and a place for each image


class Planes(NamedTuple):
    """The numbers of a batch as they lie in memory, and where each plane of it begins."""

    numbers: Array
    bounds: Array


@guarded
def max_pool2d_forward(x: Batch, rows: Windows, columns: Windows) -> tuple[Batch, Batch]:
    """The winner is the first maximum in reading order; a NaN beats every number, the last NaN the others."""
    windows, output_size = _windows(rows, columns, sizes_of(x), len(x))
    y, argmax = empty_batch(x, x.shape[1], output_size, x.dtype), empty_batch(x, x.shape[1], output_size, np.int32)
    taps = taps_of(rows, columns, sizes_of(x), x.dtype)
    _max_forward(_planes(x), windows, taps, _planes(y), flat(argmax), equal_runs(x))
    return y, argmax


@guarded
def max_pool2d_backward(dy: Batch, argmax: Batch, rows: Windows, columns: Windows, input_size: Sizes) -> Batch:
    dx = empty_batch(dy, dy.shape[1], input_size, dy.dtype)
    _max_backward(_planes(dy), flat(argmax), _planes(dx), equal_runs(dx))
    return dx


@guarded
def avg_pool2d_forward(x: Batch, rows: Windows, columns: Windows) -> Batch:
    windows, output_size = _windows(rows, columns, sizes_of(x), len(x))
    y = empty_batch(x, x.shape[1], output_size, x.dtype)
    taps = taps_of(rows, columns, sizes_of(x), x.dtype)
    _avg_forward(_planes(x), windows, taps, _planes(y), equal_runs(x))
    return y


@guarded
def avg_pool2d_backward(dy: Batch, rows: Windows, columns: Windows, input_size: Sizes) -> Batch:
    windows, _ = _windows(rows, columns, input_size, len(dy))
    dx = empty_batch(dy, dy.shape[1], input_size, dy.dtype)
    taps = taps_of(rows, columns, input_size, dy.dtype)
    _avg_backward(_planes(dy), windows, taps, _planes(dx), equal_runs(dx))
    return dx


def _planes(batch: Batch) -> Planes:
    return Planes(flat(batch), plane_bounds(batch))


def _windows(rows: Windows, columns: Windows, input_size: Sizes, n_images: int) -> tuple[AllWindows, Array]:
    """What a kernel needs to find the windows of each image, and the output size, (OH, OW) or (N, 2).

    That is the tables of all images below one another, and places (N, PLACE).
    """
    places = np.empty((n_images, PLACE), np.int64)
    places[:, WIDTH] = np.asarray(input_size)[..., 1]
    all_rows, places[:, FIRST_ROW], places[:, STOP_ROW], heights = _below_one_another(rows)
    all_columns, places[:, FIRST_COLUMN], places[:, STOP_COLUMN], widths = _below_one_another(columns)
    return (all_rows, all_columns, places), np.stack([heights, widths], axis=-1)


def _below_one_another(tables: Windows) -> tuple[Array, int | Array, int | Array, int | Array]:
    """One table made of those of all images, and where each begins, where it ends, and how long it is.

    Images of one size share a table, and the three are numbers.
    """
    if not isinstance(tables, list):
        return tables, 0, len(tables), len(tables)
    lengths = np.array([len(table) for table in tables])
    ends = lengths.cumsum()
    return np.concatenate(tables), ends - lengths, ends, lengths


@serial
def _windows_of(n: int, windows: AllWindows) -> tuple[int, Array, Array]:
    """Width, rows and columns of image n."""
    all_rows, all_columns, places = windows
    place = places[n]
    rows = all_rows[place[FIRST_ROW] : place[STOP_ROW]]
    return place[WIDTH], rows, all_columns[place[FIRST_COLUMN] : place[STOP_COLUMN]]


@serial
def _widest(windows: AllWindows, first_plane: int, stop_plane: int, n_channels: int) -> int:
    """The width of the widest image that has one of these planes."""
    places = windows[2]
    return places[first_plane // n_channels : (stop_plane - 1) // n_channels + 1, WIDTH].max()


@parallel
def _max_forward(x: Planes, windows: AllWindows, taps: Taps, y: Planes, argmax: Array, runs: Array) -> None:
    for run in prange(runs.size - 1):
        if runs[run] < runs[run + 1]:
            _max_forward_run(x, windows, taps, y, argmax, runs[run], runs[run + 1])


@serial
def _max_forward_run(
    x: Planes, windows: AllWindows, taps: Taps, y: Planes, argmax: Array, start: int, stop: int
) -> None:
    n_channels = x.bounds.size // len(windows[2])
    spread, of_outputs, winners = memory_for(taps, -np.inf)
    widest = _widest(windows, start, stop, n_channels)
    of_columns, their_rows = np.empty(widest, x.numbers.dtype), np.empty(widest, np.int32)
    paired = False
    for number in range(start, stop):
        width, rows, columns = _windows_of(number // n_channels, windows)
        plane = x.numbers[x.bounds[number] : x.bounds[number + 1]]
        out = slice(y.bounds[number], y.bounds[number + 1])
        if number == start or number % n_channels == 0:
            paired = in_pairs(rows, columns)
        if paired:
            max_by_pairs(plane, width, rows, len(columns), y.numbers[out], argmax[out])
        elif taps.shifts.size:
            max_by_taps(plane, taps, spread, of_outputs, winners, y.numbers[out], argmax[out])
        elif width >= LANES:
            max_by_bands(plane, width, rows, columns, of_columns, their_rows, y.numbers[out], argmax[out])
        else:
            _max_forward_plane(plane, width, rows, columns, y.numbers[out], argmax[out])


@serial
def _max_forward_plane(x: Array, width: int, rows: Array, columns: Array, y: Array, argmax: Array) -> None:
    out = 0
    for p in range(len(rows)):
        for q in range(len(columns)):
            left, right = columns[q, START], columns[q, STOP]
            winner = rows[p, START] * width + left
            best = x[winner]
            for r in range(rows[p, START], rows[p, STOP]):
                row = x[r * width + left : r * width + right]
                if row.size >= LONG and not _some_beat(row, best):
                    continue  # as in most rows of a large window
                for s in range(row.size):
                    cell = row[s]
                    if cell > best or cell != cell:
                        best, winner = cell, r * width + left + s
            y[out], argmax[out] = best, winner
            out += 1


@serial
def _some_beat(row: Array, best: float) -> bool:
    """Whether any cell is larger than `best`, or is NaN. Counting them all is faster than stopping at the first."""
    count = 0
    for s in range(row.size):
        count += not row[s] <= best
    return count > 0


@parallel
def _max_backward(dy: Planes, argmax: Array, dx: Planes, runs: Array) -> None:
    for run in prange(runs.size - 1):
        for number in range(runs[run], runs[run + 1]):
            out = slice(dy.bounds[number], dy.bounds[number + 1])
            _max_backward_plane(dy.numbers[out], argmax[out], dx.numbers[dx.bounds[number] : dx.bounds[number + 1]])


@serial
def _max_backward_plane(dy: Array, argmax: Array, dx: Array) -> None:
    dx[:] = 0
    for out in range(dy.size):
        dx[argmax[out]] += dy[out]


@parallel
def _avg_forward(x: Planes, windows: AllWindows, taps: Taps, y: Planes, runs: Array) -> None:
    for run in prange(runs.size - 1):
        if runs[run] < runs[run + 1]:
            _avg_forward_run(x, windows, taps, y, runs[run], runs[run + 1])


@serial
def _avg_forward_run(x: Planes, windows: AllWindows, taps: Taps, y: Planes, start: int, stop: int) -> None:
    n_channels = x.bounds.size // len(windows[2])
    spread, of_outputs, _ = memory_for(taps, 0.0)
    of_columns = np.empty(_widest(windows, start, stop, n_channels), x.numbers.dtype)
    paired = False
    for number in range(start, stop):
        width, rows, columns = _windows_of(number // n_channels, windows)
        plane = x.numbers[x.bounds[number] : x.bounds[number + 1]]
        out = y.numbers[y.bounds[number] : y.bounds[number + 1]]
        if number == start or number % n_channels == 0:
            paired = in_pairs(rows, columns)
        if paired:
            mean_by_pairs(plane, width, rows, len(columns), out)
        elif taps.shifts.size:
            mean_by_taps(plane, taps, spread, of_outputs, out)
        elif width >= LANES:
            mean_by_bands(plane, width, rows, columns, of_columns, out)
        else:
            _avg_forward_plane(plane, width, rows, columns, out)


@serial_sum
def _avg_forward_plane(x: Array, width: int, rows: Array, columns: Array, y: Array) -> None:
    out = 0
    for p in range(len(rows)):
        for q in range(len(columns)):
            window_sum = 0.0  # float64: windows may be whole images
            for r in range(rows[p, START], rows[p, STOP]):
                row = x[r * width + columns[q, START] : r * width + columns[q, STOP]]
                row_sum = x.dtype.type(0)
                for s in range(row.size):
                    row_sum += row[s]
                window_sum += row_sum
            y[out] = window_sum / (rows[p, EXTENT] * columns[q, EXTENT])
            out += 1


@parallel
def _avg_backward(dy: Planes, windows: AllWindows, taps: Taps, dx: Planes, runs: Array) -> None:
    for run in prange(runs.size - 1):
        if runs[run] < runs[run + 1]:
            _avg_backward_run(dy, windows, taps, dx, runs[run], runs[run + 1])


@serial
def _avg_backward_run(dy: Planes, windows: AllWindows, taps: Taps, dx: Planes, start: int, stop: int) -> None:
    n_channels = dx.bounds.size // len(windows[2])
    spread, shares = gradient_memory_for(taps)
    band = np.empty(_widest(windows, start, stop, n_channels), dx.numbers.dtype)
    paired = False
    for number in range(start, stop):
        width, rows, columns = _windows_of(number // n_channels, windows)
        plane = dx.numbers[dx.bounds[number] : dx.bounds[number + 1]]
        given = dy.numbers[dy.bounds[number] : dy.bounds[number + 1]]
        if number == start or number % n_channels == 0:
            paired = in_pairs(rows, columns)
        if paired:
            mean_gradient_by_pairs(given, width, rows, len(columns), plane)
        elif taps.shifts.size:
            mean_gradient_by_taps(given, taps, shares, spread, plane)
        elif width >= LANES:
            mean_gradient_by_bands(given, width, rows, columns, band[:width], plane)
        else:
            _avg_backward_plane(given, width, rows, columns, plane)


@serial
def _avg_backward_plane(dy: Array, width: int, rows: Array, columns: Array, dx: Array) -> None:
    dx[:] = 0
    out = 0
    for p in range(len(rows)):
        for q in range(len(columns)):
            share = dx.dtype.type(dy[out] / (rows[p, EXTENT] * columns[q, EXTENT]))
            out += 1
            for r in range(rows[p, START], rows[p, STOP]):
                row = dx[r * width + columns[q, START] : r * width + columns[q, STOP]]
                for s in range(row.size):
                    row[s] += share
