"""Log-softmax over the classes.

    y = (x - m) - log(sum of exp(x - m))          m = max of x, so that exp never overflows
    dx = dy - exp(y) * sum of dy                  exp(y) is the softmax

These loops are serial: the rows of a batch are fewer numbers than it costs to wake a thread. Cost: one exp for each
number, forward and backward.
"""

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.plain import Array


@guarded
def log_softmax_forward(x: Array) -> Array:
    y = np.empty_like(x)
    _forward(x, y)
    return y


@guarded
def log_softmax_backward(dy: Array, y: Array) -> Array:
    dx = np.empty_like(dy)
    _backward(dy, y, dx)
    return dx


@serial
def _forward(x: Array, y: Array) -> None:
    for n in range(len(x)):
        maximum = x[n, 0]
        for value in x[n]:
            if value > maximum or value != value:
                maximum = value
        exp_sum = 0.0  # float64: there may be 100 000 classes
        for value in x[n]:
            exp_sum += np.exp(value - maximum)
        log_sum = x.dtype.type(np.log(exp_sum))
        for k in range(x.shape[1]):
            y[n, k] = (x[n, k] - maximum) - log_sum


@serial
def _backward(dy: Array, y: Array, dx: Array) -> None:
    for n in range(len(dy)):
        total = 0.0
        for value in dy[n]:
            total += value
        dy_sum = dy.dtype.type(total)
        for k in range(dy.shape[1]):
            dx[n, k] = dy[n, k] - np.exp(y[n, k]) * dy_sum
