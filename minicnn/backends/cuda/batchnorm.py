"""Batch normalisation, per channel over all pixels of all images.

    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

    evaluation   dx = weight / sqrt(var + eps) * dy
    training     dx = weight / sqrt(var + eps) * (dy  -  mean(dy)  -  x_hat * mean(dy * x_hat))

    both         dweight = sum of dy * x_hat      dbias = sum of dy

All of it is in the dtype of x, the statistics too: on most devices float64 is slow. So that float32 suffices, squared
distances are taken from the mean of a block's own pixels, and the blocks' records are merged in `moments`. What no care
can mend: the mean itself is rounded, so x_hat is off by about |mean| / std / 2^24.

Who owns what: a block a chunk of one channel's pixels (see `chunks`); of those it writes y or dx, or it writes one
record of sums. Where a block sums, all of its threads come to the barriers, those without a pixel with 0.

Cost: memory. Statistics read x, forward reads x and writes y, backward reads x and dy twice and writes dx.
"""

from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_like, flat
from minicnn.backends.cuda.chunks import cut, image_at, own_chunk
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of, sum_over_block
from minicnn.backends.cuda.moments import Records, added, merged_moments
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import CHUNK, THREADS
from minicnn.images import Batch
from minicnn.plain import Array


@guarded
def batchnorm2d_statistics(x: Batch) -> tuple[Array, Array]:
    """Mean and *biased* variance of each channel, of the dtype of x."""
    n_chunks, numbers = cut(x)
    pairs = empty((n_chunks, x.shape[1], 2), x.dtype)
    launch(_moments(real_of(x)), n_chunks * x.shape[1], THREADS, flat(x), pairs, *numbers)
    return merged_moments(Records(pairs, x.size // x.shape[1], CHUNK))


@guarded
def batchnorm2d_forward(x: Batch, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Batch:
    n_chunks, numbers = cut(x)
    y = empty_like(x)
    real = real_of(x)
    arguments = flat(x), weight, bias, mean, var, flat(y), real(eps)
    launch(_forward(real), n_chunks * x.shape[1], THREADS, *arguments, *numbers)
    return y


@guarded
def batchnorm2d_train_backward(
    dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    return _backward(dy, x, weight, mean, var, eps, from_batch=True)


@guarded
def batchnorm2d_eval_backward(
    dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    return _backward(dy, x, weight, mean, var, eps, from_batch=False)


@guarded
def update_running_statistics_(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
) -> None:
    """running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch."""
    real, n_channels = real_of(running_mean), running_mean.size
    arguments = running_mean, running_var, mean, var, real(count / (count - 1)), real(momentum), n_channels
    launch(_update, blocks_for(n_channels), THREADS, *arguments)


def _backward(
    dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float, from_batch: bool
) -> tuple[Batch, Array, Array]:
    n_chunks, numbers = cut(x)
    real, n_channels = real_of(x), x.shape[1]
    records = empty((n_chunks, n_channels, 2), x.dtype)
    launch(_gradient_sums(real), n_chunks * n_channels, THREADS, flat(dy), flat(x), mean, records, *numbers)
    sums = added(records)

    dx = empty_like(dy)
    dweight = empty(n_channels, x.dtype)
    one_over_count = real(n_channels / x.size)
    arguments = flat(dy), flat(x), weight, mean, var, sums, flat(dx), dweight, real(eps), one_over_count
    launch(_input_gradient(real, from_batch), n_chunks * n_channels, THREADS, *arguments, *numbers)
    return dx, dweight, sums[0]


@lru_cache
def _moments(real: Any) -> Kernel:
    """pairs[chunk, c] = mean and sum of squared distances from it, over a chunk of channel c.

    In two passes: the second finds the chunk in the cache.
    """
    zero = real(0)

    def kernel(x: Array, pairs: Array, starts: Array, n_images: int, n_channels: int, pixels: int) -> None:
        sums = cuda.shared.array(THREADS, real)
        squares = cuda.shared.array(THREADS, real)
        thread, total = cuda.threadIdx.x, zero
        c, first, stop = own_chunk(n_channels, pixels)
        end, shift = 0, 0
        for pixel in range(first + thread, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            total += x[np.uint64(pixel + shift)]
        sums[thread] = total
        sum_over_block(sums, thread)
        mean, total = sums[0] / real(stop - first), zero
        end = 0
        for pixel in range(first + thread, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            distance = x[np.uint64(pixel + shift)] - mean
            total += distance * distance
        squares[thread] = total
        sum_over_block(squares, thread)
        if thread == 0:
            at = np.int64(cuda.blockIdx.x) * 2
            pairs[np.uint64(at)], pairs[np.uint64(at + 1)] = mean, squares[0]

    return kernel


@lru_cache
def _forward(real: Any) -> Kernel:
    def kernel(x: Array, weight: Array, bias: Array, mean: Array, var: Array, y: Array, eps: Any, starts: Array,
               n_images: int, n_channels: int, pixels: int) -> None:  # fmt: skip
        c, first, stop = own_chunk(n_channels, pixels)
        channel = np.uint64(c)
        center, offset = mean[channel], bias[channel]
        scale = weight[channel] / sqrt(var[channel] + eps)
        end, shift = 0, 0
        for pixel in range(first + cuda.threadIdx.x, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            y[np.uint64(pixel + shift)] = (x[np.uint64(pixel + shift)] - center) * scale + offset

    return kernel


@lru_cache
def _gradient_sums(real: Any) -> Kernel:
    """records[chunk, c] = sum of dy and sum of dy * (x - mean), over a chunk of channel c."""
    zero = real(0)

    def kernel(dy: Array, x: Array, mean: Array, records: Array, starts: Array, n_images: int, n_channels: int,
               pixels: int) -> None:  # fmt: skip
        sums = cuda.shared.array(THREADS, real)
        sums_of_products = cuda.shared.array(THREADS, real)
        thread, total, total_of_products = cuda.threadIdx.x, zero, zero
        c, first, stop = own_chunk(n_channels, pixels)
        center = mean[np.uint64(c)]
        end, shift = 0, 0
        for pixel in range(first + thread, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            number = dy[np.uint64(pixel + shift)]
            total += number
            total_of_products += number * (x[np.uint64(pixel + shift)] - center)
        sums[thread], sums_of_products[thread] = total, total_of_products
        sum_over_block(sums, thread)
        sum_over_block(sums_of_products, thread)
        if thread == 0:
            at = np.int64(cuda.blockIdx.x) * 2
            records[np.uint64(at)], records[np.uint64(at + 1)] = sums[0], sums_of_products[0]

    return kernel


@lru_cache
def _input_gradient(real: Any, from_batch: bool) -> Kernel:
    """dx, and by the first block of each channel dweight. `sums` (2, C) are those of dy and of dy * (x - mean)."""

    def kernel(dy: Array, x: Array, weight: Array, mean: Array, var: Array, sums: Array, dx: Array, dweight: Array,
               eps: Any, one_over_count: Any, starts: Array, n_images: int, n_channels: int,
               pixels: int) -> None:  # fmt: skip
        c, first, stop = own_chunk(n_channels, pixels)
        channel, thread = np.uint64(c), cuda.threadIdx.x
        sum_of_products, spread = sums[np.uint64(n_channels + c)], var[channel] + eps
        scale = weight[channel] / sqrt(spread)
        center = mean[channel]
        via_mean = sums[channel] * one_over_count
        via_variance = sum_of_products * one_over_count / spread  # times (x - mean), so that x_hat is not formed
        if first == 0 and thread == 0:
            dweight[channel] = sum_of_products / sqrt(spread)
        end, shift = 0, 0
        for pixel in range(first + thread, stop, THREADS):
            if pixel >= end:
                end, shift = image_at(pixel, c, starts, n_images, n_channels)
            number = dy[np.uint64(pixel + shift)]
            if from_batch:
                number -= via_mean + (x[np.uint64(pixel + shift)] - center) * via_variance
            dx[np.uint64(pixel + shift)] = scale * number

    return kernel


def _update(running_mean: Array, running_var: Array, mean: Array, var: Array, unbiased: Any, momentum: Any,
            n_channels: int) -> None:  # fmt: skip
    """Each thread owns one channel."""
    c = own_number()
    if c < n_channels:
        channel = np.uint64(c)
        running_mean[channel] += momentum * (mean[channel] - running_mean[channel])
        running_var[channel] += momentum * (unbiased * var[channel] - running_var[channel])
