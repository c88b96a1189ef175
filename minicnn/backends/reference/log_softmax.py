"""Log-softmax over the classes.

    y = x - log(sum of exp(x))

The row's maximum m is taken out first, y = (x - m) - log(sum of exp(x - m)), so that exp never overflows and
the sum is at least 1.

    dx = dy - exp(y) * sum of dy          exp(y) is the softmax

Applied twice it changes nothing: after once, sum of exp(y) = 1, whose log is 0.
"""

import numpy as np

from minicnn.plain import Array


def log_softmax_forward(x: Array) -> Array:
    """y (N, K) for x (N, K)."""
    # learn: what keeps exp from overflowing, row by row
    shifted = x - x.max(axis=1, keepdims=True)
    # learn: the formula, on the shifted numbers
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_softmax_backward(dy: Array, y: Array) -> Array:
    """dx (N, K) for dy (N, K) and the output y (N, K).

    forward: y[n, k] = x[n, k] - log(sum over j of exp(x[n, j]))
    """
    # learn: directly, and through the sum that every class of the row is divided by
    return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
