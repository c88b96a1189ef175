"""Cases of the fully connected layer, ReLU, log-softmax and its loss."""

from collections.abc import Iterator

import numpy as np

from minicnn.backends.reference.log_softmax import log_softmax_forward as log_softmax_forward_of
from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array

# Every axis of another length, and no sum twice, so that no mistake is right by chance.
HAND_X, HAND_DY = np.array([[1.0, 2, 0, 3], [4, 1, 2, -1]]), np.array([[1.0, -1, 2], [2, 3, -2]])
HAND_WEIGHT = np.array([[1.0, 0, 2, -1], [3, 1, 0, 2], [0, -2, 1, 1]])


def _linear_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array]]:
    yield "small", HAND_X.copy(), HAND_WEIGHT.copy(), HAND_DY.copy()
    for n_images, n_in, n_out in ((5, 4, 3), (3, 4, 4), (1, 2, 6), (4, 3, 1), (2, 1, 3)):
        x, weight, dy = (rng.standard_normal(size) for size in ((n_images, n_in), (n_out, n_in), (n_images, n_out)))
        yield f"{n_images} images, {n_in} inputs, {n_out} outputs", x, weight, dy


def linear_bias_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, _, dy in _linear_sizes(rng):
        yield label, (dy,)


def linear_weight_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, _, dy in _linear_sizes(rng):
        yield label, (dy, x)


def linear_input_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, weight, dy in _linear_sizes(rng):
        yield label, (dy, weight)


def relu_backward(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([[5.0, -6, 7, 8]]), np.array([[3.0, 2, 0, 0]]))
    yield "y from tiny to large", (np.array([1.0, 2, -3, 4, 5, 6]), np.array([1e-9, 0.004, 0.5, 6, 50, 1e6]))
    yield "-0 and 0", (np.array([1.0, 2, -3]), np.array([0.0, -0.0, 1]))
    for shape in ((4, 7), (2, 3, 4, 5)):
        yield f"shape {shape}", (rng.standard_normal(shape), np.maximum(rng.standard_normal(shape), 0))


def log_softmax_forward(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([[0.0, 1, 2], [1, 1, 1]]),)
    yield "random, shape (5, 4)", (2 * rng.standard_normal((5, 4)),)
    yield "large scores", (rng.standard_normal((2, 3)) + 2000,)
    yield "rows far apart", (rng.standard_normal((3, 4)) + np.array([[0], [-3000], [3000]]),)
    yield "one class far behind", (np.array([[0.0, -2000, 1], [3, 2, 1]]),)
    yield "one class far ahead", (np.array([[0.0, 2000, 1], [3, 2, 1]]),)  # so that only its own score is a safe shift


def log_softmax_backward(rng: np.random.Generator) -> Iterator[Case]:
    small = log_softmax_forward_of(np.array([[0.0, 1, 2], [1, 1, 1]]))
    yield "small", (np.array([[1.0, 0, 2], [-1, 3, 0]]), small)
    for shape in ((5, 4), (3, 3)):
        y = log_softmax_forward_of(2 * rng.standard_normal(shape))
        yield f"random, shape {shape}", (rng.standard_normal(shape), y)


def nll_loss_backward(rng: np.random.Generator) -> Iterator[Case]:
    def probabilities(*shape: int) -> Array:
        return log_softmax_forward_of(rng.standard_normal(shape))

    yield "small, equal weights", (probabilities(2, 3), np.array([0, 2]), np.ones(3), 0.0)
    yield "5 images, 4 classes, equal weights", (probabilities(5, 4), rng.integers(0, 4, 5), np.ones(4), 0.0)
    yield "label smoothing 0.3, equal weights", (probabilities(2, 3), np.array([1, 0]), np.ones(3), 0.3)
    yield "one image, class weights", (probabilities(1, 3), np.array([1]), np.array([0.5, 2.0, 3.0]), 0.0)
    yield "class weights", (probabilities(4, 3), np.array([0, 2, 1, 2]), np.array([0.5, 1.0, 3.0]), 0.0)
    yield "label smoothing 0.2", (probabilities(4, 3), np.array([2, 1, 1, 0]), np.array([2.0, 1.0, 0.5]), 0.2)
    yield "one image, a class of weight 0", (probabilities(1, 4), np.array([2]), np.array([0.0, 1.0, 2.0, 0.5]), 0.1)
