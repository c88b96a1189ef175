"""The two kernels of a convolution. Both are the scheme of `products`; what they do between barriers is in `fetch` and
`store`, what they look up in `plan`.

Who owns what: a block the tile that it writes, a thread its square of it, and a block its record among those of all.
No two blocks write to the same place, so nothing need be atomic, and results are the same in every run. No thread
leaves before the last `syncthreads`; where a tile sticks out of the result, it works on zeros and writes nothing.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.convolution.fetch import (
    Taps,
    fetch_gradients,
    fetch_pixels,
    fetch_seen,
    fetch_weights,
    find_taps,
)
from minicnn.backends.cuda.convolution.plan import Found, find_pixels, job_of
from minicnn.backends.cuda.convolution.sides import MASKED, MOMENTS, PLAIN
from minicnn.backends.cuda.convolution.store import (
    add_squares,
    find_means,
    store,
    store_and_add,
    store_masked,
    total_of,
    write_record,
)
from minicnn.backends.cuda.products import FULL, HALF, SPARE, add_strip, clear, column_of, own_square
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.tiles import DEPTH, PIXELS, SIDE, TILE_THREADS
from minicnn.plain import Array, Pair


@lru_cache
def convolution(real: Any, tile: Pair, source: int, sink: int, transposed: bool, strided: bool) -> Kernel:
    """The kernel of a convolution, or if `transposed` of its input gradient, for numbers of type `real`.

    x (channels in, …), weight and bias -> y (rows, …). Transposed, the roles are swapped: x is dy, and pixel r of the
    result collects from the outputs p that saw it, p * stride - padding + i = r. `strided`: whether strides are not 1.

    raw and coefficients are the second array of the source, or sink, and what goes with it; records (tiles, rows, 2).
    """
    ROWS, COLUMNS = tile
    LEFT, RIGHT, SUMS, PARTS = DEPTH * (ROWS + SPARE), DEPTH * COLUMNS, SIDE * SIDE, ROWS * COLUMNS // SIDE
    zero = real(0)

    def kernel(x: Array, x_raw: Array, x_coefficients: Array, weight: Array, bias: Array, plan: Array,
               y: Array, y_raw: Array, y_coefficients: Array, records: Array) -> None:  # fmt: skip
        left = cuda.shared.array(LEFT, real)  # a strip of weights
        right = cuda.shared.array(RIGHT, real)  # and of pixels
        heights = cuda.shared.array(COLUMNS, np.int32)
        widths = cuda.shared.array(COLUMNS, np.int32)
        tops = cuda.shared.array(COLUMNS, np.int32)
        lefts = cuda.shared.array(COLUMNS, np.int32)
        reads_at = cuda.shared.array(COLUMNS, np.int64)
        writes_at = cuda.shared.array(COLUMNS, np.int64)
        planes = cuda.shared.array(COLUMNS, np.int32)
        parts = cuda.shared.array(PARTS, real)
        parts_2 = cuda.shared.array(PARTS, real)
        means = cuda.shared.array(ROWS, real)
        sums = cuda.local.array(SUMS, real)

        job, found = job_of(plan), Found(heights, widths, tops, lefts, reads_at, writes_at, planes)
        first_row, first_pixel = cuda.blockIdx.y * ROWS, cuda.blockIdx.x * np.int64(COLUMNS)
        n_pixels = min(np.int64(COLUMNS), job.pixels - first_pixel)
        down, across = own_square(COLUMNS)
        row = first_row + down * SIDE
        clear(sums, zero)
        find_pixels(found, plan, job, first_pixel, job.pixels, transposed)

        for first_tap in range(0, job.taps, DEPTH):
            fetch_weights(left, ROWS, weight, plan, job, first_row, first_tap, zero)
            fetch_pixels(right, found, x, x_raw, x_coefficients, plan, job, first_tap,
                         source, transposed, strided, zero)  # fmt: skip
            cuda.syncthreads()
            add_strip(left, down * SIDE, ROWS + SPARE, right, across * HALF, COLUMNS, COLUMNS // 2, sums)
            cuda.syncthreads()

        if sink == PLAIN:
            store(sums, bias, y, found, row, job.rows, across, n_pixels)
        elif sink == MASKED:
            store_masked(sums, y, y_raw, y_coefficients, found, parts, parts_2,
                         row, job.rows, down, across, n_pixels, zero)  # fmt: skip
        else:
            store_and_add(sums, bias, y, found, parts, row, job.rows, down, across, n_pixels, zero)
            cuda.syncthreads()
            find_means(means, parts, COLUMNS, real(n_pixels), zero)
            cuda.syncthreads()
            add_squares(sums, means, parts_2, down, across, COLUMNS, n_pixels, zero)
        if sink != PLAIN:
            cuda.syncthreads()
            for k in range(cuda.threadIdx.x, ROWS, TILE_THREADS):
                first = means[FULL(k)] if sink == MOMENTS else total_of(parts, k, COLUMNS, zero)
                write_record(records, first_row + k, job.rows, first, total_of(parts_2, k, COLUMNS, zero))

    return kernel


@lru_cache
def weight_gradient(real: Any, tile: Pair, x_source: int, dy_source: int) -> Kernel:
    """The kernel of a convolution's weight gradient: partial sums of dweight (F, taps) over a chunk of the pixels.

    Rows are filters, columns taps, and the terms are pixels: dy[f, pixel] * x[what the tap sees from that pixel]. Block
    (., ., z) owns partial[z], the sum over pixels z * chunk to (z + 1) * chunk. The plan is the forward pass's.
    """
    ROWS, COLUMNS = tile
    LEFT, RIGHT, SUMS = DEPTH * (ROWS + SPARE), DEPTH * (COLUMNS + SPARE), SIDE * SIDE
    zero = real(0)

    def kernel(x: Array, x_coefficients: Array, dy: Array, dy_raw: Array, dy_coefficients: Array, plan: Array,
               partial: Array) -> None:  # fmt: skip
        left = cuda.shared.array(LEFT, real)  # a strip of dy
        right = cuda.shared.array(RIGHT, real)  # and of what taps see
        tap_channels = cuda.shared.array(COLUMNS, np.int32)
        tap_rows = cuda.shared.array(COLUMNS, np.int32)
        tap_columns = cuda.shared.array(COLUMNS, np.int32)
        heights = cuda.shared.array(PIXELS, np.int32)
        widths = cuda.shared.array(PIXELS, np.int32)
        tops = cuda.shared.array(PIXELS, np.int32)
        lefts = cuda.shared.array(PIXELS, np.int32)
        x_at = cuda.shared.array(PIXELS, np.int64)
        dy_at = cuda.shared.array(PIXELS, np.int64)
        planes = cuda.shared.array(PIXELS, np.int32)
        sums = cuda.local.array(SUMS, real)

        job, found = job_of(plan), Found(heights, widths, tops, lefts, x_at, dy_at, planes)
        taps = Taps(tap_channels, tap_rows, tap_columns)
        first_row, first_tap = cuda.blockIdx.y * ROWS, cuda.blockIdx.x * COLUMNS
        down, across = own_square(COLUMNS)
        clear(sums, zero)
        find_taps(taps, plan, job.taps, first_tap)

        start = cuda.blockIdx.z * job.chunk
        stop = min(start + job.chunk, job.pixels)
        for first in range(start, stop, PIXELS):
            # Nobody reads the pixels before these any more: their last strip ended with a barrier.
            find_pixels(found, plan, job, first, stop, False)
            cuda.syncthreads()
            for k in range(0, PIXELS, DEPTH):
                fetch_gradients(left, ROWS, found, k, dy, dy_raw, dy_coefficients, job.rows, first_row, dy_source, zero)
                fetch_seen(right, COLUMNS, found, k, taps, x, x_coefficients, job.channels, x_source, zero)
                cuda.syncthreads()
                add_strip(
                    left, down * SIDE, ROWS + SPARE, right, across * HALF, COLUMNS + SPARE, COLUMNS // 2, sums
                )  # fmt: skip
                cuda.syncthreads()

        for a in range(SIDE):
            row = first_row + down * SIDE + a
            for b in range(SIDE):
                tap = first_tap + column_of(b, across, COLUMNS)
                if row < job.rows and tap < job.taps:
                    at = (cuda.blockIdx.z * np.int64(job.rows) + row) * job.taps + tap
                    partial[FULL(at)] = sums[a * SIDE + b]

    return kernel
