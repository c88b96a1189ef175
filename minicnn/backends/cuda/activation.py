"""ReLU.

    y = max(x, 0)            dx = dy where y > 0, else 0

NaN passes through in both directions. Who owns what: each thread one number. Cost: one pass over memory.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_like, flat
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of
from minicnn.backends.cuda.runtime.device import Kernel
from minicnn.backends.cuda.runtime.device_array import launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.images import Batch
from minicnn.plain import Array


@guarded
def relu_forward(x: Batch) -> Batch:
    y = empty_like(x)
    launch(_forward(real_of(x)), blocks_for(x.size), THREADS, flat(x), flat(y), x.size)
    return y


@guarded
def relu_backward(dy: Batch, y: Batch) -> Batch:
    dx = empty_like(dy)
    launch(_backward(real_of(dy)), blocks_for(dy.size), THREADS, flat(dy), flat(y), flat(dx), dy.size)
    return dx


@lru_cache
def _forward(real: Any) -> Kernel:
    zero = real(0)

    def kernel(x: Array, y: Array, size: int) -> None:
        i = own_number()
        if i < size:
            number = x[np.uint64(i)]
            y[np.uint64(i)] = zero if number <= zero else number

    return kernel


@lru_cache
def _backward(real: Any) -> Kernel:
    zero = real(0)

    def kernel(dy: Array, y: Array, dx: Array, size: int) -> None:
        i = own_number()
        if i < size:
            dx[np.uint64(i)] = zero if y[np.uint64(i)] <= zero else dy[np.uint64(i)]

    return kernel
