"""Batch normalisation, per channel over all pixels of all images.

    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

    evaluation   dx = weight / sqrt(var + eps) * dy
    training     dx = weight / sqrt(var + eps) * (dy  -  mean(dy)  -  x_hat * mean(dy * x_hat))

    both         dweight = sum of dy * x_hat      dbias = sum of dy

All of it is in the dtype of x, the statistics too: on most devices float64 is slow. So that float32 suffices, squared
distances are taken from the mean of a block's own pixels, and the blocks' records are merged in `moments`. What no care
can mend: the mean itself is rounded, so x_hat is off by about |mean| / std / 2^24.

Who owns what: a block a stretch of one channel's pixels (see `stretches`); of those it writes y or dx, or it writes one
record of sums. Where a block sums, all of its threads come to the barriers, those without a pixel with 0.

Cost: memory. Statistics read x, forward reads x and writes y, backward reads x and dy twice and writes dx.
"""

from functools import lru_cache
from math import sqrt

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_like, flat
from minicnn.backends.cuda.elementwise import blocks_for, own_number, sum_over_block
from minicnn.backends.cuda.moments import Records, added, merged_moments
from minicnn.backends.cuda.runtime.device import cuda
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.stretches import cut, image_at, own_stretch
from minicnn.backends.cuda.tiles import STRETCH, THREADS


@guarded
def batchnorm2d_statistics(x):
    """Mean and *biased* variance of each channel, of the dtype of x."""
    n_stretches, numbers = cut(x)
    pairs = empty((n_stretches, x.shape[1], 2), x.dtype)
    launch(_moments(x.dtype.type), n_stretches * x.shape[1], THREADS, flat(x), pairs, *numbers)
    return merged_moments(Records(pairs, x.size // x.shape[1], STRETCH))


@guarded
def batchnorm2d_forward(x, weight, bias, mean, var, eps):
    y, (n_stretches, numbers) = empty_like(x), cut(x)
    real = x.dtype.type
    arguments = flat(x), weight, bias, mean, var, flat(y), real(eps), *numbers
    launch(_forward(real), n_stretches * x.shape[1], THREADS, *arguments)
    return y


@guarded
def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
    return _backward(dy, x, weight, mean, var, eps, from_batch=True)


@guarded
def batchnorm2d_eval_backward(dy, x, weight, mean, var, eps):
    return _backward(dy, x, weight, mean, var, eps, from_batch=False)


@guarded
def update_running_statistics_(running_mean, running_var, mean, var, count, momentum):
    """running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch."""
    real, n_channels = running_mean.dtype.type, running_mean.size
    arguments = running_mean, running_var, mean, var, real(count / (count - 1)), real(momentum), n_channels
    launch(_update, blocks_for(n_channels), THREADS, *arguments)


def _backward(dy, x, weight, mean, var, eps, from_batch):
    n_stretches, numbers = cut(x)
    real, n_channels = x.dtype.type, x.shape[1]
    records = empty((n_stretches, n_channels, 2), x.dtype)
    launch(_gradient_sums(real), n_stretches * n_channels, THREADS, flat(dy), flat(x), mean, records, *numbers)
    sums = added(records)

    dx, dweight = empty_like(dy), empty(n_channels, x.dtype)
    one_over_count = real(n_channels / x.size)
    arguments = flat(dy), flat(x), weight, mean, var, sums, flat(dx), dweight, real(eps), one_over_count, *numbers
    launch(_input_gradient(real, from_batch), n_stretches * n_channels, THREADS, *arguments)
    return dx, dweight, sums[0]


@lru_cache
def _moments(real):
    """pairs[stretch, c] = mean and sum of squared distances from it, over a stretch of channel c.

    In two passes: the second finds the stretch in the cache.
    """
    zero = real(0)

    def kernel(x, pairs, starts, n_images, n_channels, pixels):
        sums = cuda.shared.array(THREADS, real)
        squares = cuda.shared.array(THREADS, real)
        thread, total = cuda.threadIdx.x, zero
        c, first, stop = own_stretch(n_channels, pixels)
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
def _forward(real):
    def kernel(x, weight, bias, mean, var, y, eps, starts, n_images, n_channels, pixels):
        c, first, stop = own_stretch(n_channels, pixels)
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
def _gradient_sums(real):
    """records[stretch, c] = sum of dy and sum of dy * (x - mean), over a stretch of channel c."""
    zero = real(0)

    def kernel(dy, x, mean, records, starts, n_images, n_channels, pixels):
        sums = cuda.shared.array(THREADS, real)
        sums_of_products = cuda.shared.array(THREADS, real)
        thread, total, total_of_products = cuda.threadIdx.x, zero, zero
        c, first, stop = own_stretch(n_channels, pixels)
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
def _input_gradient(real, from_batch):
    """dx, and by the first block of each channel dweight. `sums` (2, C) are those of dy and of dy * (x - mean)."""

    def kernel(dy, x, weight, mean, var, sums, dx, dweight, eps, one_over_count, starts, n_images, n_channels, pixels):
        c, first, stop = own_stretch(n_channels, pixels)
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


def _update(running_mean, running_var, mean, var, unbiased, momentum, n_channels):
    """Each thread owns one channel."""
    c = own_number()
    if c < n_channels:
        channel = np.uint64(c)
        running_mean[channel] += momentum * (mean[channel] - running_mean[channel])
        running_var[channel] += momentum * (unbiased * var[channel] - running_var[channel])
