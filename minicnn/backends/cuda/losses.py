"""Negative log-likelihood, with class weights w and label smoothing e, averaged as PyTorch averages.

With total = sum over images of w[t[n]],

    loss = -1 / total * sum over n of ((1 - e) * w[t[n]] * log_p[n, t[n]]  +  e / K * sum over k of w[k] * log_p[n, k])

The gradient is with respect to log_p. The sums are taken in two steps: a few blocks add up their terms, and then one
block the sums of all, each by halving, so that the result is the same in every run. One number goes to the host, for
the gradient none. Who owns what: a block its pair of sums, a thread its number of d_log_p.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded, to_numpy
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of, sum_over_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import MOST_BLOCKS, THREADS
from minicnn.plain import Array


@guarded
def nll_loss_forward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
    real, n_classes = real_of(log_p), log_p.shape[1]
    blocks = min(blocks_for(log_p.size), MOST_BLOCKS)
    partial, loss = empty((blocks, 2), log_p.dtype), empty(1, log_p.dtype)
    of_target, of_every = real(1 - label_smoothing), real(label_smoothing / n_classes)
    arrays = log_p, targets, class_weights, partial
    launch(_add_terms(real, label_smoothing > 0), blocks, THREADS, *arrays, of_target, of_every, n_classes, log_p.size)
    launch(_finish(real), 1, THREADS, partial, loss, blocks)
    return float(to_numpy(loss)[0])


@guarded
def nll_loss_backward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> Array:
    real, (n_images, n_classes) = real_of(log_p), log_p.shape
    total, d_log_p = empty(1, log_p.dtype), empty(log_p.shape, log_p.dtype)
    of_target, of_every = real(1 - label_smoothing), real(label_smoothing / n_classes)
    launch(_total_weight(real), 1, THREADS, targets, class_weights, total, n_images)
    arrays = targets, class_weights, total, d_log_p
    launch(_gradient, blocks_for(log_p.size), THREADS, *arrays, of_target, of_every, n_classes, log_p.size)
    return d_log_p


@lru_cache
def _add_terms(real: Any, smoothed: bool) -> Kernel:
    """partial[block] = (its share of the sum in the loss, its share of total); terms are the numbers of log_p."""
    zero = real(0)

    def kernel(log_p: Array, targets: Array, class_weights: Array, partial: Array, of_target: Any, of_every: Any,
               n_classes: int, size: int) -> None:  # fmt: skip
        sums = cuda.shared.array(THREADS, real)
        totals = cuda.shared.array(THREADS, real)
        thread, weighted, total = cuda.threadIdx.x, zero, zero
        for i in range(own_number(), size, cuda.gridDim.x * THREADS):
            k = i % n_classes
            weight = class_weights[np.uint64(k)]
            if k == targets[np.uint64(i // n_classes)]:
                weighted += of_target * weight * log_p[np.uint64(i)]
                total += weight
            if smoothed:  # not 0 * log_p: log_p may be -inf where no target points
                weighted += of_every * weight * log_p[np.uint64(i)]
        sums[thread], totals[thread] = weighted, total
        sum_over_block(sums, thread)
        sum_over_block(totals, thread)
        if thread == 0:
            partial[np.uint64(2 * cuda.blockIdx.x)] = sums[0]
            partial[np.uint64(2 * cuda.blockIdx.x + 1)] = totals[0]

    return kernel


@lru_cache
def _finish(real: Any) -> Kernel:
    """loss = -sum / total, of the sums of all blocks."""
    zero = real(0)

    def kernel(partial: Array, loss: Array, n_partial: int) -> None:
        sums = cuda.shared.array(THREADS, real)
        totals = cuda.shared.array(THREADS, real)
        thread, weighted, total = cuda.threadIdx.x, zero, zero
        for block in range(thread, n_partial, THREADS):
            weighted += partial[np.uint64(2 * block)]
            total += partial[np.uint64(2 * block + 1)]
        sums[thread], totals[thread] = weighted, total
        sum_over_block(sums, thread)
        sum_over_block(totals, thread)
        if thread == 0:
            loss[0] = -sums[0] / totals[0]

    return kernel


@lru_cache
def _total_weight(real: Any) -> Kernel:
    zero = real(0)

    def kernel(targets: Array, class_weights: Array, total: Array, n_images: int) -> None:
        sums = cuda.shared.array(THREADS, real)
        thread, weight = cuda.threadIdx.x, zero
        for n in range(thread, n_images, THREADS):
            weight += class_weights[np.uint64(targets[np.uint64(n)])]
        sums[thread] = weight
        sum_over_block(sums, thread)
        if thread == 0:
            total[0] = sums[0]

    return kernel


def _gradient(targets: Array, class_weights: Array, total: Array, d_log_p: Array, of_target: Any, of_every: Any,
              n_classes: int, size: int) -> None:  # fmt: skip
    i = own_number()
    if i < size:
        k = i % n_classes
        share = of_every
        if k == targets[np.uint64(i // n_classes)]:
            share += of_target
        d_log_p[np.uint64(i)] = -share * class_weights[np.uint64(k)] / total[0]
