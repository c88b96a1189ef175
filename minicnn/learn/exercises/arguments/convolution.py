"""Cases of convolution, in NumPy and in loops."""

import math
from collections.abc import Iterator

import numpy as np

from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array, Pair


def _integers(rng: np.random.Generator, *shape: int) -> Array:
    """Small integers, at most nine, no two alike: a kernel must not be its own transpose."""
    return rng.permutation(np.arange(-4.0, 5))[: math.prod(shape)].reshape(shape)


def _conv_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array, Pair, Pair]]:
    """(label, x, weight, dy, stride, padding)"""
    table = (
        ("3 × 3 image, 2 × 2 kernel", 1, 1, 1, (3, 3), (2, 2), (1, 1), (0, 0)),
        ("3 × 3 image, 3 × 3 kernel, padding 1", 1, 1, 1, (3, 3), (3, 3), (1, 1), (1, 1)),
        ("2 images, 2 channels, 3 filters", 2, 2, 3, (5, 6), (3, 3), (1, 1), (1, 1)),
        ("stride (2, 3), padding (1, 2), kernel 2 × 3", 3, 2, 2, (7, 9), (2, 3), (2, 3), (1, 2)),
        ("stride 2, last column unused", 2, 3, 2, (6, 8), (3, 3), (2, 2), (0, 0)),
        ("1 × 2 kernel, stride (3, 2), padding (2, 1)", 1, 2, 1, (4, 7), (1, 2), (3, 2), (2, 1)),
    )
    for position, (label, n, c, f, size, kernel, stride, padding) in enumerate(table):
        draw = _integers if position < 2 else lambda rng, *shape: rng.standard_normal(shape)
        out = [(s + 2 * pad - k) // step + 1 for s, pad, k, step in zip(size, padding, kernel, stride, strict=True)]
        x, weight, dy = draw(rng, n, c, *size), draw(rng, f, c, *kernel), draw(rng, n, f, *out)
        yield label, x, weight, dy, stride, padding


def conv2d_bias_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, _, dy, _, _ in _conv_sizes(rng):
        yield label, (dy,)


def conv2d_weight_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy, x, weight.shape[2:], stride, padding)


def conv2d_input_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy, weight, x.shape[2:], stride, padding)


def to_pixels(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy[0, 0], weight[0], stride, padding, x[0])


def to_weights(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy[0, 0], x[0], stride, padding, weight[0])
