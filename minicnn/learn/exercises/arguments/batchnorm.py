"""Cases of batch normalisation."""

from collections.abc import Iterator

import numpy as np

from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array


def _batchnorm_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array]]:
    """(label, dy, x, weight)"""
    x = np.array([[[[1.0, 3], [5, 7]]]])
    yield "one image of 2 × 2", np.array([[[[1.0, 0], [0, 2]]]]), x, np.array([2.0])
    yield "2 images of 1 × 2", np.array([[[[1.0, 0]]], [[[-2, 3]]]]), x.reshape(2, 1, 1, 2), np.array([3.0])
    two = np.array([[[[1.0, 2, 6]], [[4, 0, 2]]]])
    yield "2 channels of 1 × 3", np.array([[[[1.0, 0, 2]], [[-1, 3, 0]]]]), two, np.array([2.0, -3.0])
    for shape in ((3, 2, 4, 5), (4, 3, 2, 2)):
        dy, x = rng.standard_normal(shape), 3 * rng.standard_normal(shape) + 1
        yield f"shape {shape}", dy, x, rng.uniform(0.5, 2, shape[1])


EPS = 0.5  # large, so that forgetting it shows


def batchnorm2d_train_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, dy, x, weight in _batchnorm_sizes(rng):
        yield label, (dy, x, weight, x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), EPS)


def batchnorm2d_eval_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, dy, x, weight in _batchnorm_sizes(rng):
        mean, var = rng.standard_normal(len(weight)), rng.uniform(0.5, 3, len(weight))
        yield label, (dy, x, weight, mean, var, EPS)


def update_running_statistics_(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([0.0]), np.array([1.0]), np.array([10.0]), np.array([4.0]), 5, 0.1)
    for count in (2, 40):
        running_mean, mean = rng.standard_normal((2, 3))
        running_var, var = rng.uniform(0.5, 3, (2, 3))
        yield f"{count} values for each channel", (running_mean, running_var, mean, var, count, 0.2)
