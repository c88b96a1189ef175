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

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.convolution.vectors import TERMS
from minicnn.backends.cpu.runtime.jit import by_pointer, serial, serial_sum
from minicnn.backends.cpu.runtime.launch import launch


@guarded
def linear_forward(x, weight, bias):
    y = np.empty((len(x), len(weight)), x.dtype)
    launch(_dots_of_row, (x, weight, y), weight.shape, 0, 0, len(y), y.dtype)
    if bias is not None:
        y += bias
    return y


@guarded
def linear_input_gradient(dy, weight):
    dx = np.empty((len(dy), weight.shape[1]), dy.dtype)
    launch(_row_of_product, (dy, weight, dx), weight.shape, 0, weight.shape[1], len(dx), dx.dtype)
    return dx


@guarded
def linear_weight_gradient(dy, x):
    dweight = np.empty((dy.shape[1], x.shape[1]), dy.dtype)
    launch(_row_of_product, (dy.T, x, dweight), x.shape, 0, x.shape[1], len(dweight), dweight.dtype)
    return dweight


@guarded
def linear_bias_gradient(dy):
    return dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)


@by_pointer
def _dots_of_row(arrays, numbers, table, scratch, n):
    """y[n, k] = sum over d of x[n, d] * weight[k, d], for all k. arrays: x, weight, y."""
    x, weight, y = arrays[0], arrays[1], arrays[2]
    K, D = numbers[0], numbers[1]
    for k in range(K):
        y[n * K + k] = _dot(weight[k * D : (k + 1) * D], x[n * D : (n + 1) * D])


@serial_sum
def _dot(a, b):
    total = a.dtype.type(0)
    for d in range(a.size):
        total += a[d] * b[d]
    return total


@by_pointer
def _row_of_product(arrays, numbers, table, scratch, row):
    """total[row] = sum over k of a[row, k] * b[k]. arrays: a (rows, K), b (K, D), total (rows, D).

    TERMS at a time are added up by themselves: one float32 sum of 20 000 loses a digit.
    """
    a, b = arrays[0], arrays[1]
    K, D = numbers[0], numbers[1]
    total, part = arrays[2][row * D : (row + 1) * D], scratch
    for first in range(0, max(K, 1), TERMS):
        of_terms = total if first == 0 else part
        for d in range(D):
            of_terms[d] = 0
        for k in range(first, min(K, first + TERMS)):
            _add_multiple(a[row * K + k], b[k * D : (k + 1) * D], of_terms)
        if first > 0:
            _add_multiple(total.dtype.type(1), part, total)


@serial
def _add_multiple(factor, a, total):
    """total += factor * a"""
    for d in range(a.size):
        total[d] += factor * a[d]
