"""Sums, means and variances of channels, from records that blocks have made of parts of them.

A record holds the numbers that a block took of its part of a channel. Records are joined in a fixed order, so that the
result is the same in every run:

    sums       a + b
    moments    (mean, squares), squares being the sum of squared distances from the mean; with delta = mean_b - mean_a
               and n = n_a + n_b pixels

                   mean = mean_a + delta * n_b / n          squares = squares_a + squares_b + delta² * n_a * n_b / n

The latter are Chan's formulas (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", 1979). Nowhere is a square of a pixel itself added up, as sum(x²) / n - mean² would, which in float32
loses the variance where it is small beside the mean.

Who owns what: a block a channel's result, or in `added` one number of it. Each of its threads joins every THREADS-th
record, and then the threads' results are joined by halving, all threads coming to each of the barriers.
"""

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minicnn.backends.cuda.batches import flat
from minicnn.backends.cuda.chunks import cut, image_at, own_chunk
from minicnn.backends.cuda.elementwise import real_of, sum_over_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda, inlined
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.images import Images
from minicnn.plain import Array

Moments: TypeAlias = tuple[Any, Any, Any]  # (count, mean, squares)


class Records(NamedTuple):
    """Pairs of numbers (records, channels, 2): each record of `in_record` pixels, the last of what is left of all."""

    pairs: Array
    pixels: int
    in_record: int


def merged_moments(records: Records) -> tuple[Array, Array]:
    """Mean and biased variance (C,) from Records of (mean, squares)."""
    n_records, n_channels, _ = records.pairs.shape
    dtype = records.pairs.dtype
    mean, var = empty(n_channels, dtype), empty(n_channels, dtype)
    arguments = records.pairs, mean, var, n_records, records.in_record, records.pixels
    launch(_merge(real_of(records.pairs)), n_channels, THREADS, *arguments)
    return mean, var


def added(records: Array) -> Array:
    """Records of sums (records, channels, k) added up: (k, channels)."""
    n_records, n_channels, k = records.shape
    sums = empty((k, n_channels), records.dtype)
    launch(_add(real_of(records)), (n_channels, k), THREADS, records, sums, n_records)
    return sums


def channel_sums(batch: Array | Images) -> Array:
    """The sum of each channel over all pixels of all images, (C,)."""
    n_chunks, numbers = cut(batch)
    records = empty((n_chunks, batch.shape[1], 1), batch.dtype)
    launch(_chunk_sums(real_of(batch)), n_chunks * batch.shape[1], THREADS, flat(batch), records, *numbers)
    return added(records)[0]


@lru_cache
def _merge(real: Any) -> Kernel:
    zero = real(0)

    def kernel(pairs: Array, mean: Array, var: Array, n_records: int, in_record: int, pixels: int) -> None:
        counts = cuda.shared.array(THREADS, real)
        means = cuda.shared.array(THREADS, real)
        squares = cuda.shared.array(THREADS, real)
        c, n_channels, thread = cuda.blockIdx.x, cuda.gridDim.x, cuda.threadIdx.x
        own = zero, zero, zero
        for record in range(thread, n_records, THREADS):
            count = real(min(in_record, pixels - record * in_record))
            at = (record * n_channels + c) * 2
            own = merged(own, (count, pairs[np.uint64(at)], pairs[np.uint64(at + 1)]))
        counts[thread], means[thread], squares[thread] = own
        cuda.syncthreads()
        step = THREADS // 2
        while step > 0:
            if thread < step:
                other = counts[thread + step], means[thread + step], squares[thread + step]
                own = merged(own, other)
                counts[thread], means[thread], squares[thread] = own
            cuda.syncthreads()
            step //= 2
        if thread == 0:
            mean[np.uint64(c)], var[np.uint64(c)] = means[0], squares[0] / counts[0]

    return kernel


@inlined
def merged(a: Moments, b: Moments) -> Moments:
    """(count, mean, squares) of a and b together; either may be of no pixels."""
    if not b[0]:
        return a
    if not a[0]:
        return b
    count, delta = a[0] + b[0], b[1] - a[1]
    of_b = b[0] / count
    return count, a[1] + delta * of_b, a[2] + b[2] + delta * delta * a[0] * of_b


@lru_cache
def _add(real: Any) -> Kernel:
    zero = real(0)

    def kernel(records: Array, sums: Array, n_records: int) -> None:
        shared = cuda.shared.array(THREADS, real)
        c, n_channels, k, n_numbers = cuda.blockIdx.x, cuda.gridDim.x, cuda.blockIdx.y, cuda.gridDim.y
        thread, total = cuda.threadIdx.x, zero
        for record in range(thread, n_records, THREADS):
            total += records[np.uint64((record * n_channels + c) * n_numbers + k)]
        shared[thread] = total
        sum_over_block(shared, thread)
        if thread == 0:
            sums[np.uint64(k * n_channels + c)] = shared[0]

    return kernel


@lru_cache
def _chunk_sums(real: Any) -> Kernel:
    """records[chunk, c] = the sum over a chunk of channel c, which the block owns."""
    zero = real(0)

    def kernel(x: Array, records: Array, starts: Array, n_images: int, n_channels: int, pixels: int) -> None:
        shared = cuda.shared.array(THREADS, real)
        thread, total = cuda.threadIdx.x, zero
        c, first, stop = own_chunk(n_channels, pixels)
        end, shift = 0, 0
        for pixel in range(first + thread, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            total += x[np.uint64(pixel + shift)]
        shared[thread] = total
        sum_over_block(shared, thread)
        if thread == 0:
            records[np.uint64(cuda.blockIdx.x)] = shared[0]

    return kernel
