"""Pooling over equal windows at a fixed stride: a tap of the window is a shift of contiguous memory.

The cells of a padded plane are first sorted by phase: those that are cell (i, j) of some window lie at
(i + p * sh, j + q * sw), and cells whose i modulo sh and j modulo sw are the same follow one another. In this memory,
(phases, rows, pitch), tap (i, j) of output k = p * pitch + q is found at k + shift, the same shift for every output:

    for each tap:  for all k:  y[k] = max(y[k], spread[k + shift])

So a vector of outputs is made at a time, whatever the stride. Taps come in reading order, so that the first maximum
wins. A row of outputs has `pitch` numbers, of which those behind the first OW are computed with and not used.

What is done here to one plane has its plain form in `pooling`, which serves all other windows.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cpu.convolution.patches import copy, lanes_up
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import every_second, fill, load, store, store_in_turn, where_greater
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.backends.cpu.runtime.launch import unpack
from minicnn.backends.protocol import Windows
from minicnn.plain import Array, Pair, Sizes

MOST_TAPS = 64  # of a window: they are added up in one go, in the arrays' own dtype
MOST_STRIDE = 4  # with more, the cells of a phase in a row are soon fewer than a vector has


class Layout(NamedTuple):
    """How a plane is sorted, worked out once for a shape: a division for each row would take longer than its cells."""

    height: int
    width: int
    out_h: int
    out_w: int
    step_w: int
    pitch: int
    outputs: int  # OH * pitch, up to whole vectors
    phases: int
    phase_size: int
    pairs: int  # cells of a row that are sorted with their neighbours, into two phases at once
    even: int  # where the first of them goes, counted from the place of its row
    odd: int  # and its neighbour


LAYOUT_NUMBERS = len(Layout._fields)


class Taps(NamedTuple):
    """What kernels are told of the windows. Without shifts: they are not equal, or too large."""

    layout: Array  # the numbers of a `Layout`
    row_places: Array  # (H,): where a row goes in the sorted plane, or -1
    row_parts: Array  # (phases of a row, 3): the first cell of each, where it goes from there, and how many follow it
    shifts: Array  # (taps,)
    offsets: Array  # (taps,): i * W + j
    first: Array  # (outputs,) int32: the offset of the first tap that is inside the image
    origins: Array  # (OH, OW) int32: the pixel that offsets count from, which may be outside
    areas: Array  # (OH, OW): what a mean divides by


def taps_of(rows: Windows, columns: Windows, input_size: Sizes, dtype: Any) -> Taps:
    """The taps of images of one size, kept, since calls are much alike; none for tables of images of many sizes."""
    if isinstance(rows, list) or isinstance(columns, list):
        return _no_taps(np.dtype(dtype))
    return _taps(rows.tobytes(), columns.tobytes(), tuple(input_size), np.dtype(dtype))


@lru_cache(maxsize=2)
def _no_taps(dtype: np.dtype[Any]) -> Taps:
    places, small = np.empty(0, np.int64), np.empty(0, np.int32)
    layout = np.zeros(LAYOUT_NUMBERS, np.int64)
    return Taps(layout, places, places.reshape(0, 3), places, places, small, small, np.empty(0, dtype))


@lru_cache(maxsize=64)
def _taps(rows_bytes: bytes, columns_bytes: bytes, input_size: Pair, dtype: np.dtype[Any]) -> Taps:
    tables = [np.frombuffer(table, np.int64).reshape(-1, 3) for table in (rows_bytes, columns_bytes)]
    (height, width), (out_h, out_w) = input_size, map(len, tables)
    down, across = (_equal_windows(table, n_in) for table, n_in in zip(tables, input_size, strict=True))
    if not 0 < down.kernel * across.kernel <= MOST_TAPS or max(down.step, across.step) > MOST_STRIDE:
        return _no_taps(dtype)
    pitch, rows = (out + (axis.kernel - 1) // axis.step for out, axis in ((out_w, across), (out_h, down)))
    outputs = lanes_up(out_h * pitch)
    phase_size = lanes_up(outputs + (down.kernel - 1) // down.step * pitch + (across.kernel - 1) // across.step)
    phases_h, phases_w = min(down.step, down.kernel), min(across.step, across.kernel)

    row, phase = np.divmod(np.arange(height) + down.padding, down.step)
    seen = (row < rows) & (phase < phases_h)
    row_places = np.where(seen, phase * phases_w * phase_size + row * pitch, -1)
    first = (np.arange(phases_w) - across.padding) % across.step
    column = (first + across.padding) // across.step
    counts = np.minimum((width - first + across.step - 1) // across.step, pitch - column)
    row_parts = np.stack([first, np.arange(phases_w) * phase_size + column, counts], axis=1)
    pairs, even, odd = 0, 0, 0
    if across.step == phases_w == 2:
        pairs, (even, odd) = counts.min(), row_parts[first.argsort(), 1]

    i, j = np.divmod(np.arange(down.kernel * across.kernel), across.kernel)
    shifts = (i % down.step * phases_w + j % across.step) * phase_size + i // down.step * pitch + j // across.step
    p, q = np.arange(out_h)[:, None] * down.step - down.padding, np.arange(out_w) * across.step - across.padding
    first_inside = np.zeros((out_h, pitch), np.int32)
    first_inside[:, :out_w] = np.maximum(-p, 0) * width + np.maximum(-q, 0)
    first_inside = np.concatenate([first_inside.ravel(), np.zeros(outputs - first_inside.size, np.int32)])
    layout = Layout(
        height=height,
        width=width,
        out_h=out_h,
        out_w=out_w,
        step_w=across.step,
        pitch=pitch,
        outputs=outputs,
        phases=phases_h * phases_w,
        phase_size=phase_size,
        pairs=pairs,
        even=even,
        odd=odd,
    )
    origins = (p * width + q).astype(np.int32)
    areas = (tables[0][:, 2, None] * tables[1][:, 2]).astype(dtype)
    numbers = np.array(layout, np.int64)
    return Taps(numbers, row_places, row_parts, shifts, i * width + j, first_inside, origins.ravel(), areas.ravel())


class _Axis(NamedTuple):
    """Window p goes from p * step - padding on for `kernel` cells, less those outside the image."""

    step: int
    padding: int
    kernel: int  # 0: the windows of the table are not so


def _equal_windows(table: Array, n_in: int) -> _Axis:
    starts, stops, _ = table.T
    step = int(max(np.diff(starts).max(initial=1), np.diff(stops).max(initial=1)))
    padding = step * (len(table) - 1) - int(starts[-1])
    kernel = int(stops[0]) + padding
    p = np.arange(len(table)) * step - padding
    equal = (np.maximum(p, 0) == starts).all() and (np.minimum(p + kernel, n_in) == stops).all()
    return _Axis(step, padding, kernel if equal and padding >= 0 else 0)


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
    _sort(x, taps, spread)
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
    _sort(x, taps, spread)
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
    _sort_back(spread, taps, dx)


@serial
def _sort(x: Array, taps: Taps, spread: Array) -> None:
    """The cells of a plane to their places in phases; what is outside the image is not touched."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    for r in range(layout.height):
        to = taps.row_places[r]
        if to < 0:
            continue
        x_at, done = r * layout.width, 0
        while done + LANES <= layout.pairs:
            store(spread, to + layout.even + done, every_second(x, x_at + 2 * done, 0))
            store(spread, to + layout.odd + done, every_second(x, x_at + 2 * done, 1))
            done += LANES
        for part in range(len(taps.row_parts)):
            first, place, count = taps.row_parts[part]
            if layout.step_w == 1:
                copy(x, x_at + first, spread, to + place, count)
                continue
            for k in range(done, count):
                spread[to + place + k] = x[x_at + first + k * layout.step_w]


@serial
def _sort_back(spread: Array, taps: Taps, x: Array) -> None:
    """The cells of a plane from their places in phases; 0 for those that no window sees."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    x[:] = 0
    for r in range(layout.height):
        at = taps.row_places[r]
        if at < 0:
            continue
        x_at, done = r * layout.width, 0
        while done + LANES <= layout.pairs:
            even, odd = load(spread, at + layout.even + done), load(spread, at + layout.odd + done)
            store_in_turn(x, x_at + 2 * done, even, odd)
            done += LANES
        for part in range(len(taps.row_parts)):
            first, place, count = taps.row_parts[part]
            if layout.step_w == 1:
                copy(spread, at + place, x, x_at + first, count)
                continue
            for k in range(done, count):
                x[x_at + first + k * layout.step_w] = spread[at + place + k]
