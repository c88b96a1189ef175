"""Cases of convolution, in NumPy and in loops."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array, Pair


def _integers(rng: np.random.Generator, *shape: int) -> Array:
    """Small integers, no two alike: a kernel must not be its own transpose."""
    many = math.prod(shape)
    return rng.permutation(np.arange(-(many // 2), many - many // 2 + 1.0))[:many].reshape(shape)


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)


# (label, N, C, F, image, kernel, stride, padding). One thing at a time first, on images that can be done by hand.
SMALL = (
    ("3 × 3 image, 2 × 2 kernel", 1, 1, 1, (3, 3), (2, 2), (1, 1), (0, 0)),
    ("3 × 3 image, 3 × 3 kernel, padding 1", 1, 1, 1, (3, 3), (3, 3), (1, 1), (1, 1)),
    ("2 images", 2, 1, 1, (2, 3), (2, 2), (1, 1), (0, 0)),
    ("2 channels", 1, 2, 1, (3, 3), (2, 2), (1, 1), (0, 0)),
    ("2 filters", 1, 1, 2, (3, 3), (2, 2), (1, 1), (0, 0)),
    ("stride (2, 1)", 1, 1, 1, (4, 3), (2, 2), (2, 1), (0, 0)),
    ("stride (1, 2)", 1, 1, 1, (3, 4), (2, 2), (1, 2), (0, 0)),
    ("stride 2, last row and column unused", 1, 1, 1, (5, 3), (2, 2), (2, 2), (0, 0)),
    ("padding (1, 0)", 1, 1, 1, (2, 3), (2, 2), (1, 1), (1, 0)),
    ("padding (0, 1)", 1, 1, 1, (3, 2), (2, 2), (1, 1), (0, 1)),
    ("kernel 1 × 2", 1, 1, 1, (3, 3), (1, 2), (1, 1), (0, 0)),
    ("stride 2, padding 1", 1, 1, 1, (4, 3), (2, 2), (2, 2), (1, 1)),
)
LARGE = (
    ("2 images, 2 channels, 3 filters", 2, 2, 3, (5, 6), (3, 3), (1, 1), (1, 1)),
    ("stride (2, 3), padding (1, 2), kernel 2 × 3", 3, 2, 2, (7, 9), (2, 3), (2, 3), (1, 2)),
    ("stride 2, last column unused", 2, 3, 2, (6, 8), (3, 3), (2, 2), (0, 0)),
    ("1 × 2 kernel, stride (3, 2), padding (2, 1)", 1, 2, 1, (4, 7), (1, 2), (3, 2), (2, 1)),
)


def _conv_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array, Pair, Pair]]:
    """(label, x, weight, dy, stride, padding)"""
    for draw, table in ((partial(_integers, rng), SMALL), (partial(_normal, rng), LARGE)):
        for label, n, c, f, size, kernel, stride, padding in table:
            out = [(s + 2 * pad - k) // step + 1 for s, pad, k, step in zip(size, padding, kernel, stride, strict=True)]
            yield label, draw(n, c, *size), draw(f, c, *kernel), draw(n, f, *out), stride, padding


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
