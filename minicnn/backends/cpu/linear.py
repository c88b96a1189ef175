"""A fully connected layer.

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

    dx = dy W                 dx[n, d] = sum over k of dy[n, k] * weight[k, d]
    dweight = dyᵀ x           dweight[k, d] = sum over n of dy[n, k] * x[n, d]
    dbias = sum of dy

Who owns what: one row of the result, that is one image in forward and input gradient, and one class in the weight
gradient, which adds up the images in order. Every inner loop runs along d, which is contiguous. Cost: N * K * D
multiply-adds each.
"""

from typing import Any

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.convolution.registers import TERMS
from minicnn.backends.cpu.runtime.jit import by_pointer, serial, serial_sum
from minicnn.backends.cpu.runtime.launch import launch, unpack
from minicnn.plain import Array


@guarded
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    y = np.empty((len(x), len(weight)), x.dtype)
    launch(_dots_of_row, (x, weight, y), weight.shape, workers=len(y), dtype=y.dtype)
    if bias is not None:
        y += bias
    return y


@guarded
def linear_input_gradient(dy: Array, weight: Array) -> Array:
    return _product(dy, weight)


@guarded
def linear_weight_gradient(dy: Array, x: Array) -> Array:
    return _product(dy.T, x)


@guarded
def linear_bias_gradient(dy: Array) -> Array:
    return dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)


def _product(a: Array, b: Array) -> Array:
    """a (rows, K) times b (K, D)."""
    product = np.empty((len(a), b.shape[1]), b.dtype)
    launch(_row_of_product, (a, b, product), b.shape, scratch_size=b.shape[1], workers=len(a), dtype=b.dtype)
    return product


@by_pointer
def _dots_of_row(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, n: int) -> None:
    """y[n, k] = sum over d of x[n, d] * weight[k, d], for all k.

    arrays: x, weight, y; numbers: K, D.
    """
    x, weight, y = arrays[:3]
    K, D = unpack(numbers, 2)
    for k in range(K):
        y[n * K + k] = _dot(weight[k * D : (k + 1) * D], x[n * D : (n + 1) * D])


@serial_sum
def _dot(a: Array, b: Array) -> Any:
    total = a.dtype.type(0)
    for d in range(a.size):
        total += a[d] * b[d]
    return total


@by_pointer
def _row_of_product(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, row: int) -> None:
    """product[row] = sum over k of a[row, k] * b[k]. arrays: a (rows, K), b (K, D), product; numbers: K, D.

    TERMS at a time are added up by themselves: one float32 sum of 20 000 loses a digit.
    """
    a, b, product = arrays[:3]
    K, D = unpack(numbers, 2)
    total, part = product[row * D : (row + 1) * D], scratch
    for first in range(0, max(K, 1), TERMS):
        of_terms = total if first == 0 else part
        for d in range(D):
            of_terms[d] = 0
        for k in range(first, min(K, first + TERMS)):
            _add_multiple(a[row * K + k], b[k * D : (k + 1) * D], of_terms)
        if first > 0:
            _add_multiple(total.dtype.type(1), part, total)


@serial
def _add_multiple(factor: float, a: Array, total: Array) -> None:
    """total += factor * a"""
    for d in range(a.size):
        total[d] += factor * a[d]
