"""ReLU.

    y = max(x, 0)            dx = dy where y > 0, else 0

At x = 0 the slope is taken as 0, as PyTorch takes it. NaN passes through in both directions.

It does not matter where a pixel lies, so a batch (N, C, H, W) and `Images` are flat arrays here.

Who owns what: each worker owns one chunk of the output. Cost: one pass over memory.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import CHUNK, chunks, parallel, serial
from minicnn.images import Images


@guarded
def relu_forward(x):
    if isinstance(x, Images):
        return x.like(relu_forward(x.data))
    y = np.empty_like(x)
    _forward(x.reshape(-1), y.reshape(-1), chunks(x.size))
    return y


@guarded
def relu_backward(dy, y):
    if isinstance(dy, Images):
        return dy.like(relu_backward(dy.data, y.data))
    dx = np.empty_like(dy)
    _backward(dy.reshape(-1), y.reshape(-1), dx.reshape(-1), chunks(dy.size))
    return dx


@parallel
def _forward(x, y, n_chunks):
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _forward_chunk(x[part], y[part])


@serial
def _forward_chunk(x, y):
    zero = x.dtype.type(0)
    for t in range(x.size):
        y[t] = zero if x[t] <= zero else x[t]  # written so that NaN, which compares false, is kept


@parallel
def _backward(dy, y, dx, n_chunks):
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _backward_chunk(dy[part], y[part], dx[part])


@serial
def _backward_chunk(dy, y, dx):
    zero = dy.dtype.type(0)
    for t in range(dy.size):
        dx[t] = zero if y[t] <= zero else dy[t]
