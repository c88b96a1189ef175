"""Compile ahead: run every operation once on arrays of a few numbers.

Numba compiles a kernel at its first call and keeps it on disk for the next process, so this takes seconds on the
first run after an installation, and a fraction of one later.
"""

import numpy as np

from minicnn.backends.cpu import activation, arrays, batchnorm, conv, linear, log_softmax, losses, optim, pooling
from minicnn.geometry import adaptive_windows


def compile_kernels(dtype, report=None):
    """Make every kernel ready for arrays of `dtype`; `report(name, done, total)` is called before each."""
    calls = _small_calls(np.dtype(dtype))
    for done, (name, call) in enumerate(calls.items()):
        if report is not None:
            report(name, done, len(calls))
        call()


def _small_calls(dtype):
    """One call of each operation, by the operation's name."""
    x = np.ones((1, 1, 2, 2), dtype)
    argmax = np.zeros((1, 1, 1, 1), np.int32)
    vector, matrix, number = np.ones(1, dtype), np.ones((1, 1), dtype), np.ones((1, 1, 1, 1), dtype)
    labels = np.zeros(1, np.int64)
    window = adaptive_windows(2, 1)
    norm = (vector, vector, vector, 0.1)
    return {
        "conv2d_forward": lambda: conv.conv2d_forward(x, number, vector, (1, 1), (0, 0)),
        "conv2d_input_gradient": lambda: conv.conv2d_input_gradient(x, number, (2, 2), (1, 1), (0, 0)),
        "conv2d_weight_gradient": lambda: conv.conv2d_weight_gradient(x, x, (1, 1), (1, 1), (0, 0)),
        "batchnorm2d_statistics": lambda: batchnorm.batchnorm2d_statistics(x),
        "batchnorm2d_forward": lambda: batchnorm.batchnorm2d_forward(x, vector, vector, vector, vector, 0.1),
        "batchnorm2d_train_backward": lambda: batchnorm.batchnorm2d_train_backward(x, x, *norm),
        "relu_forward": lambda: activation.relu_forward(x),
        "relu_backward": lambda: activation.relu_backward(x, x),
        "max_pool2d_forward": lambda: pooling.max_pool2d_forward(x, window, window),
        "max_pool2d_backward": lambda: pooling.max_pool2d_backward(number, argmax, (2, 2)),
        "avg_pool2d_forward": lambda: pooling.avg_pool2d_forward(x, window, window),
        "avg_pool2d_backward": lambda: pooling.avg_pool2d_backward(number, window, window, (2, 2)),
        "linear_forward": lambda: linear.linear_forward(matrix, matrix, vector),
        "linear_input_gradient": lambda: linear.linear_input_gradient(matrix, matrix),
        "linear_weight_gradient": lambda: linear.linear_weight_gradient(matrix, matrix),
        "log_softmax_forward": lambda: log_softmax.log_softmax_forward(matrix),
        "log_softmax_backward": lambda: log_softmax.log_softmax_backward(matrix, matrix),
        "nll_loss_forward": lambda: losses.nll_loss_forward(matrix, labels, vector, 0.0),
        "nll_loss_backward": lambda: losses.nll_loss_backward(matrix, labels, vector, 0.0),
        "sgd_step_": lambda: optim.sgd_step_(vector, vector.copy(), vector, 0.1, 0.9, False, 0.0),
        "adam_step_": lambda: optim.adam_step_(
            vector, vector.copy(), vector.copy(), vector, 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1
        ),
        "sum_of_squares": lambda: arrays.sum_of_squares(vector),
    }
