"""Pooling: one output cell for each window of an image.

The window of output (p, q) is the rectangle rows[p] × columns[q] of the tables from `minicnn.geometry`; fixed
and adaptive pooling differ in those tables only.

    max   y = the largest cell; backward adds dy to that cell alone, the window's winner
    avg   y = the mean; backward adds dy / area to every cell

Windows may overlap, so a cell can get a share from several. Backward is therefore turned round: no window adds to its
cells, which would have to be atomic, but each cell goes through the windows over it (`geometry.windows_over`) in their
order and takes what is its own.

Who owns what: forward, a thread one output cell, or where windows have LARGE_WINDOW cells and more, a block, whose
threads share the window and then join what they found; backward, a thread one cell of dx. Blocks work on one output
cell from first to last, so all of their threads come to the barriers. Cost: each cell is read once for each window
over it.

Kernels find images and windows in a plan, see `windows`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_batch, flat
from minicnn.backends.cuda.elementwise import beats, blocks_for, own_number, real_of, sum_over_block, winner_of_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.runtime.device_array import launch
from minicnn.backends.cuda.tiles import LARGE_WINDOW, THREADS
from minicnn.backends.cuda.windows import (
    COLUMNS,
    COLUMNS_OVER,
    EXTENT,
    ROWS,
    ROWS_OVER,
    WIDTH,
    WINDOW,
    X,
    Y,
    cell_of,
    plan_of,
    plane_of,
    range_of,
    window_of,
)
from minicnn.backends.protocol import Windows
from minicnn.images import Batch, Images, sizes_of
from minicnn.plain import Array, Sizes


@guarded
def max_pool2d_forward(x: Batch, rows: Windows, columns: Windows) -> tuple[Batch, Batch]:
    """The winner is the first maximum in reading order; a NaN beats every number, the last NaN the others."""
    y, argmax = _empty_output(x, rows, columns, x.dtype), _empty_output(x, rows, columns, np.int32)
    arguments = flat(x), *plan_of(x, sizes_of(x), rows, columns), flat(y), flat(argmax)
    _launch_forward(_max_forward, _max_forward_of_large, arguments, y, rows, columns)
    return y, argmax


@guarded
def max_pool2d_backward(dy: Batch, argmax: Batch, rows: Windows, columns: Windows, input_size: Sizes) -> Batch:
    dx = empty_batch(dy, dy.shape[1], input_size, dy.dtype)
    arguments = flat(dy), flat(argmax), *plan_of(dy, input_size, rows, columns, backward=True), flat(dx), dx.size
    launch(_max_backward(real_of(dx)), blocks_for(dx.size), THREADS, *arguments)
    return dx


@guarded
def avg_pool2d_forward(x: Batch, rows: Windows, columns: Windows) -> Batch:
    y = _empty_output(x, rows, columns, x.dtype)
    arguments = flat(x), *plan_of(x, sizes_of(x), rows, columns), flat(y)
    _launch_forward(_avg_forward, _avg_forward_of_large, arguments, y, rows, columns)
    return y


@guarded
def avg_pool2d_backward(dy: Batch, rows: Windows, columns: Windows, input_size: Sizes) -> Batch:
    dx = empty_batch(dy, dy.shape[1], input_size, dy.dtype)
    arguments = flat(dy), *plan_of(dy, input_size, rows, columns, backward=True), flat(dx), dx.size
    launch(_avg_backward(real_of(dx)), blocks_for(dx.size), THREADS, *arguments)
    return dx


def _empty_output(x: Batch, rows: Windows, columns: Windows, dtype: DTypeLike) -> Batch:
    if isinstance(x, Images):
        sizes = [(len(of_rows), len(of_columns)) for of_rows, of_columns in zip(rows, columns, strict=True)]
    else:
        sizes = [(len(rows), len(columns))] * len(x)
    return empty_batch(x, x.shape[1], np.array(sizes), dtype)


def _launch_forward(
    kernel: Callable[[Any], Kernel],
    kernel_of_large: Callable[[Any], Kernel],
    arguments: tuple[Any, ...],
    y: Array | Images,
    rows: Windows,
    columns: Windows,
) -> None:
    """A thread for each cell of y, or where a window is large, a block."""
    real = real_of(y)
    if _largest(rows) * _largest(columns) < LARGE_WINDOW:
        launch(kernel(real), blocks_for(y.size), THREADS, *arguments, y.size)
    else:
        launch(kernel_of_large(real), y.size, THREADS, *arguments)


def _largest(tables: Windows) -> int:
    """The most cells of a window on one axis."""
    tables = tables if isinstance(tables, list) else [tables]
    return max(int((table[:, 1] - table[:, 0]).max()) for table in tables)


# Kernels.


@lru_cache
def _max_forward(real: Any) -> Kernel:
    """y and argmax, by a thread for each."""

    def kernel(x: Array, plan: Array, n_channels: int, n_images: int, y: Array, argmax: Array, size: int) -> None:
        i = own_number()
        if i < size:
            plane, width, (top, bottom, _), (left, right, _) = window_of(i, plan, n_channels, n_images)
            winner = top * width + left
            best = x[np.uint64(plane + winner)]
            for r in range(top, bottom):
                for s in range(left, right):
                    cell = r * width + s
                    number = x[np.uint64(plane + cell)]
                    if number > best or number != number:
                        best, winner = number, cell
            y[np.uint64(i)], argmax[np.uint64(i)] = best, winner

    return kernel


@lru_cache
def _max_forward_of_large(real: Any) -> Kernel:
    """y and argmax, by a block for each: every thread goes through every THREADS-th cell of the window."""
    lowest = real(-np.inf)

    def kernel(x: Array, plan: Array, n_channels: int, n_images: int, y: Array, argmax: Array) -> None:
        values = cuda.shared.array(THREADS, real)
        places = cuda.shared.array(THREADS, np.int32)
        i, thread = np.int64(cuda.blockIdx.x), cuda.threadIdx.x
        plane, width, (top, bottom, _), (left, right, _) = window_of(i, plan, n_channels, n_images)
        across = np.int32(right - left)
        best, winner = lowest, bottom * width  # which is behind every cell, so that any of -inf beats it
        for k in range(thread, (bottom - top) * (right - left), THREADS):
            down = np.int32(k) // across
            cell = (top + down) * width + left + (k - down * across)
            number = x[np.uint64(plane + cell)]
            if beats(number, cell, best, winner):
                best, winner = number, cell
        values[thread], places[thread] = best, winner
        winner_of_block(values, places, thread)
        if thread == 0:
            y[np.uint64(i)], argmax[np.uint64(i)] = values[0], places[0]

    return kernel


@lru_cache
def _max_backward(real: Any) -> Kernel:
    """dx = the sum of dy over the windows that the cell has won."""
    zero = real(0)

    def kernel(dy: Array, argmax: Array, plan: Array, n_channels: int, n_images: int, dx: Array, size: int) -> None:
        i = own_number()
        if i < size:
            at, c, r, s = cell_of(i, plan, X, n_channels, n_images)
            cell = r * plan[np.uint64(at + X + WIDTH)] + s
            plane, out_w = plane_of(c, plan, at + Y, n_channels)
            first_p, stop_p = range_of(at + ROWS_OVER, r, plan)
            first_q, stop_q = range_of(at + COLUMNS_OVER, s, plan)
            total = zero
            for p in range(first_p, stop_p):
                for q in range(first_q, stop_q):
                    out = np.uint64(plane + p * out_w + q)
                    if argmax[out] == cell:
                        total += dy[out]
            dx[np.uint64(i)] = total

    return kernel


@lru_cache
def _avg_forward(real: Any) -> Kernel:
    """y, by a thread for each; sums of rows first, so that small numbers are not added to large ones."""
    zero = real(0)

    def kernel(x: Array, plan: Array, n_channels: int, n_images: int, y: Array, size: int) -> None:
        i = own_number()
        if i < size:
            plane, width, (top, bottom, extent_h), (left, right, extent_w) = window_of(i, plan, n_channels, n_images)
            total = zero
            for r in range(top, bottom):
                row_total = zero
                for s in range(left, right):
                    row_total += x[np.uint64(plane + r * width + s)]
                total += row_total
            y[np.uint64(i)] = total / real(extent_h * extent_w)

    return kernel


@lru_cache
def _avg_forward_of_large(real: Any) -> Kernel:
    """y, by a block for each: every thread adds up every THREADS-th cell of the window."""
    zero = real(0)

    def kernel(x: Array, plan: Array, n_channels: int, n_images: int, y: Array) -> None:
        sums = cuda.shared.array(THREADS, real)
        i, thread, total = np.int64(cuda.blockIdx.x), cuda.threadIdx.x, zero
        plane, width, (top, bottom, extent_h), (left, right, extent_w) = window_of(i, plan, n_channels, n_images)
        across = np.int32(right - left)
        for k in range(thread, (bottom - top) * (right - left), THREADS):
            down = np.int32(k) // across
            total += x[np.uint64(plane + (top + down) * width + left + (k - down * across))]
        sums[thread] = total
        sum_over_block(sums, thread)
        if thread == 0:
            y[np.uint64(i)] = sums[0] / real(extent_h * extent_w)

    return kernel


@lru_cache
def _avg_backward(real: Any) -> Kernel:
    """dx = the sum of dy / area over the windows over the cell."""
    zero = real(0)

    def kernel(dy: Array, plan: Array, n_channels: int, n_images: int, dx: Array, size: int) -> None:
        i = own_number()
        if i < size:
            at, c, r, s = cell_of(i, plan, X, n_channels, n_images)
            plane, out_w = plane_of(c, plan, at + Y, n_channels)
            first_p, stop_p = range_of(at + ROWS_OVER, r, plan)
            first_q, stop_q = range_of(at + COLUMNS_OVER, s, plan)
            total = zero
            for p in range(first_p, stop_p):
                extent_h = plan[np.uint64(plan[np.uint64(at + ROWS)] + WINDOW * p + EXTENT)]
                for q in range(first_q, stop_q):
                    extent_w = plan[np.uint64(plan[np.uint64(at + COLUMNS)] + WINDOW * q + EXTENT)]
                    total += dy[np.uint64(plane + p * out_w + q)] / real(extent_h * extent_w)
            dx[np.uint64(i)] = total

    return kernel
