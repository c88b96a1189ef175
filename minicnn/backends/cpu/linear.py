"""A fully connected layer.

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

    dx = dy W                 dx[n, d] = sum over k of dy[n, k] * weight[k, d]
    dweight = dyᵀ x           dweight[k, d] = sum over n of dy[n, k] * x[n, d]
    dbias = sum of dy

Who owns what: one row of the result, that is one image in forward and input gradient, and one class in the weight
gradient, which adds up the images in order. Every inner loop runs along d, which is contiguous. Cost: N * K * D
multiply-adds each.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.jit import parallel, serial, serial_sum


def linear_forward(x, weight, bias):
    y = np.empty((len(x), len(weight)), x.dtype)
    _forward(x, weight, y)
    if bias is not None:
        y += bias
    return y


def linear_input_gradient(dy, weight):
    dx = np.zeros((len(dy), weight.shape[1]), dy.dtype)
    _add_product(dy, weight, dx)
    return dx


def linear_weight_gradient(dy, x):
    dweight = np.zeros((dy.shape[1], x.shape[1]), dy.dtype)
    _add_product(np.ascontiguousarray(dy.T), x, dweight)
    return dweight


def linear_bias_gradient(dy):
    return dy.sum(axis=0)


@parallel
def _forward(x, weight, y):
    for n in prange(len(x)):
        for k in range(len(weight)):
            y[n, k] = _dot(weight[k], x[n])


@serial_sum
def _dot(a, b):
    total = a.dtype.type(0)
    for d in range(a.size):
        total += a[d] * b[d]
    return total


@parallel
def _add_product(a, b, total):
    """total += a b for matrices a (rows, inner), b (inner, D), total (rows, D)."""
    for row in prange(len(total)):
        for inner in range(len(b)):
            _add_multiple(a[row, inner], b[inner], total[row])


@serial
def _add_multiple(factor, a, total):
    """total += factor * a"""
    for d in range(a.size):
        total[d] += factor * a[d]
