"""Equal windows at a fixed stride, channel by channel: a tap of the window is a shift of contiguous memory.

The cells of a padded plane are first sorted by phase: those that are cell (i, j) of some window lie at
(i + p * sh, j + q * sw), and cells whose i modulo sh and j modulo sw are the same follow one another. In this memory,
(phases, rows, pitch), tap (i, j) of output k = p * pitch + q is found at k + shift, the same shift for every output:

    for each tap:  for all k:  y[k] = y[k] and what is at k + shift of the tap

So a vector of outputs is made at a time, whatever the stride. A row of outputs has `pitch` numbers, of which those
behind the first OW are computed with and not used. `pooling_taps` takes maxima and means so, `general` weighted sums.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cpu.convolution.patches import copy, lanes_up
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import every_second, load, store, store_in_turn
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.backends.cpu.runtime.launch import unpack
from minicnn.plain import Array, Pair

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


class Places(NamedTuple):
    """Where the cells of a plane go, and the taps: as much of `Taps` as a sum over taps asks for."""

    layout: Array
    row_places: Array
    row_parts: Array
    shifts: Array


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


class Axis(NamedTuple):
    """Window p has `kernel` cells from p * step - padding on, `dilation` apart, less those outside the image."""

    step: int
    padding: int
    kernel: int  # 0: the windows of a table are not so
    dilation: int = 1

    @property
    def last(self) -> int:
        """The last cell of a window, counted from its first."""
        return (self.kernel - 1) * self.dilation


@lru_cache(maxsize=2)
def no_taps(dtype: np.dtype[Any]) -> Taps:
    places, small = np.empty(0, np.int64), np.empty(0, np.int32)
    layout = np.zeros(LAYOUT_NUMBERS, np.int64)
    return Taps(layout, places, places.reshape(0, 3), places, places, small, small, np.empty(0, dtype))


@lru_cache(maxsize=64)
def taps_along(down: Axis, across: Axis, input_size: Pair, output_size: Pair, dtype: np.dtype[Any]) -> Taps:
    """The taps of windows that lie so, without areas; none where they are too large."""
    (height, width), (out_h, out_w) = input_size, output_size
    if not 0 < down.kernel * across.kernel <= MOST_TAPS or max(down.step, across.step) > MOST_STRIDE:
        return no_taps(dtype)
    pitch, rows = (out + axis.last // axis.step for out, axis in ((out_w, across), (out_h, down)))
    outputs = lanes_up(out_h * pitch)
    phase_size = lanes_up(outputs + down.last // down.step * pitch + across.last // across.step)
    phases_h, phases_w = min(down.step, down.last + 1), min(across.step, across.last + 1)

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
    i, j = i * down.dilation, j * across.dilation
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
    numbers, none = np.array(layout, np.int64), np.empty(0, dtype)
    return Taps(numbers, row_places, row_parts, shifts, i * width + j, first_inside, origins.ravel(), none)


FIRST, PLACE, COUNT = range(3)  # columns of `row_parts`


@serial
def sort(x: Array, taps: Taps | Places, spread: Array) -> None:
    """The cells of a plane to their places in phases; what is outside the image is not touched."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    if layout.step_w == 1:
        place, count = taps.row_parts[0, PLACE], taps.row_parts[0, COUNT]
        for r in range(layout.height):
            if taps.row_places[r] >= 0:
                copy(x, r * layout.width, spread, taps.row_places[r] + place, count)
        return
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
            first, place = x_at + taps.row_parts[part, FIRST], to + taps.row_parts[part, PLACE]
            for k in range(done, taps.row_parts[part, COUNT]):
                spread[place + k] = x[first + k * layout.step_w]


@serial
def sort_back(spread: Array, taps: Taps | Places, x: Array) -> None:
    """The cells of a plane from their places in phases; 0 for those that no window sees."""
    layout = Layout(*unpack(taps.layout, LAYOUT_NUMBERS))
    x[:] = 0
    if layout.step_w == 1:
        place, count = taps.row_parts[0, PLACE], taps.row_parts[0, COUNT]
        for r in range(layout.height):
            if taps.row_places[r] >= 0:
                copy(spread, taps.row_places[r] + place, x, r * layout.width, count)
        return
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
            first, place = x_at + taps.row_parts[part, FIRST], at + taps.row_parts[part, PLACE]
            for k in range(done, taps.row_parts[part, COUNT]):
                x[first + k * layout.step_w] = spread[place + k]
