"""A fully connected layer; the products are those of `matrix`.

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of x[n, d] * weight[k, d]

    dx = dy W                 dx[n, d] = sum over k of dy[n, k] * weight[k, d]
    dweight = dyᵀ x           dweight[k, d] = sum over n of dy[n, k] * x[n, d]
    dbias = sum of dy         a thread owns a class, or where there are many images, the class in a chunk of them

Cost: N * K * D multiply-adds each, and for dbias N * K additions.
"""

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.elementwise import blocks_for, own_number
from minicnn.backends.cuda.matrix import product
from minicnn.backends.cuda.products import add_partial_sums
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import COLUMN_CHUNK, THREADS
from minicnn.plain import Array


@guarded
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    n_classes, n_features = weight.shape
    return product((x, n_features, 1), (weight, n_features, 1), bias, (len(x), n_classes), terms=n_features)


@guarded
def linear_input_gradient(dy: Array, weight: Array) -> Array:
    n_classes, n_features = weight.shape
    return product((dy, n_classes, 1), (weight, 1, n_features), None, (len(dy), n_features), terms=n_classes)


@guarded
def linear_weight_gradient(dy: Array, x: Array) -> Array:
    n_classes, n_features = dy.shape[1], x.shape[1]
    return product((dy, 1, n_classes), (x, 1, n_features), None, (n_classes, n_features), terms=len(dy))


@guarded
def linear_bias_gradient(dy: Array) -> Array:
    n_images, n_classes = dy.shape
    chunks = -(-n_images // COLUMN_CHUNK)
    partial = empty((chunks, n_classes), dy.dtype)
    launch(_sum_chunks, blocks_for(partial.size), THREADS, dy, partial, n_images, n_classes, partial.size)
    if chunks == 1:
        return partial.reshape(n_classes)
    dbias = empty(n_classes, dy.dtype)
    launch(add_partial_sums, blocks_for(n_classes), THREADS, partial, dbias, n_classes, chunks)
    return dbias


def _sum_chunks(dy: Array, partial: Array, n_images: int, n_classes: int, size: int) -> None:
    """partial[s, k] = sum of dy[n, k] over the images of chunk s, in order."""
    i = own_number()
    if i < size:
        k, first = i % n_classes, i // n_classes * COLUMN_CHUNK
        number = dy[np.uint64(first * n_classes + k)]
        for n in range(first + 1, min(first + COLUMN_CHUNK, n_images)):
            number += dy[np.uint64(n * n_classes + k)]
        partial[np.uint64(i)] = number
