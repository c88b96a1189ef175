"""How the kernels of a convolution fetch strips of both factors into shared memory, DEPTH terms of each line.

The threads of a block share a strip. A *line* is a row of the left factor, or a column of the right one.
"""

from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cuda.coefficients import activated, gradient_of_y
from minicnn.backends.cuda.convolution.plan import (
    CHANNEL,
    KERNEL_COLUMN,
    KERNEL_ROW,
    WEIGHT_AT,
    Found,
    Job,
    divided,
    tap_at,
)
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT
from minicnn.backends.cuda.products import FULL, SPARE
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import DEPTH, TILE_THREADS
from minicnn.plain import Array


class Taps(NamedTuple):
    """The taps of a tile's columns, in shared memory."""

    channels: Array
    rows: Array
    columns: Array


@inlined
def read(x: Array, raw: Array, coefficients: Array, at: int, c: int, channels: int, source: int, zero: Any) -> Any:
    """The number at a place of channel c, as this kind of source reads it."""
    number = x[FULL(at)]
    if source == ACTIVATION:
        number = activated(number, coefficients, c, channels, zero)
    if source == GRADIENT:
        number = gradient_of_y(number, raw[FULL(at)], coefficients, c, channels)
    return number


# Of a convolution: rows of weights, and what taps see from the pixels of a tile.


@inlined
def fetch_weights(strip: Array, lines: int, weight: Array, plan: Array, job: Job, first_row: int, first_tap: int,
                  zero: Any) -> None:  # fmt: skip
    """strip[d, k] = the weight of row first_row + k for tap first_tap + d, or 0 beyond the last of either."""
    for cell in range(cuda.threadIdx.x, lines * DEPTH, TILE_THREADS):
        k, d = cell // DEPTH, cell % DEPTH
        number = zero
        if first_row + k < job.rows and first_tap + d < job.taps:
            place = plan[FULL(tap_at(first_tap + d) + WEIGHT_AT)]
            number = weight[FULL((first_row + k) * job.row_pitch + place)]
        strip[FULL(d * (lines + SPARE) + k)] = number


@inlined
def fetch_pixels(strip: Array, found: Found, x: Array, raw: Array, coefficients: Array, plan: Array, job: Job,
                 first_tap: int, source: int, transposed: bool, strided: bool, zero: Any) -> None:  # fmt: skip
    """strip[d, k] = what tap first_tap + d sees from pixel k, or 0 where it sees no pixel."""
    lines = len(found.heights)
    for d in range(DEPTH):
        tap = tap_at(first_tap + d)
        c, i, j = plan[FULL(tap + CHANNEL)], plan[FULL(tap + KERNEL_ROW)], plan[FULL(tap + KERNEL_COLUMN)]
        for k in range(cuda.threadIdx.x, lines, TILE_THREADS):
            number = zero
            is_seen, r, s = seen_from(found.tops[k], found.lefts[k], i, j, job, transposed, strided)
            height, width = found.heights[k], found.widths[k]
            if is_seen and r < height and s < width:
                at = found.reads_at[k] + c * (height * width) + (r * width + s)
                number = read(x, raw, coefficients, at, c, job.channels, source, zero)
            strip[FULL(d * lines + k)] = number


@inlined
def seen_from(top: int, left: int, i: int, j: int, job: Job, transposed: bool, strided: bool) -> tuple[bool, int, int]:
    """Whether tap (i, j) of a window sees a pixel, unless beyond the image's bottom or right, and its (r, s).

    `transposed`, it is the output (r, s) that has seen this pixel by tap (i, j); with a stride not each tap has.
    """
    if transposed:
        r, s = top - np.int32(i), left - np.int32(j)
        is_seen = r >= 0 and s >= 0
        if strided:
            r, r_rest = divided(r, job.stride_h)
            s, s_rest = divided(s, job.stride_w)
            is_seen = is_seen and r_rest == 0 and s_rest == 0
    else:
        r, s = top + np.int32(i), left + np.int32(j)
        is_seen = r >= 0 and s >= 0
    return is_seen, r, s


# Of a weight gradient: rows of dy, and what the taps of a tile see from pixels.


@inlined
def find_taps(found: Taps, plan: Array, n_taps: int, first: int) -> None:
    """Look up the taps of a tile's columns from `first` on; for those beyond the last nothing is ever written."""
    for k in range(cuda.threadIdx.x, len(found.channels), TILE_THREADS):
        at = tap_at(min(first + k, n_taps - 1))
        found.channels[k] = plan[FULL(at + CHANNEL)]
        found.rows[k], found.columns[k] = plan[FULL(at + KERNEL_ROW)], plan[FULL(at + KERNEL_COLUMN)]


@inlined
def fetch_gradients(strip: Array, lines: int, found: Found, first: int, dy: Array, raw: Array, coefficients: Array,
                    rows: int, first_row: int, source: int, zero: Any) -> None:  # fmt: skip
    """strip[d, k] = dy of row first_row + k at pixel first + d, or 0 beyond the last of either."""
    for cell in range(cuda.threadIdx.x, lines * DEPTH, TILE_THREADS):
        k, d = cell // DEPTH, cell % DEPTH
        row, number = first_row + k, zero
        plane = found.planes[first + d]
        if row < rows and plane > 0:
            at = found.writes_at[first + d] + row * plane
            number = read(dy, raw, coefficients, at, row, rows, source, zero)
        strip[FULL(d * (lines + SPARE) + k)] = number


@inlined
def fetch_seen(strip: Array, lines: int, found: Found, first: int, taps: Taps, x: Array, coefficients: Array,
               channels: int, source: int, zero: Any) -> None:  # fmt: skip
    """strip[d, k] = what tap k sees from pixel first + d; 0 where it sees padding, or the pixel is beyond the last."""
    for cell in range(cuda.threadIdx.x, lines * DEPTH, TILE_THREADS):
        k, d = cell // DEPTH, cell % DEPTH
        c, number = taps.channels[k], zero
        r, s = found.tops[first + d] + taps.rows[k], found.lefts[first + d] + taps.columns[k]
        height, width = found.heights[first + d], found.widths[first + d]
        if found.planes[first + d] > 0 and r >= 0 and s >= 0 and r < height and s < width:
            at = found.reads_at[first + d] + c * (height * width) + (r * width + s)
            number = read(x, x, coefficients, at, c, channels, source, zero)
        strip[FULL(d * (lines + SPARE) + k)] = number
