"""Log-softmax over the classes.

    y = (x - m) - log(sum of exp(x - m))          m = max of x, so that exp never overflows
    dx = dy - exp(y) * sum of dy                  exp(y) is the softmax

Who owns what: a block a row, each of its threads every THREADS-th number. Maximum and sum are first taken by each
thread over its own numbers and then over the block by halving, where all threads wait for one another. Cost: one exp
for each number, forward and backward.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.elementwise import real_of, sum_over_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda, inlined
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.plain import Array


@guarded
def log_softmax_forward(x: Array) -> Array:
    y = empty(x.shape, x.dtype)
    launch(_forward(real_of(x)), len(x), THREADS, x, y, x.shape[1])
    return y


@guarded
def log_softmax_backward(dy: Array, y: Array) -> Array:
    dx = empty(dy.shape, dy.dtype)
    launch(_backward(real_of(dy)), len(dy), THREADS, dy, y, dx, dy.shape[1])
    return dx


@inlined
def largest_of_block(shared: Array, thread: int) -> None:
    """The largest of the THREADS numbers of `shared` goes to shared[0], as in `sum_over_block`."""
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if thread < step:
            shared[thread] = max(shared[thread], shared[thread + step])
        cuda.syncthreads()
        step //= 2


@lru_cache
def _forward(real: Any) -> Kernel:
    """Whether the maximum sees a NaN does not matter: the sum does."""
    zero, lowest = real(0), real(-np.inf)

    def kernel(x: Array, y: Array, n_classes: int) -> None:
        maxima = cuda.shared.array(THREADS, real)
        sums = cuda.shared.array(THREADS, real)
        thread, start = cuda.threadIdx.x, cuda.blockIdx.x * n_classes
        maximum = lowest
        for k in range(thread, n_classes, THREADS):
            maximum = max(maximum, x[np.uint64(start + k)])
        maxima[thread] = maximum
        largest_of_block(maxima, thread)
        maximum = maxima[0]
        total = zero
        for k in range(thread, n_classes, THREADS):
            total += math.exp(x[np.uint64(start + k)] - maximum)
        sums[thread] = total
        sum_over_block(sums, thread)
        log_sum = math.log(sums[0])
        for k in range(thread, n_classes, THREADS):
            y[np.uint64(start + k)] = (x[np.uint64(start + k)] - maximum) - log_sum

    return kernel


@lru_cache
def _backward(real: Any) -> Kernel:
    zero = real(0)

    def kernel(dy: Array, y: Array, dx: Array, n_classes: int) -> None:
        sums = cuda.shared.array(THREADS, real)
        thread, start = cuda.threadIdx.x, cuda.blockIdx.x * n_classes
        total = zero
        for k in range(thread, n_classes, THREADS):
            total += dy[np.uint64(start + k)]
        sums[thread] = total
        sum_over_block(sums, thread)
        for k in range(thread, n_classes, THREADS):
            at = np.uint64(start + k)
            dx[at] = dy[at] - math.exp(y[at]) * sums[0]

    return kernel
