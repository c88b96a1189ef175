"""Pooling where the taps of a window are shifts of contiguous memory, see `taps`.

    maximum    best[k] = max over taps of  spread[k + shift]      taps in reading order, so that the first maximum wins
    mean       sum[k]  = sum over taps of  spread[k + shift]

What is done here to one plane has its plain form in `pooling`, which serves all other windows.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, load, store, where_greater
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.backends.cpu.runtime.launch import unpack
from minicnn.backends.cpu.taps import LAYOUT_NUMBERS, Axis, Layout, Taps, no_taps, sort, sort_back, taps_along
from minicnn.backends.protocol import Windows
from minicnn.plain import Array, Pair, Sizes


def taps_of(rows: Windows, columns: Windows, input_size: Sizes, dtype: Any) -> Taps:
    """The taps of images of one size, kept, since calls are much alike; none for tables of images of many sizes."""
    if isinstance(rows, list) or isinstance(columns, list):
        return no_taps(np.dtype(dtype))
    return _taps_of(rows.tobytes(), columns.tobytes(), tuple(input_size), np.dtype(dtype))


@lru_cache(maxsize=64)
def _taps_of(rows_bytes: bytes, columns_bytes: bytes, input_size: Pair, dtype: np.dtype[Any]) -> Taps:
    rows, columns = (np.frombuffer(table, np.int64).reshape(-1, 3) for table in (rows_bytes, columns_bytes))
    down, across = (_equal_windows(table, n_in) for table, n_in in zip((rows, columns), input_size, strict=True))
    taps = taps_along(down, across, input_size, (len(rows), len(columns)), dtype)
    return taps._replace(areas=(rows[:, 2, None] * columns[:, 2]).astype(dtype).ravel())


def _equal_windows(table: Array, n_in: int) -> Axis:
    starts, stops, _ = table.T
    step = int(max(np.diff(starts).max(initial=1), np.diff(stops).max(initial=1)))
    padding = step * (len(table) - 1) - int(starts[-1])
    kernel = int(stops[0]) + padding
    p = np.arange(len(table)) * step - padding
    equal = (np.maximum(p, 0) == starts).all() and (np.minimum(p + kernel, n_in) == stops).all()
    return Axis(step, padding, kernel if equal and padding >= 0 else 0)


@serial
def memory_for(taps: Taps, padding: float) -> tuple[Array, Array, Array]:
    """For the kernels below: the sorted plane, of padding, and a number and an integer for each output."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    spread = np.full(layout.phases * layout.phase_size, padding, taps.areas.dtype)
    return spread, np.empty(layout.outputs, spread.dtype), np.empty(layout.outputs, np.int32)


@serial
def gradient_memory_for(taps: Taps) -> tuple[Array, Array]:
    """For the gradient: the sorted plane, and two phases of zeros."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    spread = np.empty(layout.phases * layout.phase_size, taps.areas.dtype)
    return spread, np.zeros(2 * layout.phase_size, spread.dtype)


@serial
def max_by_taps(x: Array, taps: Taps, spread: Array, best: Array, winners: Array, y: Array, argmax: Array) -> None:
    """y and argmax of one plane. Padding is -inf, and never above what a window begins with."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    sort(x, taps, spread)
    for k in range(0, layout.outputs, LANES):
        value, winner = fill(spread, -np.inf), load(taps.first, k)
        for t in range(taps.shifts.size):
            cell = load(spread, k + taps.shifts[t])
            winner = where_greater(cell, value, fill(winners, taps.offsets[t]), winner)
            value = where_greater(cell, value, cell, value)
        store(best, k, value)
        store(winners, k, winner)
    if layout.pitch == layout.out_w:
        for k in range(y.size):
            y[k] = best[k]
        for k in range(y.size):
            argmax[k] = winners[k] + taps.origins[k]
    else:
        for p in range(layout.out_h):
            at, k = p * layout.out_w, p * layout.pitch
            for q in range(layout.out_w):
                y[at + q] = best[k + q]
            for q in range(layout.out_w):
                argmax[at + q] = winners[k + q] + taps.origins[at + q]


@serial
def mean_by_taps(x: Array, taps: Taps, spread: Array, sums: Array, y: Array) -> None:
    """y of one plane. Padding is 0."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    sort(x, taps, spread)
    for k in range(0, layout.outputs, LANES):
        value = load(spread, k + taps.shifts[0])
        for t in range(1, taps.shifts.size):
            value = value + load(spread, k + taps.shifts[t])
        store(sums, k, value)
    if layout.pitch == layout.out_w:
        for k in range(y.size):
            y[k] = sums[k] / taps.areas[k]
    else:
        for p in range(layout.out_h):
            at, k = p * layout.out_w, p * layout.pitch
            for q in range(layout.out_w):
                y[at + q] = sums[k + q] / taps.areas[at + q]


@serial
def mean_gradient_by_taps(dy: Array, taps: Taps, shares: Array, spread: Array, dx: Array) -> None:
    """dx of one plane. shares: memory for two phases, zeros; those of dy begin with the second."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    start = layout.phase_size
    for p in range(layout.out_h):
        at, k = p * layout.out_w, start + p * layout.pitch
        for q in range(layout.out_w):
            shares[k + q] = dy[at + q] / taps.areas[at + q]
    spread[:] = 0
    for phase in range(layout.phases):
        first = phase * layout.phase_size
        for t in range(taps.shifts.size):
            shift = taps.shifts[t] - first
            if 0 <= shift < layout.phase_size:
                for k in range(0, layout.phase_size, LANES):
                    store(spread, first + k, load(spread, first + k) + load(shares, start + k - shift))
    sort_back(spread, taps, dx)
