"""Kernels that go over the planes of an activation: out of the fused form, and its maximum; each with its backward.

A *plane* is one channel of one image; plane k is channel k % F of image k // F. Who owns what: a thread its numbers of
a plane, where a plane's maximum is sought or sums are taken a block its plane, or its share of it. Cost: a pass over
memory.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.contract import Stored
from minicnn.backends.cuda.batches import image_table
from minicnn.backends.cuda.coefficients import activated, distance_and_z
from minicnn.backends.cuda.elementwise import beats, blocks_for, sum_over_block, winner_of_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda, inlined
from minicnn.backends.cuda.runtime.device_array import constant
from minicnn.backends.cuda.tiles import MOST_BLOCKS, THREADS
from minicnn.plain import Array, Pair


def table_of(stored: Stored) -> Array:
    """The images of an activation, for kernels."""
    return constant(image_table(stored.sizes))


def planes_of(stored: Stored) -> Pair:
    """Blocks (N * F, some for each plane)."""
    largest = int(stored.sizes.prod(axis=1).max())
    return len(stored.sizes) * stored.filters, min(blocks_for(largest), MOST_BLOCKS)


@lru_cache
def activate(real: Any) -> Kernel:
    """y = relu(z). Each thread owns every so many numbers of its plane."""
    zero = real(0)

    def kernel(raw: Array, coefficients: Array, images: Array, y: Array, n_channels: int) -> None:
        c, area, start = plane_of(cuda.blockIdx.x, images, n_channels)
        for pixel in range(own_pixel(), area, cuda.gridDim.y * THREADS):
            at = np.uint64(start + pixel)
            y[at] = activated(raw[at], coefficients, c, n_channels, zero)

    return kernel


@lru_cache
def mask(real: Any) -> Kernel:
    """g = da where z > 0, else 0; and a record for each block of its sums of g and g * (y - mean)."""
    zero = real(0)

    def kernel(da: Array, raw: Array, coefficients: Array, images: Array, g: Array, records: Array,
               n_channels: int) -> None:  # fmt: skip
        sums = cuda.shared.array(THREADS, real)
        sums_2 = cuda.shared.array(THREADS, real)
        thread = cuda.threadIdx.x
        c, area, start = plane_of(cuda.blockIdx.x, images, n_channels)
        total, total_2 = zero, zero
        for pixel in range(own_pixel(), area, cuda.gridDim.y * THREADS):
            at = np.uint64(start + pixel)
            distance, z = distance_and_z(raw[at], coefficients, c, n_channels)
            number = zero if z <= zero else da[at]
            g[at] = number
            total += number
            total_2 += number * distance
        sums[thread], sums_2[thread] = total, total_2
        sum_over_block(sums, thread)
        sum_over_block(sums_2, thread)
        if thread == 0:
            record = cuda.blockIdx.x // n_channels * cuda.gridDim.y + cuda.blockIdx.y
            records[np.uint64((record * n_channels + c) * 2)] = sums[0]
            records[np.uint64((record * n_channels + c) * 2 + 1)] = sums_2[0]

    return kernel


@lru_cache
def peak(real: Any) -> Kernel:
    """A block finds the largest relu(z) of its plane: first each thread of its own pixels, then by halving.

    As in `pooling` the first of equals wins, and the last NaN over everything.
    """
    zero = real(0)

    def kernel(raw: Array, coefficients: Array, images: Array, y: Array, peaks: Array, n_channels: int) -> None:
        values = cuda.shared.array(THREADS, real)
        places = cuda.shared.array(THREADS, np.int32)
        thread, plane = cuda.threadIdx.x, cuda.blockIdx.x
        c, area, start = plane_of(plane, images, n_channels)
        best, place = zero, area  # no a is below 0, and every pixel is before this place
        for pixel in range(thread, area, THREADS):
            a = activated(raw[np.uint64(start + pixel)], coefficients, c, n_channels, zero)
            if beats(a, pixel, best, place):
                best, place = a, pixel
        values[thread], places[thread] = best, place
        winner_of_block(values, places, thread)
        if thread == 0:
            y[np.uint64(plane)], peaks[np.uint64(plane)] = values[0], places[0]

    return kernel


@lru_cache
def peak_gradient(real: Any) -> Kernel:
    """g is dy at the peak, if z > 0 there, and 0 elsewhere. The record of a plane is written by the peak's thread."""
    zero = real(0)

    def kernel(dy: Array, peaks: Array, raw: Array, coefficients: Array, images: Array, g: Array, records: Array,
               n_channels: int) -> None:  # fmt: skip
        plane = cuda.blockIdx.x
        c, area, start = plane_of(plane, images, n_channels)
        for pixel in range(own_pixel(), area, cuda.gridDim.y * THREADS):
            number = zero
            if pixel == peaks[np.uint64(plane)]:
                distance, z = distance_and_z(raw[np.uint64(start + pixel)], coefficients, c, n_channels)
                number = zero if z <= zero else dy[np.uint64(plane)]
                records[np.uint64(plane * 2)] = number
                records[np.uint64(plane * 2 + 1)] = number * distance
            g[np.uint64(start + pixel)] = number

    return kernel


@inlined
def plane_of(plane: int, images: Array, n_channels: int) -> tuple[int, int, int]:
    """Channel, area, and first number of a plane."""
    n = plane // n_channels
    area = images[np.uint64(n * 3)] * images[np.uint64(n * 3 + 1)]
    c = plane - n * n_channels
    return c, area, images[np.uint64(n * 3 + 2)] * n_channels + c * area


@inlined
def own_pixel() -> int:
    """The pixel of its plane that this thread begins with; the next is gridDim.y * THREADS further."""
    return cuda.blockIdx.y * THREADS + cuda.threadIdx.x
