"""Rung 1, the definition: seven loops, and in the middle one multiplication.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x[n, c, p * sh - ph + i, q * sw - pw + j]

Every product of the forward pass sends, in the backward passes, one message to its pixel and one to its weight. So all
three passes are the same loops around another line.

Who owns what: forward and input gradient, one image; weight gradient, one filter.
"""

from functools import partial

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import parallel, serial
from minicnn.geometry import output_size
from minicnn.plain import Array, Pair


@partial(guarded, name="conv2d_forward")
def forward(x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Array:
    out_size = map(output_size, x.shape[2:], weight.shape[2:], stride, padding)
    y = np.zeros((len(x), len(weight), *out_size), x.dtype)
    _forward(x, weight, stride, padding, y)
    if bias is not None:
        y += bias[:, None, None]
    return y


@partial(guarded, name="conv2d_input_gradient")
def input_gradient(dy: Array, weight: Array, input_size: Pair, stride: Pair, padding: Pair) -> Array:
    dx = np.zeros((len(dy), weight.shape[1], *input_size), dy.dtype)
    _input_gradient(dy, weight, stride, padding, dx)
    return dx


@partial(guarded, name="conv2d_weight_gradient")
def weight_gradient(dy: Array, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    dweight = np.zeros((dy.shape[1], x.shape[1], *kernel_size), dy.dtype)
    _weight_gradient(dy, x, stride, padding, dweight)
    return dweight


@parallel
def _forward(x: Array, weight: Array, stride: Pair, padding: Pair, y: Array) -> None:
    for n in prange(len(x)):
        for f in range(len(weight)):
            _convolve(x[n], weight[f], stride, padding, y[n, f])


@serial
def _convolve(x: Array, weight: Array, stride: Pair, padding: Pair, y: Array) -> None:
    """One image (C, H, W) and one filter (C, KH, KW), adding to y (OH, OW)."""
    n_channels, kernel_h, kernel_w = weight.shape
    for c in range(n_channels):
        for p in range(y.shape[0]):
            for q in range(y.shape[1]):
                for i in range(kernel_h):
                    for j in range(kernel_w):
                        r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j
                        if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                            y[p, q] += weight[c, i, j] * x[c, r, s]


@parallel
def _input_gradient(dy: Array, weight: Array, stride: Pair, padding: Pair, dx: Array) -> None:
    for n in prange(len(dy)):
        for f in range(len(weight)):
            _to_pixels(dy[n, f], weight[f], stride, padding, dx[n])


@serial
def _to_pixels(dy: Array, weight: Array, stride: Pair, padding: Pair, dx: Array) -> None:
    """One image and one filter: dy (OH, OW), weight (C, KH, KW), adding to dx (C, H, W)."""
    n_channels, kernel_h, kernel_w = weight.shape
    for c in range(n_channels):
        for p in range(dy.shape[0]):
            for q in range(dy.shape[1]):
                for i in range(kernel_h):
                    for j in range(kernel_w):
                        r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j
                        if 0 <= r < dx.shape[1] and 0 <= s < dx.shape[2]:
                            # learn: what this product of the forward pass sends to its pixel
                            dx[c, r, s] += weight[c, i, j] * dy[p, q]


@parallel
def _weight_gradient(dy: Array, x: Array, stride: Pair, padding: Pair, dweight: Array) -> None:
    for f in prange(len(dweight)):
        for n in range(len(x)):
            _to_weights(dy[n, f], x[n], stride, padding, dweight[f])


@serial
def _to_weights(dy: Array, x: Array, stride: Pair, padding: Pair, dweight: Array) -> None:
    """One image and one filter: dy (OH, OW), x (C, H, W), adding to dweight (C, KH, KW)."""
    n_channels, kernel_h, kernel_w = dweight.shape
    for c in range(n_channels):
        for p in range(dy.shape[0]):
            for q in range(dy.shape[1]):
                for i in range(kernel_h):
                    for j in range(kernel_w):
                        r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j
                        if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
                            dweight[c, i, j] += x[c, r, s] * dy[p, q]
