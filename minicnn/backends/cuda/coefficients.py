"""What batchnorm and relu are to do to a convolution's output y: five numbers for each channel, made and used.

Coefficients are an array (5, channels), whose rows are the names in `backends.contract`:

    z = scale * (y - mean) + shift          a = relu(z)
    dy = scale * g - c1 - c2 * (y - mean)   g the gradient at z

See `fused` for where they come from.

Who owns what: a thread its channel, or where weights are folded its weight. Cost: a few numbers for each.
"""

from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np

from minicnn.backends.contract import C1, C2, MEAN, SCALE, SHIFT, Gradient, Norm, Stored
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of
from minicnn.backends.cuda.runtime.device import Kernel, inlined
from minicnn.backends.cuda.runtime.device_array import empty, from_host, launch, zeros
from minicnn.backends.cuda.tiles import THREADS
from minicnn.plain import Array

ROWS = 5


# Used, by kernels of all kinds.


@inlined
def coefficient(coefficients: Array, row: int, c: int, channels: int) -> Any:
    """One of the five numbers of channel c."""
    return coefficients[np.uint64(row * channels + c)]


@inlined
def distance_and_z(y: Any, coefficients: Array, c: int, channels: int) -> tuple[Any, Any]:
    """y - mean, and z."""
    distance = y - coefficient(coefficients, MEAN, c, channels)
    scale, shift = coefficient(coefficients, SCALE, c, channels), coefficient(coefficients, SHIFT, c, channels)
    return distance, scale * distance + shift


@inlined
def activated(y: Any, coefficients: Array, c: int, channels: int, zero: Any) -> Any:
    """a; NaN stays."""
    _, z = distance_and_z(y, coefficients, c, channels)
    return zero if z <= zero else z


@inlined
def gradient_of_y(g: Any, y: Any, coefficients: Array, c: int, channels: int) -> Any:
    """dy"""
    distance = y - coefficient(coefficients, MEAN, c, channels)
    scale = coefficient(coefficients, SCALE, c, channels)
    c1, c2 = coefficient(coefficients, C1, c, channels), coefficient(coefficients, C2, c, channels)
    return scale * g - c1 - c2 * distance


# Made.


def coefficients_of(norm: Norm) -> Array:
    """Of a forward pass: c1 and c2 are 0."""
    n_channels = norm.weight.size
    coefficients = empty((ROWS, n_channels), norm.weight.dtype)
    real = real_of(norm.weight)
    arrays = norm.weight, norm.bias, norm.mean, norm.var, coefficients
    launch(_make_coefficients(real), blocks_for(n_channels), THREADS, *arrays, real(norm.eps), n_channels)
    return coefficients


@lru_cache
def relu_alone(n_channels: int, dtype: np.dtype[Any]) -> Array:
    """Coefficients that leave y as it is: mean 0, scale 1, shift 0."""
    coefficients = np.zeros((ROWS, n_channels), dtype)
    coefficients[SCALE] = 1
    return from_host(coefficients)


def folded(weight: Array, bias: Array | None, norm: Norm) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    real, n_filters = real_of(weight), len(weight)
    taps = weight.size // n_filters
    new_weight, new_bias = empty(weight.shape, weight.dtype), empty(n_filters, weight.dtype)
    old_bias = zeros(n_filters, weight.dtype) if bias is None else bias
    arrays = weight, old_bias, norm.weight, norm.bias, norm.mean, norm.var, new_weight, new_bias
    launch(_fold(real), blocks_for(weight.size), THREADS, *arrays, real(norm.eps), taps, weight.size)
    return new_weight, new_bias


def backward_coefficients(
    gradient: Gradient, stored: Stored, norm: Norm, from_batch: bool
) -> tuple[Array, Array, Array]:
    """Coefficients with c1 and c2, the gradient of the convolution's bias, and that of batchnorm's weight."""
    real, n_channels = real_of(stored.raw), stored.filters
    coefficients = empty((ROWS, n_channels), stored.raw.dtype)
    dbias, dweight = empty(n_channels, stored.raw.dtype), empty(n_channels, stored.raw.dtype)
    arrays = gradient.sum_g, gradient.sum_g_distance, norm.var, stored.coefficients, coefficients, dbias, dweight
    one_over_count = real(n_channels / stored.raw.size)
    body = _make_backward_coefficients(real, from_batch)
    launch(body, blocks_for(n_channels), THREADS, *arrays, real(norm.eps), one_over_count, n_channels)
    return coefficients, dbias, dweight


@lru_cache
def _make_coefficients(real: Any) -> Kernel:
    zero = real(0)

    def kernel(
        weight: Array, bias: Array, mean: Array, var: Array, coefficients: Array, eps: Any, n_channels: int
    ) -> None:
        c = own_number()
        if c < n_channels:
            coefficients[np.uint64(MEAN * n_channels + c)] = mean[np.uint64(c)]
            coefficients[np.uint64(SCALE * n_channels + c)] = weight[np.uint64(c)] / sqrt(var[np.uint64(c)] + eps)
            coefficients[np.uint64(SHIFT * n_channels + c)] = bias[np.uint64(c)]
            coefficients[np.uint64(C1 * n_channels + c)] = zero
            coefficients[np.uint64(C2 * n_channels + c)] = zero

    return kernel


@lru_cache
def _make_backward_coefficients(real: Any, from_batch: bool) -> Kernel:
    """c1 and c2 are 0 where the statistics are constants. In a batch the bias of the convolution has gradient 0."""
    zero = real(0)

    def kernel(sum_g: Array, sum_g_distance: Array, var: Array, old: Array, coefficients: Array, dbias: Array,
               dweight: Array, eps: Any, one_over_count: Any, n_channels: int) -> None:  # fmt: skip
        c = own_number()
        if c < n_channels:
            at = np.uint64(c)
            scale, spread = coefficient(old, SCALE, c, n_channels), var[at] + eps
            dweight[at] = sum_g_distance[at] / sqrt(spread)
            coefficients[np.uint64(MEAN * n_channels + c)] = coefficient(old, MEAN, c, n_channels)
            coefficients[np.uint64(SCALE * n_channels + c)] = scale
            coefficients[np.uint64(SHIFT * n_channels + c)] = coefficient(old, SHIFT, c, n_channels)
            c1, c2 = zero, zero
            if from_batch:
                c1 = scale * sum_g[at] * one_over_count
                c2 = scale * sum_g_distance[at] * one_over_count / spread
            coefficients[np.uint64(C1 * n_channels + c)] = c1
            coefficients[np.uint64(C2 * n_channels + c)] = c2
            dbias[at] = zero if from_batch else scale * sum_g[at]

    return kernel


@lru_cache
def _fold(real: Any) -> Kernel:
    def kernel(weight: Array, bias: Array, norm_weight: Array, norm_bias: Array, mean: Array, var: Array,
               new_weight: Array, new_bias: Array, eps: Any, taps: int, size: int) -> None:  # fmt: skip
        i = own_number()
        if i < size:
            f = np.uint64(i // taps)
            scale = norm_weight[f] / sqrt(var[f] + eps)
            new_weight[np.uint64(i)] = scale * weight[np.uint64(i)]
            if i % taps == 0:
                new_bias[f] = scale * (bias[f] - mean[f]) + norm_bias[f]

    return kernel
