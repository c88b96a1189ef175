"""Log-softmax over the classes.

    y = (x - m) - log(sum of exp(x - m))          m = max of x, so that exp never overflows
    dx = dy - exp(y) * sum of dy                  exp(y) is the softmax

Who owns what: each worker owns one image's row. Cost: one exp for each number, forward and backward.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.jit import parallel, serial


def log_softmax_forward(x):
    y = np.empty_like(x)
    _forward(x, y)
    return y


def log_softmax_backward(dy, y):
    dx = np.empty_like(dy)
    _backward(dy, y, dx)
    return dx


@parallel
def _forward(x, y):
    for n in prange(len(x)):
        _forward_row(x[n], y[n])


@serial
def _forward_row(x, y):
    maximum = x[0]
    for value in x:
        if value > maximum or value != value:
            maximum = value
    exp_sum = x.dtype.type(0)
    for value in x:
        exp_sum += np.exp(value - maximum)
    log_sum = np.log(exp_sum)
    for k in range(x.size):
        y[k] = (x[k] - maximum) - log_sum


@parallel
def _backward(dy, y, dx):
    for n in prange(len(dy)):
        _backward_row(dy[n], y[n], dx[n])


@serial
def _backward_row(dy, y, dx):
    dy_sum = dy.dtype.type(0)
    for value in dy:
        dy_sum += value
    for k in range(dy.size):
        dx[k] = dy[k] - np.exp(y[k]) * dy_sum
