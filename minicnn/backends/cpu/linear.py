"""A fully connected layer.

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

    dx = dy W                 dx[n, d] = sum over k of dy[n, k] * weight[k, d]
    dweight = dyᵀ x           dweight[k, d] = sum over n of dy[n, k] * x[n, d]
    dbias = sum of dy

Three products of matrices, for which nothing is turned in memory: see `products`, also for who owns what. Cost: N K D
multiply-adds each.
"""

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.products import product
from minicnn.plain import Array


@guarded
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    y = product(x, weight, b_turned=True)
    if bias is not None:
        y += bias
    return y


@guarded
def linear_input_gradient(dy: Array, weight: Array) -> Array:
    return product(dy, weight)


@guarded
def linear_weight_gradient(dy: Array, x: Array) -> Array:
    return product(dy, x, a_turned=True)


@guarded
def linear_bias_gradient(dy: Array) -> Array:
    return dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)
