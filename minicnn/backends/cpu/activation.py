"""ReLU.

    y = max(x, 0)            dx = dy where y > 0, else 0

At x = 0 the slope is taken as 0, as PyTorch takes it. NaN passes through in both directions.

It does not matter where a pixel lies, so a batch (N, C, H, W) and `Images` are flat arrays here.

Who owns what: each worker owns one chunk of the output. Cost: one pass over memory.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import batch_like, flat
from minicnn.backends.cpu.runtime.jit import CHUNK, chunks, parallel, serial
from minicnn.images import Batch
from minicnn.plain import Array


@guarded
def relu_forward(x: Batch) -> Batch:
    y = np.empty_like(flat(x))
    _forward(flat(x), y, chunks(x.size))
    return batch_like(x, y)


@guarded
def relu_backward(dy: Batch, y: Batch) -> Batch:
    dx = np.empty_like(flat(dy))
    _backward(flat(dy), flat(y), dx, chunks(dy.size))
    return batch_like(dy, dx)


@parallel
def _forward(x: Array, y: Array, n_chunks: int) -> None:
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _forward_chunk(x[part], y[part])


@serial
def _forward_chunk(x: Array, y: Array) -> None:
    zero = x.dtype.type(0)
    for t in range(x.size):
        y[t] = zero if x[t] <= zero else x[t]  # written so that NaN, which compares false, is kept


@parallel
def _backward(dy: Array, y: Array, dx: Array, n_chunks: int) -> None:
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _backward_chunk(dy[part], y[part], dx[part])


@serial
def _backward_chunk(dy: Array, y: Array, dx: Array) -> None:
    zero = dy.dtype.type(0)
    for t in range(dy.size):
        dx[t] = zero if y[t] <= zero else dy[t]
